#include "hook/patch/hash_tables.hpp"

#include <unordered_map>
#include <utility>
#include <vector>

namespace rehook {
namespace {

PyObject* replaced(PyObject* object, const ObjectMap& replacements) {
  PyObject* const other = replacements.find(object);
  return other != nullptr ? other : object;
}

// Objects/odictobject.c: an OrderedDict keeps a list of its keys beside the table. Its own
// iterator looks each key up, which fails for a key that hashes differently.
struct OrderedNode {
  PyObject* key;
  Py_hash_t hash;
  OrderedNode *next, *previous;
};
struct OrderedLayout {
  PyDictObject dict;
  OrderedNode *first, *last;
  void** fast_nodes;
  Py_ssize_t fast_nodes_size;
  void* resize_sentinel;
  std::size_t state;
  PyObject *attributes, *weak_references;
};

// In its own order, which move_to_end() may have made another one than the table's.
bool ordered_items(PyObject* dict, std::vector<std::pair<Ref, Ref>>& items) {
  if (PyODict_Type.tp_basicsize != sizeof(OrderedLayout)) return false;
  std::unordered_map<PyObject*, PyObject*> values;
  PyObject *key = nullptr, *value = nullptr;
  Py_ssize_t at = 0;
  while (PyDict_Next(dict, &at, &key, &value) != 0) values[key] = value;
  const auto* node = reinterpret_cast<OrderedLayout*>(dict)->first;
  for (; node != nullptr && items.size() < values.size(); node = node->next) {
    const auto found = values.find(node->key);
    if (found == values.end()) return false;
    items.emplace_back(Ref::borrow(found->first), Ref::borrow(found->second));
  }
  return node == nullptr && items.size() == values.size();
}

bool rebuild_ordered(PyObject* dict, const ObjectMap& replacements) {
  std::vector<std::pair<Ref, Ref>> items;
  if (!ordered_items(dict, items)) return false;
  const Ref clear =
      Ref::steal(PyObject_GetAttrString(reinterpret_cast<PyObject*>(&PyODict_Type), "clear"));
  const Ref done = clear ? Ref::steal(PyObject_CallOneArg(clear.get(), dict)) : Ref();
  if (!done) return false;
  for (const auto& [key, value] : items) {
    if (PyODict_SetItem(dict, replaced(key.get(), replacements), value.get()) < 0) return false;
  }
  return true;
}

}  // namespace

bool rebuild_dict(PyObject* dict, const ObjectMap& replacements) {
  if (PyODict_Check(dict)) return rebuild_ordered(dict, replacements);
  const Ref made = Ref::steal(PyDict_New());
  if (!made) return false;
  const Ref items = Ref::steal(PyList_New(0));
  PyObject *key = nullptr, *value = nullptr;
  Py_ssize_t at = 0;
  while (items && PyDict_Next(dict, &at, &key, &value) != 0) {
    PyList_Append(items.get(), key);
    PyList_Append(items.get(), value);
  }
  const auto* const source = reinterpret_cast<PyDictObject*>(dict);
  const PyDictKeysObject* const keys_before = source->ma_keys;
  const Py_ssize_t used_before = source->ma_used;
  for (Py_ssize_t i = 0; items && i < PyList_GET_SIZE(items.get()); i += 2) {
    key = replaced(PyList_GET_ITEM(items.get(), i), replacements);
    // A key that is there already came first or is the one that stays.
    if (PyDict_SetDefault(made.get(), key, PyList_GET_ITEM(items.get(), i + 1)) == nullptr) {
      return false;
    }
  }
  // Somebody's __eq__ wrote into it meanwhile: no harm, but this copy is of yesterday.
  if (source->ma_keys != keys_before || source->ma_used != used_before) return false;
  auto* const one = reinterpret_cast<PyDictObject*>(dict);
  auto* const other = reinterpret_cast<PyDictObject*>(made.get());
  std::swap(one->ma_used, other->ma_used);
  std::swap(one->ma_keys, other->ma_keys);
  std::swap(one->ma_values, other->ma_values);
#if PY_VERSION_HEX < 0x030C0000
  std::swap(one->ma_version_tag, other->ma_version_tag);
#endif
  if (!PyObject_GC_IsTracked(dict)) PyObject_GC_Track(dict);
  if (!PyObject_GC_IsTracked(made.get())) PyObject_GC_Track(made.get());
  return true;
}

bool rebuild_set(PyObject* set, const ObjectMap& replacements) {
  const Ref items = Ref::steal(PySequence_List(set));
  const Ref made = Ref::steal(PySet_New(nullptr));
  if (!items || !made) return false;
  const Py_ssize_t used_before = PySet_GET_SIZE(set);
  for (Py_ssize_t i = 0; i < PyList_GET_SIZE(items.get()); ++i) {
    if (PySet_Add(made.get(), replaced(PyList_GET_ITEM(items.get(), i), replacements)) < 0) {
      return false;
    }
  }
  if (PySet_GET_SIZE(set) != used_before) return false;
  auto* const one = reinterpret_cast<PySetObject*>(set);
  auto* const other = reinterpret_cast<PySetObject*>(made.get());
  const bool one_small = one->table == one->smalltable;
  const bool other_small = other->table == other->smalltable;
  std::swap(one->fill, other->fill);
  std::swap(one->used, other->used);
  std::swap(one->mask, other->mask);
  std::swap(one->table, other->table);
  std::swap(one->finger, other->finger);
  std::swap(one->smalltable, other->smalltable);
  if (other_small) one->table = one->smalltable;
  if (one_small) other->table = other->smalltable;
  one->hash = -1;  // a frozenset's, of its old members
  other->hash = -1;
  return true;
}

}  // namespace rehook
