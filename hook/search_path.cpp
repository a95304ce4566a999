#include "hook/search_path.hpp"

#include <algorithm>
#include <cstdlib>
#include <set>
#include <string>
#include <string_view>

#include "hook/interpreter.hpp"

namespace rehook {
namespace {

std::vector<std::string> raw_search_path() {
  std::vector<std::string> entries;
  PyObject* list = PySys_GetObject("path");  // borrowed
  if (list == nullptr || !PyList_Check(list)) return entries;
  for (Py_ssize_t i = 0; i < PyList_GET_SIZE(list); ++i) {
    entries.push_back(to_string(PyList_GET_ITEM(list, i)));
  }
  return entries;
}

std::vector<std::string> python_path() {
  std::vector<std::string> items;
  const char* given = std::getenv("PYTHONPATH");
  std::string_view rest = given == nullptr ? "" : given;
  while (!rest.empty()) {
    const std::size_t end = std::min(rest.find(':'), rest.size());
    items.emplace_back(rest.substr(0, end));
    rest.remove_prefix(std::min(end + 1, rest.size()));
  }
  return items;
}

Path current_folder() {
  std::error_code ignored;
  return std::filesystem::current_path(ignored);
}

Path real(const Path& path) {
  std::error_code failed;
  Path result = std::filesystem::canonical(path, failed);
  return failed ? Path() : result;
}

// Where the interpreter was started, as far as that can be known: what it puts first.
std::set<Path> starting_folders() {
  std::set<Path> folders = {real(current_folder())};
  if (const char* shell = std::getenv("PWD"); shell != nullptr) folders.insert(real(shell));
  if (const Ref main = loaded_module("__main__")) {
    const Path script = string_attribute(main.get(), "__file__");
    if (!script.empty()) {
      folders.insert(real(script).parent_path());
      folders.insert(real((current_folder() / script).parent_path()));
    }
  }
  return folders;
}

}  // namespace

std::vector<Path> search_path() {
  std::vector<Path> entries;
  for (const std::string& text : raw_search_path()) {
    entries.push_back(text.empty() ? current_folder() : Path(text));
  }
  return entries;
}

std::vector<Path> chosen_search_path() {
  const std::set<Path> starting = starting_folders();
  const std::vector<std::string> given = python_path();
  std::set<Path> relative;  // site.py has made them absolute in sys.path
  for (const std::string& item : given) {
    if (!Path(item).is_absolute()) relative.insert(real(current_folder() / item));
  }
  const std::vector<std::string> entries = raw_search_path();
  bool own_first_is_behind = false;
  std::vector<Path> chosen;
  for (std::size_t i = entries.size(); i-- > 0;) {
    const Path entry = entries[i];
    const Path folder = entry.is_absolute() ? real(entry) : Path();
    if (entry.empty() || starting.contains(folder)) {
      own_first_is_behind = true;
      continue;
    }
    if (folder.empty() || relative.contains(folder)) continue;
    const bool is_given = std::find(given.begin(), given.end(), entries[i]) != given.end();
    if (i > 0 || own_first_is_behind || is_given) chosen.push_back(entry);
  }
  std::reverse(chosen.begin(), chosen.end());
  return chosen;
}

bool is_own_site_folder(const Path& entry) {
  if (entry.filename() != "site-packages" && entry.filename() != "dist-packages") return false;
  std::vector<std::string> bases;
  for (const char* name : {"prefix", "exec_prefix", "base_prefix", "base_exec_prefix"}) {
    if (PyObject* base = PySys_GetObject(name); base != nullptr) {
      bases.push_back(to_string(base));
    }
  }
  if (const Ref site = loaded_module("site")) {
    bases.push_back(string_attribute(site.get(), "USER_BASE"));
  }
  for (const std::string& base : bases) {
    if (base.size() > 1 && entry.native().starts_with(base + "/")) return true;
  }
  const std::vector<std::string> given = python_path();
  return std::find(given.begin(), given.end(), entry.native()) != given.end();
}

}  // namespace rehook
