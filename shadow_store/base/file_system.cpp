#include "shadow_store/base/file_system.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <memory>
#include <system_error>
#include <tuple>
#include <utility>

#include "shadow_store/base/os_error.hpp"
#include "shadow_store/base/platform.hpp"
#include "shadow_store/base/temporary_name.hpp"

namespace rehook {
namespace {

constexpr std::size_t k_chunk =
    64 * 1024;  // below malloc's limit for asking the kernel each time
constexpr std::uint64_t k_kernel_chunk = 1U << 30U;
constexpr off_t k_largest_reserve = 1 << 30;  // a sparse file may claim any size
constexpr mode_t k_private_mode = 0600;

// Repeats a system call that a signal interrupted.
template <typename Call>
auto retry(Call call) {
  auto result = call();
  while (result < 0 && errno == EINTR) result = call();
  return result;
}

class Descriptor final {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  Descriptor(Descriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Descriptor& operator=(Descriptor&&) = delete;
  ~Descriptor() {
    if (fd_ >= 0) ::close(fd_);
  }
  [[nodiscard]] int get() const { return fd_; }
  // Some file systems report a failed write only here. EINTR: Linux has closed it nevertheless.
  [[nodiscard]] bool close() { return ::close(std::exchange(fd_, -1)) == 0 || errno == EINTR; }

 private:
  int fd_;
};

Result<Descriptor> open_file(const Path& path, int flags, std::string_view what) {
  const int fd = retry([&] { return ::open(path.c_str(), flags | O_CLOEXEC, k_private_mode); });
  if (fd < 0) return os_error(errno, what, path);
  return Descriptor(fd);
}

// Removes a half-made file unless keep() says that it became what it should be.
class Unfinished final {
 public:
  explicit Unfinished(Path path) : path_(std::move(path)) {}
  Unfinished(const Unfinished&) = delete;
  Unfinished& operator=(const Unfinished&) = delete;
  ~Unfinished() {
    if (!kept_)
      std::ignore = ::unlink(path_.c_str());  // best effort: is_orphan() names the rest
  }
  [[nodiscard]] const Path& path() const { return path_; }
  void keep() { kept_ = true; }

