#include <cstddef>
#include <cstring>
#include <map>
#include <optional>
#include <utility>

#include "builder/header_deps.hpp"

namespace rehook {
namespace {

// .ninja_deps, all numbers little-endian:
//   "# ninjadeps\n", int32 version, then records: uint32 length (bit 31 set: dependencies),
//   bytes path record: the path, 0 to 3 NULs up to a multiple of 4, uint32 ~(number of this
//   path) dependency record: int32 output, int32 mtime in version 3 and int64 in 4, int32 input
//   …
// Ninja appends only; a record that was not written completely is the last one.
constexpr std::string_view k_signature = "# ninjadeps\n";
constexpr std::size_t k_longest_record = (1U << 19) - 1;
constexpr std::size_t k_longest_path = 4096;  // PATH_MAX
constexpr std::uint32_t k_is_deps = 1U << 31;

class DepsLog final {
 public:
  DepsLog(std::string_view bytes, const Path& log, const Path& build_dir)
      : bytes_(bytes), log_(log), build_dir_(build_dir) {}

  Result<std::vector<ObjectDeps>> read() {
    const std::string_view start = bytes_.substr(0, k_signature.size());
    if (start != k_signature.substr(0, start.size())) return corrupt("no deps log of ninja");
    at_ = k_signature.size();
    const std::optional<std::uint32_t> version = next();
    if (!version) return std::vector<ObjectDeps>();
    if (*version != 3 && *version != 4) {
      return Error{ErrorCode::unsupported, log_.string() + " has version " +
                                               std::to_string(*version) +
                                               " of ninja's deps log, and 3 and 4 are known"};
    }
    stamp_size_ = *version == 3 ? 4 : 8;
    while (const std::optional<std::uint32_t> head = next()) {
      const std::size_t size = *head & ~k_is_deps;
      if (size > k_longest_record || size % 4 != 0) return corrupt("a record of odd size");
      if (bytes_.size() - at_ < size) break;
      const std::string_view record = bytes_.substr(at_, size);
      at_ += size;
      REHOOK_TRY((*head & k_is_deps) != 0 ? deps_record(record) : path_record(record));
    }
    return collect();
  }

 private:
  static std::uint32_t load(std::string_view bytes, std::size_t offset) {
    std::uint32_t value = 0;
    for (std::size_t i = 0; i < 4; ++i) {
      value |= std::uint32_t{static_cast<unsigned char>(bytes[offset + i])} << (8 * i);
    }
    return value;
  }

  std::optional<std::uint32_t> next() {
    if (at_ > bytes_.size() || bytes_.size() - at_ < 4) return std::nullopt;
    at_ += 4;
    return load(bytes_, at_ - 4);
  }

  [[nodiscard]] Error corrupt(const std::string& what) const {
    return Error{ErrorCode::corrupt,
                 log_.string() + ": " + what + " at byte " + std::to_string(at_),
                 "delete the file; the next build compiles everything again"};
  }

  Status path_record(std::string_view record) {
    if (record.size() < 8) return corrupt("a path without a name");
    std::string_view name = record.substr(0, record.size() - 4);
    if (~load(record, name.size()) != names_.size()) return corrupt("a path out of order");
    for (int i = 0; i < 3 && name.ends_with('\0'); ++i) name.remove_suffix(1);
    if (name.size() > k_longest_path) return corrupt("a path that no file can have");
    names_.push_back(name);
    return ok_status();
  }

  Status deps_record(std::string_view record) {
    if (record.size() < 4 + stamp_size_) return corrupt("a record without an output");
    const std::uint32_t output = load(record, 0);
    // An input counts once: four bytes each, and they would become as many paths.
    std::vector<std::uint32_t> inputs;
    ++record_;
    known_in_.resize(names_.size());
    for (std::size_t at = 4 + stamp_size_; at < record.size(); at += 4) {
      const std::uint32_t input = load(record, at);
      if (input >= names_.size()) return corrupt("an input that has no name");
      if (std::exchange(known_in_[input], record_) != record_) inputs.push_back(input);
    }
    if (output >= names_.size()) return corrupt("an output that has no name");
    deps_[output] = std::move(inputs);
    return ok_status();
  }

  // Bytes as the compiler spelled them: "..", links and names in no encoding stay.
  [[nodiscard]] std::vector<ObjectDeps> collect() const {
    std::vector<Path> paths;
    paths.reserve(names_.size());
    for (const std::string_view name : names_) paths.push_back(build_dir_ / Path(name));
    std::vector<ObjectDeps> result;
    for (const auto& [output, inputs] : deps_) {
      ObjectDeps object;
      object.object = paths[output];
      object.inputs.reserve(inputs.size());
      for (const std::uint32_t input : inputs) object.inputs.push_back(paths[input]);
      result.push_back(std::move(object));
    }
    return result;
  }

  std::string_view bytes_;
  const Path& log_;
  const Path& build_dir_;
  std::size_t at_ = 0;
  std::size_t stamp_size_ = 8;
  std::vector<std::string_view> names_;
  std::map<std::uint32_t, std::vector<std::uint32_t>> deps_;
  std::size_t record_ = 0;             // counts those with dependencies
  std::vector<std::size_t> known_in_;  // for each path the last of them that has it as input
};

}  // namespace

Result<std::vector<ObjectDeps>> read_ninja_deps(FileSystem& fs, const Path& build_dir) {
  const Path log = build_dir / ".ninja_deps";
  Result<std::string> bytes = fs.read(log);
  if (!bytes && bytes.error().code == ErrorCode::not_found) return std::vector<ObjectDeps>();
  if (!bytes) return std::move(bytes).error();
  return DepsLog(*bytes, log, build_dir).read();
}

}  // namespace rehook
