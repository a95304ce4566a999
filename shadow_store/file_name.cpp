#include "shadow_store/file_name.hpp"

namespace rehook {

std::string plain_file_name(std::string_view text, std::size_t room) {
  if (text.size() > room) text.remove_prefix(text.size() - room);
  std::string name(text);
  for (char& c : name) {
    if (c == '/' || static_cast<unsigned char>(c) < 0x20) c = '_';
  }
  return name;
}

}  // namespace rehook
