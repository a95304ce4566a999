#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "hook/loaded_library.hpp"
#include "shadow_store/base/result.hpp"

namespace rehook {

// One function that loaded libraries import, led elsewhere while this object lives: the words
// in which the dynamic loader stored its address (the global offset table) get another one, in
// memory only. Calls between the library's own functions are not affected. Source: System V
// gABI, "Relocation"; the x86-64 and AArch64 supplements for the types of relocations.
class ImportedFunction final {
 public:
  ImportedFunction(std::string name, const void* replacement)
      : name_(std::move(name)), replacement_(replacement) {}
  ~ImportedFunction();
  ImportedFunction(const ImportedFunction&) = delete;
  ImportedFunction& operator=(const ImportedFunction&) = delete;

  // Leads the library's imports of the function to the replacement. A library that does not
  // import it is left alone. unsupported: the system does not let those pages be written.
  Status redirect(const LoadedLibrary& library);

 private:
  struct Slot {
    std::uintptr_t address, original;
  };
  std::string name_;
  const void* replacement_;
  std::vector<Slot> slots_;
};

}  // namespace rehook
