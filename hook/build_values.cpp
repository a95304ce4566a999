#include "hook/build_values.hpp"

#include <array>
#include <cstdlib>
#include <set>
#include <string_view>

extern char** environ;

namespace rehook {
namespace {

// Variables that reach the compiler or change what CMake finds.
constexpr std::array<const char*, 14> k_build_variables = {
    "AR",       "CC",      "CFLAGS",       "CPATH",          "CPLUS_INCLUDE_PATH",
    "CPPFLAGS", "CUDACXX", "CXX",          "CXXFLAGS",       "C_INCLUDE_PATH",
    "LDFLAGS",  "LD",      "LIBRARY_PATH", "PKG_CONFIG_PATH"};

// Variables with these beginnings all matter; one value, so that a new one is noticed too.
std::string prefixed_variables() {
  std::set<std::string> found;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string_view text = *entry;
    if (text.starts_with("CMAKE_") || text.starts_with("SKBUILD_")) found.emplace(text);
  }
  std::string joined;
  for (const std::string& item : found) joined += item + ";";
  return joined;
}

std::string tool_identity(FileSystem& fs, const Path& tool) {
  FileStat stat;
  if (!fs.lookup(tool.c_str(), stat)) return tool.string() + " (gone)";
  return tool.string() + " " + std::to_string(stat.size) + " bytes, mtime " +
         std::to_string(stat.mtime_ns);
}

}  // namespace

ValueMap build_values(FileSystem& fs, const std::map<std::string, Path>& compilers) {
  ValueMap values;
  for (const char* name : k_build_variables) {
    const char* value = std::getenv(name);
    values[std::string("environment ") + name] = value == nullptr ? "" : value;
  }
  values["environment CMAKE_*, SKBUILD_*"] = prefixed_variables();
  for (const auto& [language, compiler] : compilers) {
    values["compiler " + language] = tool_identity(fs, compiler);
  }
  return values;
}

}  // namespace rehook
