#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "builder/binding_libraries.hpp"
#include "builder/project_state.hpp"
#include "hook/interpreter.hpp"
#include "hook/loaded_library.hpp"
#include "hook/patch/virtual_tables.hpp"
#include "shadow_store/base/digest.hpp"
#include "shadow_store/private_libraries.hpp"

namespace rehook {

// What one loaded build takes, its own libraries included.
struct GenerationCost {
  std::uint64_t mapped = 0;         // bytes of address space
  std::uint64_t private_bytes = 0;  // of these, memory that no other process shares
  std::size_t mappings = 0;
};

// One loaded build of one extension module. Its code stays mapped until the process ends.
struct Generation {
  unsigned number = 0;  // 1 for the first load; 0: loaded by somebody else before rehook looked
  Path file;            // what was dlopen'ed
  Digest artifact;      // zero when unknown
  Digest code;          // loadable content, decides whether a build is news
  Digest layouts;       // of its C++ classes (stored_layouts.hpp); zero when unknown
  std::string loaded_at;                        // UTC, ISO 8601
  std::vector<LibraryInstance> libraries = {};  // private copies that it runs
  std::set<Digest> groups = {};  // with whom it shares C++ variables, see BuiltLibrary
  std::uint64_t static_tls = 0;  // bytes, see BuiltModule
  std::optional<BindingLibraries> bindings = {};  // when known
  std::optional<GenerationCost> cost = {};  // once it was counted, see generation_budget.hpp
};

// The groups that an extension or a library of it belongs to.
[[nodiscard]] std::set<Digest> groups_of(const BuiltModule& module);

// An extension module that rehook serves and that is in sys.modules.
struct LoadedExtension {
  std::string name;
  Path project;  // root
  Ref module;    // the module object everybody holds; the same for all generations
  std::set<std::string> names;  // what its own initialisation defined
  bool names_known = false;
  Generation current;
  std::vector<Generation> retired;
  std::map<Path, FollowingTables> following = {};  // of the retired generations, by library
};

}  // namespace rehook
