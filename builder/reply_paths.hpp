#pragma once

#include <string>
#include <string_view>

#include "shadow_store/base/file_system.hpp"

namespace rehook {

// Turns the paths of a File API reply into those of this machine. A reply is JSON and so UTF-8:
// when the name of a top folder is not, the reply spells it with U+FFFD and the real bytes must
// come from elsewhere.
class ReplyPaths final {
 public:
  ReplyPaths() = default;
  // `source` and `build` are the top folders as the reply spells them.
  ReplyPaths(FileSystem& fs, std::string source, std::string build, Path build_dir);

  [[nodiscard]] const Path& source_dir() const { return source_dir_; }
  // Absolute paths; relative ones count from the top of the source or of the build.
  [[nodiscard]] Path in_source(const std::string& text) const;
  [[nodiscard]] Path in_build(const std::string& text) const;
  // True for what a build makes: all in the build folder but the sources that FetchContent put
  // there.
  [[nodiscard]] bool is_generated(const Path& path, bool cmake_says_so) const;

 private:
  [[nodiscard]] Path resolve(const std::string& text, const Path& top) const;

  std::string reply_source_, reply_build_;
  Path source_dir_, build_dir_;
};

// Each byte that is no valid UTF-8 becomes U+FFFD.
[[nodiscard]] std::string replace_invalid_utf8(std::string_view bytes);

}  // namespace rehook
