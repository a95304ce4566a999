#include "hook/patch/heap_pass.hpp"

#include <algorithm>
#include <memory>
#include <tuple>

#include "hook/patch/class_adoption.hpp"
#include "hook/patch/frame_variables.hpp"
#include "hook/patch/gc_heap.hpp"
#include "hook/patch/hash_tables.hpp"

namespace rehook {
namespace {

constexpr int k_nesting = 16;  // tuples in tuples in tuples, as keys

int is_target(PyObject* object, void* map) {
  return static_cast<const ObjectMap*>(map)->find(object) != nullptr ? 1 : 0;
}

bool refers_to_any(PyObject* referrer, const ObjectMap& map) {
  const traverseproc traverse = Py_TYPE(referrer)->tp_traverse;
  return traverse != nullptr &&
         traverse(referrer, is_target, const_cast<ObjectMap*>(&map)) != 0;
}

// Hashing and comparing such a key runs no Python code.
bool is_plain_key(PyObject* key) {
  return !PyType_HasFeature(Py_TYPE(key), Py_TPFLAGS_HEAPTYPE) && !PyTuple_Check(key) &&
         !PyFrozenSet_Check(key);
}

bool is_descriptor(PyObject* object) {
  const PyTypeObject* type = Py_TYPE(object);
  return type == &PyMethodDescr_Type || type == &PyClassMethodDescr_Type ||
         type == &PyGetSetDescr_Type || type == &PyMemberDescr_Type ||
         type == &PyWrapperDescr_Type;
}

// Objects whose body is not what tp_basicsize says, or changes under a running call.
bool is_frame_like(PyObject* object) {
  return PyFrame_Check(object) || PyGen_Check(object) || PyCoro_CheckExact(object) ||
         PyAsyncGen_CheckExact(object);
}

std::string kind_of(PyObject* referrer) {
  return is_frame_like(referrer) ? "local variables of running functions"
                                 : std::string(Py_TYPE(referrer)->tp_name) + " objects";
}

bool list_contains(PyObject* list, const PyObject* item) {
  for (Py_ssize_t i = 0; i < PyList_GET_SIZE(list); ++i) {
    if (PyList_GET_ITEM(list, i) == item) return true;
  }
  return false;
}

PyTypeObject* deque_type() {
  static PyObject* const type = [] {
    const Ref module = Ref::steal(PyImport_ImportModule("collections"));
    PyObject* found = module ? PyObject_GetAttrString(module.get(), "deque") : nullptr;
    PyErr_Clear();
    return found;
  }();
  return reinterpret_cast<PyTypeObject*>(type);
}

}  // namespace

// ---- finding ----

void HeapPass::scan() {
  struct Context {
    HeapPass* pass;
    std::size_t objects;
  };
  Context context{this, 0};
  visit_gc_objects(
      [](PyObject* object, void* data) {
        auto* const inner = static_cast<Context*>(data);
        HeapPass& pass = *inner->pass;
        ++inner->objects;
        if (PyType_Check(object)) {
          pass.types_.push_back(reinterpret_cast<PyTypeObject*>(object));
        } else if (!pass.targets_->definitions.empty() && PyCFunction_Check(object) &&
                   pass.targets_->definitions.contains(
                       reinterpret_cast<PyCFunctionObject*>(object)->m_ml)) {
          pass.bound_.push_back(Ref::borrow(object));
        }
        if (refers_to_any(object, pass.targets_->references)) {
          pass.hits_.push_back(Ref::borrow(object));
        }
      },
      &context);
  report_.objects = context.objects;
}

void HeapPass::add_family(PyTypeObject* type) {
  types_.push_back(type);
  for (const Ref& child : subclasses_of(type)) {
    add_family(reinterpret_cast<PyTypeObject*>(child.get()));
  }
}

// A class that derives from a target keeps its bases; the target keeps its own dictionary.
void HeapPass::exclude_class_parts() {
  const ObjectMap& references = targets_->references;
  // The collector does not know static types; those concerned are the targets and their kin.
  for (const auto* classes : {&targets_->retired, &targets_->adopted}) {
    for (PyObject* object : *classes) add_family(reinterpret_cast<PyTypeObject*>(object));
  }
  for (PyTypeObject* type : types_) {
    const PyObject* mro = type->tp_mro;
    bool derived = false;
    for (Py_ssize_t i = 0; mro != nullptr && i < PyTuple_GET_SIZE(mro); ++i) {
      derived = derived || references.find(PyTuple_GET_ITEM(mro, i)) != nullptr;
    }
    for (Py_ssize_t i = 0; type->tp_bases != nullptr && i < PyTuple_GET_SIZE(type->tp_bases);
         ++i) {
      derived = derived || references.find(PyTuple_GET_ITEM(type->tp_bases, i)) != nullptr;
    }
    if (derived) {
      excluded_.insert(mro);
      excluded_.insert(type->tp_bases);
    }
    if (type->tp_dict == nullptr) continue;
    if (references.find(reinterpret_cast<PyObject*>(type)) != nullptr) {
      excluded_.insert(type->tp_dict);
    } else {
      class_dicts_.emplace(type->tp_dict, type);
    }
  }
}

// What a class of the old build is made of stays with it, and calls that are bound to it.
bool HeapPass::is_left_alone(PyObject* referrer, PyObject* target) const {
  // A module object's state is its build's own.
  if (is_descriptor(referrer) || PyCFunction_Check(referrer) || PyModule_Check(referrer)) {
    return true;
  }
  return PyType_Check(target) && Py_TYPE(referrer) == &PySuper_Type;
}

// ---- replacing ----

void HeapPass::replace() {
  std::ignore = deque_type();
  scan();
  exclude_class_parts();
  if (const std::size_t count = replace_in_running_functions(targets_->references, *journal_);
      count > 0) {
    report_.replaced["local variable"] += count;
  }
  for (const Ref& hit : hits_) visit(hit.get());
  bound_methods();
  // Last: from here on the objects' own dictionaries are found through the old class.
  for (const Ref& instance : instances_) {
    auto* const type = reinterpret_cast<PyObject*>(Py_TYPE(instance.get()));
    journal_->become(instance.get(),
                     reinterpret_cast<PyTypeObject*>(targets_->references.find(type)));
    if (targets_->shells.contains(type)) journal_->release_on_commit(type);
  }
}

void HeapPass::visit(PyObject* referrer) {
  if (targets_->ours.contains(referrer) || excluded_.contains(referrer)) return;
  if (PyType_Check(referrer)) return;
  auto* const type = reinterpret_cast<PyObject*>(Py_TYPE(referrer));
  if (targets_->retired.contains(type)) ++report_.instances[type];
  if (targets_->adopted.contains(type)) instances_.push_back(Ref::borrow(referrer));
  if (PyDict_Check(referrer)) dict(referrer);
  if (PyAnySet_Check(referrer)) tables_.push_back(Ref::borrow(referrer));
  if (PyList_Check(referrer)) list(referrer);
  if (PyTuple_Check(referrer) && tuple(referrer)) changed_.push_back(Ref::borrow(referrer));
  if (!PyDict_CheckExact(referrer) && !PyList_CheckExact(referrer) &&
      !PyTuple_CheckExact(referrer) && !PyAnySet_CheckExact(referrer)) {
    other(referrer);
  }
}

void HeapPass::dict(PyObject* referrer) {
  const ObjectMap& references = targets_->references;
  std::vector<std::pair<Ref, Ref>> writes;
  bool keys = false;
  PyObject *key = nullptr, *value = nullptr;
  Py_ssize_t at = 0;
  while (PyDict_Next(referrer, &at, &key, &value) != 0) {
    PyObject* const to = references.find(value);
    if (to != nullptr && to != value) writes.emplace_back(Ref::borrow(key), Ref::borrow(to));
    keys = keys || references.find(key) != nullptr;
  }
  const auto owner = class_dicts_.find(referrer);
  for (const auto& [name, to] : writes) {
    ++report_.replaced["dict"];
    // A class's dictionary has caches and C slots behind it.
    if (owner != class_dicts_.end() &&
        journal_->set_attribute(owner->second, name.get(), to.get())) {
      continue;
    }
    if (is_plain_key(name.get())) {
      PyObject* const was = PyDict_GetItemWithError(referrer, name.get());
      if (journal_->set_item(referrer, name.get(), to.get()) &&
          targets_->shells.contains(was)) {
        journal_->release_on_commit(was);
      }
      if (owner != class_dicts_.end()) PyType_Modified(owner->second);
    } else {
      late_.push_back({Ref::borrow(referrer), name, to});
    }
  }
  if (keys) tables_.push_back(Ref::borrow(referrer));
}

void HeapPass::list(PyObject* referrer) {
  for (Py_ssize_t i = 0; i < PyList_GET_SIZE(referrer); ++i) {
    PyObject* const item = PyList_GET_ITEM(referrer, i);
    PyObject* const to = item != nullptr ? targets_->references.find(item) : nullptr;
    if (to == nullptr || to == item) continue;
    if (targets_->shells.contains(item) && list_contains(referrer, to)) {
      journal_->remove_list_item(referrer, i);
      --i;
      continue;
    }
    journal_->set_list_item(referrer, i, to);
    if (targets_->shells.contains(item)) journal_->release_on_commit(item);
    ++report_.replaced["list"];
  }
}

// Whether the tuple hashes differently now. One with a dict or a list in it, such as those of
// namespaces, has no hash.
bool HeapPass::tuple(PyObject* referrer) {
  bool changed = false, hashable = true;
  for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(referrer); ++i) {
    PyObject* const item = PyTuple_GET_ITEM(referrer, i);
    PyObject* const to = item != nullptr ? targets_->references.find(item) : nullptr;
    if (to == nullptr) continue;
    changed = true;
    hashable = hashable && Py_TYPE(item)->tp_hash != &PyObject_HashNotImplemented;
    if (to == item) continue;
    refer(referrer, &reinterpret_cast<PyTupleObject*>(referrer)->ob_item[i], to);
    ++report_.replaced["tuple"];
  }
  return changed && (hashable || !PyTuple_CheckExact(referrer));
}

