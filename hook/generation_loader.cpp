#include "hook/generation_loader.hpp"

#include <algorithm>
#include <set>

namespace rehook {

Result<PreparedLibraries> load_project_libraries(ShadowFolder& folder,
                                                 const LibraryRequest& request,
                                                 ProcessLibraries& libraries) {
  REHOOK_ASSIGN_OR_RETURN(
      PreparedLibraries prepared,
      libraries.makers->prepare(folder, request, libraries.running, libraries.made));
  for (const Path& file : prepared.load_first) {
    if (find_loaded_library(file)) continue;  // somebody else's, in use already
    auto loaded = load_library(file);
    const bool is_copy =
        std::any_of(prepared.instances.begin(), prepared.instances.end(),
                    [&](const LibraryInstance& one) { return one.file == file; });
    // What is used where it is may need its neighbours first, and may be found without us: the
    // extension's own loading tells.
    if (loaded || !is_copy) continue;
    Error error = std::move(loaded).error();
    error.message = "a library of " + request.module + " cannot be loaded: " + error.message;
    return error;
  }
  return prepared;
}

bool has_types_in_libraries(FileSystem& fs, const LibraryRequest& request) {
  constexpr std::string_view k_type_info = "_ZTI";
  if (request.libraries.empty()) return false;
  const auto bytes = fs.read(request.artifact);
  if (!bytes) return true;  // not known, so assume the worst
  const auto image = ElfImage::parse(*bytes);
  if (!image) return true;
  std::set<std::string_view> needed;
  for (const ElfImage::DynamicSymbol& symbol : image->symbols()) {
    if (!symbol.defined && symbol.name.starts_with(k_type_info)) needed.insert(symbol.name);
  }
  return std::any_of(
      request.libraries.begin(), request.libraries.end(), [&](const StoredLibrary& library) {
        if (!library.is_private) return false;
        const auto content = fs.read(library.artifact);
        const auto inside =
            content ? ElfImage::parse(*content) : Result<ElfImage>(content.error());
        if (!inside) return true;
        return std::any_of(inside->symbols().begin(), inside->symbols().end(),
                           [&](const ElfImage::DynamicSymbol& symbol) {
                             return symbol.defined && needed.contains(symbol.name);
                           });
      });
}

void keep_running(RunningLibraries& running, const std::vector<const Generation*>& current) {
  std::set<Path> files;
  std::set<Digest> groups;
  for (const Generation* generation : current) {
    for (const LibraryInstance& library : generation->libraries) files.insert(library.file);
    groups.insert(generation->groups.begin(), generation->groups.end());
  }
  std::erase_if(running.by_code,
                [&](const auto& entry) { return !files.contains(entry.second.file); });
  std::erase_if(running.by_group,
                [&](const auto& entry) { return !groups.contains(entry.first); });
}

std::vector<LoadedLibrary> libraries_left(const std::vector<LibraryInstance>& libraries,
                                          const std::vector<LibraryInstance>& successor) {
  std::vector<LoadedLibrary> left;
  for (const LibraryInstance& library : libraries) {
    const bool stays =
        std::any_of(successor.begin(), successor.end(),
                    [&](const LibraryInstance& other) { return other.file == library.file; });
    if (stays) continue;
    if (const auto loaded = find_loaded_library(library.file)) left.push_back(*loaded);
  }
  return left;
}

}  // namespace rehook
