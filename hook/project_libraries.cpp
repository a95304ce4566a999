#include "hook/project_libraries.hpp"

#include <algorithm>
#include <set>
#include <system_error>

#include "shadow_store/loadable_digest.hpp"

namespace rehook {
namespace {

bool is_below(const Path& file, const Path& folder) {
  return !folder.empty() && folder != "/" && file.native().starts_with(folder.native() + "/");
}

Path real(const Path& path) {
  std::error_code failed;
  Path resolved = std::filesystem::canonical(path, failed);
  return failed ? Path() : resolved;
}

// "$ORIGIN/../lib" with the folder of the library it is written in.
Path expanded(std::string entry, const Path& origin, bool& by_origin) {
  for (const std::string_view variable : {"${ORIGIN}", "$ORIGIN"}) {
    for (std::size_t at = entry.find(variable); at != std::string::npos;
         at = entry.find(variable)) {
      entry.replace(at, variable.size(), origin.native());
      by_origin = true;
    }
  }
  return entry;
}

std::vector<std::string> split(std::string_view text) {
  std::vector<std::string> parts;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find(':'), text.size());
    if (end > 0) parts.emplace_back(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return parts;
}

Digest combined(const Digest& content, const Digest& group, const std::vector<Digest>& needs) {
  Hasher hasher;
  hasher.add_field("code with libraries");
  hasher.add_field(content.hex());
  hasher.add_field(group.hex());
  for (const Digest& one : needs) hasher.add_field(one.hex());
  return hasher.finish();
}

}  // namespace

ProjectLibraries::ProjectLibraries(FileSystem& fs, ArtifactStore& store, LibrarySearch search)
    : fs_(&fs), store_(&store), search_(std::move(search)) {
  for (std::vector<Path>* folders : {&search_.own, &search_.others, &search_.artifacts}) {
    for (Path& folder : *folders) {
      if (Path resolved = real(folder); !resolved.empty()) folder = std::move(resolved);
    }
  }
  // The project may lie inside of the prefix, too: "/usr/src/app".
  std::erase_if(search_.others, [&](const Path& other) {
    return std::none_of(search_.own.begin(), search_.own.end(),
                        [&](const Path& folder) { return is_below(other, folder); });
  });
}

bool ProjectLibraries::is_own(const Path& file) const {
  if (std::find(search_.artifacts.begin(), search_.artifacts.end(), file) !=
      search_.artifacts.end()) {
    return true;
  }
  if (file.filename().native().starts_with("libpython")) return false;
  const auto is_in = [&](const Path& folder) {
    if (!is_below(file, folder)) return false;
    // What other distributions brought is theirs, also in an environment inside of the project.
    const std::string rest = file.native().substr(folder.native().size());
    return rest.find("/site-packages/") == std::string::npos &&
           rest.find("/dist-packages/") == std::string::npos;
  };
  return std::any_of(search_.own.begin(), search_.own.end(), is_in) &&
         std::none_of(search_.others.begin(), search_.others.end(),
                      [&](const Path& folder) { return is_below(file, folder); });
}

// As ld.so(8) does it; what is in none of these places is the system's.
ProjectLibraries::Found ProjectLibraries::find(const Requester& requester,
                                               const std::string& name) const {
  if (name.find('/') != std::string::npos) {
    const bool is_relative = name.front() != '/';
    for (const Path& folder : search_.own) {
      if (Path file = real(is_relative ? folder / name : Path(name)); !file.empty()) {
        return {std::move(file), is_relative};
      }
    }
    return {};
  }
  for (const Requester* from = &requester; from != nullptr; from = from->parent) {
    for (std::string& entry : split(from->image->runpath())) {
      bool by_origin = false;
      Path file = real(expanded(std::move(entry), from->folder, by_origin) / name);
      if (!file.empty()) return {std::move(file), by_origin};
    }
  }
  for (const Path& artifact : search_.artifacts) {
    if (Path file = real(artifact.parent_path() / name); !file.empty()) {
      return {std::move(file), true};
    }
  }
  return {};
}

// Its number, after reading it and all it needs.
Result<std::size_t> ProjectLibraries::library_at(const Found& found, const std::string& name) {
  if (const auto known = by_file_.find(found.file); known != by_file_.end()) {
    BuiltLibrary& built = libraries_[known->second].built;
    if (std::find(built.names.begin(), built.names.end(), name) == built.names.end()) {
      built.names.push_back(name);
    }
    return known->second;
  }
  const std::size_t number = libraries_.size();
  by_file_.emplace(found.file, number);
  Library& library = libraries_.emplace_back();
  library.built.output = found.file;
  library.built.names = {name};
  library.built.is_private = is_own(found.file);
  if (!library.built.is_private) {
    library.visiting = false;
    return number;
  }
  REHOOK_ASSIGN_OR_RETURN(library.built.artifact, store_->publish(found.file));
  const Path artifact =
      store_->object_path(library.built.artifact, found.file.filename().string());
  REHOOK_ASSIGN_OR_RETURN(library.bytes, fs_->read(artifact));
  REHOOK_ASSIGN_OR_RETURN(library.content, loadable_digest(library.bytes));
  REHOOK_ASSIGN_OR_RETURN(const ElfImage image, ElfImage::parse(library.bytes));
  library.built.soname = image.soname();
  if (!fs_->lookup(artifact.c_str(), library.built.stat)) library.built.stat = {};
  return number;
}

Status ProjectLibraries::collect(const Requester& requester, std::vector<std::size_t>& order,
                                 std::vector<std::size_t>& needs) {
  for (const std::string_view text : requester.image->needed()) {
    const std::string name(text);
    const Found found = find(requester, name);
    if (found.file.empty()) continue;
    const bool is_known = by_file_.contains(found.file);
    if (!is_known && !is_own(found.file) && !found.by_origin) {
      continue;  // found from anywhere, so from a copy, too
    }
    REHOOK_ASSIGN_OR_RETURN(const std::size_t number, library_at(found, name));
    Library& library = libraries_[number];
    if (library.visiting && is_known) {
      // A ring has no order to load copies in: its members are used where they are, and a new
      // build of one is refused.
      for (std::size_t i = number; i < libraries_.size(); ++i) {
        if (libraries_[i].visiting) libraries_[i].built.is_private = false;
      }
      continue;
    }
    if (!is_known && library.built.is_private) {
      REHOOK_ASSIGN_OR_RETURN(const ElfImage image, ElfImage::parse(library.bytes));
      const Requester inner{&image, found.file.parent_path(), &requester};
      REHOOK_TRY(collect(inner, order, library.needs));
      library.visiting = false;
    } else {
      for (const std::size_t below : library.needs) {
        if (std::find(order.begin(), order.end(), below) == order.end()) order.push_back(below);
      }
    }
    for (const std::size_t below : library.needs) {
      if (std::find(needs.begin(), needs.end(), below) == needs.end()) needs.push_back(below);
    }
    if (std::find(order.begin(), order.end(), number) == order.end()) order.push_back(number);
    if (std::find(needs.begin(), needs.end(), number) == needs.end()) needs.push_back(number);
  }
  return ok_status();
}

Status ProjectLibraries::add(BuiltModule& module, std::string bytes) {
  module_bytes_.push_back(std::move(bytes));
  std::vector<std::size_t>& order = module_libraries_.emplace_back();
  REHOOK_ASSIGN_OR_RETURN(const ElfImage image, ElfImage::parse(module_bytes_.back()));
  const Requester requester{&image, module.output.parent_path(), nullptr};
  std::vector<std::size_t> needs;
  return collect(requester, order, needs);
}

Status ProjectLibraries::finish(std::vector<BuiltModule>& modules) {
  const std::size_t count = libraries_.size();
  std::vector<ElfImage> images(count + modules.size());
  std::vector<const ElfImage*> pointers;
  for (std::size_t i = 0; i < images.size(); ++i) {
    const std::string& bytes = i < count ? libraries_[i].bytes : module_bytes_[i - count];
    if (!bytes.empty()) {
      REHOOK_ASSIGN_OR_RETURN(images[i], ElfImage::parse(bytes));
    }
    pointers.push_back(&images[i]);
  }
  const std::vector<std::size_t> group = sharing_groups(pointers);
  std::map<std::size_t, std::vector<std::size_t>> members;
  for (std::size_t i = 0; i < group.size(); ++i) members[group[i]].push_back(i);
  std::erase_if(members, [](const auto& one) { return one.second.size() < 2; });

  std::vector<Digest> codes(images.size()), sharing(images.size());
  const auto combine = [&](std::size_t i, const Digest& content,
                           const std::vector<std::size_t>& needs) {
    std::vector<Digest> below;
    for (const std::size_t library : needs) {
      // Those of a ring, too: a new build of one is refused, not overlooked.
      if (libraries_[library].content != Digest{}) below.push_back(codes[library]);
    }
    codes[i] = below.empty() && sharing[i] == Digest{} ? content
                                                       : combined(content, sharing[i], below);
  };
  // A change of one member gives all of its group another digest, hence what needs them, and
  // hence the groups of these: once more per group reaches everything.
  for (std::size_t round = 0; round <= members.size(); ++round) {
    if (round > 0) {
      for (const auto& [number, group_members] : members) {
        std::set<Digest> of_members;
        for (const std::size_t member : group_members) of_members.insert(codes[member]);
        const Digest digest =
            combined({}, {}, std::vector<Digest>(of_members.begin(), of_members.end()));
        for (const std::size_t member : group_members) sharing[member] = digest;
      }
    }
    std::set<std::size_t> done;
    for (const std::vector<std::size_t>& order : module_libraries_) {
      for (const std::size_t i : order) {
        if (done.insert(i).second) combine(i, libraries_[i].content, libraries_[i].needs);
      }
    }
    for (std::size_t i = 0; i < modules.size(); ++i) {
      combine(count + i, modules[i].code, module_libraries_[i]);
    }
  }
  for (std::size_t i = 0; i < modules.size(); ++i) {
    modules[i].code = codes[count + i];
    modules[i].sharing = sharing[count + i];
    const auto add_tls = [&](const ElfImage& image) {
      if (image.wants_static_tls()) modules[i].static_tls += image.tls_size();
    };
    add_tls(images[count + i]);
    for (const std::size_t number : module_libraries_[i]) {
      BuiltLibrary& library = modules[i].libraries.emplace_back(libraries_[number].built);
      library.code = codes[number];
      library.sharing = sharing[number];
      add_tls(images[number]);
    }
  }
  return ok_status();
}

LibraryRequest library_request(const ArtifactStore& store, const ProjectState& project,
                               const BuiltModule& module) {
  const auto stored = [&](const Digest& digest, const Path& output) {
    return store.object_path(digest, output.filename().string());
  };
  LibraryRequest request;
  request.module = module.module;
  request.artifact = stored(module.artifact, module.output);
  request.digest = module.artifact;
  request.sharing = module.sharing;
  for (const BuiltLibrary& library : module.libraries) {
    request.libraries.push_back({library.soname, library.names, library.output,
                                 library.is_private, stored(library.artifact, library.output),
                                 library.artifact, library.code, library.sharing});
  }
  const auto add = [&](const Digest& group, const Path& file) {
    if (group == Digest{}) return;
    std::vector<Path>& files = request.groups[group];
    if (std::find(files.begin(), files.end(), file) == files.end()) files.push_back(file);
  };
  for (const BuiltModule& other : project.modules) {
    add(other.sharing, stored(other.artifact, other.output));
    for (const BuiltLibrary& library : other.libraries) {
      if (library.is_private) add(library.sharing, stored(library.artifact, library.output));
    }
  }
  return request;
}

}  // namespace rehook