void HeapPass::other(PyObject* referrer) {
  const bool is_container = PyDict_Check(referrer) || PyList_Check(referrer) ||
                            PyTuple_Check(referrer) || PyAnySet_Check(referrer);
  if (PyType_HasFeature(Py_TYPE(referrer), Py_TPFLAGS_MANAGED_DICT)) instance_dict(referrer);
  struct Found {
    const ObjectMap* map;
    std::vector<PyObject*> targets;
  } found{&targets_->references, {}};
  Py_TYPE(referrer)->tp_traverse(
      referrer,
      [](PyObject* object, void* data) {
        auto* const inner = static_cast<Found*>(data);
        PyObject* const to = inner->map->find(object);
        if (to != nullptr && to != object) inner->targets.push_back(object);
        return 0;
      },
      &found);
  std::sort(found.targets.begin(), found.targets.end());
  found.targets.erase(std::unique(found.targets.begin(), found.targets.end()),
                      found.targets.end());
  if (is_frame_like(referrer)) {
    if (!PyFrame_Check(referrer) && !found.targets.empty()) {
      replace_in_suspended(referrer, targets_->references, *journal_);
    }
    for (PyObject* target : found.targets) {
      if (count_references(referrer, target) == 0) continue;
      ++report_.skipped[kind_of(referrer)];
      break;
    }
    return;
  }
  if (!is_container && !found.targets.empty() && deque_type() != nullptr &&
      PyObject_TypeCheck(referrer, deque_type()) != 0) {
    deque(referrer);
  }
  for (PyObject* target : found.targets) {
    if (is_left_alone(referrer, target)) continue;
    auto* const type = reinterpret_cast<PyObject*>(Py_TYPE(referrer));
    const long of_class = target == type ? 1 : 0;
    long open = count_references(referrer, target) - of_class;
    if (open > 0 && !is_container) {
      open -= static_cast<long>(slots(referrer, target, targets_->references.find(target)));
    }
    if (open > 0 && !is_container) ++report_.skipped[kind_of(referrer)];
  }
}

