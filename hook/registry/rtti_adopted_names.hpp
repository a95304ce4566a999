#pragma once

#include <cstddef>
#include <string>
#include <unordered_map>

// A C++ class that several builds share, because its Python class was adopted: the type_info
// objects of all builds but the newest point to one text of ours, "name@suffix…". One byte, the
// '@', decides whether that text reads "name" (the class is in use: old code and new code mean
// the same type, also in dynamic_cast) or the whole of it (the class is retired). So a reload
// costs the same however many builds there were.

namespace rehook_bridge {

class AdoptedName {
 public:
  AdoptedName() = default;
  AdoptedName(char* text, std::size_t plain_size)
      : text_(text), mark_(text + plain_size), sign_(*mark_), in_use_(false) {}

  char* text() const { return text_; }
  bool in_use() const { return in_use_; }
  // Other threads may be comparing names at this moment.
  void use() noexcept { set('\0', true); }
  void retire() noexcept { set(sign_, false); }

 private:
  void set(char value, bool in_use) noexcept {
    __atomic_store_n(mark_, value, __ATOMIC_RELEASE);
    in_use_ = in_use;
  }

  char* text_ = nullptr;
  char* mark_ = nullptr;
  char sign_ = '\0';
  bool in_use_ = false;
};

// By plain name, the one in use or, after its class was retired for good, the last one. Lives
// as long as the process, as the texts do.
inline std::unordered_map<std::string, AdoptedName>& adopted_names() {
  static auto& names = *new std::unordered_map<std::string, AdoptedName>();
  return names;
}

// Null when no class of this name is adopted at present.
inline AdoptedName* adopted_name_in_use(const char* plain) {
  const auto found = adopted_names().find(plain);
  return found != adopted_names().end() && found->second.in_use() ? &found->second : nullptr;
}

}  // namespace rehook_bridge
