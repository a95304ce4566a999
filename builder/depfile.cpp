#include <algorithm>
#include <set>
#include <utility>

#include "builder/header_deps.hpp"

namespace rehook {
namespace {

constexpr int k_deepest_folder = 64;  // links may lead in circles

// The words of a depfile: names and ":" as compilers escape them for make.
class DepfileWords final {
 public:
  explicit DepfileWords(std::string_view text) : text_(text) {}

  // An end of a rule counts as an empty word; false at the end of the file.
  bool next(std::string& word) {
    word.clear();
    while (skip_continuation() || is_blank(peek(0))) ++at_;
    if (at_ >= text_.size()) return false;
    if (text_[at_] == '\n') {
      ++at_;
      return true;
    }
    while (at_ < text_.size() && !is_blank(text_[at_]) && text_[at_] != '\n') {
      if (at_continuation()) break;
      word += take();
    }
    return true;
  }

 private:
  [[nodiscard]] char peek(std::size_t ahead) const {
    return at_ + ahead < text_.size() ? text_[at_ + ahead] : '\0';
  }
  static bool is_blank(char c) { return c == ' ' || c == '\t' || c == '\r'; }

  [[nodiscard]] bool at_continuation() const {
    return peek(0) == '\\' && (peek(1) == '\n' || (peek(1) == '\r' && peek(2) == '\n'));
  }
  // Leaves `at_` on the last byte of it.
  bool skip_continuation() {
    if (!at_continuation()) return false;
    at_ += peek(1) == '\n' ? 1 : 2;
    return true;
  }

  char take() {
    const char c = text_[at_++];
    const char after = peek(0);
    const bool escaped = (c == '\\' && (after == ' ' || after == '#' || after == '\t')) ||
                         (c == '$' && after == '$') ||
                         // "\:" is a colon of a name, unless the rule's own colon follows a
                         // name that ends in a backslash.
                         (c == '\\' && after == ':' && !is_blank(peek(1)) && peek(1) != '\n' &&
                          at_ + 1 < text_.size());
    return escaped ? text_[at_++] : c;
  }

  std::string_view text_;
  std::size_t at_ = 0;
};

// The inputs of all rules; those that -MP adds have none.
std::vector<std::string> read_inputs(std::string_view text) {
  DepfileWords words(text);
  std::vector<std::string> inputs;
  std::set<std::string> known;
  std::string word;
  bool in_targets = true;
  while (words.next(word)) {
    if (word.empty()) {
      in_targets = true;
    } else if (in_targets) {
      in_targets = word.back() != ':';
    } else if (known.insert(word).second) {
      inputs.push_back(word);
    }
  }
  return inputs;
}

class DepfileFinder final {
 public:
  DepfileFinder(FileSystem& fs, std::vector<ObjectDeps>& found) : fs_(fs), found_(found) {}

  Status look_from(const Path& top) {
    const Result<FileStat> stat = fs_.stat(top);
    if (stat) folders_.emplace(stat->device, stat->inode);
    return look(top, {}, 0);
  }

 private:
  // `compiles_in` is empty outside of a CMakeFiles folder, and then the folder that holds it:
  // the Makefile generators start the compiler there.
  Status look(const Path& folder, const Path& compiles_in, int depth) {
    Result<std::vector<std::string>> names = fs_.list(folder);
    if (!names) return missing_is_fine(names.error());
    for (const std::string& name : *names) {
      const Path path = folder / name;
      if (name.starts_with('.') || depth >= k_deepest_folder) continue;
      if (!compiles_in.empty() && name.ends_with(".d")) {
        REHOOK_TRY(add(path, compiles_in));
        continue;
      }
      const Result<FileStat> stat = fs_.stat(path);
      if (!stat || !stat->is_directory()) continue;
      if (!folders_.emplace(stat->device, stat->inode).second) continue;
      const bool inside = compiles_in.empty() && name == "CMakeFiles";
      REHOOK_TRY(look(path, inside ? folder : compiles_in, depth + 1));
    }
    return ok_status();
  }

  static Status missing_is_fine(const Error& error) {
    if (error.code == ErrorCode::not_found) return ok_status();
    return error;
  }

  Status add(const Path& depfile, const Path& compiles_in) {
    const Result<std::string> text = fs_.read(depfile);
    if (!text) return missing_is_fine(text.error());
    ObjectDeps object;
    object.object = depfile.parent_path() / depfile.stem();
    for (const std::string& input : read_inputs(*text)) {
      object.inputs.push_back(compiles_in / input);
    }
    if (!object.inputs.empty()) found_.push_back(std::move(object));
    return ok_status();
  }

  FileSystem& fs_;
  std::vector<ObjectDeps>& found_;
  std::set<std::pair<std::uint64_t, std::uint64_t>> folders_;
};

}  // namespace

Result<std::vector<ObjectDeps>> read_depfiles(FileSystem& fs, const Path& build_dir) {
  std::vector<ObjectDeps> found;
  REHOOK_TRY(DepfileFinder(fs, found).look_from(build_dir));
  return found;
}

}  // namespace rehook
