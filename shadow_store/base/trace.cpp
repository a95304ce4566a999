#include "shadow_store/base/trace.hpp"

#include <time.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <tuple>

namespace rehook {
namespace {

// Where lines go. The one global of this layer: a step is timed in places that know nothing
// else. Earlier values stay allocated, so that readers need no lock, which a fork could leave
// taken.
struct Target {
  Path file;
  const Target* previous = nullptr;
};

std::atomic<const Target*>& target() {
  static std::atomic<const Target*> current = [] {
    const char* name = std::getenv("REHOOK_TRACE");
    return new Target{name == nullptr ? Path() : Path(name)};
  }();
  return current;
}

std::string utc_now() {
  using std::chrono::duration_cast;
  using std::chrono::milliseconds;
  const auto now = std::chrono::system_clock::now();
  const std::time_t seconds = std::chrono::system_clock::to_time_t(now);
  const auto ms = duration_cast<milliseconds>(now.time_since_epoch()).count() % 1000;
  std::tm utc{};
  ::gmtime_r(&seconds, &utc);
  std::array<char, 32> day{};
  std::array<char, 48> text{};
  std::strftime(day.data(), day.size(), "%Y-%m-%dT%H:%M:%S", &utc);
  std::snprintf(text.data(), text.size(), "%s.%03dZ", day.data(), static_cast<int>(ms));
  return text.data();
}

// How many bytes the well-formed UTF-8 sequence at the front takes; 0 when there is none.
std::size_t utf8_length(std::string_view text) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned lead = byte(0);
  std::size_t length = 0;
  if (lead < 0x80) return 1;
  if (lead >= 0xc2 && lead <= 0xdf) length = 2;
  if (lead >= 0xe0 && lead <= 0xef) length = 3;
  if (lead >= 0xf0 && lead <= 0xf4) length = 4;
  if (length == 0 || text.size() < length) return 0;
  for (std::size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xc0U) != 0x80U) return 0;
  }
  const unsigned second = byte(1);
  const bool overlong = (lead == 0xe0 && second < 0xa0) || (lead == 0xf0 && second < 0x90);
  const bool surrogate = lead == 0xed && second > 0x9f;
  const bool too_large = lead == 0xf4 && second > 0x8f;
  return overlong || surrogate || too_large ? 0 : length;
}

// Paths are bytes, JSON is UTF-8: what is not becomes the replacement character.
void append_json_string(std::string& out, std::string_view text) {
  out += '"';
  while (!text.empty()) {
    const std::size_t length = utf8_length(text);
    const char first = text.front();
    if (length == 0) {
      out += "\\ufffd";
    } else if (first == '"' || first == '\\') {
      out += '\\';
      out += first;
    } else if (length == 1 && static_cast<unsigned char>(first) < 0x20) {
      std::array<char, 8> escape{};
      std::snprintf(escape.data(), escape.size(), "\\u%04x", static_cast<unsigned>(first));
      out += escape.data();
    } else {
      out.append(text.substr(0, length));
    }
    text.remove_prefix(length == 0 ? 1 : length);
  }
  out += '"';
}

}  // namespace

void Trace::set_file(Path path) {
  auto* const next = new Target{std::move(path), target().load()};
  while (!target().compare_exchange_weak(next->previous, next)) continue;
}

bool Trace::enabled() {
  return !target().load()->file.empty();
}

void Trace::write(std::string_view step, double milliseconds, Fields fields) {
  const Path& file = target().load()->file;
  if (file.empty()) return;
  // Not "%f": the user's locale might print a comma.
  const long long us = milliseconds > 0 ? static_cast<long long>(milliseconds * 1000) : 0;
  std::array<char, 48> duration{};
  std::snprintf(duration.data(), duration.size(), "%lld.%03lld", us / 1000, us % 1000);
  std::string line = "{\"t\":\"" + utc_now() + "\",\"pid\":" + std::to_string(::getpid());
  line += ",\"step\":";
  append_json_string(line, step);
  line.append(",\"ms\":").append(duration.data());
  for (const auto& [key, value] : fields) {
    line += ',';
    append_json_string(line, key);
    line += ':';
    append_json_string(line, value);
  }
  line += "}\n";
  std::ignore = posix_file_system().append(file, line);  // a trace never makes anything fail
}

TraceStep::~TraceStep() {
  if (!Trace::enabled()) return;
  if (key_.empty()) {
    Trace::write(step_, elapsed_ms(), {});
  } else {
    Trace::write(step_, elapsed_ms(), {{key_, value_}});
  }
}

double TraceStep::elapsed_ms() const {
  const auto elapsed = std::chrono::steady_clock::now() - start_;
  return std::chrono::duration<double, std::milli>(elapsed).count();
}

}  // namespace rehook