 private:
  Path path_;
  bool kept_ = false;
};

// Calls `use` with one piece of the file after the other.
template <typename Use>
Status read_pieces(const Path& path, Use use) {
  REHOOK_ASSIGN_OR_RETURN(const Descriptor file, open_file(path, O_RDONLY, "read"));
  const std::unique_ptr<char[]> piece(
      new char[k_chunk]);  // not make_unique: it clears the memory
  while (true) {
    const ssize_t got = retry([&] { return ::read(file.get(), piece.get(), k_chunk); });
    if (got < 0) return os_error(errno, "read", path);
    if (got == 0) return ok_status();
    use(std::string_view(piece.get(), static_cast<std::size_t>(got)));
  }
}

// Reads until the piece is full or the file ends; gives the number of bytes.
Result<std::size_t> fill_piece(int fd, char* piece, const Path& path) {
  std::size_t size = 0;
  while (size < k_chunk) {
    const ssize_t got = retry([&] { return ::read(fd, piece + size, k_chunk - size); });
    if (got < 0) return os_error(errno, "read", path);
    if (got == 0) break;
    size += static_cast<std::size_t>(got);
  }
  return size;
}

Status write_all(int fd, std::string_view data, const Path& path) {
  while (!data.empty()) {
    const ssize_t put = retry([&] { return ::write(fd, data.data(), data.size()); });
    if (put < 0) return os_error(errno, "write", path);
    data.remove_prefix(static_cast<std::size_t>(put));
  }
  return ok_status();
}

Status sync_file(int fd, const Path& path) {
  if (retry([&] { return ::fsync(fd); }) != 0) return os_error(errno, "sync", path);
  return ok_status();
}

Path parent_of(const Path& path) {
  return path.has_parent_path() ? path.parent_path() : Path(".");
}

// Makes the names in the directory of `path` survive a power cut.
Status sync_parent(const Path& path) {
  const Path parent = parent_of(path);
  REHOOK_ASSIGN_OR_RETURN(const Descriptor directory,
                          open_file(parent, O_RDONLY | O_DIRECTORY, "sync"));
  if (retry([&] { return ::fsync(directory.get()); }) == 0) return ok_status();
  // Some user-space file systems cannot sync a directory; nothing more can be done there.
  if (errno == EINVAL || errno == EOPNOTSUPP || errno == ENOSYS) return ok_status();
  return os_error(errno, "sync", parent);
}

bool means_cannot_here(int error) {
  return error == EOPNOTSUPP || error == EXDEV || error == EINVAL || error == ENOSYS;
}

// Copies from the current positions to the end, the fastest way the two file systems allow. A
// way that gives up in the middle leaves both positions where the next one goes on.
Status copy_content(int from, int to, const Path& source, const Path& path) {
  if (clone_file(from, to)) return ok_status();  // any failure repeats below, with its reason
  std::int64_t copied = 0;
  std::int64_t step = 0;
  do {
    step = retry([&] { return kernel_copy(from, to, k_kernel_chunk); });
    if (step > 0) copied += step;
  } while (step > 0);
  if (step < 0 && !means_cannot_here(errno)) return os_error(errno, "copy to", path);
  // Files that the kernel makes up (/proc) claim to be empty here: believe read(2) instead.
  if (step == 0 && copied > 0) return ok_status();

  const std::unique_ptr<char[]> piece(new char[k_chunk]);
  while (true) {
    const ssize_t got = retry([&] { return ::read(from, piece.get(), k_chunk); });
    if (got < 0) return os_error(errno, "read", source);
    if (got == 0) return ok_status();
    REHOOK_TRY(write_all(to, {piece.get(), static_cast<std::size_t>(got)}, path));
  }
}

FileStat from_system(const struct stat& st) {
  constexpr std::int64_t k_second = 1'000'000'000;
  FileStat result;
  result.device = st.st_dev;
  result.inode = st.st_ino;
  result.size = static_cast<std::uint64_t>(st.st_size);
  result.mtime_ns = st.st_mtim.tv_sec * k_second + st.st_mtim.tv_nsec;
  result.ctime_ns = st.st_ctim.tv_sec * k_second + st.st_ctim.tv_nsec;
  result.mode = st.st_mode;
  result.uid = st.st_uid;
  return result;
}

class PosixFileSystem final : public FileSystem {
 public:
  bool lookup(const char* path, FileStat& found) override {
    struct stat st {};
    if (::stat(path, &st) != 0) return false;
    found = from_system(st);
    return true;
  }

  Result<FileStat> stat(const Path& path) override {
    struct stat st {};
    if (::stat(path.c_str(), &st) != 0) return os_error(errno, "stat", path);
    return from_system(st);
  }

  Result<std::string> read(const Path& path) override {
    std::string content;
    struct stat st {};
    if (::stat(path.c_str(), &st) == 0 && S_ISREG(st.st_mode)) {
      content.reserve(static_cast<std::size_t>(std::min(st.st_size, k_largest_reserve)));
    }
    REHOOK_TRY(read_pieces(path, [&](std::string_view piece) { content.append(piece); }));
    return content;
  }

  Result<Digest> digest(const Path& path) override {
    REHOOK_ASSIGN_OR_RETURN(const Descriptor file, open_file(path, O_RDONLY, "read"));
    const std::unique_ptr<char[]> piece(new char[k_chunk]);
    REHOOK_ASSIGN_OR_RETURN(std::size_t size, fill_piece(file.get(), piece.get(), path));
    // Most sources fit, and need no hasher that keeps a state.
    if (size < k_chunk) return digest_of({piece.get(), size});
    Hasher hasher;
    while (size > 0) {
      hasher.add({piece.get(), size});
      REHOOK_ASSIGN_OR_RETURN(size, fill_piece(file.get(), piece.get(), path));
    }
    return hasher.finish();
  }

  Result<std::vector<std::string>> list(const Path& path) override {
    const std::unique_ptr<DIR, int (*)(DIR*)> directory(::opendir(path.c_str()), &::closedir);
    if (directory == nullptr) return os_error(errno, "list", path);
    std::vector<std::string> names;
    errno = 0;
    while (const dirent* entry = ::readdir(directory.get())) {
      const std::string_view name = entry->d_name;
      if (name != "." && name != "..") names.emplace_back(name);
    }
    if (errno != 0) return os_error(errno, "list", path);
    std::sort(names.begin(), names.end());
    return names;
  }

