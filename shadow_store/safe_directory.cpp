#include "shadow_store/safe_directory.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <string>
#include <system_error>
#include <utility>

#include "shadow_store/base/os_error.hpp"
#include "shadow_store/base/platform.hpp"

namespace rehook {
namespace {

constexpr mode_t k_writable_by_others = S_IWGRP | S_IWOTH;

enum class Place { above, itself };

class Directory final {
 public:
  explicit Directory(int fd) : fd_(fd) {}
  Directory(Directory&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Directory& operator=(Directory&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~Directory() {
    if (fd_ >= 0) ::close(fd_);
  }
  [[nodiscard]] int get() const { return fd_; }

 private:
  int fd_;
};

Error refuse(const Path& path, const std::string& reason, std::string hint) {
  return Error{ErrorCode::unsafe,
               "refusing to load code from below " + path.native() + ": " + reason,
               std::move(hint)};
}

Status check(int fd, const Path& path, Place place) {
  struct stat st {};
  if (::fstat(fd, &st) != 0) return os_error(errno, "check", path);
  const bool ours = st.st_uid == ::geteuid();
  if (!ours && (place == Place::itself || st.st_uid != 0)) {
    return refuse(path, "it is owned by user " + std::to_string(st.st_uid),
                  "use a folder of your own");
  }
  // With a user private group (gid == uid, the default of Debian and Fedora, with umask 002),
  // the group's members are the user alone.
  mode_t writable_by_others = k_writable_by_others;
  if (ours && place == Place::above && st.st_gid == st.st_uid) writable_by_others = S_IWOTH;
  const bool sticky = place == Place::above && (st.st_mode & S_ISVTX) != 0;
  if ((st.st_mode & writable_by_others) != 0 && !sticky) {
    char mode[8];
    std::snprintf(mode, sizeof mode, "%04o", static_cast<unsigned>(st.st_mode & 07777U));
    return refuse(path, std::string("other users may write there (mode ") + mode + ")",
                  "chmod go-w '" + path.native() + "', or use another folder");
  }
  return ok_status();
}

// Opens `name` in `parent`, creating it when missing. `path` is how a user would call it.
Result<Directory> enter(int parent, const std::string& name, const Path& path) {
  for (int attempt = 0; attempt < 2; ++attempt) {
    const int fd = open_for_search(parent, name.c_str());
    if (fd >= 0) return Directory(fd);
    if (errno != ENOENT) break;
    if (::mkdirat(parent, name.c_str(), 0700) != 0 && errno != EEXIST) {
      return os_error(errno, "make the folder", path);
    }
  }
  const int error = errno;
  struct stat st {};
  if (::fstatat(parent, name.c_str(), &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISLNK(st.st_mode)) {
    return refuse(path, "it is a symbolic link", "name the folder that it points to");
  }
  return os_error(error, "open the folder", path);
}

// `path` with everything above its last component resolved, whether it exists or not.
Result<Path> resolve(const Path& path) {
  std::error_code error;
  Path whole = std::filesystem::absolute(path, error);
  while (whole.has_relative_path() && (!whole.has_filename() || whole.filename() == ".")) {
    whole = whole.parent_path();  // it ended in "/" or "/."
  }
  if (!error && whole.filename() == "..")
    whole = std::filesystem::weakly_canonical(whole, error);
  if (path.empty() || error || !whole.has_filename()) {
    return Error{ErrorCode::invalid, "not a folder of its own: '" + path.native() + "'",
                 "name a folder, such as ~/.cache/rehook"};
  }
  const Path above = std::filesystem::weakly_canonical(whole.parent_path(), error);
  if (error) return os_error(error.value(), "resolve", whole.parent_path());
  return above / whole.filename();
}

}  // namespace

Result<Path> make_private_directory(const Path& path) {
  REHOOK_ASSIGN_OR_RETURN(const Path whole, resolve(path));
  Path walked = whole.root_path();
  Directory directory(open_for_search(AT_FDCWD, walked.c_str()));
  if (directory.get() < 0) return os_error(errno, "open the folder", walked);
  for (const Path& name : whole.relative_path()) {
    REHOOK_TRY(check(directory.get(), walked, Place::above));
    walked /= name;
    REHOOK_ASSIGN_OR_RETURN(directory, enter(directory.get(), name.native(), walked));
  }
  REHOOK_TRY(check(directory.get(), whole, Place::itself));
  return whole;
}

}  // namespace rehook
