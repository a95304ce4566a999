#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <unordered_set>
#include <vector>

#include "hook/patch/callables.hpp"
#include "hook/patch/class_adoption.hpp"
#include "hook/patch/enum_adoption.hpp"
#include "hook/patch/function_code.hpp"
#include "hook/patch/heap_pass.hpp"
#include "hook/patch/journal.hpp"
#include "hook/patch/pairing.hpp"
#include "hook/patch/python_classes.hpp"
#include "hook/patch/static_classes.hpp"

namespace rehook {

// Something that still is of the old build.
struct LeftBehind {
  std::string what, why;
  std::size_t count = 0;           // 0: not counted
  const PyObject* type = nullptr;  // the old class, when it is about instances
};

// Where a patch asks others.
struct PatchSeams {
  // What becomes of a class whose type objects are compatible.
  ClassJudge judge;
  // Makes the registries of binding libraries name the old classes, for all pairs they know and
  // all at once; the reason why not, with nothing changed, or "". Taken back by its owner.
  std::function<std::string(const std::vector<ObjectPair>& pairs)> adopt;
  Callables::Redirect redirect;
  // How many instances of an old class there are, as its binding library counts them.
  std::function<std::optional<std::size_t>(PyObject* type)> count_instances = {};
  // An object of the new class with the content of `instance`, whose class was made anew with
  // other slots; null when that cannot be. Runs Python code, while the plan is made.
  std::function<Result<Ref>(PyObject* instance, PyObject* new_class)> renew = {};
};

// What the Python modules of a reload bring along.
struct PythonPatch {
  std::vector<CodeReplacement> codes;
  std::vector<PyObject*> namespaces;           // where their functions are looked for first
  std::vector<std::pair<Ref, Ref>> stand_ins;  // shadow -> what it stands for
  bool look_everywhere = false;                // see FunctionCode::find()
  bool is_closed = false;  // nothing outside of the shadows refers to them or their content
};

struct PatchReport {
  std::map<std::string, std::size_t> done;  // kind -> objects patched
  std::vector<LeftBehind> left;
  std::size_t objects = 0;  // looked at by the heap pass
  bool has_left_functions = false;
};

// Makes every reference that the program holds to the functions and classes of a module run
// its new build: in place where old and new are of one kind, and by one pass over the heap
// where they are not.
//
//   Patch patch(modules, ownership, seams);
//   patch.plan();    // pairs; the seams may run Python code; nothing is changed
//   patch.apply();   // no Python code runs from the first write to the last raw one
//   patch.settle();  // hash tables, registries of abstract classes
//   patch.commit();  // or undo(), which is also what the destructor does
class Patch final {
 public:
  // `variables`: static variables of the new builds, where they keep the classes they made.
  // `ours`: dictionaries that hold the old content for an undo.
  Patch(std::vector<PatchModule> modules, Ownership ownership,
        std::vector<std::span<void*>> variables, std::unordered_set<const PyObject*> ours,
        PythonPatch python, PatchSeams seams);
  ~Patch() { undo(); }
  Patch(const Patch&) = delete;
  Patch& operator=(const Patch&) = delete;

  // failed_load: the code of a class whose objects are made anew raised; the exception stays
  // set.
  Status plan();
  void apply();
  // What may run code of keys that are compared; after the last raw write of the reload.
  void settle();
  void undo();
  void commit();

  [[nodiscard]] const PatchReport& report() const { return report_; }

 private:
  void adopt_classes();
  void adopt_python_classes();
  Status renew_instances();
  void take_namespaces();
  void take_module_words(const ObjectPair& pair);
  void patch_callables();
  [[nodiscard]] HeapTargets heap_targets();
  void follow_references();
  void count_instances();
  void report_skipped(const HeapPassReport& heap);

  std::vector<PatchModule> modules_;
  Ownership ownership_;
  std::vector<std::span<void*>> variables_;
  std::unordered_set<const PyObject*> ours_;
  PatchSeams seams_;
  Journal journal_;
  ObjectMap successors_{64};  // new -> old
  Callables callables_;
  StaticClasses static_classes_;
  PythonPatch python_;
  FunctionCode functions_;
  PythonClassAdoption python_classes_;
  std::unique_ptr<HeapPass> heap_;
  Pairs pairs_;
  std::vector<std::pair<Ref, Ref>> renewed_;  // old instance -> new instance
  std::map<PyObject*, EnumMembers> enums_;    // by old class
  PatchReport report_;
  bool applied_ = false;
};

}  // namespace rehook
