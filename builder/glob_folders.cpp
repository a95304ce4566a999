#include "builder/glob_folders.hpp"

#include <algorithm>
#include <set>
#include <utility>

namespace rehook {
namespace {

constexpr int k_deepest_folder = 64;

// The arguments of one CMake command, "\" escapes undone; `at` is behind the opening
// parenthesis.
std::vector<std::string> read_arguments(std::string_view text, std::size_t at) {
  std::vector<std::string> words;
  std::string word;
  bool quoted = false;
  for (; at < text.size() && (quoted || text[at] != ')'); ++at) {
    const char c = text[at];
    if (c == '\\' && at + 1 < text.size()) {
      word += text[++at];
    } else if (c == '"') {
      quoted = !quoted;
      if (!quoted) words.push_back(std::exchange(word, {}));
    } else if (!quoted && (c == ' ' || c == '\n' || c == '\t')) {
      if (!word.empty()) words.push_back(std::exchange(word, {}));
    } else {
      word += c;
    }
  }
  if (!word.empty()) words.push_back(word);
  return words;
}

bool has_wildcard(const std::string& text) {
  return text.find_first_of("*?[") != std::string::npos;
}

// Where a pattern begins to vary, and how many levels of folders below it matters.
struct Reach {
  Path top;
  int levels = 0;
};

Reach reach_of(const CmakeGlob& glob) {
  Reach reach;
  const Path folder = Path(glob.pattern).parent_path();
  for (const Path& part : folder) {
    if (reach.levels > 0 || has_wildcard(part.string())) {
      ++reach.levels;
    } else {
      reach.top /= part;
    }
  }
  if (glob.recurse) reach.levels = k_deepest_folder;
  return reach;
}

class FolderWalk final {
 public:
  FolderWalk(FileSystem& fs, const Path& build_dir) : fs_(fs), build_dir_(build_dir) {}

  void add(const Path& folder, int levels) {
    if (folder == build_dir_) return;
    const Result<FileStat> stat = fs_.stat(folder);
    if (!stat || !stat->is_directory()) return;
    found_.insert(folder);
    if (levels == 0) return;
    const Result<std::vector<std::string>> names = fs_.list(folder);
    if (!names) return;
    // On the way down only: a link to a folder above would lead in circles.
    if (!above_.emplace(stat->device, stat->inode).second) return;
    for (const std::string& name : *names) {
      if (name != ".git") add(folder / name, levels - 1);
    }
    above_.erase({stat->device, stat->inode});
  }

  [[nodiscard]] std::vector<Path> found() const { return {found_.begin(), found_.end()}; }

 private:
  FileSystem& fs_;
  const Path& build_dir_;
  std::set<Path> found_;
  std::set<std::pair<std::uint64_t, std::uint64_t>> above_;
};

}  // namespace

std::vector<CmakeGlob> parse_verify_globs(std::string_view text) {
  std::vector<CmakeGlob> globs;
  std::size_t at = 0;
  while ((at = text.find("file(GLOB", at)) != std::string_view::npos) {
    at += 5;
    const std::vector<std::string> words = read_arguments(text, at);
    // GLOB NEW_GLOB [LIST_DIRECTORIES true] [FOLLOW_SYMLINKS] [RELATIVE "/x"] "/x/*.cpp"
    if (words.size() < 3) continue;
    globs.push_back({words.back(), words.front() == "GLOB_RECURSE"});
  }
  return globs;
}

std::vector<Path> glob_folders(FileSystem& fs, const std::vector<CmakeGlob>& globs,
                               const Path& build_dir) {
  FolderWalk walk(fs, build_dir);
  for (const CmakeGlob& glob : globs) {
    const Reach reach = reach_of(glob);
    if (reach.top.is_absolute()) walk.add(reach.top, reach.levels);
  }
  return walk.found();
}

}  // namespace rehook
