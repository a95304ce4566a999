#pragma once

#include <string>
#include <vector>

#include "shadow_store/base/file_system.hpp"

namespace rehook {

// The folders whose projects the user allowed rehook to build: by `rehook allow`, which keeps a
// list in the user's configuration folder, or for this process only.
//
// The list is text, a folder per line, each as realpath(3) gives it; lines that begin with '#'
// say what it is. It counts only if it, and the folder it is in, are the user's own and nobody
// else may write to them: whoever could would run code as this user.
class AllowedFolders final {
 public:
  AllowedFolders(FileSystem& fs, Path list, std::vector<Path> for_now)
      : fs_(&fs), list_(std::move(list)), for_now_(std::move(for_now)) {}

  // Whether `root` really is one of the folders, or below one. Reads the list.
  [[nodiscard]] bool contains(const Path& root) const;

 private:
  FileSystem* fs_;
  Path list_;
  std::vector<Path> for_now_;
};

}  // namespace rehook
