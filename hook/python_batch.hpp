#pragma once

#include <map>
#include <memory>
#include <string>
#include <unordered_set>
#include <vector>

#include "hook/interpreter.hpp"
#include "hook/patch/patch.hpp"
#include "hook/python_sources.hpp"

namespace rehook {

// One Python module to be reloaded.
struct PythonReload {
  std::string name;
  PythonSources::Saved saved;
  bool whole = false;      // all of its body, not just what changed
  bool is_changed = true;  // its source; else it runs because somebody asked for all of it
};

// The Python modules of one reload (python/rehook/_python_batch.py does the work): their
// sources are compared, what changed runs in shadows, and what came out is handed to a Patch.
//
//   PythonBatch batch(modules, extensions, sources);
//   REHOOK_TRY(batch.prepare());     // parses and compares; nothing has run
//   REHOOK_TRY(batch.run(compiled)); // the program sees nothing of it
//   … a Patch with batch.modules() and batch.patch() …
//   batch.commit();                  // else imports of new modules are undone
//
// After a failure, take_cause() holds the Python exception.
class PythonBatch final {
 public:
  // `compiled`: names of the extensions that are reloaded with them.
  PythonBatch(std::vector<PythonReload> modules, std::vector<std::string> compiled,
              const PythonSources& sources);
  ~PythonBatch();
  PythonBatch(const PythonBatch&) = delete;
  PythonBatch& operator=(const PythonBatch&) = delete;

  Status prepare();
  // `compiled`: the module objects of the extensions that are reloaded with them, old and new.
  struct Compiled {
    std::string name;
    Ref module, fresh;
  };
  Status run(const std::vector<Compiled>& compiled);

  [[nodiscard]] std::vector<PatchModule> modules() const;
  [[nodiscard]] PythonPatch patch() const;
  // The files whose code changes hands, as in co_filename.
  [[nodiscard]] std::vector<Ref> files() const;
  // Containers that are not the program's.
  [[nodiscard]] std::unordered_set<const PyObject*> own_containers() const;
  void commit();

  [[nodiscard]] const std::vector<PythonReload>& requests() const { return requests_; }
  // Statements that ran, by module; modules that only import from those asked for among them.
  [[nodiscard]] const std::map<std::string, std::size_t>& ran() const { return ran_; }
  [[nodiscard]] SavedError take_cause() { return std::move(cause_); }

 private:
  Status failure(const std::string& what);
  [[nodiscard]] Ref ask(const char* method) const;

  std::vector<PythonReload> requests_;
  std::vector<std::string> compiled_names_;
  const PythonSources* sources_;
  Ref batch_;
  std::vector<PatchModule> modules_;
  std::map<std::string, std::size_t> ran_;
  std::vector<PythonBatch::Compiled> compiled_;
  SavedError cause_;
  bool has_run_ = false;
};

}  // namespace rehook
