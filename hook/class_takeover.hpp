#pragma once

#include <memory>
#include <string>
#include <vector>

#include "hook/adoption_judge.hpp"
#include "hook/generation.hpp"
#include "hook/patch/instance_migration.hpp"
#include "hook/patch/patch.hpp"
#include "hook/patch/virtual_tables.hpp"

namespace rehook {

// A binding library's registry from which the running types of a reload were retired.
struct RetiredRegistry {
  const RehookBridge* bridge = nullptr;
  void* handle = nullptr;
  std::vector<std::string> modules;  // extensions that it was compiled for
};

// The classes of one reload: which running class objects serve the new builds, and what becomes
// of the instances of the others.
//
//   ClassTakeover classes(policy, extensions, registries);
//   … a Patch with classes.seams() …                    // adopts
//   REHOOK_TRY(classes.check());
//   classes.lead_virtual_functions(extension, old, fresh);
//   classes.report(left);                               // what stays, and why
//   classes.migrate(left);                              // with the setting
//   classes.commit();                                   // else all of it is undone
class ClassTakeover final {
 public:
  ClassTakeover(InstancePolicy policy, std::vector<JudgedExtension> extensions,
                std::vector<RetiredRegistry> registries);

  // They refer to this object.
  [[nodiscard]] PatchSeams seams();
  // unsafe: one registry adopted, another refused; the reload has to be rolled back.
  [[nodiscard]] Status check() const;

  // Objects made by the running and earlier builds of `extension`, or of the library `origin`
  // that it is linked with, call the virtual functions of the new one, where layouts allow.
  void lead_virtual_functions(LoadedExtension& extension, const Path& origin,
                              const VirtualTables::Build& running,
                              const VirtualTables::Build& fresh);
  void report(std::vector<LeftBehind>& left) const;
  // Takes the classes whose instances were migrated off the list; adds why others were not.
  void migrate(std::vector<LeftBehind>& left);
  void commit();

 private:
  struct Tables {
    LoadedExtension* extension = nullptr;
    Path origin;
    std::unique_ptr<VirtualTables> tables;
  };
  [[nodiscard]] const RetiredRegistry* registry_of(PyObject* type) const;
  [[nodiscard]] std::string adopt(const std::vector<ObjectPair>& pairs);
  [[nodiscard]] bool redirect(PyObject* before, PyObject* after);
  void report_subclasses(const AdoptionJudge::Judged& one, std::vector<LeftBehind>& left) const;

  InstancePolicy policy_;
  std::vector<RetiredRegistry> registries_;
  AdoptionJudge judge_;
  std::vector<Tables> tables_;
  std::unique_ptr<InstanceMigration> migration_;
  std::string failure_;
  std::string tables_failure_;
};

}  // namespace rehook
