#include "builder/project_state.hpp"

#include <cstring>
#include <string_view>

namespace rehook {
namespace {

constexpr std::string_view k_magic = "rehookst";

class Writer {
 public:
  template <typename T>
  void number(T value) {
    char raw[sizeof value];
    std::memcpy(raw, &value, sizeof value);
    out_.append(raw, sizeof value);
  }
  void text(std::string_view value) {
    number(static_cast<std::uint32_t>(value.size()));
    out_.append(value);
  }
  void digest(const Digest& value) {
    out_.append(reinterpret_cast<const char*>(value.bytes.data()), value.bytes.size());
  }
  template <typename Container, typename Each>
  void list(const Container& items, Each each) {
    number(static_cast<std::uint32_t>(items.size()));
    for (const auto& item : items) each(item);
  }
  void texts(const std::vector<std::string>& items) {
    list(items, [this](const std::string& item) { text(item); });
  }
  void paths(const std::vector<Path>& items) {
    list(items, [this](const Path& item) { text(item.native()); });
  }
  void path_map(const std::map<std::string, Path>& items) {
    list(items, [this](const auto& item) {
      text(item.first);
      text(item.second.native());
    });
  }
  std::string finish() {
    digest(digest_of(out_));
    return std::move(out_);
  }

 private:
  std::string out_;
};

// Reads never go past the end: after the first failure everything reads as empty and ok() is
// false.
class Reader {
 public:
  explicit Reader(std::string_view bytes) : bytes_(bytes) {}
  [[nodiscard]] bool ok() const { return ok_; }
  [[nodiscard]] bool at_end() const { return at_ == bytes_.size(); }

  std::string_view raw(std::size_t size) {
    if (!ok_ || bytes_.size() - at_ < size) {
      ok_ = false;
      return {};
    }
    at_ += size;
    return bytes_.substr(at_ - size, size);
  }
  template <typename T>
  T number() {
    T value{};
    const std::string_view from = raw(sizeof value);
    if (ok_) std::memcpy(&value, from.data(), sizeof value);
    return value;
  }
  std::string text() { return std::string(raw(number<std::uint32_t>())); }
  Digest digest() {
    Digest value;
    const std::string_view from = raw(value.bytes.size());
    if (ok_) std::memcpy(value.bytes.data(), from.data(), value.bytes.size());
    return value;
  }
  template <typename Each>
  void list(Each each) {
    const auto count = number<std::uint32_t>();
    for (std::uint32_t i = 0; ok_ && i < count; ++i) each();
  }
  std::vector<std::string> texts() {
    std::vector<std::string> items;
    list([&] { items.push_back(text()); });
    return items;
  }
  std::vector<Path> paths() {
    std::vector<Path> items;
    list([&] { items.emplace_back(text()); });
    return items;
  }
  std::map<std::string, Path> path_map() {
    std::map<std::string, Path> items;
    list([&] {
      std::string name = text();
      items.emplace(std::move(name), text());
    });
    return items;
  }

