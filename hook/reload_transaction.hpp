#pragma once

#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "hook/class_takeover.hpp"
#include "hook/extension_loader.hpp"
#include "hook/generation.hpp"
#include "hook/generation_loader.hpp"
#include "hook/interpreter.hpp"
#include "hook/patch/exception_classes.hpp"
#include "hook/patch/patch.hpp"
#include "hook/patch/subclass_lists.hpp"
#include "hook/python_batch.hpp"
#include "hook/registry/type_registries.hpp"
#include "shadow_store/shadow_copy.hpp"

namespace rehook {

// One extension module to be reloaded: where it stands and what it becomes.
struct Reloadable {
  LoadedExtension* extension = nullptr;
  Path build_dir;  // of the project
  Path artifact;   // in the store
  Digest digest, code, layouts;
  ClassLayouts before = {}, after = {};  // of the running and of the new build
  BindingLibraries bindings;
  CompileGroup flags;  // of its C++ sources, for the bridges
  Path compiler;
  unsigned next_number = 1;
  LibraryRequest libraries = {};  // with what it is loaded
  std::set<Digest> groups = {};   // see groups_of()
  std::uint64_t static_tls = 0;   // see BuiltModule
};

// One reload, all or nothing, of compiled modules and the Python modules around them.
//
//   ReloadTransaction reload(registries, shadows, loader_type);
//   REHOOK_TRY(reload.stage(modules));   // copies, checks, dlopen: nothing is touched
//   REHOOK_TRY(reload.prepare(python));  // Python sources are parsed and compared
//   REHOOK_TRY(reload.load());           // old types retire, new modules initialise
//   REHOOK_TRY(reload.run());            // Python statements run beside the program
//   REHOOK_TRY(reload.take_over());      // what is held of the old code runs the new one
//   reload.commit();                     // without this line the old world comes back
//
// The GIL is held throughout; stage() may release it. After a failure, cause() holds the Python
// exception behind it, if there is one.
class ReloadTransaction final {
 public:
  ReloadTransaction(FileSystem& fs, TypeRegistries& registries, ShadowFolder& shadows,
                    ProcessLibraries libraries, InstancePolicy policy, PyObject* loader_type);
  ~ReloadTransaction();
  ReloadTransaction(const ReloadTransaction&) = delete;
  ReloadTransaction& operator=(const ReloadTransaction&) = delete;

  Status stage(std::vector<Reloadable> modules, const CancelPoll& cancel);
  Status load();
  Status prepare(std::unique_ptr<PythonBatch> python);
  // What changed in Python modules, and what reads what changed there or in a compiled module,
  // runs in shadows of the modules.
  Status run();
  // Functions and classes of the old code become those of the new one, where they are, and
  // module namespaces get the new content: one step for every other thread.
  Status take_over();
  // With the policy `migrate`: instances of classes whose layout changed get new values. Those
  // of which that is not possible stay as they are, and are reported.
  void migrate();
  void commit();

  [[nodiscard]] SavedError take_cause() { return std::move(cause_); }
  // What the process's extensions run after commit().
  [[nodiscard]] ProcessLibraries take_libraries() { return std::move(libraries_); }
  [[nodiscard]] bool empty() const { return items_.empty(); }
  // What could not be carried over, for the report: (what, why).
  [[nodiscard]] const std::vector<LeftBehind>& left_behind() const { return left_; }
  // Statements that ran, by Python module.
  [[nodiscard]] std::map<std::string, std::size_t> statements() const {
    return python_ ? python_->ran() : std::map<std::string, std::size_t>();
  }
  [[nodiscard]] bool has_left_functions() const {
    return patch_ && patch_->report().has_left_functions;
  }
  // Objects that were patched, by kind: function, method, property, class, instance, replaced.
  [[nodiscard]] std::map<std::string, std::size_t> patched() const {
    return patch_ ? patch_->report().done : std::map<std::string, std::size_t>();
  }

 private:
  struct Item {
    Reloadable plan;
    Path shadow;
    LoadedLibrary old_range, new_range;
    Result<std::string> old_bytes = Error{}, new_bytes = Error{};  // of the two files
    std::vector<LibraryInstance> libraries;  // private copies that the new build runs
    BindingLibraries bindings;               // of the old or the new build
    Ref fresh;                               // the module object the new generation initialised
    Ref cache_entry;                         // pybind11's own cache of finished modules, before
    std::set<std::string> names;
    std::vector<ImportLock> locks;
  };
  struct Retired {
    const RehookBridge* bridge = nullptr;
    void* handle = nullptr;
    std::vector<LoadedLibrary> libraries;  // running builds that use it
    std::vector<std::string> modules;
  };
  struct SharedNamespace {
    Ref hidden, own_dict;
  };

  Status stage_one(Item& item);
  Status check_replaced_libraries(const Item& item);
  Status make_copies(Item& item);
  Status stage_bridge(const Item& item, BindingLibrary library, const CancelPoll& cancel);
  Status retire();
  Status load_one(Item& item);
  // New modules enter sys.modules at once when others of the same reload may import them.
  [[nodiscard]] Visible visibility() const {
    return items_.size() > 1 ? Visible::yes : Visible::no;
  }
  void swap_one(Item& item);
  void replace_content(PyObject* module, PyObject* fresh, const std::set<std::string>* owned,
                       const std::map<PyObject*, PyObject*>& kept);
  void lead_virtual_functions(const Item& item);
  Status plan_patch();
  void patch();
  void swap();
  // Remembers the namespace of one more module, so that a rollback restores it.
  void journal(PyObject* module);
  void rollback();
  // New module -> old one: the extension's own and the submodules it made.
  [[nodiscard]] std::map<PyObject*, PyObject*> kept_modules(const Item& item) const;
  Status python_failure(const std::string& what);

  FileSystem* fs_;
  TypeRegistries* registries_;
  ShadowFolder* shadows_;
  ProcessLibraries libraries_;
  Ref loader_type_;
  std::vector<Item> items_;
  std::optional<std::vector<std::string>> replaced_;  // see replaced_libraries()
  std::vector<Retired> retired_;
  std::map<PyObject*, std::pair<Ref, Ref>> namespaces_;  // dict -> (dict, copy before)
  std::vector<std::pair<Ref, Ref>> saved_modules_;       // sys.modules entries (name, module)
  std::vector<std::string> prefixes_;
  std::vector<SharedNamespace> shared_;
  std::unique_ptr<ExceptionClasses> exceptions_;
  SubclassLists subclasses_;
  SavedError cause_;
  std::vector<LeftBehind> left_;
  InstancePolicy policy_;
  std::unique_ptr<ClassTakeover> classes_;  // outlives patch_, which asks it
  std::unique_ptr<Patch> patch_;
  std::unique_ptr<PythonBatch> python_;
  bool loaded_ = false;
  bool done_ = false;
};

// pybind11 3.0.1 and later keep every finished module in the interpreter's state dictionary
// under
// "__pybind11_module_cache" and return it on the next initialisation, new library or not
// (pybind/pybind11#5782). Null when there is no such cache.
[[nodiscard]] Ref pybind11_module_cache();

}  // namespace rehook
