#pragma once

#include <deque>
#include <map>
#include <string>
#include <vector>

#include "builder/project_state.hpp"
#include "shadow_store/artifact_store.hpp"
#include "shadow_store/elf_image.hpp"
#include "shadow_store/private_libraries.hpp"

namespace rehook {

// Where the project's own shared libraries are, and where others' are that lie inside.
struct LibrarySearch {
  std::vector<Path> own, others;
  std::vector<Path> artifacts;  // the shared libraries that targets make
};

// Finds the shared libraries that the extensions of one build need, as the dynamic linker would
// (RUNPATH and RPATH with $ORIGIN, then the targets' own folders), publishes those that are the
// project's, and gives each extension the digest of all it runs.
class ProjectLibraries final {
 public:
  ProjectLibraries(FileSystem& fs, ArtifactStore& store, LibrarySearch search);

  // Fills in module.libraries; `bytes` is the artifact's content.
  Status add(BuiltModule& module, std::string bytes);
  // After the last add(): fills in `code` and `sharing` of these modules and their libraries.
  // module.code must be the digest of the loadable content alone.
  Status finish(std::vector<BuiltModule>& modules);

 private:
  struct Library {
    BuiltLibrary built;
    std::string bytes;
    Digest content;
    std::vector<std::size_t> needs;  // numbers of private libraries
    bool visiting = true;            // on the way down: a ring leads back here
  };
  struct Requester {
    const ElfImage* image = nullptr;
    Path folder;
    const Requester* parent = nullptr;
  };
  struct Found {
    Path file;
    bool by_origin = false;  // relative to who needs it
  };

  Status collect(const Requester& requester, std::vector<std::size_t>& order,
                 std::vector<std::size_t>& needs);
  [[nodiscard]] Result<std::size_t> library_at(const Found& found, const std::string& name);
  [[nodiscard]] Found find(const Requester& requester, const std::string& name) const;
  [[nodiscard]] bool is_own(const Path& file) const;

  FileSystem* fs_;
  ArtifactStore* store_;
  LibrarySearch search_;
  std::deque<Library> libraries_;  // what one needs comes before it, but for rings
  std::map<Path, std::size_t> by_file_;
  std::vector<std::string> module_bytes_;
  std::vector<std::vector<std::size_t>> module_libraries_;
};

// What the store is asked for to load `module`, one of the project's.
[[nodiscard]] LibraryRequest library_request(const ArtifactStore& store,
                                             const ProjectState& project,
                                             const BuiltModule& module);

}  // namespace rehook
