#include "hook/class_takeover.hpp"

#include <algorithm>
#include <array>
#include <set>

namespace rehook {
namespace {

std::size_t instances_of(const AdoptionJudge::Judged& one) {
  return one.bridge->instances(
      one.before.get(), 1, [](PyObject* /*instance*/, void* /*context*/) {}, nullptr);
}

std::string full_name(PyObject* type) {
  return string_attribute(type, "__module__") + "." + string_attribute(type, "__qualname__");
}

}  // namespace

ClassTakeover::ClassTakeover(InstancePolicy policy, std::vector<JudgedExtension> extensions,
                             std::vector<RetiredRegistry> registries)
    : policy_(policy),
      registries_(std::move(registries)),
      judge_(policy, std::move(extensions), [this](PyObject* type) {
        const RetiredRegistry* const registry = registry_of(type);
        return registry == nullptr ? nullptr : registry->bridge;
      }) {}

// Bridges that were compiled with other flags may describe each other's classes; the one that
// retired a class is that of its extension.
const RetiredRegistry* ClassTakeover::registry_of(PyObject* type) const {
  const std::string module = string_attribute(type, "__module__");
  const RetiredRegistry* found = nullptr;
  for (const RetiredRegistry& registry : registries_) {
    RehookClass known{};
    if (registry.bridge->describe(type, &known) == 0) continue;
    const bool is_its = std::any_of(registry.modules.begin(), registry.modules.end(),
                                    [&](const std::string& name) {
                                      return module == name || module.starts_with(name + ".");
                                    });
    if (is_its) return &registry;
    if (found == nullptr) found = &registry;
  }
  return found;
}

PatchSeams ClassTakeover::seams() {
  PatchSeams seams;
  seams.judge = [this](PyObject* before, PyObject* after) {
    return judge_.judge(before, after);
  };
  seams.adopt = [this](const std::vector<ObjectPair>& pairs) { return adopt(pairs); };
  seams.redirect = [this](PyObject* before, PyObject* after) {
    return redirect(before, after);
  };
  seams.count_instances = [this](PyObject* type) -> std::optional<std::size_t> {
    for (const AdoptionJudge::Judged& one : judge_.bound()) {
      if (one.before.get() == type) return instances_of(one);
    }
    return std::nullopt;
  };
  return seams;
}

std::string ClassTakeover::adopt(const std::vector<ObjectPair>& pairs) {
  bool adopted = false;
  for (const RetiredRegistry& registry : registries_) {
    std::vector<RehookClassPair> its;
    for (const ObjectPair& pair : pairs) {
      if (registry_of(pair.before.get()) == &registry) {
        its.push_back({pair.before.get(), pair.after.get()});
      }
    }
    std::array<char, 512> text{};
    if (its.empty()) continue;
    if (registry.bridge->adopt(registry.handle, its.data(), its.size(), text.data(),
                               text.size()) != 0) {
      if (adopted) failure_ = text.data();
      return text.data();
    }
    adopted = true;
  }
  judge_.note_adopted(pairs);
  return "";
}

bool ClassTakeover::redirect(PyObject* before, PyObject* after) {
  for (const RetiredRegistry& registry : registries_) {
    std::array<char, 512> text{};
    if (registry.bridge->redirect != nullptr &&
        registry.bridge->redirect(registry.handle, before, after, text.data(), text.size()) ==
            0) {
      return true;
    }
  }
  return false;
}

Status ClassTakeover::check() const {
  if (failure_.empty()) return ok_status();
  return Error{ErrorCode::unsafe, "the running classes cannot be taken over: " + failure_,
               "restart the interpreter to run the new build"};
}

void ClassTakeover::lead_virtual_functions(LoadedExtension& extension, const Path& origin,
                                           const VirtualTables::Build& running,
                                           const VirtualTables::Build& fresh) {
  auto tables = std::make_unique<VirtualTables>();
  Status status = tables->plan(
      running, fresh, extension.following[origin],
      [&](std::string_view name) { return judge_.keeps_layout(extension.name, name); });
  if (status) status = tables->apply();
  if (!status) {
    tables_failure_ = status.error().message;
    return;
  }
  tables_.push_back({&extension, origin, std::move(tables)});
}

// Python classes below a class that was replaced go on deriving from the old one.
void ClassTakeover::report_subclasses(const AdoptionJudge::Judged& one,
                                      std::vector<LeftBehind>& left) const {
  std::set<PyObject*> known;
  for (const AdoptionJudge::Judged& other : judge_.bound()) {
    known.insert(other.before.get());
    known.insert(other.after.get());
  }
  std::vector<Ref> waiting = {one.before};
  for (std::size_t i = 0; i < waiting.size(); ++i) {
    const Ref below =
        Ref::steal(PyObject_CallMethod(waiting[i].get(), "__subclasses__", nullptr));
    PyErr_Clear();
    for (Py_ssize_t j = 0; below && j < PyList_GET_SIZE(below.get()); ++j) {
      PyObject* const subclass = PyList_GET_ITEM(below.get(), j);
      if (!known.insert(subclass).second) continue;
      left.push_back({"class " + full_name(subclass),
                      "it derives from the old " + full_name(one.before.get()), 0,
                      one.before.get()});
      waiting.push_back(Ref::borrow(subclass));
    }
  }
}

void ClassTakeover::report(std::vector<LeftBehind>& left) const {
  for (const AdoptionJudge::Judged& one : judge_.bound()) {
    if (!one.adopted) {
      report_subclasses(one, left);
      continue;
    }
    const bool follows = std::any_of(tables_.begin(), tables_.end(), [&](const Tables& tables) {
      return tables.tables->covers(one.cpp_name);
    });
    const std::size_t count = follows || !one.is_polymorphic ? 0 : instances_of(one);
    if (count == 0) continue;
    left.push_back({"virtual functions of instances of " + full_name(one.before.get()),
                    tables_failure_.empty() ? "their table of virtual functions was not found"
                                            : tables_failure_,
                    count, nullptr});
  }
}

void ClassTakeover::migrate(std::vector<LeftBehind>& left) {
  if (policy_ != InstancePolicy::migrate) return;
  const auto is_bound = [&](const LeftBehind& one) {
    return one.type != nullptr &&
           std::any_of(judge_.bound().begin(), judge_.bound().end(),
                       [&](const auto& other) { return other.before.get() == one.type; });
  };
  for (LeftBehind& one : left) {
    if (one.type == nullptr || is_bound(one)) continue;
    one.why += "; not migrated: no binding library can make its objects anew in their place";
  }
  std::vector<ReplacedClass> replaced;
  for (const AdoptionJudge::Judged& one : judge_.bound()) {
    if (one.adopted || instances_of(one) == 0) continue;
    replaced.push_back({one.before.get(), one.after.get(), one.bridge});
  }
  std::vector<PyObject*> left_out;
  while (!replaced.empty()) {
    migration_ = std::make_unique<InstanceMigration>(replaced, left_out);
    Status status = migration_->collect();
    if (status) status = migration_->convert();
    if (status) break;
    PyObject* const obstacle = migration_->obstacle();
    migration_.reset();
    const std::string why = "; not migrated: " + status.error().message;
    for (LeftBehind& one : left) {
      // One class that cannot keeps the others from nothing; an error while values are made
      // ends it for all.
      if (is_bound(one) && (obstacle == nullptr || one.type == obstacle)) one.why += why;
    }
    if (obstacle == nullptr) return;
    left_out.push_back(obstacle);
    std::erase_if(replaced,
                  [&](const ReplacedClass& one) { return one.old_class == obstacle; });
  }
  std::erase_if(left, [&](const LeftBehind& one) {
    return std::any_of(replaced.begin(), replaced.end(),
                       [&](const ReplacedClass& other) { return one.type == other.old_class; });
  });
}

void ClassTakeover::commit() {
  if (migration_) migration_->commit();
  for (Tables& one : tables_) one.extension->following[one.origin] = one.tables->commit();
  tables_.clear();
}

}  // namespace rehook
