#include "shadow_store/private_libraries.hpp"

#include <algorithm>
#include <string_view>

namespace rehook {
namespace {

constexpr std::string_view k_letters =
    "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
constexpr std::size_t k_token = 10;  // letters of a name that are made up, if it has as many
constexpr int k_most_tries = 2000;

// `old_name` with its last changeable letters made up from a number.
std::string made_up(const std::string& old_name, std::size_t size, std::size_t fixed,
                    std::uint64_t number) {
  std::string name = old_name.substr(0, size);
  const std::size_t end = size - std::min(size, fixed);
  const std::size_t begin = end - std::min(end, k_token);
  const Digest digest = digest_of(old_name + '\0' + std::to_string(number));
  for (std::size_t i = begin; i < end; ++i) {
    name[i] = k_letters[digest.bytes[i - begin] % k_letters.size()];
  }
  // A path would not be compared with names; what is left of one is a name.
  std::replace(name.begin(), name.end(), '/', '_');
  return name;
}

Error about(const Path& library, Error error) {
  if (error.message.find(library.native()) == std::string::npos) {
    error.message = library.native() + ": " + error.message;
  }
  return error;
}

}  // namespace

Result<std::string> PrivateLibraries::make_name(const StoredLibrary& library) {
  std::vector<std::string> mentions = library.names;
  if (!library.soname.empty()) mentions.push_back(library.soname);
  if (mentions.empty()) mentions.push_back(library.origin.filename().native());
  const std::string& shortest =
      *std::min_element(mentions.begin(), mentions.end(),
                        [](const auto& a, const auto& b) { return a.size() < b.size(); });
  REHOOK_ASSIGN_OR_RETURN(const std::string bytes, fs_->read(library.artifact));
  REHOOK_ASSIGN_OR_RETURN(const ElfImage image, ElfImage::parse(bytes));
  std::size_t fixed = 0;
  if (!library.soname.empty()) {
    auto tail = fixed_tail(image, library.soname);
    if (!tail) return about(library.origin, std::move(tail).error());
    fixed = *tail;
  }
  for (int i = 0; i < k_most_tries; ++i) {
    std::string name = made_up(shortest, shortest.size(), fixed, used_.next_number());
    const bool is_old = std::find(mentions.begin(), mentions.end(), name) != mentions.end();
    if (is_old || used_.contains(name) || is_taken_(name)) continue;
    used_.add(name);
    return name;
  }
  return Error{ErrorCode::unsupported,
               library.origin.native() + ": no unused name of " +
                   std::to_string(shortest.size()) + " letters is left for another build of it",
               "give the library a longer name, or restart the interpreter"};
}

Result<std::shared_ptr<const SymbolNames>> PrivateLibraries::names_of_group(
    const LibraryRequest& request, const Digest& group, RunningLibraries& running) {
  if (group == Digest{}) return std::shared_ptr<const SymbolNames>();
  if (const auto known = running.by_group.find(group); known != running.by_group.end()) {
    return known->second;
  }
  std::vector<std::string> bytes;
  std::vector<ElfImage> images;
  const auto members = request.groups.find(group);
  if (members == request.groups.end()) {
    return Error{ErrorCode::corrupt,
                 "who shares C++ variables with " + request.module + " is not known",
                 "build the project again: rehook build"};
  }
  bytes.reserve(members->second.size());  // the images look into them
  images.reserve(members->second.size());
  std::vector<const ElfImage*> pointers;
  for (const Path& file : members->second) {
    REHOOK_ASSIGN_OR_RETURN(std::string content, fs_->read(file));
    bytes.push_back(std::move(content));
    REHOOK_ASSIGN_OR_RETURN(ElfImage image, ElfImage::parse(bytes.back()));
    images.push_back(std::move(image));
    pointers.push_back(&images.back());
  }
  auto names = make_symbol_names(pointers, used_);
  if (!names) return about(request.module, std::move(names).error());
  return running.by_group[group] = std::make_shared<const SymbolNames>(std::move(*names));
}

Result<PreparedLibraries> PrivateLibraries::prepare(ShadowFolder& folder,
                                                    const LibraryRequest& request,
                                                    RunningLibraries& running,
                                                    std::map<Digest, bool>& made) {
  PreparedLibraries prepared;
  CopyEdits edits;
  edits.own_symbols_first = request.own_symbols_first;
  for (const StoredLibrary& library : request.libraries) {
    if (!library.is_private) {
      prepared.load_first.push_back(library.origin);
      continue;
    }
    const auto known = running.by_code.find(library.code);
    const bool usable =
        known != running.by_code.end() && (!request.fresh_only || made.contains(library.code));
    if (usable) {
      prepared.instances.push_back(known->second);
    } else {
      LibraryInstance instance{library.code, "", library.origin, ""};
      REHOOK_ASSIGN_OR_RETURN(instance.name, make_name(library));
      CopyEdits own = edits;  // names of what it needs: those that came before
      if (library.soname.empty()) own.soname = instance.name;
      if (!library.soname.empty()) own.libraries[library.soname] = instance.name;
      REHOOK_ASSIGN_OR_RETURN(own.symbols, names_of_group(request, library.sharing, running));
      auto file = folder.make(library.artifact, library.digest, request.module,
                              request.generation, own);
      if (!file) return about(library.origin, std::move(file).error());
      instance.file = std::move(*file);
      prepared.load_first.push_back(instance.file);
      prepared.instances.push_back(instance);
      running.by_code[library.code] = instance;
      made[library.code] = true;
    }
    const std::string& name = prepared.instances.back().name;
    for (const std::string& mention : library.names) edits.libraries[mention] = name;
    if (!library.soname.empty()) edits.libraries[library.soname] = name;
  }
  REHOOK_ASSIGN_OR_RETURN(edits.symbols, names_of_group(request, request.sharing, running));
  REHOOK_ASSIGN_OR_RETURN(
      prepared.module_file,
      folder.make(request.artifact, request.digest, request.module, request.generation, edits));
  return prepared;
}

}  // namespace rehook
