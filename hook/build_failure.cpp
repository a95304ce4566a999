#include "hook/build_failure.hpp"

#include <charconv>
#include <sstream>

namespace rehook {

std::string serialize(const BuildFailure& failure) {
  std::ostringstream out;
  out << "rehook failure 1\n" << failure.when << '\n' << failure.fingerprint.hex() << '\n';
  for (const std::string& text :
       {failure.error.message, failure.error.hint, failure.error.detail}) {
    out << text.size() << '\n' << text << '\n';
  }
  return out.str();
}

std::optional<BuildFailure> parse_failure(const std::string& text) {
  std::istringstream in(text);
  std::string magic, digest;
  BuildFailure failure;
  std::getline(in, magic);
  std::getline(in, failure.when);
  std::getline(in, digest);
  if (magic != "rehook failure 1") return std::nullopt;
  if (auto parsed = Digest::from_hex(digest)) failure.fingerprint = *parsed;
  failure.error.code = ErrorCode::failed_build;
  for (std::string* field :
       {&failure.error.message, &failure.error.hint, &failure.error.detail}) {
    std::size_t size = 0;
    std::string line;
    if (!std::getline(in, line)) return std::nullopt;
    const auto parsed = std::from_chars(line.data(), line.data() + line.size(), size);
    if (parsed.ec != std::errc() || size > text.size()) return std::nullopt;
    field->resize(size);
    if (!in.read(field->data(), static_cast<std::streamsize>(size))) return std::nullopt;
    in.ignore(1);
  }
  return failure;
}

}  // namespace rehook
