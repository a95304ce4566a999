#pragma once

#include <functional>
#include <string>
#include <vector>

#include "hook/patch/pairing.hpp"
#include "hook/registry/bridge_abi.h"
#include "shadow_store/class_layout.hpp"

namespace rehook {

// What becomes of the living instances of a reloaded class (the setting `instances`).
enum class InstancePolicy { adopt, migrate, keep };

// What is known of the running and the new build of one extension.
struct JudgedExtension {
  std::string module;
  ClassLayouts before, after;
};

// Decides for every class of a reload whether the running class object may serve the new build.
// It may when the C++ layout of its instances, and of all that new code can reach from them, is
// known to be the same, and the binding library can exchange the two. Not knowing means no.
class AdoptionJudge final {
 public:
  // Finds the registry that a class of the running builds is in, or null.
  using FindBridge = std::function<const RehookBridge*(PyObject* type)>;

  AdoptionJudge(InstancePolicy policy, std::vector<JudgedExtension> extensions,
                FindBridge find_bridge);

  // `before` and `after` are classes of one qualified name. Runs no Python code but attribute
  // look-ups.
  Verdict judge(PyObject* before, PyObject* after);

  // The classes of binding libraries among those judged, and what became of them.
  struct Judged {
    Ref before, after;
    const RehookBridge* bridge = nullptr;
    std::string cpp_name;  // mangled
    bool adopted = false;
    bool is_polymorphic = false;
  };
  [[nodiscard]] const std::vector<Judged>& bound() const { return bound_; }
  // What finally became of them: a class is not adopted without its bases.
  void note_adopted(const std::vector<ObjectPair>& pairs);
  // Whether the class of this mangled name has the same layout in both builds of `module`.
  [[nodiscard]] bool keeps_layout(const std::string& module, std::string_view cpp_name) const;

 private:
  [[nodiscard]] const JudgedExtension* extension_of(PyObject* type) const;
  [[nodiscard]] Verdict judge_bound(PyObject* before, PyObject* after,
                                    const RehookBridge& bridge, const RehookClass& old_class);
  [[nodiscard]] Verdict judge_plain(PyObject* before, PyObject* after) const;

  InstancePolicy policy_;
  std::vector<JudgedExtension> extensions_;
  FindBridge find_bridge_;
  std::vector<Judged> bound_;
};

}  // namespace rehook
