#include "hook/reload_transaction.hpp"

#include <algorithm>
#include <array>
#include <cstring>

#include "hook/extension_loader.hpp"
#include "hook/patch/library_data.hpp"
#include "hook/thread_stacks.hpp"
#include "shadow_store/base/trace.hpp"
#include "shadow_store/elf_image.hpp"

namespace rehook {
namespace {

// Names that importlib, not the module, gives a module object.
bool is_import_name(const std::string& name) {
  return name == "__name__" || name == "__spec__" || name == "__loader__" ||
         name == "__package__" || name == "__builtins__" || name == "__path__" ||
         name == "__cached__";
}

std::vector<RehookRange> ranges_of(const std::vector<LoadedLibrary>& libraries) {
  std::vector<RehookRange> ranges;
  for (const LoadedLibrary& library : libraries) {
    if (library.end > library.begin) ranges.push_back({library.begin, library.end});
  }
  return ranges;
}

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

bool is_shared_constant(PyObject* value) {
  return value == Py_None || PyBool_Check(value) || PyLong_Check(value) ||
         PyFloat_Check(value) || PyUnicode_Check(value) || PyBytes_Check(value) ||
         PyTuple_Check(value) || PyModule_Check(value);
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

Ref pybind11_module_cache() {
  PyObject* state = PyInterpreterState_GetDict(PyInterpreterState_Get());  // borrowed
  if (state == nullptr) return {};
  Ref cache = Ref::borrow(PyDict_GetItemString(state, "__pybind11_module_cache"));
  if (cache && !PyDict_Check(cache.get())) return {};
  return cache;
}

ReloadTransaction::ReloadTransaction(FileSystem& fs, TypeRegistries& registries,
                                     ShadowFolder& shadows, ProcessLibraries libraries,
                                     InstancePolicy policy, PyObject* loader_type)
    : fs_(&fs),
      registries_(&registries),
      shadows_(&shadows),
      libraries_(std::move(libraries)),
      loader_type_(Ref::borrow(loader_type)),
      policy_(policy) {}

ReloadTransaction::~ReloadTransaction() {
  if (!done_) rollback();
}

Status ReloadTransaction::python_failure(const std::string& what) {
  cause_ = SavedError::take();
  return Error{ErrorCode::failed_load, what + ": " + cause_.text(),
               "the previous build keeps running, unchanged; fix the module and reload again"};
}

// ---- stage: everything that can fail without touching the running program ----

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
  if (retired == retired_.end())
    retired = retired_.insert(retired_.end(), {*bridge, {}, {}, {}});
  retired->modules.push_back(name);
  std::vector<LoadedLibrary> libraries = libraries_left(
      running_libraries(*item.plan.extension, item.plan.libraries), item.libraries);
  libraries.push_back(item.old_range);
  for (const LoadedLibrary& one : libraries) {
    const bool known =
        std::any_of(retired->libraries.begin(), retired->libraries.end(),
                    [&](const LoadedLibrary& other) { return other.begin == one.begin; });
    if (!known) retired->libraries.push_back(one);
  }
  return ok_status();
}

// ---- load: old types out of the way, new modules in ----

Status ReloadTransaction::retire() {
  std::string suffix = "@rehook";
  for (const Item& item : items_) {
    // Unique per retired generation, whatever else is reloaded with it.
    suffix +=
        "." + std::to_string(item.plan.next_number) + "." + item.plan.digest.hex().substr(0, 6);
  }
  for (Retired& retired : retired_) {
    const std::vector<RehookRange> ranges = ranges_of(retired.libraries);
    std::array<char, 1024> text{};
    retired.handle = retired.bridge->retire(ranges.data(), ranges.size(), suffix.c_str(),
                                            text.data(), text.size());
    if (retired.handle == nullptr) {
      return Error{ErrorCode::unsafe,
                   std::string("the running types cannot be retired: ") + text.data(),
                   "restart the interpreter to run the new build"};
    }
  }
  return ok_status();
}

Status ReloadTransaction::load() {
  const TraceStep step("load");
  PyObject* const modules = PyImport_GetModuleDict();
  for (Item& item : items_) {
    item.locks.push_back(ImportLock::acquire(item.plan.extension->name));
    prefixes_.push_back(item.plan.extension->name);
  }
  REHOOK_TRY(retire());
  loaded_ = true;

  const Ref keys = Ref::steal(PyDict_Keys(modules));
  for (Py_ssize_t i = 0; keys && i < PyList_GET_SIZE(keys.get()); ++i) {
    PyObject* key = PyList_GET_ITEM(keys.get(), i);
    const std::string name = to_string(key);
    for (const std::string& prefix : prefixes_) {
      if (name != prefix && !name.starts_with(prefix + ".")) continue;
      saved_modules_.emplace_back(Ref::borrow(key), Ref::borrow(PyDict_GetItem(modules, key)));
      PyDict_DelItem(modules, key);
      break;
    }
  }
  if (const Ref cache = pybind11_module_cache()) {
    for (Item& item : items_) {
      const Ref key = from_string(item.plan.extension->name);
      item.cache_entry = Ref::borrow(PyDict_GetItemWithError(cache.get(), key.get()));
      if (item.cache_entry) PyDict_DelItem(cache.get(), key.get());
      PyErr_Clear();
    }
  }
  exceptions_ = std::make_unique<ExceptionClasses>();
  for (const auto& [key, module] : saved_modules_) exceptions_->keep_those_of(module.get());
  std::set<std::uintptr_t> served;
  for (const Item& item : items_) {
    REHOOK_TRY(exceptions_->serve(item.new_range));
    // A binding library that is one of the project's libraries (nanobind's NB_SHARED) makes the
    // classes for it.
    for (const LibraryInstance& one : item.libraries) {
      const auto library = find_loaded_library(one.file);
      if (!library || !served.insert(library->begin).second) continue;
      REHOOK_TRY(exceptions_->serve(*library));
    }
  }
  for (Item& item : items_) REHOOK_TRY(load_one(item));
  return ok_status();
}

Status ReloadTransaction::load_one(Item& item) {
  const std::string& name = item.plan.extension->name;
  const TraceStep step("init", "module", name);
  const Ref spec = make_file_spec(name, item.shadow, loader_type_.get());
  item.fresh = spec ? load_extension(spec.get()) : Ref();
  if (!item.fresh) return python_failure("the new build of " + name + " failed to initialise");
  if (item.fresh.get() == item.plan.extension->module.get()) {
    item.fresh = Ref();
    return Error{ErrorCode::failed_load,
                 "initialising the new build of " + name + " returned the old module",
                 "its binding library caches modules in a way rehook does not know; restart "
                 "the interpreter"};
  }
  PyObject *key = nullptr, *value = nullptr;
  Py_ssize_t at = 0;
  while (PyDict_Next(PyModule_GetDict(item.fresh.get()), &at, &key, &value) != 0) {
    item.names.insert(to_string(key));
  }
  return ok_status();
}

// ---- patch: what the program holds of the old build runs the new one ----

std::map<PyObject*, PyObject*> ReloadTransaction::kept_modules(const Item& item) const {
  const LoadedExtension& extension = *item.plan.extension;
  PyObject* const modules = PyImport_GetModuleDict();
  std::map<PyObject*, PyObject*> kept = {{item.fresh.get(), extension.module.get()}};
  for (const auto& [key, module] : saved_modules_) {
    if (!to_string(key.get()).starts_with(extension.name + ".") ||
        !PyModule_Check(module.get())) {
      continue;
    }
    PyObject* fresh = PyDict_GetItem(modules, key.get());
    if (fresh != nullptr && PyModule_Check(fresh)) kept[fresh] = module.get();
  }
  return kept;
}

Status ReloadTransaction::patch() {
  const TraceStep step("patch");
  if (items_.empty()) return ok_status();
  std::vector<PatchModule> modules;
  std::vector<std::string> names;
  std::vector<std::span<void*>> variables;
  std::vector<LoadedLibrary> code;
  for (const Item& item : items_) {
    names.push_back(item.plan.extension->name);
    code.push_back(item.old_range);
    code.push_back(item.new_range);
    for (const auto& words : static_variables(item.new_range.begin)) variables.push_back(words);
    for (const auto& [fresh, module] : kept_modules(item)) {
      journal(module);
      modules.push_back(
          {string_attribute(module, "__name__"), Ref::borrow(module), Ref::borrow(fresh)});
    }
  }
  std::unordered_set<const PyObject*> copies;
  for (const auto& [dict, saved] : namespaces_) copies.insert(saved.second.get());
  const auto is_code = [code](const void* address) {
    const auto at = reinterpret_cast<std::uintptr_t>(address);
    return std::any_of(code.begin(), code.end(), [at](const LoadedLibrary& range) {
      return at >= range.begin && at < range.end;
    });
  };
  std::vector<JudgedExtension> judged;
  for (const Item& item : items_) {
    judged.push_back({item.plan.extension->name, item.plan.before, item.plan.after});
  }
  std::vector<RetiredRegistry> registries;
  for (const Retired& retired : retired_) {
    registries.push_back({retired.bridge, retired.handle, retired.modules});
  }
  classes_ = std::make_unique<ClassTakeover>(policy_, std::move(judged), std::move(registries));
  patch_ = std::make_unique<Patch>(std::move(modules), Ownership(std::move(names), is_code),
                                   std::move(variables), std::move(copies), classes_->seams());
  patch_->plan();
  patch_->apply();
  REHOOK_TRY(classes_->check());
  for (const Item& item : items_) {
    lead_virtual_functions(item);
    if (const std::size_t threads = count_threads_inside({item.old_range}); threads > 0) {
      left_.push_back({"threads inside the old build of " + item.plan.extension->name,
                       "calls in flight finish in the code they began in", threads, nullptr});
    }
  }
  const PatchReport& report = patch_->report();
  left_.insert(left_.end(), report.left.begin(), report.left.end());
  classes_->report(left_);
  return ok_status();
}

void ReloadTransaction::lead_virtual_functions(const Item& item) {
  LoadedExtension& extension = *item.plan.extension;
  if (!item.old_bytes || !item.new_bytes || item.old_range.end == 0) return;
  classes_->lead_virtual_functions(extension, {*item.old_bytes, item.old_range},
                                   {*item.new_bytes, item.new_range});
}

void ReloadTransaction::migrate() {
  const TraceStep step("migrate");
  if (classes_) classes_->migrate(left_);
}

// ---- swap: the module objects everybody holds get the new content ----

void ReloadTransaction::journal(PyObject* module) {
  if (!PyModule_Check(module)) return;
  PyObject* dict = PyModule_GetDict(module);
  if (namespaces_.contains(dict)) return;
  namespaces_.emplace(dict, std::pair(Ref::borrow(dict), Ref::steal(PyDict_Copy(dict))));
}

void ReloadTransaction::replace_content(PyObject* module, PyObject* fresh,
                                        const std::set<std::string>* owned,
                                        const std::map<PyObject*, PyObject*>& kept) {
  journal(module);
  PyObject* const dict = PyModule_GetDict(module);
  PyObject* const content = PyModule_GetDict(fresh);
  const std::string module_name = string_attribute(module, "__name__");
  const Ref keys = Ref::steal(PyDict_Keys(dict));
  for (Py_ssize_t i = 0; keys && i < PyList_GET_SIZE(keys.get()); ++i) {
    PyObject* key = PyList_GET_ITEM(keys.get(), i);
    PyObject* old_value = PyDict_GetItem(dict, key);
    PyObject* new_value = PyDict_GetItem(content, key);
    const std::string name = to_string(key);
    if (new_value != nullptr) {
      if (!is_import_name(name) && !is_shared_constant(old_value) && old_value != new_value) {
        old_values_.push_back(Ref::borrow(old_value));
        successors_[old_value] = Ref::borrow(new_value);
      }
      continue;
    }
    // Gone from the source, unless somebody else put it there.
    const bool ours = owned != nullptr
                          ? owned->contains(name)
                          : string_attribute(old_value, "__module__") == module_name;
    if (ours && !is_import_name(name)) PyDict_DelItem(dict, key);
  }
  PyObject *key = nullptr, *value = nullptr;
  Py_ssize_t at = 0;
  const Ref items = Ref::steal(PyDict_Copy(content));
  while (items && PyDict_Next(items.get(), &at, &key, &value) != 0) {
    const auto same = kept.find(value);
    PyDict_SetItem(dict, key, same == kept.end() ? value : same->second);
  }
  // C code that kept a handle of the module it was initialised with must write where we read.
  const Ref own = Ref::borrow(content);
  if (share_namespace(fresh, dict)) shared_.push_back({Ref::borrow(fresh), own});
}

void ReloadTransaction::swap_one(Item& item) {
  LoadedExtension& extension = *item.plan.extension;
  PyObject* const modules = PyImport_GetModuleDict();
  // Submodules that the extension made: the old objects stay, too, when there is a new one of
  // the name.
  const std::map<PyObject*, PyObject*> kept = kept_modules(item);
  for (const auto& [fresh, module] : kept) {
    const std::set<std::string>* owned = nullptr;
    if (module == extension.module.get() && extension.names_known) owned = &extension.names;
    replace_content(module, fresh, owned, kept);
  }
  for (const auto& [key, module] : saved_modules_) {
    const std::string name = to_string(key.get());
    if (name == extension.name ||
        (name.starts_with(extension.name + ".") && PyDict_Contains(modules, key.get()) == 1)) {
      PyDict_SetItem(modules, key.get(), module.get());
    }
  }
  const Ref own_name = from_string(extension.name);
  PyDict_SetItem(modules, own_name.get(), extension.module.get());
  if (const Ref cache = pybind11_module_cache()) {
    const Ref key = from_string(extension.name);
    if (PyDict_Contains(cache.get(), key.get()) == 1) {
      PyDict_SetItem(cache.get(), key.get(), extension.module.get());
    }
  }
  PyErr_Clear();
}

Status ReloadTransaction::swap() {
  const TraceStep step("swap");
  for (Item& item : items_) swap_one(item);
  return ok_status();
}

void ReloadTransaction::rebind(const std::vector<std::string>& python_modules) {
  for (const std::string& name : python_modules) {
    const Ref module = loaded_module(name);
    if (!module || !PyModule_Check(module.get())) continue;
    PyObject* dict = PyModule_GetDict(module.get());
    const Ref copy = Ref::steal(PyDict_Copy(dict));
    PyObject *key = nullptr, *value = nullptr;
    Py_ssize_t at = 0;
    while (copy && PyDict_Next(copy.get(), &at, &key, &value) != 0) {
      const auto successor = successors_.find(value);
      if (successor == successors_.end()) continue;
      journal(module.get());
      PyDict_SetItem(dict, key, successor->second.get());
    }
  }
  PyErr_Clear();
}

Status ReloadTransaction::follow(const std::vector<std::string>& python_modules,
                                 const std::vector<std::string>& changed) {
  const TraceStep step("follow");
  rebind(python_modules);
  for (const std::string& name : changed) {
    const Ref module = loaded_module(name);
    if (!module) continue;
    journal(module.get());
    if (!call("rehook._importers", "forget_bytecode", {module.get()})) PyErr_Clear();
    const Ref spec = optional_attribute(module.get(), "__spec__");
    const Ref done = call("_frozen_importlib", "_exec", {spec.get(), module.get()});
    if (!done) return python_failure("executing " + name + " again failed");
  }
  if (items_.empty() && changed.empty()) return ok_status();
  const Ref news = Ref::steal(PyList_New(0));
  for (const Item& item : items_) {
    PyList_Append(news.get(), from_string(item.plan.extension->name).get());
  }
  for (const std::string& name : changed) PyList_Append(news.get(), from_string(name).get());
  const Ref importers = Ref::steal(PyList_New(0));
  for (const std::string& name : python_modules) {
    if (std::find(changed.begin(), changed.end(), name) != changed.end()) continue;
    PyList_Append(importers.get(), from_string(name).get());
    if (const Ref module = loaded_module(name)) journal(module.get());
  }
  if (!call("rehook._importers", "run_imports_again", {news.get(), importers.get()})) {
    return python_failure("running an import statement again failed");
  }
  return ok_status();
}

// ---- the end, one way or the other ----

void ReloadTransaction::commit() {
  if (patch_) patch_->commit();
  if (classes_) classes_->commit();
  for (Retired& retired : retired_) {
    if (retired.handle != nullptr) retired.bridge->commit(retired.handle);
  }
  if (exceptions_) exceptions_->commit();
  exceptions_.reset();
  for (Item& item : items_) {
    LoadedExtension& extension = *item.plan.extension;
    extension.retired.push_back(extension.current);
    extension.current.number = item.plan.next_number;
    extension.current.file = item.shadow;
    extension.current.artifact = item.plan.digest;
    extension.current.code = item.plan.code;
    extension.current.libraries = std::move(item.libraries);
    extension.current.groups = std::move(item.plan.groups);
    extension.current.static_tls = item.plan.static_tls;
    extension.current.layouts = item.plan.layouts;
    extension.current.bindings = item.plan.bindings;
    extension.current.cost.reset();
    extension.names = std::move(item.names);
    extension.names_known = true;
  }
  done_ = true;
}

void ReloadTransaction::rollback() {
  done_ = true;
  exceptions_.reset();
  if (!loaded_ && namespaces_.empty()) {
    for (Retired& retired :
         retired_) {  // an earlier one of several registries was retired already
      std::array<char, 1024> text{};
      if (retired.handle != nullptr) {
        retired.bridge->restore(retired.handle, nullptr, 0, text.data(), text.size());
      }
    }
    return;
  }
  SavedError pending = SavedError::take();
  classes_.reset();  // values and virtual functions of instances first
  for (const SharedNamespace& shared : shared_) {
    share_namespace(shared.hidden.get(), shared.own_dict.get());
  }
  for (auto& [dict, saved] : namespaces_) {
    PyDict_Clear(dict);
    PyDict_Update(dict, saved.second.get());
  }
  // After the namespaces, which are those of before the patch; before the registries.
  if (patch_) patch_->undo();
  PyObject* const modules = PyImport_GetModuleDict();
  const Ref keys = Ref::steal(PyDict_Keys(modules));
  for (Py_ssize_t i = 0; keys && i < PyList_GET_SIZE(keys.get()); ++i) {
    const std::string name = to_string(PyList_GET_ITEM(keys.get(), i));
    for (const std::string& prefix : prefixes_) {
      if (name == prefix || name.starts_with(prefix + ".")) {
        PyDict_DelItem(modules, PyList_GET_ITEM(keys.get(), i));
        break;
      }
    }
  }
  for (const auto& [key, module] : saved_modules_) {
    PyDict_SetItem(modules, key.get(), module.get());
  }
  if (const Ref cache = pybind11_module_cache()) {
    for (const Item& item : items_) {
      const Ref key = from_string(item.plan.extension->name);
      if (PyDict_Contains(cache.get(), key.get()) == 1) PyDict_DelItem(cache.get(), key.get());
      if (item.cache_entry) PyDict_SetItem(cache.get(), key.get(), item.cache_entry.get());
    }
  }
  PyErr_Clear();
  std::vector<LoadedLibrary> fresh;
  for (const Item& item : items_) {
    fresh.push_back(item.new_range);
    const auto old_libraries = item.plan.extension->current.libraries;
    for (const LoadedLibrary& one : libraries_left(item.libraries, old_libraries)) {
      const bool known =
          std::any_of(fresh.begin(), fresh.end(),
                      [&](const LoadedLibrary& other) { return other.begin == one.begin; });
      if (!known) fresh.push_back(one);
    }
  }
  const std::vector<RehookRange> ranges = ranges_of(fresh);
  for (auto retired = retired_.rbegin(); retired != retired_.rend(); ++retired) {
    std::array<char, 1024> text{};
    if (retired->handle == nullptr) continue;
    if (retired->bridge->restore(retired->handle, ranges.data(), ranges.size(), text.data(),
                                 text.size()) != 0) {
      left_.push_back({"type registry", text.data(), 1});
    }
  }
  if (pending) std::move(pending).restore();
}

}  // namespace rehook
