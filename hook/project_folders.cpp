#include "hook/project_folders.hpp"

#include <system_error>

#include "shadow_store/base/digest.hpp"

namespace rehook {

std::string project_id(const Path& root) {
  std::error_code ignored;
  Path real = std::filesystem::canonical(root, ignored);
  if (real.empty()) real = root;
  return real.filename().string() + "-" + digest_of(real.native()).hex().substr(0, 12);
}

std::string configuration_id(const std::map<std::string, std::string>& interpreter) {
  Hasher hasher;
  for (const auto& [name, value] : interpreter) {
    hasher.add_field(name);
    hasher.add_field(value);
  }
  const auto abi = interpreter.find("python abi");
  const std::string prefix = abi == interpreter.end() ? "any" : abi->second;
  return prefix + "-" + hasher.finish().hex().substr(0, 8);
}

}  // namespace rehook