 private:
  std::string_view bytes_;
  std::size_t at_ = 0;
  bool ok_ = true;
};

void write_input(Writer& out, const Input& input) {
  out.text(input.name);
  out.number(static_cast<std::uint8_t>(input.kind));
  out.number(static_cast<std::uint8_t>(input.role));
  out.digest(input.digest);
  out.number(input.modules);
  if (input.kind == InputKind::value) {
    out.text(input.text);
    return;
  }
  out.number(input.stat);
  out.number(input.hashed_at_ns);
}

Input read_input(Reader& in) {
  Input input;
  input.name = in.text();
  input.kind = static_cast<InputKind>(in.number<std::uint8_t>() % 3);
  input.role = static_cast<InputRole>(in.number<std::uint8_t>() % 3);
  input.digest = in.digest();
  input.modules = in.number<std::uint64_t>();
  if (input.kind == InputKind::value) {
    input.text = in.text();
    return input;
  }
  input.stat = in.number<FileStat>();
  input.hashed_at_ns = in.number<std::int64_t>();
  return input;
}

void write_library(Writer& out, const BuiltLibrary& library) {
  out.text(library.soname);
  out.texts(library.names);
  out.text(library.output.native());
  out.number(static_cast<std::uint8_t>(library.is_private));
  out.digest(library.artifact);
  out.digest(library.code);
  out.digest(library.sharing);
  out.number(library.stat);
}

BuiltLibrary read_library(Reader& in) {
  BuiltLibrary library;
  library.soname = in.text();
  library.names = in.texts();
  library.output = in.text();
  library.is_private = in.number<std::uint8_t>() != 0;
  library.artifact = in.digest();
  library.code = in.digest();
  library.sharing = in.digest();
  library.stat = in.number<FileStat>();
  return library;
}

void write_module(Writer& out, const BuiltModule& module) {
  out.text(module.module);
  out.text(module.target);
  out.text(module.output.native());
  out.text(module.defined_in);
  out.digest(module.artifact);
  out.digest(module.code);
  out.number(module.bindings.bits());
  out.number(module.flags);
  out.number(module.stat);
  out.list(module.libraries, [&](const BuiltLibrary& one) { write_library(out, one); });
  out.digest(module.sharing);
  out.number(module.static_tls);
  out.digest(module.layouts);
}

BuiltModule read_module(Reader& in) {
  BuiltModule module;
  module.module = in.text();
  module.target = in.text();
  module.output = in.text();
  module.defined_in = in.text();
  module.artifact = in.digest();
  module.code = in.digest();
  module.bindings = BindingLibraries(in.number<std::uint8_t>());
  module.flags = in.number<std::uint32_t>();
  module.stat = in.number<FileStat>();
  in.list([&] { module.libraries.push_back(read_library(in)); });
  module.sharing = in.digest();
  module.static_tls = in.number<std::uint64_t>();
  module.layouts = in.digest();
  return module;
}

void write_flags(Writer& out, const CompileGroup& group) {
  out.text(group.language);
  out.text(group.standard);
  out.texts(group.flags);
  out.texts(group.defines);
  out.paths(group.includes);
  out.paths(group.system_includes);
}

CompileGroup read_flags(Reader& in) {
  CompileGroup group;
  group.language = in.text();
  group.standard = in.text();
  group.flags = in.texts();
  group.defines = in.texts();
  group.includes = in.paths();
  group.system_includes = in.paths();
  return group;
}

}  // namespace

static_assert(sizeof(FileStat) == 48, "FileStat is written raw: raise k_state_format");

std::string serialize(const ProjectState& state) {
  Writer out;
  for (const char c : k_magic) out.number(c);
  out.number(k_state_format);
  out.text(state.root.native());
  out.text(state.build_dir.native());
  out.list(state.inputs, [&](const Input& input) { write_input(out, input); });
  out.digest(state.fingerprint);
  out.list(state.modules, [&](const BuiltModule& module) { write_module(out, module); });
  out.path_map(state.packages);
  out.path_map(state.python_files);
  out.texts(state.exclude);
  out.text(state.source_dir.native());
  out.text(state.build_type);
  out.list(state.environment, [&](const auto& item) {
    out.text(item.first);
    out.number(static_cast<std::uint8_t>(item.second.has_value()));
    out.text(item.second.value_or(""));
  });
  out.paths(state.description_inputs);
  out.list(state.built, [&](const auto& item) {
    out.text(item.first);
    out.digest(item.second);
  });
  out.path_map(state.compilers);
  out.list(state.compile_groups, [&](const CompileGroup& group) { write_flags(out, group); });
  out.number(state.built_at_ns);
  out.number(state.build_seconds);
  return out.finish();
}

Result<ProjectState> parse_project_state(std::string_view bytes) {
  const Error corrupt{ErrorCode::corrupt,
                      "the project's state file is torn or of another format"};
  constexpr std::size_t k_tail = sizeof(Digest::bytes);
  if (bytes.size() < k_magic.size() + k_tail || !bytes.starts_with(k_magic)) return corrupt;
  const std::string_view body = bytes.substr(0, bytes.size() - k_tail);
  const Digest expected = digest_of(body);
  if (std::memcmp(expected.bytes.data(), bytes.data() + body.size(), k_tail) != 0) {
    return corrupt;
  }

  Reader in(body.substr(k_magic.size()));
  if (in.number<std::uint32_t>() != k_state_format) return corrupt;
  ProjectState state;
  state.root = in.text();
  state.build_dir = in.text();
  in.list([&] { state.inputs.push_back(read_input(in)); });
  state.fingerprint = in.digest();
  in.list([&] { state.modules.push_back(read_module(in)); });
  state.packages = in.path_map();
  state.python_files = in.path_map();
  state.exclude = in.texts();
  state.source_dir = in.text();
  state.build_type = in.text();
  in.list([&] {
    std::string name = in.text();
    const bool is_set = in.number<std::uint8_t>() != 0;
    std::string value = in.text();
    state.environment.emplace_back(std::move(name),
                                   is_set ? std::optional(std::move(value)) : std::nullopt);
  });
  state.description_inputs = in.paths();
  in.list([&] {
    std::string name = in.text();
    state.built.emplace(std::move(name), in.digest());
  });
  state.compilers = in.path_map();
  in.list([&] { state.compile_groups.push_back(read_flags(in)); });
  state.built_at_ns = in.number<std::int64_t>();
  state.build_seconds = in.number<double>();
  if (!in.ok() || !in.at_end()) return corrupt;
  for (const BuiltModule& module : state.modules) {
    if (module.flags >= state.compile_groups.size()) return corrupt;
  }
  return state;
}

}  // namespace rehook