// The attributes of an ordinary instance may lie in the object itself; asking for the
// dictionary brings them out.
void HeapPass::instance_dict(PyObject* referrer) {
  const Ref attributes = Ref::steal(PyObject_GenericGetDict(referrer, nullptr));
  if (!attributes) {
    PyErr_Clear();
    return;
  }
  dict(attributes.get());
}

void HeapPass::deque(PyObject* referrer) {
  const PySequenceMethods* const sequence = deque_type()->tp_as_sequence;
  const Py_ssize_t size = sequence->sq_length(referrer);
  for (Py_ssize_t i = 0; i < size; ++i) {
    const Ref item = Ref::steal(sequence->sq_item(referrer, i));
    PyObject* const to = item ? targets_->references.find(item.get()) : nullptr;
    if (to == nullptr || to == item.get()) continue;
    journal_->keep(item.get());
    if (sequence->sq_ass_item(referrer, i, to) < 0) continue;
    ++report_.replaced["deque"];
    journal_->on_undo([owner = Ref::borrow(referrer), i, item, after = Ref::borrow(to)] {
      const Ref now = Ref::steal(PySequence_GetItem(owner.get(), i));
      if (now.get() == after.get()) PySequence_SetItem(owner.get(), i, item.get());
      PyErr_Clear();
    });
  }
  PyErr_Clear();
}

