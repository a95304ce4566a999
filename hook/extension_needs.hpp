#pragma once

#include <map>
#include <set>
#include <string>
#include <vector>

#include "hook/interpreter.hpp"
#include "shadow_store/base/file_system.hpp"

namespace rehook {

// Which extensions rely on which others: they import them by name, as Cython's cimport does, or
// their classes derive from classes of the others. Reads each file once.
class ExtensionNeeds final {
 public:
  // `names` are the modules that are asked about.
  ExtensionNeeds(FileSystem& fs, std::vector<std::string> names)
      : fs_(&fs), names_(std::move(names)) {}

  // Why a module, built as `file` and loaded as `module` (or null), needs `provider`:
  // "it imports geo", "it derives from classes of geo"; "" when it does not.
  [[nodiscard]] std::string why(const Path& file, PyObject* module,
                                const std::string& provider);

 private:
  const std::set<std::string>& named_in(const Path& file);

  FileSystem* fs_;
  std::vector<std::string> names_;
  std::map<Path, std::set<std::string>> named_;
};

}  // namespace rehook
