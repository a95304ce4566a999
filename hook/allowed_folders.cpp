#include "hook/allowed_folders.hpp"

#include <unistd.h>

#include <string_view>
#include <system_error>

namespace rehook {
namespace {

constexpr std::uint32_t k_writable_by_others = 022;

bool is_ours_alone(FileSystem& fs, const Path& path) {
  FileStat stat;
  return fs.lookup(path.c_str(), stat) && stat.uid == ::geteuid() &&
         (stat.mode & k_writable_by_others) == 0;
}

bool is_at_or_below(std::string_view path, std::string_view folder) {
  while (folder.size() > 1 && folder.ends_with('/')) folder.remove_suffix(1);
  if (folder.empty() || !folder.starts_with('/') || !path.starts_with(folder)) return false;
  return path.size() == folder.size() || folder == "/" || path[folder.size()] == '/';
}

Path real(const Path& path) {
  std::error_code failed;
  Path result = std::filesystem::canonical(path, failed);
  return failed ? Path() : result;
}

}  // namespace

bool AllowedFolders::contains(const Path& root) const {
  const Path where = real(root);
  if (where.empty()) return false;
  for (const Path& folder : for_now_) {
    if (is_at_or_below(where.native(), real(folder).native())) return true;
  }
  if (list_.empty() || !is_ours_alone(*fs_, list_) ||
      !is_ours_alone(*fs_, list_.parent_path())) {
    return false;
  }
  const auto text = fs_->read(list_);
  if (!text) return false;
  std::string_view rest = *text;
  while (!rest.empty()) {
    const std::size_t end = rest.find('\n');
    if (end == std::string_view::npos) break;  // torn: not a whole folder
    if (is_at_or_below(where.native(), rest.substr(0, end))) return true;
    rest.remove_prefix(end + 1);
  }
  return false;
}

}  // namespace rehook
