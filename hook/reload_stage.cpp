// The first step of a reload: everything that can fail without touching the running program.
#include <algorithm>

#include "hook/extension_loader.hpp"
#include "hook/reload_transaction.hpp"
#include "shadow_store/base/trace.hpp"
#include "shadow_store/elf_image.hpp"

namespace rehook {
namespace {

// A nanobind whose registry is not the bridge's, but may be that of the running build: another
// version keeps other registries, where the bridge would find nothing to retire, and a second
// enumeration of a name aborts the process. Empty when there is none, or when the running build
// has the bridge's registry inside of it.
std::string foreign_nanobind_registry(const std::string& old_bytes,
                                      const RehookBridge& bridge) {
  constexpr std::string_view k_start = "__nb_internals_";
  if (old_bytes.find(bridge.internals_id) != std::string::npos) return "";
  const std::string ours = std::string(k_start) + bridge.internals_id + "_";
  PyObject* state = PyInterpreterState_GetDict(PyInterpreterState_Get());  // borrowed
  PyObject *key = nullptr, *value = nullptr;
  Py_ssize_t at = 0;
  while (state != nullptr && PyDict_Next(state, &at, &key, &value) != 0) {
    if (!PyUnicode_Check(key)) continue;
    const std::string name = to_string(key);
    if (name.starts_with(k_start) && !name.starts_with(ours)) {
      return name.substr(k_start.size());
    }
  }
  return "";
}

// The registry that a build made with another pybind11 than the bridge uses; empty when it is
// the bridge's. The name (PYBIND11_INTERNALS_ID) is a text in the module.
std::string foreign_pybind11_registry(const std::string& bytes, const RehookBridge& bridge) {
  const std::size_t at = bytes.find("__pybind11_internals_v");
  if (at == std::string::npos || bytes.find(bridge.internals_id) != std::string::npos)
    return "";
  return bytes.c_str() + at;
}

// A shared library below one of these folders that is mapped although its file was replaced:
// the new build of an extension that needs it would silently get the old one, since the loader
// goes by SONAME.
std::string replaced_library(const std::vector<std::string>& gone,
                             const LoadedExtension& extension, const LibraryRequest& copied,
                             const std::vector<Path>& folders) {
  for (const std::string& file : gone) {
    const bool is_library = file.find(".so", file.rfind('/') + 1) != std::string::npos;
    if (!is_library || file == extension.current.file.native()) continue;
    // Nobody is linked with an extension.
    const bool is_own = std::any_of(
        extension.retired.begin(), extension.retired.end(),
        [&](const Generation& generation) { return generation.file.native() == file; });
    if (is_own) continue;
    const bool has_copy = std::any_of(copied.libraries.begin(), copied.libraries.end(),
                                      [&](const StoredLibrary& library) {
                                        return library.is_private && library.origin == file;
                                      });
    if (has_copy) continue;  // its new build is loaded under a name of its own
    for (const Path& folder : folders) {
      if (!folder.empty() && file.starts_with(folder.native() + "/")) return file;
    }
  }
  return "";
}

// The project's libraries that the running build uses; one that somebody else loaded uses them
// where they are.
std::vector<LibraryInstance> running_libraries(const LoadedExtension& extension,
                                               const LibraryRequest& next) {
  std::vector<LibraryInstance> running = extension.current.libraries;
  if (extension.current.number != 0) return running;
  for (const StoredLibrary& library : next.libraries) {
    if (library.is_private) running.push_back({{}, "", library.origin, library.origin});
  }
  return running;
}

}  // namespace

Status ReloadTransaction::stage_one(Item& item) {
  const LoadedExtension& extension = *item.plan.extension;
  REHOOK_TRY(check_replaced_libraries(item));
  REHOOK_TRY(make_copies(item));
  item.new_bytes = fs_->read(item.shadow);
  if (!item.new_bytes) return item.new_bytes.error();
  REHOOK_ASSIGN_OR_RETURN(const ElfImage image, ElfImage::parse(*item.new_bytes));
  REHOOK_TRY(check_init_symbol(image, extension.name));
  item.old_bytes = fs_->read(extension.current.file);
  item.bindings = item.plan.bindings;  // also when the old one is deleted under us
  if (extension.current.bindings) {
    item.bindings.add(*extension.current.bindings);
  } else if (item.old_bytes) {
    item.bindings.add(binding_libraries_in(*item.old_bytes));
  }
  const auto library = find_loaded_library(extension.current.file);
  if (library) {
    item.old_range = *library;
  } else if (!item.bindings.empty()) {
    return Error{ErrorCode::unsafe,
                 "the running build of " + extension.name + " (" +
                     extension.current.file.string() +
                     ") is not mapped where it was loaded from",
                 "restart the interpreter to run the new build"};
  }
  REHOOK_TRY(load_library(item.shadow));  // undefined symbols show here
  const auto fresh = find_loaded_library(item.shadow);
  if (!fresh) {
    return Error{ErrorCode::failed_load,
                 item.shadow.string() + " was loaded but is not mapped"};
  }
  item.new_range = *fresh;
  return ok_status();
}

Status ReloadTransaction::check_replaced_libraries(const Item& item) {
  const LoadedExtension& extension = *item.plan.extension;
  if (!replaced_) replaced_ = replaced_libraries(*fs_, shadows_->path());
  const std::string library = replaced_library(*replaced_, extension, item.plan.libraries,
                                               {item.plan.build_dir, extension.project});
  if (library.empty()) return ok_status();
  return Error{ErrorCode::unsupported,
               extension.name + " comes with the shared library " + library +
                   ", which was built anew while its old build is in use",
               "restart the interpreter: only libraries that extensions are linked with, and "
               "that do not need each other in a ring, are reloaded"};
}

// The shadow copies of the extension and its libraries; the libraries are loaded.
Status ReloadTransaction::make_copies(Item& item) {
  const LoadedExtension& extension = *item.plan.extension;
  LibraryRequest& request = item.plan.libraries;
  request.generation = item.plan.next_number;
  const std::string init = "PyInit_" + extension.name.substr(extension.name.rfind('.') + 1);
  const auto is_global = [&](const Generation& generation) {
    const auto library = find_loaded_library(generation.file);
    return library && is_loaded_globally(*library, init);
  };
  // It stays so when it is retired.
  if (is_global(extension.current) ||
      std::any_of(extension.retired.begin(), extension.retired.end(),
                  [&](const Generation& one) { return one.number == 0 && is_global(one); })) {
    if (!request.libraries.empty()) {
      return Error{ErrorCode::unsupported,
                   extension.name +
                       " was loaded with RTLD_GLOBAL, so the new build would use "
                       "the libraries of the old one",
                   "import it after rehook.install(), or without sys.setdlopenflags(), and "
                   "restart the interpreter"};
    }
    request.own_symbols_first = true;
  }
  request.fresh_only = !item.plan.bindings.empty() && has_types_in_libraries(*fs_, request);
  REHOOK_ASSIGN_OR_RETURN(PreparedLibraries prepared,
                          load_project_libraries(*shadows_, request, libraries_));
  item.shadow = std::move(prepared.module_file);
  item.libraries = std::move(prepared.instances);
  return ok_status();
}

Status ReloadTransaction::stage(std::vector<Reloadable> modules, const CancelPoll& cancel) {
  const TraceStep step("stage");
  for (Reloadable& plan : modules) {
    Item item;
    item.plan = std::move(plan);
    items_.push_back(std::move(item));
  }
  for (Item& item : items_) REHOOK_TRY(stage_one(item));
  for (Item& item : items_) {
    for (const BindingLibrary library : k_binding_libraries) {
      if (!item.bindings.contains(library)) continue;
      REHOOK_TRY(stage_bridge(item, library, cancel));
    }
  }
  return ok_status();
}

Status ReloadTransaction::stage_bridge(const Item& item, BindingLibrary library,
                                       const CancelPoll& cancel) {
  const std::string& name = item.plan.extension->name;
  Result<const RehookBridge*> bridge = Error{};
  {
    const GilRelease released;
    bridge = registries_->bridge(library, item.plan.flags, item.plan.compiler, cancel);
  }
  if (!bridge) {
    Error error = std::move(bridge).error();
    if (error.code == ErrorCode::canceled) return error;
    error.message = "cannot prepare " + std::string(name_of(library)) +
                    "'s type registry for a new " + name + ": " + error.message;
    return error;
  }
  std::string other;
  const Result<std::string>& old_bytes = item.old_bytes;
  if (library == BindingLibrary::nanobind) {
    other = foreign_nanobind_registry(old_bytes ? *old_bytes : "", **bridge);
  } else if (old_bytes) {
    other = foreign_pybind11_registry(*old_bytes, **bridge);
  }
  if (!other.empty()) {
    return Error{ErrorCode::unsafe,
                 "the running build of " + name +
                     " and the new one use different versions of " +
                     std::string(name_of(library)) + " (" + other + " and " +
                     (*bridge)->internals_id + "), whose types never meet",
                 "restart the interpreter to run the new build"};
  }
  auto retired = std::find_if(retired_.begin(), retired_.end(),
                              [&](const Retired& known) { return known.bridge == *bridge; });
  if (retired == retired_.end()) {
    retired = retired_.insert(retired_.end(), {*bridge, {}, {}, {}});
  }
  retired->modules.push_back(name);
  std::vector<LoadedLibrary> libraries = libraries_left(
      running_libraries(*item.plan.extension, item.plan.libraries), item.libraries);
  libraries.push_back(item.old_range);
  for (const LoadedLibrary& one : libraries) {
    const bool known =
        std::any_of(retired->libraries.begin(), retired->libraries.end(),
                    [&](const LoadedLibrary& mine) { return mine.begin == one.begin; });
    if (!known) retired->libraries.push_back(one);
  }
  return ok_status();
}

}  // namespace rehook
