#pragma once

#include <chrono>
#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>

#include "shadow_store/base/file_system.hpp"

namespace rehook {

// Writes one JSON object per finished step to the file named by REHOOK_TRACE:
//   {"t":"2026-01-31T12:00:00.123Z","pid":1,"step":"build","ms":812.4,"module":"pkg._core"}
// Lines are appended with one write each, so several processes may share the file. Off (and
// free) when no file is set. Thread-safe.
class Trace final {
 public:
  using Fields = std::initializer_list<std::pair<std::string_view, std::string_view>>;

  // Empty: off. Until the first call, the environment variable REHOOK_TRACE decides.
  static void set_file(Path path);
  [[nodiscard]] static bool enabled();
  static void write(std::string_view step, double milliseconds, Fields fields);
};

// Times the scope it lives in and writes it on destruction.
class TraceStep final {
 public:
  explicit TraceStep(std::string_view step)
      : step_(step), start_(std::chrono::steady_clock::now()) {}
  TraceStep(std::string_view step, std::string_view key, std::string_view value)
      : step_(step), key_(key), value_(value), start_(std::chrono::steady_clock::now()) {}
  TraceStep(const TraceStep&) = delete;
  TraceStep& operator=(const TraceStep&) = delete;
  ~TraceStep();
  [[nodiscard]] double elapsed_ms() const;

 private:
  std::string step_, key_, value_;
  std::chrono::steady_clock::time_point start_;
};

}  // namespace rehook
