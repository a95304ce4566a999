#include "shadow_store/base/os_error.hpp"

#include <cerrno>
#include <string>
#include <system_error>

namespace rehook {
namespace {

std::string hint_for(int error) {
  switch (error) {
    case ENOSPC:
    case EDQUOT:
      return "free some space on this file system, or use a folder on another one";
    case EROFS:
      return "this file system is mounted read-only: use a folder on another one";
    case EACCES:
    case EPERM:
      return "check the owner and the permissions of this path and of the folders above it";
    case EMFILE:
    case ENFILE:
      return "too many files are open: raise the limit (ulimit -n)";
    default:
      return "";
  }
}

}  // namespace

Error os_error(int error, std::string_view what, const Path& path) {
  const bool missing = error == ENOENT || error == ENOTDIR;
  std::string message = "cannot ";
  message.append(what).append(" ").append(path.native()).append(": ");
  message.append(std::generic_category().message(error));
  return Error{missing ? ErrorCode::not_found : ErrorCode::io, std::move(message),
               hint_for(error)};
}

}  // namespace rehook