  std::uint64_t tree_size(const Path& path) override {
    namespace stdfs = std::filesystem;
    struct stat st {};
    if (::lstat(path.c_str(), &st) != 0) return 0;
    if (!S_ISDIR(st.st_mode)) return static_cast<std::uint64_t>(st.st_size);
    std::uint64_t total = 0;
    std::error_code error;
    constexpr auto k_options = stdfs::directory_options::skip_permission_denied;
    stdfs::recursive_directory_iterator at(path, k_options, error);
    for (; !error && at != stdfs::recursive_directory_iterator(); at.increment(error)) {
      if (::lstat(at->path().c_str(), &st) == 0 && S_ISREG(st.st_mode)) {
        total += static_cast<std::uint64_t>(st.st_size);
      }
    }
    return total;
  }

  Status write_atomic(const Path& path, std::string_view data) override {
    Unfinished unfinished(parent_of(path) / temporary_name());
    REHOOK_ASSIGN_OR_RETURN(Descriptor file, create(unfinished.path(), path));
    REHOOK_TRY(write_all(file.get(), data, path));
    REHOOK_TRY(sync_file(file.get(), path));
    if (!file.close()) return os_error(errno, "write", path);
    if (::rename(unfinished.path().c_str(), path.c_str()) != 0) {
      return os_error(errno, "write", path);
    }
    unfinished.keep();
    return sync_parent(path);
  }

  Status publish_copy(const Path& source, const Path& path, std::uint32_t mode) override {
    Unfinished unfinished(parent_of(path) / temporary_name());
    REHOOK_TRY(copy_new(source, unfinished.path(), k_private_mode));
    REHOOK_TRY(publish_private(unfinished.path(), path, mode));
    unfinished.keep();
    return ok_status();
  }

  Status publish_private(const Path& private_file, const Path& path,
                         std::uint32_t mode) override {
    REHOOK_ASSIGN_OR_RETURN(const Descriptor file,
                            open_file(private_file, O_RDONLY, "publish"));
    if (::fchmod(file.get(), mode) != 0) return os_error(errno, "set the mode of", path);
    REHOOK_TRY(sync_file(file.get(), path));
    // link(2), unlike rename(2), never takes away a file that another process has just
    // published.
    if (::link(private_file.c_str(), path.c_str()) != 0 && errno != EEXIST) {
      return os_error(errno, "publish", path);
    }
    std::ignore = ::unlink(private_file.c_str());  // best effort: is_orphan() names the rest
    return sync_parent(path);
  }

  Status copy_new(const Path& source, const Path& path, std::uint32_t mode) override {
    // O_NONBLOCK: refuse a pipe instead of waiting for its writer. Files do not notice.
    REHOOK_ASSIGN_OR_RETURN(const Descriptor from,
                            open_file(source, O_RDONLY | O_NONBLOCK, "copy"));
    struct stat st {};
    if (::fstat(from.get(), &st) != 0) return os_error(errno, "copy", source);
    if (!S_ISREG(st.st_mode)) {
      return Error{ErrorCode::invalid,
                   "cannot copy " + source.native() + ": not a regular file"};
    }
    REHOOK_ASSIGN_OR_RETURN(Descriptor to, create(path, path));
    Unfinished unfinished(path);
    REHOOK_TRY(copy_content(from.get(), to.get(), source, path));
    if (::fchmod(to.get(), mode) != 0) return os_error(errno, "set the mode of", path);
    if (!to.close()) return os_error(errno, "write", path);
    unfinished.keep();
    return ok_status();
  }

