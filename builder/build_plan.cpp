#include "builder/build_plan.hpp"

#include <algorithm>

namespace rehook {

std::string describe_change(const Path& root, const Input& now, const InputChange& change) {
  if (now.kind == InputKind::value) {
    return now.name + " changed from '" + change.text_before + "' to '" + now.text + "'";
  }
  std::string name = now.name;
  const std::string prefix = root.native() + "/";
  if (name.starts_with(prefix)) name.erase(0, prefix.size());
  if (now.kind == InputKind::directory) {
    return "files were added to or removed from " + name + "/";
  }
  if (now.digest == Digest{}) return name + " is gone or unreadable";
  if (change.before == Digest{}) return name + " is new";
  return name + " changed";
}

Freshness decide(const std::optional<ProjectState>& known, const InputScan& scan) {
  if (!known) return Rebuild{"never built", InputRole::configure};
  if (scan.changes.empty()) return UpToDate{};
  Rebuild rebuild;
  for (const InputChange& change : scan.changes) {
    rebuild.role = std::max(rebuild.role, known->inputs[change.index].role);
  }
  // A person wants to read what they edited, not the folder listing that moved with it.
  const auto first =
      std::min_element(scan.changes.begin(), scan.changes.end(),
                       [&](const InputChange& a, const InputChange& b) {
                         return known->inputs[a.index].kind < known->inputs[b.index].kind;
                       });
  rebuild.reason = describe_change(known->root, known->inputs[first->index], *first);
  if (scan.changes.size() > 1) {
    rebuild.reason += " (and " + std::to_string(scan.changes.size() - 1) + " more)";
  }
  return rebuild;
}

}  // namespace rehook
