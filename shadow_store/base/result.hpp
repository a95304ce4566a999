#pragma once

#include <string>
#include <utility>
#include <variant>

namespace rehook {

// What a caller may want to treat differently; everything else is in the message.
enum class ErrorCode {
  not_found,     // the file, module, target or tool does not exist
  io,            // the operating system refused
  corrupt,       // bytes on disk are not what their format promises
  busy,          // somebody else holds it, and waiting did not help
  invalid,       // the user asked for something that makes no sense
  failed_build,  // configure, compile or link failed; `detail` holds the tool's own text
  failed_load,   // the new build could not be loaded; the old one is untouched
  canceled,      // the user interrupted
  unsafe,        // refused, because going on could run someone else's code or crash
  unsupported,   // this build of rehook cannot do it
};

// A failure as a value. `message` is lower case, names the file and what was attempted; `hint`
// says what to do next; `detail` is verbatim text of the tool that failed (a compiler, CMake),
// or empty.
struct Error {
  ErrorCode code = ErrorCode::io;
  std::string message;
  std::string hint = {};
  std::string detail = {};
};

struct Unit {};

// Either a value or an Error. Not thread-safe by itself; cheap to move.
template <typename T>
class [[nodiscard]] Result {
 public:
  // Implicit on purpose: `return value;` and `return Error{…};` are what a reader expects.
  // NOLINTNEXTLINE(google-explicit-constructor)
  Result(T value) : state_(std::in_place_index<0>, std::move(value)) {}
  // NOLINTNEXTLINE(google-explicit-constructor)
  Result(Error error) : state_(std::in_place_index<1>, std::move(error)) {}

  [[nodiscard]] bool ok() const { return state_.index() == 0; }
  explicit operator bool() const { return ok(); }

  [[nodiscard]] T& value() & { return std::get<0>(state_); }
  [[nodiscard]] const T& value() const& { return std::get<0>(state_); }
  [[nodiscard]] T&& value() && { return std::get<0>(std::move(state_)); }
  [[nodiscard]] const Error& error() const& { return std::get<1>(state_); }
  [[nodiscard]] Error&& error() && { return std::get<1>(std::move(state_)); }

  [[nodiscard]] T& operator*() & { return value(); }
  [[nodiscard]] const T& operator*() const& { return value(); }
  [[nodiscard]] T* operator->() { return &value(); }
  [[nodiscard]] const T* operator->() const { return &value(); }

 private:
  std::variant<T, Error> state_;
};

using Status = Result<Unit>;
inline Status ok_status() {
  return Unit{};
}

}  // namespace rehook

#define REHOOK_CONCAT_(a, b) a##b
#define REHOOK_CONCAT(a, b) REHOOK_CONCAT_(a, b)

// Leaves the function with the error of `expr`, a Status or Result whose value is not needed.
#define REHOOK_TRY(expr)                                           \
  do {                                                             \
    auto rehook_status_ = (expr);                                  \
    if (!rehook_status_) return std::move(rehook_status_).error(); \
  } while (false)

// Declares `decl` with the value of `expr`, or leaves the function with its error.
#define REHOOK_ASSIGN_OR_RETURN(decl, expr) \
  REHOOK_ASSIGN_OR_RETURN_(REHOOK_CONCAT(rehook_result_, __LINE__), decl, expr)
#define REHOOK_ASSIGN_OR_RETURN_(tmp, decl, expr) \
  auto tmp = (expr);                              \
  if (!tmp) return std::move(tmp).error();        \
  decl = std::move(tmp).value()