  Status patch(const Path& path, const std::vector<FilePatch>& patches) override {
    REHOOK_ASSIGN_OR_RETURN(Descriptor file, open_file(path, O_WRONLY, "edit"));
    struct stat st {};
    if (::fstat(file.get(), &st) != 0) return os_error(errno, "edit", path);
    const auto size = static_cast<std::uint64_t>(st.st_size);
    for (const FilePatch& patch : patches) {
      if (patch.offset > size || size - patch.offset < patch.bytes.size()) {
        return Error{ErrorCode::invalid, "cannot edit " + path.native() + ": past its end"};
      }
    }
    for (const FilePatch& patch : patches) {
      std::string_view rest = patch.bytes;
      auto offset = static_cast<off_t>(patch.offset);
      while (!rest.empty()) {
        const ssize_t put =
            retry([&] { return ::pwrite(file.get(), rest.data(), rest.size(), offset); });
        if (put < 0) return os_error(errno, "edit", path);
        rest.remove_prefix(static_cast<std::size_t>(put));
        offset += put;
      }
    }
    if (!file.close()) return os_error(errno, "edit", path);
    return ok_status();
  }

  Status rename(const Path& from, const Path& to) override {
    if (::rename(from.c_str(), to.c_str()) != 0) return os_error(errno, "move", from);
    return ok_status();
  }

  Status set_mode(const Path& path, std::uint32_t mode) override {
    if (::chmod(path.c_str(), mode) != 0) return os_error(errno, "set the mode of", path);
    return ok_status();
  }

  Status touch(const Path& path) override {
    if (::utimensat(AT_FDCWD, path.c_str(), nullptr, 0) != 0) {
      return os_error(errno, "set the time stamp of", path);
    }
    return ok_status();
  }

  Status set_mtime(const Path& path, std::int64_t mtime_ns) override {
    constexpr std::int64_t k_second = 1'000'000'000;
    const timespec time = {mtime_ns / k_second, mtime_ns % k_second};
    const timespec times[2] = {time, time};
    if (::utimensat(AT_FDCWD, path.c_str(), times, 0) != 0) {
      return os_error(errno, "set the time stamp of", path);
    }
    return ok_status();
  }

  Status append(const Path& path, std::string_view data) override {
    REHOOK_ASSIGN_OR_RETURN(const Descriptor file,
                            open_file(path, O_WRONLY | O_APPEND | O_CREAT, "append to"));
    // A second write could land behind another process's record, so a short one is a failure.
    const ssize_t put = retry([&] { return ::write(file.get(), data.data(), data.size()); });
    if (put < 0) return os_error(errno, "append to", path);
    if (static_cast<std::size_t>(put) != data.size())
      return os_error(ENOSPC, "append to", path);
    return ok_status();
  }

  Status make_directories(const Path& path) override {
    if (path.empty()) return ok_status();
    struct stat st {};
    if (::stat(path.c_str(), &st) == 0) {
      if (S_ISDIR(st.st_mode)) return ok_status();
      return Error{ErrorCode::io,
                   "cannot make the folder " + path.native() + ": a file is there"};
    }
    if (path.has_parent_path() && path.parent_path() != path) {
      REHOOK_TRY(make_directories(path.parent_path()));
    }
    if (::mkdir(path.c_str(), 0700) == 0) return ok_status();
    const int error = errno;
    // Somebody else made it meanwhile, or `path` ends in a slash and so was made just above.
    if (error == EEXIST && ::stat(path.c_str(), &st) == 0 && S_ISDIR(st.st_mode)) {
      return ok_status();
    }
    return os_error(error, "make the folder", path);
  }

  Status remove(const Path& path, MissingOk missing) override {
    if (std::remove(path.c_str()) == 0) return ok_status();
    if (errno == ENOENT && missing == MissingOk::yes) return ok_status();
    return os_error(errno, "remove", path);
  }

  Status remove_tree(const Path& path) override {
    std::error_code error;
    std::filesystem::remove_all(path, error);
    if (error) return os_error(error.value(), "remove", path);
    return ok_status();
  }

 private:
  // Creates a file that must not exist; an error speaks of `wanted`, which is what the caller
  // asked for and what a user knows.
  static Result<Descriptor> create(const Path& path, const Path& wanted) {
    const int fd = retry([&] {
      return ::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC,
                    k_private_mode);
    });
    if (fd < 0) return os_error(errno, "write", wanted);
    return Descriptor(fd);
  }
};

}  // namespace

FileSystem& posix_file_system() {
  static PosixFileSystem* const instance = new PosixFileSystem;  // outlives every other static
  return *instance;
}

}  // namespace rehook
