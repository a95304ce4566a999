#include "hook/reload_transaction.hpp"

#include <algorithm>
#include <array>
#include <chrono>
#include <cstring>

#include "hook/extension_loader.hpp"
#include "hook/patch/library_data.hpp"
#include "hook/thread_gate.hpp"
#include "hook/thread_stacks.hpp"
#include "shadow_store/base/trace.hpp"
#include "shadow_store/elf_image.hpp"

namespace rehook {
namespace {

// How long the exchange waits for other threads to leave the modules' code.
constexpr std::chrono::milliseconds k_quiet_limit{200};

std::vector<RehookRange> ranges_of(const std::vector<LoadedLibrary>& libraries) {
  std::vector<RehookRange> ranges;
  for (const LoadedLibrary& library : libraries) {
    if (library.end > library.begin) ranges.push_back({library.begin, library.end});
  }
  return ranges;
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
      // Submodules would be filled anew by what makes them.
      if (name != prefix || visibility() == Visible::yes) PyDict_DelItem(modules, key);
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
  for (const auto& [key, module] : saved_modules_) {
    exceptions_->keep_those_of(module.get());
    subclasses_.remember_those_of(module.get());
  }
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
  item.fresh = spec ? load_extension(spec.get(), visibility()) : Ref();
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

Status ReloadTransaction::prepare(std::unique_ptr<PythonBatch> python) {
  python_ = std::move(python);
  Status status = python_->prepare();
  if (!status) cause_ = python_->take_cause();
  return status;
}

Status ReloadTransaction::run() {
  if (!python_) return ok_status();
  std::vector<PythonBatch::Compiled> compiled;
  for (const Item& item : items_) {
    for (const auto& [fresh, module] : kept_modules(item)) {
      compiled.push_back(
          {string_attribute(module, "__name__"), Ref::borrow(module), Ref::borrow(fresh)});
    }
  }
  Status status = python_->run(compiled);
  if (!status) cause_ = python_->take_cause();
  return status;
}

Status ReloadTransaction::take_over() {
  REHOOK_TRY(plan_patch());
  if (!patch_) return ok_status();
  {
    // Calls of other threads run all in the old code or all in the new. From here to open() the
    // GIL is kept, once the gate is closed.
    ThreadGate gate(python_ ? python_->files() : std::vector<Ref>());
    const std::size_t inside = gate.close(k_quiet_limit);
    patch();
    swap();
    if (const std::size_t early = gate.open(); inside + early > 0) {
      left_.push_back(
          {"threads inside the old code of the modules",
           "they did not leave it in time; their calls finish in the code they began in",
           inside + early, nullptr});
    }
  }
  REHOOK_TRY(classes_->check());
  patch_->settle();
  const PatchReport& report = patch_->report();
  left_.insert(left_.end(), report.left.begin(), report.left.end());
  classes_->report(left_);
  return ok_status();
}

namespace {

// An object of a Python class whose slots changed, made anew.
Result<Ref> renewed(PyObject* instance, PyObject* new_class) {
  Ref made = call("rehook._python_instances", "renewed", {instance, new_class});
  if (!made) {
    return Error{
        ErrorCode::failed_load,
        "an object of " + string_attribute(new_class, "__qualname__") + " cannot be made anew"};
  }
  return made.get() == Py_None ? Ref() : made;
}

}  // namespace

Status ReloadTransaction::plan_patch() {
  const TraceStep step("plan");
  if (items_.empty() && !python_) return ok_status();
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
  PythonPatch python;
  if (python_) {
    python = python_->patch();
    for (const PatchModule& module : python_->modules()) modules.push_back(module);
    copies.merge(python_->own_containers());
  }
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
  PatchSeams seams = classes_->seams();
  seams.renew = &renewed;
  patch_ = std::make_unique<Patch>(std::move(modules), Ownership(std::move(names), is_code),
                                   std::move(variables), std::move(copies), std::move(python),
                                   std::move(seams));
  if (Status status = patch_->plan(); !status) return python_failure(status.error().message);
  return ok_status();
}

void ReloadTransaction::patch() {
  const TraceStep step("patch");
  patch_->apply();
  for (const Item& item : items_) {
    lead_virtual_functions(item);
    if (const std::size_t threads = count_threads_inside({item.old_range}); threads > 0) {
      left_.push_back({"threads inside the old build of " + item.plan.extension->name,
                       "calls in flight finish in the code they began in", threads, nullptr});
    }
  }
}

void ReloadTransaction::lead_virtual_functions(const Item& item) {
  LoadedExtension& extension = *item.plan.extension;
  if (!item.old_bytes || !item.new_bytes || item.old_range.end == 0) return;
  classes_->lead_virtual_functions(extension, "", {*item.old_bytes, item.old_range},
                                   {*item.new_bytes, item.new_range});
  for (const LibraryInstance& fresh : item.libraries) {
    for (const LibraryInstance& running : extension.current.libraries) {
      if (running.origin != fresh.origin || running.file == fresh.file) continue;
      const auto old_bytes = fs_->read(running.file), new_bytes = fs_->read(fresh.file);
      const auto old_range = find_loaded_library(running.file),
                 new_range = find_loaded_library(fresh.file);
      if (!old_bytes || !new_bytes || !old_range || !new_range) continue;
      classes_->lead_virtual_functions(extension, fresh.origin, {*old_bytes, *old_range},
                                       {*new_bytes, *new_range});
    }
  }
}

void ReloadTransaction::migrate() {
  const TraceStep step("migrate");
  if (classes_) classes_->migrate(left_);
}

// ---- the end, one way or the other ----

void ReloadTransaction::commit() {
  if (python_) python_->commit();
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
  if (!loaded_ && namespaces_.empty() && !patch_) {
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
  subclasses_.restore();
  if (pending) std::move(pending).restore();
}

}  // namespace rehook
