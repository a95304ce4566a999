#include "builder/module_names.hpp"

#include <algorithm>
#include <array>

namespace rehook {
namespace {

using Parts = std::vector<std::string>;

Parts split_path(const Path& path) {
  Parts parts;
  for (const Path& part : path.lexically_normal()) {
    const std::string& name = part.native();
    if (!name.empty() && name != "." && name != "/") parts.push_back(name);
  }
  return parts;
}

std::optional<std::string> dotted(const Parts& parts, std::size_t begin) {
  std::string package;
  for (std::size_t i = begin; i < parts.size(); ++i) {
    if (!is_identifier(parts[i])) return std::nullopt;
    package = join_module(package, parts[i]);
  }
  return package;
}

// Where a package that we know begins in `parts`, or their size.
std::size_t find_package(const Parts& parts, const ModuleNaming& naming) {
  for (std::size_t i = 0; i < parts.size(); ++i) {
    if (naming.packages.contains(parts[i])) return i;
  }
  return parts.size();
}

// The parts of `path` below `folder`; nothing when it is elsewhere.
std::optional<Parts> below(const Path& path, const Path& folder) {
  const Parts inner = split_path(path), outer = split_path(folder);
  if (folder.empty() || !path.is_absolute() || inner.size() < outer.size() ||
      !std::equal(outer.begin(), outer.end(), inner.begin())) {
    return std::nullopt;
  }
  return Parts(inner.begin() + static_cast<std::ptrdiff_t>(outer.size()), inner.end());
}

std::string cached(const CodeModel& model, const std::string& name) {
  const auto found = model.cache.find(name);
  return found == model.cache.end() ? std::string() : found->second;
}

std::optional<std::string> package_of_source_folder(const Path& folder,
                                                    const ModuleNaming& naming) {
  std::optional<std::string> best;
  std::size_t best_size = 0;
  for (const auto& [name, top] : naming.packages) {
    const std::optional<Parts> rest = below(folder, top);
    if (!rest || top.native().size() < best_size) continue;
    const std::optional<std::string> inner = dotted(*rest, 0);
    if (!inner) continue;
    best = inner->empty() ? name : join_module(name, *inner);
    best_size = top.native().size();
  }
  return best;
}

// Folders that say "a library goes here" and nothing about packages.
bool is_library_folder(const std::string& name) {
  constexpr std::array<std::string_view, 4> k_names = {"lib", "lib64", "bin", "libexec"};
  return std::find(k_names.begin(), k_names.end(), name) != k_names.end();
}

bool is_site_folder(const std::string& name) {
  return name == "site-packages" || name == "dist-packages";
}

// Removes what leads to a folder of modules: "lib/python3.11/site-packages", "lib". False when
// that was all and does not sound like Python: a bare "lib" is where any library goes.
bool cut_module_folder(Parts& parts, const ModuleNaming& naming) {
  const auto site = std::find_if(parts.rbegin(), parts.rend(), is_site_folder);
  if (site != parts.rend()) {
    parts.erase(parts.begin(), site.base());
    return true;
  }
  if (parts.empty() || naming.packages.contains(parts.front())) return true;
  if (!is_library_folder(parts.front())) return true;
  parts.erase(parts.begin());
  const bool is_version = !parts.empty() && parts.front().starts_with("python") &&
                          parts.front().find('.') != std::string::npos;
  if (is_version) parts.erase(parts.begin());
  return !parts.empty();
}

// wheel.install-dir may be absolute: "/platlib/pkg" is "pkg", and the other roots hold no
// modules.
std::optional<Parts> install_dir_parts(const ModuleNaming& naming) {
  Parts parts = split_path(naming.install_dir);
  if (!naming.install_dir.starts_with('/')) return parts;
  if (parts.empty() || (parts.front() != "platlib" && parts.front() != "purelib")) {
    return std::nullopt;
  }
  parts.erase(parts.begin());
  return parts;
}

// A destination as parts below the folder of all modules; nothing when it is not below it.
std::optional<Parts> parts_of_destination(const Path& destination, const CodeModel& model,
                                          const ModuleNaming& naming) {
  std::optional<Parts> rest;
  if (destination.is_absolute()) {
    for (const char* root : {"SKBUILD_PLATLIB_DIR", "SKBUILD_PURELIB_DIR"}) {
      if (auto parts = below(destination, cached(model, root))) return parts;
    }
    rest = below(destination, cached(model, "CMAKE_INSTALL_PREFIX"));
    if (!rest) {
      Parts parts = split_path(destination);
      const bool is_python = std::any_of(parts.begin(), parts.end(), is_site_folder);
      if (is_python || find_package(parts, naming) < parts.size()) return parts;
      return std::nullopt;
    }
  } else {
    rest = split_path(destination);
  }
  std::optional<Parts> parts = install_dir_parts(naming);
  if (parts) parts->insert(parts->end(), rest->begin(), rest->end());
  return parts;
}

}  // namespace

bool is_identifier(std::string_view text) {
  const auto allowed = [](char c) {
    return c == '_' || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
           (c >= '0' && c <= '9') || static_cast<unsigned char>(c) >= 0x80;
  };
  return !text.empty() && !(text.front() >= '0' && text.front() <= '9') &&
         std::all_of(text.begin(), text.end(), allowed);
}

std::string join_module(std::string_view package, std::string_view name) {
  std::string result(package);
  if (!result.empty()) result += '.';
  result += name;
  return result;
}

std::string_view last_part(std::string_view module) {
  return module.substr(module.rfind('.') + 1);  // npos + 1 is 0
}

std::optional<std::string> module_stem(const std::string& file_name,
                                       const std::vector<std::string>& suffixes) {
  std::size_t longest = 0;
  for (const std::string& suffix : suffixes) {
    if (file_name.ends_with(suffix)) longest = std::max(longest, suffix.size());
  }
  std::string stem = file_name.substr(0, file_name.size() - longest);
  if (longest == 0 || stem.empty()) return std::nullopt;
  return stem;
}

std::optional<std::string> package_of_destination(const std::string& destination,
                                                  const CodeModel& model,
                                                  const ModuleNaming& naming) {
  const Path path(destination);
  if (path.is_absolute()) {
    // An install into the source tree, as editable builds do by hand.
    if (auto package = package_of_source_folder(path, naming)) return package;
  }
  std::optional<Parts> parts = parts_of_destination(path, model, naming);
  if (!parts || !cut_module_folder(*parts, naming)) return std::nullopt;
  const std::size_t known = find_package(*parts, naming);
  return dotted(*parts, known == parts->size() ? 0 : known);
}

std::optional<std::string> package_of_folder(const Path& folder, const CodeModel& model,
                                             const ModuleNaming& naming) {
  if (auto package = package_of_source_folder(folder, naming)) return package;
  // Only names that the project itself chose: the build folder may lie anywhere.
  std::optional<Parts> parts = below(folder, model.build_dir);
  if (!parts) parts = below(folder, model.source_dir);
  if (!parts) {
    parts = split_path(folder);
    if (parts->size() > 1) parts->erase(parts->begin(), parts->end() - 1);
  }
  for (std::size_t i = parts->size(); i-- > 0;) {
    if (naming.packages.contains((*parts)[i])) return dotted(*parts, i);
  }
  return std::nullopt;
}

}  // namespace rehook
