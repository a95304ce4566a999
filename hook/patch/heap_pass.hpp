#pragma once

#include <map>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "hook/patch/journal.hpp"
#include "hook/patch/object_map.hpp"

namespace rehook {

// Which references are to go where.
struct HeapTargets {
  ObjectMap references{64};  // fresh -> old, old -> fresh, and x -> x for "x has another hash"
  std::unordered_set<PyObject*> rehash;   // the x of x -> x
  std::unordered_set<PyObject*> adopted;  // new classes whose instances become the old class's
  // Fresh functions and classes that statements of Python modules made in the place of old
  // ones. A list that has the old one already got them from a registration that ran again.
  std::unordered_set<PyObject*> shells;
  std::unordered_set<PyObject*> retired;  // old classes that keep their instances
  // A method's old definition -> a builtin of the new one, see Callables::definitions().
  std::map<PyMethodDef*, PyObject*> definitions;
  // Containers that are not the program's: copies for the undo.
  std::unordered_set<const PyObject*> ours;
};

struct HeapPassReport {
  std::size_t objects = 0;                      // seen
  std::map<std::string, std::size_t> replaced;  // kind of referrer -> references
  std::map<std::string, std::size_t> skipped;   // kind of referrer -> objects
  std::map<PyObject*, std::size_t> instances;   // of the retired classes
};

// Finds every reference to the targets that the garbage collector can see, in one scan however
// many there are, and replaces it: in dicts, lists, tuples, sets, cells, instances, and in any
// other object whose tp_traverse proves that a word of it is an owned reference. Hash tables
// whose keys hash differently are rebuilt.
//
// Class objects keep their bases, and old classes all that belongs to them. The collector must
// be off. Everything is in the journal; after an undo, rehash() puts the tables right.
class HeapPass final {
 public:
  HeapPass(Journal& journal, HeapTargets targets)
      : journal_(&journal), own_targets_(std::move(targets)), targets_(&own_targets_) {}

  // No Python code runs.
  void replace();
  // Rebuilds the tables that replace() found and those that have a changed tuple among their
  // keys. Compares keys, so it comes when all else is done.
  void rebuild_tables();

  [[nodiscard]] const HeapPassReport& report() const { return report_; }

 private:
  void scan();
  void add_family(PyTypeObject* type);
  void exclude_class_parts();
  void visit(PyObject* referrer);
  void dict(PyObject* referrer);
  void list(PyObject* referrer);
  bool tuple(PyObject* referrer);
  void other(PyObject* referrer);
  void instance_dict(PyObject* referrer);
  void deque(PyObject* referrer);
  std::size_t slots(PyObject* referrer, PyObject* from, PyObject* to);
  void refer(PyObject* referrer, PyObject** slot, PyObject* to);
  void bound_methods();
  void late_items();
  [[nodiscard]] ObjectMap replaced_keys(PyObject* table) const;
  [[nodiscard]] bool is_left_alone(PyObject* referrer, PyObject* target) const;

  Journal* journal_;
  HeapTargets own_targets_;
  const HeapTargets* targets_;
  HeapPassReport report_;
  std::vector<Ref> hits_, bound_, instances_;
  std::vector<PyTypeObject*> types_;
  std::unordered_set<const PyObject*> excluded_;
  std::unordered_map<const PyObject*, PyTypeObject*> class_dicts_;
  std::vector<Ref> tables_;   // to be rebuilt: their keys are targets
  std::vector<Ref> changed_;  // tuples that hash differently
  struct LateItem {
    Ref dict, key, value;
  };
  std::vector<LateItem> late_;  // values behind keys with Python code of their own
};

// Rebuilds every table that has one of `objects`, whose hash changed, among its keys.
void rehash(const std::vector<PyObject*>& objects);

}  // namespace rehook
