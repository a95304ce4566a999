#include "hook/reload_transaction.hpp"

#include <algorithm>
#include <array>
#include <cstring>

#include "hook/extension_loader.hpp"
#include "shadow_store/base/trace.hpp"
#include "shadow_store/elf_image.hpp"

namespace rehook {
namespace {

constexpr std::string_view k_pybind11_id = "__pybind11_internals_v";
constexpr std::string_view k_nanobind_id = "__nb_internals_";

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

bool is_shared_constant(PyObject* value) {
  return value == Py_None || PyBool_Check(value) || PyLong_Check(value) ||
         PyFloat_Check(value) || PyUnicode_Check(value) || PyBytes_Check(value) ||
         PyTuple_Check(value) || PyModule_Check(value);
}

// A shared library below one of these folders that is mapped although its file was replaced:
// the new build of an extension that needs it would silently get the old one, since the loader
// goes by SONAME.
std::string replaced_library(const std::string& maps, const Path& loaded_extension,
                             const std::vector<Path>& folders) {
  constexpr std::string_view k_gone = " (deleted)\n";
  for (std::size_t at = maps.find(k_gone); at != std::string::npos;
       at = maps.find(k_gone, at + 1)) {
    const std::size_t line = maps.rfind('\n', at) + 1;
    const std::size_t path = maps.find('/', line);
    if (path == std::string::npos || path > at) continue;
    const std::string file = maps.substr(path, at - path);
    const bool is_library = file.find(".so", file.rfind('/') + 1) != std::string::npos;
    if (!is_library || file == loaded_extension.native()) continue;
    for (const Path& folder : folders) {
      if (!folder.empty() && file.starts_with(folder.native() + "/")) return file;
    }
  }
  return "";
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
                                     ShadowFolder& shadows, PyObject* loader_type)
    : fs_(&fs),
      registries_(&registries),
      shadows_(&shadows),
      loader_type_(Ref::borrow(loader_type)) {}

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
  auto shadow = shadows_->make(item.plan.artifact, item.plan.digest, extension.name,
                               item.plan.next_number);
  if (!shadow) return std::move(shadow).error();
  item.shadow = std::move(*shadow);
  REHOOK_ASSIGN_OR_RETURN(const std::string bytes, fs_->read(item.shadow));
  REHOOK_ASSIGN_OR_RETURN(const ElfImage image, ElfImage::parse(bytes));
  REHOOK_TRY(check_init_symbol(image, extension.name));
  if (bytes.find(k_nanobind_id) != std::string::npos) {
    return Error{
        ErrorCode::unsupported,
        extension.name + " is made with nanobind, whose type registry rehook cannot retire yet",
        "restart the interpreter to run the new build"};
  }
  if (const std::size_t at = bytes.find(k_pybind11_id); at != std::string::npos) {
    item.bytes_id = bytes.c_str() + at;
  }
  if (auto old_bytes = fs_->read(extension.current.file)) {
    item.old_uses_pybind11 = old_bytes->find(k_pybind11_id) != std::string::npos;
  } else {
    item.old_uses_pybind11 = item.plan.uses_pybind11;  // deleted under us: assume the worst
  }
  const auto library = find_loaded_library(extension.current.file);
  if (library) {
    item.old_range = *library;
  } else if (item.old_uses_pybind11) {
    return Error{ErrorCode::unsafe,
                 "the running build of " + extension.name + " (" +
                     extension.current.file.string() +
                     ") is not mapped where it was loaded from",
                 "restart the interpreter to run the new build"};
  }
  if (auto maps = fs_->read("/proc/self/maps")) {
    const std::string library = replaced_library(*maps, extension.current.file,
                                                 {item.plan.build_dir, extension.project});
    if (!library.empty()) {
      return Error{ErrorCode::unsupported,
                   extension.name + " comes with the shared library " + library +
                       ", which was built anew while its old build is in use",
                   "restart the interpreter: shared libraries are not reloaded"};
    }
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

Status ReloadTransaction::stage(std::vector<Reloadable> modules, const CancelPoll& cancel) {
  const TraceStep step("stage");
  for (Reloadable& plan : modules) {
    Item item;
    item.plan = std::move(plan);
    items_.push_back(std::move(item));
  }
  for (Item& item : items_) REHOOK_TRY(stage_one(item));
  for (Item& item : items_) {
    if (!item.old_uses_pybind11) continue;
    Result<const RehookBridge*> bridge = Error{};
    {
      const GilRelease released;
      bridge = registries_->bridge(item.plan.flags, item.plan.compiler, cancel);
    }
    if (!bridge) {
      Error error = std::move(bridge).error();
      if (error.code == ErrorCode::canceled) return error;
      error.message = "cannot prepare pybind11's type registry for a new " +
                      item.plan.extension->name + ": " + error.message;
      return error;
    }
    const bool known =
        std::any_of(retired_.begin(), retired_.end(),
                    [&](const Retired& retired) { return retired.bridge == *bridge; });
    if (!known) retired_.push_back({*bridge, nullptr});
  }
  return ok_status();
}

// ---- load: old types out of the way, new modules in ----

Status ReloadTransaction::retire() {
  std::vector<LoadedLibrary> libraries;
  std::string suffix = "@rehook";
  for (const Item& item : items_) {
    if (item.old_uses_pybind11) libraries.push_back(item.old_range);
    // Unique per retired generation, whatever else is reloaded with it.
    suffix +=
        "." + std::to_string(item.plan.next_number) + "." + item.plan.digest.hex().substr(0, 6);
  }
  const std::vector<RehookRange> ranges = ranges_of(libraries);
  for (Retired& retired : retired_) {
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
  std::map<PyObject*, PyObject*> kept = {{item.fresh.get(), extension.module.get()}};
  for (const auto& [key, module] : saved_modules_) {
    if (!to_string(key.get()).starts_with(extension.name + ".") ||
        !PyModule_Check(module.get())) {
      continue;
    }
    PyObject* fresh = PyDict_GetItem(modules, key.get());
    if (fresh != nullptr && PyModule_Check(fresh)) kept[fresh] = module.get();
  }
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
  for (Retired& retired : retired_) {
    if (retired.handle != nullptr) retired.bridge->commit(retired.handle);
  }
  for (Item& item : items_) {
    LoadedExtension& extension = *item.plan.extension;
    extension.retired.push_back(extension.current);
    extension.current.number = item.plan.next_number;
    extension.current.file = item.shadow;
    extension.current.artifact = item.plan.digest;
    extension.current.code = item.plan.code;
    extension.current.layouts = item.plan.layouts;
    extension.names = std::move(item.names);
    extension.names_known = true;
  }
  done_ = true;
}

void ReloadTransaction::rollback() {
  done_ = true;
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
  for (const SharedNamespace& shared : shared_) {
    share_namespace(shared.hidden.get(), shared.own_dict.get());
  }
  for (auto& [dict, saved] : namespaces_) {
    PyDict_Clear(dict);
    PyDict_Update(dict, saved.second.get());
  }
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
  for (const Item& item : items_) fresh.push_back(item.new_range);
  const std::vector<RehookRange> ranges = ranges_of(fresh);
  for (auto retired = retired_.rbegin(); retired != retired_.rend(); ++retired) {
    std::array<char, 1024> text{};
    if (retired->handle == nullptr) continue;
    if (retired->bridge->restore(retired->handle, ranges.data(), ranges.size(), text.data(),
                                 text.size()) != 0) {
      left_.emplace_back("type registry", text.data());
    }
  }
  if (pending) std::move(pending).restore();
}

}  // namespace rehook