// Words of the object's fixed part that are this reference. That a word is an owned reference,
// and not a number or a borrowed pointer, is proven by writing it and asking tp_traverse.
// Py_SIZE is no help: objects use that field as they like.
std::size_t HeapPass::slots(PyObject* referrer, PyObject* from, PyObject* to) {
  const PyTypeObject* const type = Py_TYPE(referrer);
  const auto header =
      static_cast<Py_ssize_t>(type->tp_itemsize != 0 ? sizeof(PyVarObject) : sizeof(PyObject));
  std::size_t done = 0;
  for (Py_ssize_t at = header;
       at + static_cast<Py_ssize_t>(sizeof(void*)) <= type->tp_basicsize; at += sizeof(void*)) {
    auto** const slot = reinterpret_cast<PyObject**>(reinterpret_cast<char*>(referrer) + at);
    if (*slot != from || at == type->tp_weaklistoffset) continue;
    const long from_before = count_references(referrer, from);
    const long to_before = count_references(referrer, to);
    *slot = to;
    const bool owned = count_references(referrer, from) == from_before - 1 &&
                       count_references(referrer, to) == to_before + 1;
    *slot = from;
    if (!owned) continue;
    refer(referrer, slot, to);
    ++report_.replaced["other"];
    ++done;
  }
  return done;
}

// What statements of a Python module made just now is in nobody's hands but owned references.
void HeapPass::refer(PyObject* referrer, PyObject** slot, PyObject* to) {
  if (targets_->shells.contains(*slot)) {
    journal_->exchange(referrer, slot, to);
  } else {
    journal_->refer(referrer, slot, to);
  }
}

// `obj.method` of a C class, taken before the reload: a builtin of its own, that shares the
// definition with the class's descriptor.
void HeapPass::bound_methods() {
  for (const Ref& object : bound_) {
    auto* const function = reinterpret_cast<PyCFunctionObject*>(object.get());
    const auto fresh = targets_->definitions.find(function->m_ml);
    if (fresh == targets_->definitions.end() || Py_TYPE(fresh->second) != Py_TYPE(function)) {
      continue;
    }
    const auto* const probe = reinterpret_cast<PyCFunctionObject*>(fresh->second);
    journal_->write(object.get(), reinterpret_cast<void**>(&function->m_ml), probe->m_ml);
    journal_->write(object.get(), reinterpret_cast<void**>(&function->vectorcall),
                    reinterpret_cast<void*>(probe->vectorcall));
    ++report_.replaced["bound method"];
  }
}

// ---- hash tables ----

void HeapPass::late_items() {
  for (const LateItem& item : late_) {
    std::ignore = journal_->set_item(item.dict.get(), item.key.get(), item.value.get());
  }
  late_.clear();
}

