#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "shadow_store/shadow_copy.hpp"
#include "shadow_store/unique_names.hpp"

namespace rehook {

// A shared library that an extension brings along, as the store has it.
struct StoredLibrary {
  std::string soname;              // empty: it has none
  std::vector<std::string> names;  // what those that need it call it
  Path origin;                     // where the build left it
  bool is_private = true;          // else it belongs to somebody else and is used where it is
  Path artifact;
  Digest digest;   // of the artifact
  Digest code;     // of what it runs, everything below it included
  Digest sharing;  // of the group it shares C++ variables with; zero: with nobody
};

// One private copy of a library, loaded for good.
struct LibraryInstance {
  Digest code;
  std::string name;  // what the copies that need it call it
  Path origin, file;
};

// What the extensions of this process run at the moment. A reload works on a copy, and gives it
// back when it is committed.
struct RunningLibraries {
  std::map<Digest, LibraryInstance> by_code;
  std::map<Digest, std::shared_ptr<const SymbolNames>> by_group;
};

// What is to be loaded for one build of one extension.
struct LibraryRequest {
  std::string module;
  unsigned generation = 1;
  Path artifact;
  Digest digest;
  std::vector<StoredLibrary> libraries;  // what a library needs comes before it
  Digest sharing;
  // Every library and extension of each group, by its digest.
  std::map<Digest, std::vector<Path>> groups;
  bool own_symbols_first = false;
  // Copies of its own, even of what others run: its types would be the old ones.
  bool fresh_only = false;

  [[nodiscard]] bool is_plain() const { return libraries.empty() && sharing == Digest{}; }
};

struct PreparedLibraries {
  Path module_file;                        // the extension's shadow copy
  std::vector<Path> load_first;            // in this order
  std::vector<LibraryInstance> instances;  // all that the extension runs, old and new
};

// Makes private copies of an extension and its libraries. The dynamic linker goes by a
// library's name: a second build under the same name would not be looked at. So each copy gets
// a name that this process never used, in itself and in whoever needs it, and is loaded by its
// path, dependencies first; the linker then takes it for what the next one asks for. What runs
// already, in the very same build, is used as it is: extensions share it, its state survives.
class PrivateLibraries final {
 public:
  using IsTaken = std::function<bool(const std::string& name)>;

  // `is_taken` tells whether something loaded is called so.
  PrivateLibraries(FileSystem& fs, IsTaken is_taken)
      : fs_(&fs), is_taken_(std::move(is_taken)) {}

  // `running` is extended by what is made; `made` holds what this reload made before, which may
  // be used whatever the request says. corrupt, unsupported: a message names the library.
  Result<PreparedLibraries> prepare(ShadowFolder& folder, const LibraryRequest& request,
                                    RunningLibraries& running, std::map<Digest, bool>& made);

 private:
  [[nodiscard]] Result<std::string> make_name(const StoredLibrary& library);
  [[nodiscard]] Result<std::shared_ptr<const SymbolNames>> names_of_group(
      const LibraryRequest& request, const Digest& group, RunningLibraries& running);

  FileSystem* fs_;
  IsTaken is_taken_;
  UsedNames used_;
};

}  // namespace rehook
