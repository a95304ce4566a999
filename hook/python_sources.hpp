#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "builder/fingerprint.hpp"
#include "hook/interpreter.hpp"

namespace rehook {

// The sources of the program's own Python modules, as they were executed. What the standard
// library and installed packages are made of is not kept.
class PythonSources final {
 public:
  struct Source {
    Input file;
    std::string text;
    bool has_text = false;
  };

  explicit PythonSources(FileSystem& fs) : fs_(&fs) {}

  // The module is about to be executed from this file, or was.
  void remember(const std::string& module, const Path& file);
  // The module was executed from this file, with a text that nobody has.
  void remember_file(const std::string& module, const Path& file);
  // The module runs this text now.
  void adopt(const std::string& module, std::string text, const Input& file);
  // Takes in the loaded modules that nobody has remembered.
  void remember_loaded();

  [[nodiscard]] const Source* find(const std::string& module) const;
  // Whether the file has other content than what was executed. A file that is gone changes
  // nothing: the old code keeps running.
  [[nodiscard]] bool is_changed(const std::string& module);
  [[nodiscard]] bool is_gone(const std::string& module) const;
  // The file as it is saved, with its measure; io when it cannot be read.
  struct Saved {
    std::string text;
    Input file;
  };
  [[nodiscard]] Result<Saved> read(const std::string& module) const;
  // What the modules' files hold now.
  using State = std::map<std::string, Digest>;
  [[nodiscard]] State state_of(const std::vector<std::string>& modules) const;
  [[nodiscard]] std::vector<std::string> names() const;
  // Some function that is alive could not get its definition's new code.
  void note_left_functions() { has_left_functions_ = true; }
  [[nodiscard]] bool has_left_functions() const { return has_left_functions_; }

  // Whether the file is what it was when the process began, by the time of its last change of
  // any kind, which nobody can set.
  [[nodiscard]] bool is_older_than_process(const std::string& file) const;
  // Whether files below this path are the program's own: not those of the standard library, and
  // not below a site-packages folder.
  [[nodiscard]] bool is_own(const std::string& file);

 private:
  FileSystem* fs_;
  std::map<std::string, Source> sources_;
  std::vector<std::string> library_folders_;
  bool has_left_functions_ = false;
};

}  // namespace rehook
