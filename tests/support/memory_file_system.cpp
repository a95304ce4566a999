#include "tests/support/memory_file_system.hpp"

#include <unistd.h>

#include <functional>
#include <utility>

namespace rehook {
namespace {

constexpr std::uint32_t k_file_mode = 0100600, k_folder_mode = 0040700;
constexpr std::string_view k_mark = "--- ";

std::string with_slash(const Path& folder) {
  const std::string& text = folder.native();
  return text.ends_with('/') ? text : text + '/';
}

FileStat stat_of(const std::string& path, std::uint32_t mode, std::uint64_t size) {
  FileStat stat;
  stat.device = 1;
  stat.inode = std::hash<std::string>()(path);
  stat.size = size;
  stat.mode = mode;
  stat.uid = ::geteuid();
  return stat;
}

}  // namespace

void MemoryFileSystem::put_archive(const Path& root, std::string_view archive) {
  std::string* file = nullptr;
  while (!archive.empty()) {
    const std::string_view line = archive.substr(0, archive.find('\n'));
    const std::size_t size = std::min(line.size() + 1, archive.size());
    if (line.starts_with(k_mark)) {
      // Not with operator/: an absolute name would leave the root.
      file = &files_[with_slash(root) + std::string(line.substr(k_mark.size()))];
      file->clear();
    } else if (file != nullptr) {
      file->append(archive.substr(0, size));
    }
    archive.remove_prefix(size);
  }
}

Result<std::string*> MemoryFileSystem::find(const Path& path) {
  const auto found = files_.find(path.native());
  if (found != files_.end()) return &found->second;
  return Error{ErrorCode::not_found, path.native() + " does not exist"};
}

Result<FileStat> MemoryFileSystem::stat(const Path& path) {
  if (const auto file = find(path)) return stat_of(path, k_file_mode, (*file)->size());
  const std::string folder = with_slash(path);
  const auto below = files_.lower_bound(folder);
  if (below != files_.end() && below->first.starts_with(folder)) {
    return stat_of(folder, k_folder_mode, 0);
  }
  return Error{ErrorCode::not_found, path.native() + " does not exist"};
}

Result<std::string> MemoryFileSystem::read(const Path& path) {
  REHOOK_ASSIGN_OR_RETURN(const std::string* content, find(path));
  return *content;
}

Result<Digest> MemoryFileSystem::digest(const Path& path) {
  REHOOK_ASSIGN_OR_RETURN(const std::string* content, find(path));
  return digest_of(*content);
}

Result<std::vector<std::string>> MemoryFileSystem::list(const Path& path) {
  const std::string folder = with_slash(path);
  std::vector<std::string> names;
  for (auto at = files_.lower_bound(folder);
       at != files_.end() && at->first.starts_with(folder); ++at) {
    const std::string_view rest = std::string_view(at->first).substr(folder.size());
    const std::string name(rest.substr(0, rest.find('/')));
    if (!name.empty() && (names.empty() || names.back() != name)) names.push_back(name);
  }
  if (!names.empty()) return names;
  return Error{ErrorCode::not_found, path.native() + " does not exist"};
}

std::uint64_t MemoryFileSystem::tree_size(const Path& path) {
  std::uint64_t size = 0;
  for (const auto& [name, content] : files_) {
    if (name == path.native() || name.starts_with(with_slash(path))) size += content.size();
  }
  return size;
}

Status MemoryFileSystem::write_atomic(const Path& path, std::string_view data) {
  put(path, std::string(data));
  return ok_status();
}

Status MemoryFileSystem::publish_copy(const Path& source, const Path& path,
                                      std::uint32_t mode) {
  if (find(path)) return ok_status();
  return copy_new(source, path, mode);
}

Status MemoryFileSystem::publish_private(const Path& private_file, const Path& path,
                                         std::uint32_t mode) {
  REHOOK_TRY(publish_copy(private_file, path, mode));
  return remove(private_file, MissingOk::no);
}

Status MemoryFileSystem::copy_new(const Path& source, const Path& path, std::uint32_t) {
  REHOOK_ASSIGN_OR_RETURN(std::string content, read(source));
  if (find(path)) return Error{ErrorCode::io, path.native() + " exists"};
  put(path, std::move(content));
  return ok_status();
}

Status MemoryFileSystem::patch(const Path& path, const std::vector<FilePatch>& patches) {
  REHOOK_ASSIGN_OR_RETURN(std::string * content, find(path));
  for (const FilePatch& patch : patches) {
    if (patch.offset > content->size() || content->size() - patch.offset < patch.bytes.size()) {
      return Error{ErrorCode::invalid, "an edit of " + path.native() + " is outside of it"};
    }
    content->replace(patch.offset, patch.bytes.size(), patch.bytes);
  }
  return ok_status();
}

Status MemoryFileSystem::set_mode(const Path& path, std::uint32_t) {
  return touch(path);
}

Status MemoryFileSystem::rename(const Path& from, const Path& to) {
  REHOOK_ASSIGN_OR_RETURN(std::string * file, find(from));
  std::string content = std::move(*file);
  files_.erase(from.native());
  files_[to.native()] = std::move(content);
  return ok_status();
}

Status MemoryFileSystem::set_mtime(const Path& path, std::int64_t) {
  return touch(path);
}

Status MemoryFileSystem::touch(const Path& path) {
  REHOOK_TRY(find(path));
  return ok_status();
}

Status MemoryFileSystem::append(const Path& path, std::string_view data) {
  files_[path.native()].append(data);
  return ok_status();
}

Status MemoryFileSystem::make_directories(const Path&) {
  return ok_status();
}

Status MemoryFileSystem::remove(const Path& path, MissingOk missing) {
  const bool gone = files_.erase(path.native()) > 0;
  if (gone || missing == MissingOk::yes) return ok_status();
  return Error{ErrorCode::not_found, path.native() + " does not exist"};
}

Status MemoryFileSystem::remove_tree(const Path& path) {
  const std::string folder = with_slash(path);
  std::erase_if(files_, [&](const auto& file) {
    return file.first == path.native() || file.first.starts_with(folder);
  });
  return ok_status();
}

}  // namespace rehook