namespace {

bool rebuild(PyObject* table, const ObjectMap& replacements) {
  const bool done = PyDict_Check(table) ? rebuild_dict(table, replacements)
                                        : rebuild_set(table, replacements);
  PyErr_Clear();
  return done;
}

// Whether a key of the table is in the map.
bool has_key_in(PyObject* table, const ObjectMap& map) {
  PyObject *key = nullptr, *value = nullptr;
  Py_ssize_t at = 0;
  while (PyDict_Next(table, &at, &key, &value) != 0) {
    if (map.find(key) != nullptr) return true;
  }
  return false;
}

// Dicts and sets with one of `changed` among their keys, and tuples around them; those tuples
// hash differently, too.
struct Holders {
  std::vector<Ref> tables, tuples;
};
Holders holders_of(const std::vector<Ref>& changed) {
  struct Context {
    ObjectMap map;
    std::vector<Ref> found;
  } context{ObjectMap(changed.size()), {}};
  for (const Ref& object : changed) context.map.add(object.get(), object.get());
  visit_gc_objects(
      [](PyObject* object, void* data) {
        auto* const inner = static_cast<Context*>(data);
        if ((PyDict_Check(object) || PyAnySet_Check(object) || PyTuple_Check(object)) &&
            refers_to_any(object, inner->map)) {
          inner->found.push_back(Ref::borrow(object));
        }
      },
      &context);
  Holders holders;
  for (Ref& object : context.found) {
    if (PyTuple_Check(object.get())) {
      holders.tuples.push_back(std::move(object));
    } else if (!PyDict_Check(object.get()) || has_key_in(object.get(), context.map)) {
      holders.tables.push_back(std::move(object));
    }
  }
  return holders;
}

// Rebuilds what has `changed` among its keys, then what has those among its own.
void rebuild_holders(std::vector<Ref> changed) {
  const ObjectMap nothing(0);
  std::unordered_set<PyObject*> seen;
  for (int depth = 0; depth < k_nesting && !changed.empty(); ++depth) {
    for (const Ref& object : changed) seen.insert(object.get());
    Holders holders = holders_of(changed);
    changed.clear();
    for (Ref& tuple : holders.tuples) {
      if (!seen.contains(tuple.get())) changed.push_back(std::move(tuple));
    }
    for (Ref& table : holders.tables) {
      rebuild(table.get(), nothing);
      if (PyFrozenSet_Check(table.get()) && !seen.contains(table.get())) {
        changed.push_back(std::move(table));
      }
    }
  }
}

}  // namespace

// new key -> old key, for those of this table that are about to be replaced.
ObjectMap HeapPass::replaced_keys(PyObject* table) const {
  ObjectMap reverse(0);
  const Ref keys =
      Ref::steal(PyDict_Check(table) ? PyDict_Keys(table) : PySequence_List(table));
  if (!keys) PyErr_Clear();
  for (Py_ssize_t i = 0; keys && i < PyList_GET_SIZE(keys.get()); ++i) {
    PyObject* const key = PyList_GET_ITEM(keys.get(), i);
    PyObject* const to = targets_->references.find(key);
    if (to != nullptr && to != key) reverse.add(to, key);
  }
  return reverse;
}

void HeapPass::rebuild_tables() {
  late_items();
  std::vector<Ref> changed = std::move(changed_);
  for (const Ref& table : tables_) {
    const auto reverse = std::make_shared<ObjectMap>(replaced_keys(table.get()));
    if (rebuild(table.get(), targets_->references)) {
      ++report_.replaced[PyDict_Check(table.get()) ? "dict key" : "set member"];
    } else {
      ++report_.skipped[kind_of(table.get())];
    }
    if (PyFrozenSet_Check(table.get())) changed.push_back(table);
    journal_->on_undo([table, reverse] { rebuild(table.get(), *reverse); });
  }
  for (const Ref& object : bound_) changed.push_back(object);
  rebuild_holders(std::move(changed));
}

void rehash(const std::vector<PyObject*>& objects) {
  std::vector<Ref> changed;
  for (PyObject* object : objects) changed.push_back(Ref::borrow(object));
  rebuild_holders(std::move(changed));
}

}  // namespace rehook
