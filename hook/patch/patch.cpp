#include "hook/patch/patch.hpp"

#include <algorithm>
#include <set>
#include <tuple>

#include "hook/patch/gc_heap.hpp"
#include "hook/patch/instance_search.hpp"
#include "shadow_store/base/trace.hpp"

namespace rehook {
namespace {

PyTypeObject* type_of(const Ref& object) {
  return reinterpret_cast<PyTypeObject*>(object.get());
}

// The weak references of an object remember its hash.
std::vector<PyWeakReference*> weak_references(PyObject* object) {
  std::vector<PyWeakReference*> found;
  const Py_ssize_t offset = Py_TYPE(object)->tp_weaklistoffset;
  if (offset <= 0) return found;
  auto* next = *reinterpret_cast<PyWeakReference**>(reinterpret_cast<char*>(object) + offset);
  for (; next != nullptr; next = next->wr_next) found.push_back(next);
  return found;
}

// Their hashes are asked for anew.
std::vector<PyObject*> with_weak_references(const std::vector<PyObject*>& objects) {
  std::vector<PyObject*> all = objects;
  for (PyObject* object : objects) {
    for (PyWeakReference* weak : weak_references(object)) {
      if (weak->hash == -1) continue;  // never hashed, so nobody's key
      weak->hash = -1;
      all.push_back(reinterpret_cast<PyObject*>(weak));
    }
  }
  return all;
}

}  // namespace

Patch::Patch(std::vector<PatchModule> modules, Ownership ownership,
             std::vector<std::span<void*>> variables, std::unordered_set<const PyObject*> ours,
             PythonPatch python, PatchSeams seams)
    : modules_(std::move(modules)),
      ownership_(std::move(ownership)),
      variables_(std::move(variables)),
      ours_(std::move(ours)),
      seams_(std::move(seams)),
      callables_(journal_, successors_, seams_.redirect),
      static_classes_(journal_, ownership_, callables_),
      python_(std::move(python)),
      functions_(journal_, python_.codes),
      python_classes_(journal_, callables_, successors_,
                      [this](PyTypeObject* type) -> const std::set<std::string>* {
                        const std::string home = module_of(type);
                        for (const PatchModule& module : modules_) {
                          if (!module.python || module.name != home) continue;
                          const auto found =
                              module.python->classes.find(qualified_name_of(type));
                          if (found != module.python->classes.end()) return &found->second;
                        }
                        return nullptr;
                      }) {}

Status Patch::plan() {
  const TraceStep step("patch.plan");
  pairs_ = pair_modules(modules_, ownership_, callables_, seams_.judge);
  for (const ObjectPair& pair : pairs_.classes) {
    enums_[pair.before.get()] = pair_members(type_of(pair.before), type_of(pair.after));
  }
  for (const ObjectPair& pair : pairs_.python_classes) {
    enums_[pair.before.get()] = pair_members(type_of(pair.before), type_of(pair.after), true);
  }
  for (const auto& [shadow, real] : python_.stand_ins)
    successors_.add(shadow.get(), real.get());
  PyErr_Clear();
  return renew_instances();
}

// Objects of Python classes that were made anew, because their slots changed, are made anew,
// too.
Status Patch::renew_instances() {
  std::map<PyTypeObject*, const ObjectPair*> wanted;
  std::unordered_set<PyTypeObject*> types;
  for (const ObjectPair& pair : pairs_.replaced) {
    if (!is_python_class(pair.before.get()) || !is_python_class(pair.after.get())) continue;
    wanted[type_of(pair.before)] = &pair;
    types.insert(type_of(pair.before));
  }
  if (types.empty() || !seams_.renew) return ok_status();
  std::vector<Ref> found;
  {
    const GcPause pause;
    found = find_instances(types);
  }
  for (const Ref& instance : found) {
    const ObjectPair& pair = *wanted[Py_TYPE(instance.get())];
    REHOOK_ASSIGN_OR_RETURN(Ref made, seams_.renew(instance.get(), pair.after.get()));
    if (made && made.get() != instance.get()) renewed_.emplace_back(instance, std::move(made));
  }
  return ok_status();
}

void Patch::apply() {
  const TraceStep step("patch.apply");
  const GcPause pause;
  applied_ = true;
  functions_.find(python_.namespaces, python_.look_everywhere);
  functions_.replace();
  adopt_classes();
  adopt_python_classes();
  static_classes_.move(pairs_.moved);
  patch_callables();
  follow_references();
  take_namespaces();
  static_classes_.move_instances();
  count_instances();
  for (const auto& [kind, count] : callables_.counts()) report_.done[kind] += count;
  if (functions_.count() > 0) report_.done["function"] += functions_.count();
  if (!renewed_.empty()) report_.done["instance"] += renewed_.size();
  report_.has_left_functions = !functions_.left().empty();
  for (const auto* list : {&functions_.left(), &python_classes_.left()}) {
    for (const auto& [what, why] : *list) report_.left.push_back({what, why, 0, nullptr});
  }
  report_.objects = std::max(report_.objects, functions_.objects());
  if (const std::size_t number =
          pairs_.classes.size() + pairs_.moved.size() + pairs_.python_classes.size();
      number > 0) {
    report_.done["class"] = number;
  }
  if (!pairs_.replaced.empty()) report_.done["replaced"] = pairs_.replaced.size();
  PyErr_Clear();
}

void Patch::adopt_classes() {
  if (!pairs_.classes.empty() && seams_.adopt) {
    if (const std::string why = seams_.adopt(pairs_.classes); !why.empty()) {
      for (ObjectPair& pair : pairs_.classes) {
        pairs_.left.emplace_back("instances of " + pair.name, why);
        pairs_.replaced.push_back(std::move(pair));
      }
      pairs_.classes.clear();
    }
  }
  for (const ObjectPair& pair : pairs_.classes) {
    for (const std::string& name : enums_[pair.before.get()].changed) {
      report_.left.push_back({"enumerator " + pair.name + "." + name,
                              "its value changed; objects held of it keep the old one", 0,
                              nullptr});
    }
  }
  ClassAdoption adoption(journal_, ownership_, callables_, successors_);
  for (const ObjectPair& pair : pairs_.classes) {
    adoption.announce(type_of(pair.before), type_of(pair.after));
  }
  for (const ObjectPair& pair : pairs_.classes) {
    adopt_members(enums_[pair.before.get()], type_of(pair.before), type_of(pair.after),
                  journal_, successors_);
  }
  for (const ObjectPair& pair : pairs_.classes) {
    adoption.adopt(type_of(pair.before), type_of(pair.after));
    adoption.reparent_children(type_of(pair.before), type_of(pair.after));
    if (Py_TYPE(pair.after.get()) == &PyType_Type) take_module_words(pair);
  }
  for (const auto& [what, why] : adoption.left())
    report_.left.push_back({what, why, 0, nullptr});
}

void Patch::adopt_python_classes() {
  for (const ObjectPair& pair : pairs_.python_classes) {
    successors_.add(pair.after.get(), pair.before.get());
  }
  for (const ObjectPair& pair : pairs_.python_classes) {
    const EnumMembers& members = enums_[pair.before.get()];
    adopt_members(members, type_of(pair.before), type_of(pair.after), journal_, successors_);
    for (const std::string& name : members.changed) {
      report_.left.push_back({"enumerator " + pair.name + "." + name,
                              "its value changed; objects held of it keep the old one", 0,
                              nullptr});
    }
  }
  for (const ObjectPair& pair : pairs_.python_classes) {
    python_classes_.adopt(type_of(pair.before), type_of(pair.after));
  }
  // Classes that are new, and were made over one that ran again.
  for (const ObjectPair& pair : pairs_.python_classes) {
    for (const Ref& child : subclasses_of(type_of(pair.after))) {
      if (successors_.find(child.get()) != nullptr) continue;
      reparent_class(type_of(child), type_of(pair.after), type_of(pair.before), successors_,
                     journal_);
    }
  }
}

// What the statements bound, changed and deleted in a shadow comes to the module; what they did
// not touch is left to the program.
void Patch::take_namespaces() {
  for (const PatchModule& module : modules_) {
    if (!module.python) continue;
    PyObject* const space = PyModule_GetDict(module.before.get());
    PyObject* const shadow = PyModule_GetDict(module.after.get());
    PyObject* const before = module.python->before.get();
    std::vector<std::pair<Ref, Ref>> writes;
    PyObject *key = nullptr, *value = nullptr;
    Py_ssize_t at = 0;
    while (PyDict_Next(shadow, &at, &key, &value) != 0) {
      PyObject* const successor = successors_.find(value);
      PyObject* const after = successor != nullptr ? successor : value;
      if (to_string(key) == "__builtins__" || PyDict_GetItemWithError(before, key) == after) {
        continue;
      }
      writes.emplace_back(Ref::borrow(key), Ref::borrow(after));
    }
    at = 0;
    while (PyDict_Next(before, &at, &key, &value) != 0) {
      if (PyDict_Contains(shadow, key) != 0 || PyDict_Contains(space, key) != 1) continue;
      writes.emplace_back(Ref::borrow(key), Ref());
    }
    for (const auto& [name, after] : writes) {
      // The interpreter holds what it takes out of a namespace.
      PyObject* const was = PyDict_GetItemWithError(space, name.get());
      if (was == after.get()) continue;
      if (journal_.set_item(space, name.get(), after.get()) && was != nullptr) {
        journal_.release_on_commit(was);
      }
    }
  }
  PyErr_Clear();
}

// C code names its classes by static variables and by its module's state: there, too, the old
// class stands for the new one now, else new code would refuse what it is asked to serve.
void Patch::take_module_words(const ObjectPair& pair) {
  std::vector<std::span<void*>> places = variables_;
  for (const PatchModule& module : modules_) {
    const PyModuleDef* const def = PyModule_GetDef(module.after.get());
    void* const state = PyModule_GetState(module.after.get());
    if (def == nullptr || state == nullptr || def->m_size <= 0) continue;
    places.emplace_back(static_cast<void**>(state),
                        static_cast<std::size_t>(def->m_size) / sizeof(void*));
  }
  PyErr_Clear();
  for (const std::span<void*>& words : places) {
    for (void*& word : words) {
      if (word != pair.after.get()) continue;
      // Whether this word owns its reference is unknown: one more keeps both ways right.
      Py_INCREF(pair.before.get());
      journal_.write(modules_.front().after.get(), &word, pair.before.get());
      journal_.on_undo([old = pair.before] { Py_DECREF(old.get()); });
      Py_INCREF(pair.after.get());
      journal_.on_undo([fresh = pair.after] { Py_DECREF(fresh.get()); });
    }
  }
}

void Patch::patch_callables() {
  for (const ObjectPair& pair : pairs_.callables) {
    const auto attributes =
        pair.takes_attributes ? Callables::Attributes::take : Callables::Attributes::merge;
    if (callables_.patch(pair.before.get(), pair.after.get(), attributes)) continue;
    pairs_.replaced.push_back(pair);
  }
}

HeapTargets Patch::heap_targets() {
  HeapTargets targets;
  targets.references = successors_;
  targets.ours = ours_;
  for (const ObjectPair& pair : pairs_.replaced) {
    targets.references.add(pair.before.get(), pair.after.get());
    if (PyType_Check(pair.before.get())) targets.retired.insert(pair.before.get());
  }
  for (const auto& [old, fresh] : renewed_) {
    targets.references.add(old.get(), fresh.get());
    targets.shells.insert(old.get());
  }
  for (const ObjectPair& pair : pairs_.python_classes) {
    targets.adopted.insert(pair.after.get());
    targets.shells.insert(pair.after.get());
  }
  for (const ObjectPair& pair : pairs_.callables) {
    if (pair.is_python) targets.shells.insert(pair.after.get());
  }
  for (const ObjectPair& pair : static_classes_.replaced()) {
    targets.references.add(pair.before.get(), pair.after.get());
  }
  for (const ObjectPair& pair : pairs_.moved) {
    targets.references.add(pair.before.get(), pair.after.get());
    targets.retired.insert(pair.before.get());
  }
  for (const ObjectPair& pair : pairs_.classes) targets.adopted.insert(pair.after.get());
  for (const auto& [before, after] : callables_.definitions()) {
    targets.definitions.emplace(before, after.get());
  }
  for (PyObject* object : with_weak_references(callables_.rehashed())) {
    targets.references.add(object, object);
  }
  return targets;
}

void Patch::follow_references() {
  const TraceStep step("patch.heap");
  const HeapTargets targets = heap_targets();
  const bool is_needed = targets.references.size() > python_.stand_ins.size() ||
                         (!python_.stand_ins.empty() && !python_.is_closed) ||
                         !targets.definitions.empty();
  if (!is_needed) return;
  heap_ = std::make_unique<HeapPass>(journal_, targets);
  heap_->replace();
}

void Patch::settle() {
  const TraceStep step("patch.settle");
  if (heap_) {
    heap_->rebuild_tables();
    report_.objects = heap_->report().objects;
    report_skipped(heap_->report());
  }
  python_classes_.settle();
  PyErr_Clear();
}

// A binding library knows its instances; those of other C classes are looked for, with the
// instances of the classes below.
void Patch::count_instances() {
  std::map<PyObject*, std::unordered_set<PyTypeObject*>> families;
  std::unordered_set<PyTypeObject*> wanted;
  std::map<std::string, PyObject*> classes;  // "instances of …" -> old class
  std::map<PyObject*, std::size_t> counted;
  for (const ObjectPair& pair : pairs_.replaced) {
    if (PyType_Check(pair.before.get()) == 0) continue;
    PyObject* const type = pair.before.get();
    classes["instances of " + pair.name] = type;
    if (seams_.count_instances && seams_.count_instances(type)) continue;
    // The heap pass has come by the objects of a class statement's class, but for those of
    // classes below.
    if (heap_ && is_python_class(type) && subclasses_of(type_of(pair.before)).empty()) {
      const auto& seen = heap_->report().instances;
      counted[type] = seen.contains(type) ? seen.at(type) : 0;
      continue;
    }
    std::unordered_set<PyTypeObject*>& family = families[type];
    family.insert(type_of(pair.before));
    add_descendants(type_of(pair.before), family);
    wanted.insert(family.begin(), family.end());
  }
  const std::vector<Ref> found = find_instances(wanted);
  for (const auto& [what, why] : pairs_.left) {
    LeftBehind left{what, why, 0, nullptr};
    const auto type = classes.find(what);
    if (type != classes.end()) {
      left.type = type->second;
      const auto family = families.find(type->second);
      const auto known = counted.find(type->second);
      left.count = known != counted.end() ? known->second
                   : family == families.end()
                       ? seams_.count_instances(type->second).value_or(0)
                       : static_cast<std::size_t>(
                             std::count_if(found.begin(), found.end(), [&](const Ref& one) {
                               return family->second.contains(Py_TYPE(one.get()));
                             }));
      const auto made_anew = static_cast<std::size_t>(
          std::count_if(renewed_.begin(), renewed_.end(), [&](const auto& one) {
            return reinterpret_cast<PyObject*>(Py_TYPE(one.first.get())) == type->second;
          }));
      left.count -= std::min(left.count, made_anew);
      if (made_anew > 0 && left.count == 0) continue;
      // All of them are known.
      if (family == families.end() && left.count == 0) continue;
    }
    report_.left.push_back(left);
  }
}

void Patch::report_skipped(const HeapPassReport& heap) {
  for (const auto& [kind, count] : heap.skipped) {
    report_.left.push_back(
        {kind, "they refer to the old build and cannot be changed", count, nullptr});
  }
}

void Patch::undo() {
  if (!applied_) return;
  applied_ = false;
  const GcPause pause;
  SavedError pending = SavedError::take();
  journal_.undo();
  rehash(with_weak_references(callables_.rehashed()));
  PyErr_Clear();
  if (pending) std::move(pending).restore();
}

void Patch::commit() {
  applied_ = false;
  journal_.commit();
}

}  // namespace rehook
