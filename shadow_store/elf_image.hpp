#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "shadow_store/base/file_system.hpp"

namespace rehook {

// A bounds-checked look at an ELF shared library held in memory. Never a cast of file bytes: every
// read is checked. Accepts what the linkers bfd, gold, lld and mold write, stripped or not.
class ElfImage final {
 public:
  // `bytes` must outlive the image. corrupt: not ELF, wrong class, machine or type, or any PT_LOAD,
  // dynamic section or section header table that reaches past the end (a torn build output).
  static Result<ElfImage> parse(std::string_view bytes);

  struct DynamicSymbol {
    std::string_view name;
    std::size_t info_offset = 0;  // file offset of st_info, for the editor
    std::uint8_t info = 0;
    bool defined = false;
  };

  [[nodiscard]] const std::vector<std::string_view>& needed() const { return needed_; }
  [[nodiscard]] std::string_view soname() const { return soname_; }
  [[nodiscard]] std::string_view runpath() const { return runpath_; }  // DT_RUNPATH, else DT_RPATH
  [[nodiscard]] std::string_view build_id() const { return build_id_; }  // raw bytes, may be empty
  [[nodiscard]] const std::vector<DynamicSymbol>& symbols() const { return symbols_; }
  [[nodiscard]] bool defines(std::string_view symbol) const;
  // Names behind PyInit_ among the defined dynamic symbols.
  [[nodiscard]] std::vector<std::string> python_inits() const;

 private:
  std::vector<std::string_view> needed_;
  std::string_view soname_, runpath_, build_id_;
  std::vector<DynamicSymbol> symbols_;
};

}  // namespace rehook
