#pragma once

#include <map>
#include <string>
#include <vector>

#include "builder/cmake_file_api.hpp"

namespace rehook {

// One Python extension module that a target of the project makes.
struct ExtensionTarget {
  std::string module;  // "pkg._core"
  std::string target_id;
  std::string target_name;  // what ninja is asked to build
  Path artifact;
  std::string defined_in;  // "CMakeLists.txt:12"
};

// What decides the package part of a module's name, besides the reply itself.
struct ModuleNaming {
  std::vector<std::string>
      extension_suffixes;   // importlib.machinery.EXTENSION_SUFFIXES, longest first
  std::string install_dir;  // scikit-build-core's wheel.install-dir, "pkg" or ""
  // Top-level package name -> its folder in the source tree.
  std::map<std::string, Path> packages;
  // Installed extension modules of this distribution, when known: module -> file name.
  std::map<std::string, std::string> installed;
};

// Every extension module of the project, sorted by name. A target counts when its type is
// MODULE_LIBRARY or SHARED_LIBRARY and its nameOnDisk ends with an extension suffix (the
// longest one is cut off). The package comes from, in this order: the install destination
// (relative to the prefix, or to SKBUILD_PLATLIB_DIR; "lib/python3.x/site-packages/" and "lib/"
// prefixes are understood), the installed file of the same base name, an artifact folder inside
// a package's source folder or ending in a package's name, the only package of the project;
// else it is top-level. `DEBUG_POSTFIX` is undone by looking at the PyInit_ symbol names once
// built (see match_init).
[[nodiscard]] std::vector<ExtensionTarget> find_extension_targets(const CodeModel& model,
                                                                  const ModuleNaming& naming);

// The one target for `module`: not_found (the message lists what there is, or says that there
// is no extension target at all, naming CMakeLists.txt) or conflict-like `invalid` when two
// match (both named with file:line, the hint tells the `targets` setting).
[[nodiscard]] Result<ExtensionTarget> find_extension_target(const CodeModel& model,
                                                            const ModuleNaming& naming,
                                                            const std::string& module);

// The module name that a built artifact answers to: the longest of the names in its exported
// PyInit_ symbols that `stem` begins with, so that "_core_d" with PyInit__core is "_core".
// `stem` when there is none.
[[nodiscard]] std::string match_init(const std::string& stem,
                                     const std::vector<std::string>& symbols);

// Ids of `target_id` and everything it is built from, transitively.
[[nodiscard]] std::vector<const Target*> dependency_closure(const CodeModel& model,
                                                            const std::string& target_id);

}  // namespace rehook
