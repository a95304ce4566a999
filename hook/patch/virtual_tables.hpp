#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "hook/loaded_library.hpp"
#include "shadow_store/base/result.hpp"

namespace rehook {

// The virtual function tables of earlier builds that follow the running code of their classes.
struct FollowingTables {
  std::map<std::string, std::vector<std::uintptr_t>> by_class;  // mangled: "N3geo5ShapeE"
  // Pages that were write-protected once. They stay writable: each further build writes there.
  std::set<std::uintptr_t> open_pages;
};

// Makes objects of earlier builds, wherever they live, call the new build's virtual functions:
// each function pointer in the tables that these objects point to is replaced by the one that
// stands in the same place of the new table. Only for classes whose layout, the order of the
// virtual functions included, is the same in both builds. Source: Itanium C++ ABI 2.5, "Virtual
// Table Layout".
class VirtualTables final {
 public:
  // `keeps_layout` is asked about each class by its mangled name.
  using KeepsLayout = std::function<bool(std::string_view)>;

  VirtualTables() = default;
  ~VirtualTables() { undo(); }
  VirtualTables(const VirtualTables&) = delete;
  VirtualTables& operator=(const VirtualTables&) = delete;

  // One loaded library with the bytes of its file.
  struct Build {
    std::string_view bytes;
    LoadedLibrary mapped;
  };
  // Compares the tables of two builds; changes nothing. `earlier` are tables of builds before
  // `old`. A table that does not have the same shape in both is left alone.
  Status plan(const Build& old, const Build& fresh, FollowingTables earlier,
              const KeepsLayout& keeps_layout);
  // unsupported: the system does not let those pages be written; nothing is changed then.
  Status apply();
  void undo() noexcept;
  // Without it the destructor undoes. Gives the tables that will have to follow the next build.
  FollowingTables commit();

  // Whether objects of this class follow.
  [[nodiscard]] bool covers(const std::string& mangled_name) const {
    return following_.by_class.contains(mangled_name);
  }

 private:
  struct Write {
    std::uintptr_t address, before, after;
  };
  struct Range {
    std::uintptr_t begin, end;
  };
  [[nodiscard]] bool is_code(std::uintptr_t word);
  bool plan_table(std::uintptr_t old_table, std::uintptr_t new_table, std::uint64_t size);
  void write_all(bool new_functions) noexcept;

  std::vector<Write> writes_;
  std::vector<Range> code_;      // executable segments of the two builds
  std::vector<Range> all_code_;  // of all libraries, by address, once it is asked for
  bool knows_all_code_ = false;
  FollowingTables following_;
  bool applied_ = false;
};

}  // namespace rehook
