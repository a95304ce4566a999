#pragma once

#include <map>
#include <optional>
#include <string>

namespace rehook {

// Modules whose running code differs from the saved source because the last build or reload of
// it failed, and why. Feeds the one-line reminder.
class StaleRegistry final {
 public:
  void mark(const std::string& module, const std::string& why) { why_[module] = why; }
  void clear(const std::string& module) { why_.erase(module); }
  [[nodiscard]] std::optional<std::string> why(const std::string& module) const {
    const auto found = why_.find(module);
    if (found == why_.end()) return std::nullopt;
    return found->second;
  }
  [[nodiscard]] const std::map<std::string, std::string>& all() const { return why_; }

 private:
  std::map<std::string, std::string> why_;
};

}  // namespace rehook
