#pragma once

#include <stdlib.h>

#include <string>
#include <system_error>

#include "shadow_store/base/file_system.hpp"
#include "tests/fuzz/fuzz_targets.hpp"

namespace rehook::fuzz {

// A real folder that the readers need which ask the system itself; lives as long as the
// process.
class ScratchFolder final {
 public:
  ScratchFolder() {
    std::string name = (std::filesystem::temp_directory_path() / "rehook-fuzz-XXXXXX").native();
    require(::mkdtemp(name.data()) != nullptr, "there is room for a temporary folder");
    path_ = name;
  }
  ScratchFolder(const ScratchFolder&) = delete;
  ScratchFolder& operator=(const ScratchFolder&) = delete;
  ~ScratchFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  [[nodiscard]] const Path& path() const { return path_; }

 private:
  Path path_;
};

}  // namespace rehook::fuzz
