#include "hook/registry/bridge_builder.hpp"

#include <algorithm>
#include <array>
#include <optional>
#include <string_view>
#include <tuple>

#include "shadow_store/base/temporary_name.hpp"
#include "shadow_store/base/trace.hpp"

namespace rehook {
namespace {

// Raised when the same inputs must give another file than before.
constexpr std::string_view k_recipe = "bridge 2";
constexpr std::string_view k_default_standard = "-std=gnu++17";
constexpr std::uint32_t k_library_mode = 0755;

// Flags that are followed by their value as a word of its own when they are all of the word.
constexpr std::array k_kept_with_value = {
    "-D",      "-U",        "-I",        "-isystem", "-idirafter",
    "-iquote", "-isysroot", "--sysroot", "-target",  "-gcc-toolchain"};
constexpr std::array k_dropped_with_value = {
    "-o",      "-x",       "-include",       "-include-pch", "-imacros", "-MF", "-MT", "-MQ",
    "-Xclang", "-Xlinker", "-Xpreprocessor", "-Xassembler",  "-mllvm",   "-L",  "-l",  "-u",
    "-z",      "-T",       "-framework"};
// What changes the layout of objects or picks another standard library or machine.
constexpr std::array k_kept_prefixes = {"-D",
                                        "-U",
                                        "-I",
                                        "-isystem",
                                        "-idirafter",
                                        "-iquote",
                                        "-isysroot",
                                        "--sysroot=",
                                        "--target=",
                                        "--gcc-toolchain=",
                                        "-stdlib=",
                                        "-m",
                                        "-fabi",
                                        "-fno-abi",
                                        "-fshort-",
                                        "-fpack-struct",
                                        "-fsigned-char",
                                        "-funsigned-char",
                                        "-fms-compatibility"};
constexpr std::array k_kept = {"-pthread", "-nostdinc++"};

template <typename List>
bool is_one_of(const std::string& word, const List& list) {
  return std::find(list.begin(), list.end(), word) != list.end();
}

bool is_kept(const std::string& flag) {
  return is_one_of(flag, k_kept) ||
         std::any_of(k_kept_prefixes.begin(), k_kept_prefixes.end(),
                     [&](std::string_view prefix) { return flag.starts_with(prefix); });
}

// "-std=c++2b" → whether it has what the bridge is written in.
bool is_modern(std::string_view standard) {
  constexpr std::array modern = {"17", "1z", "20", "2a", "23", "2b", "26", "2c"};
  return std::any_of(modern.begin(), modern.end(),
                     [&](std::string_view year) { return standard.ends_with(year); });
}

std::string standard_of(const CompileGroup& group) {
  std::string standard = group.standard.empty() ? "" : "-std=gnu++" + group.standard;
  for (const std::string& flag : group.flags) {
    if (flag.starts_with("-std=")) standard = flag;
  }
  return is_modern(standard) ? standard : std::string(k_default_standard);
}

void append_relevant_flags(const std::vector<std::string>& flags,
                           std::vector<std::string>& argv) {
  for (std::size_t i = 0; i < flags.size(); ++i) {
    const std::string& flag = flags[i];
    if (is_one_of(flag, k_dropped_with_value)) {
      ++i;
    } else if (is_one_of(flag, k_kept_with_value)) {
      if (i + 1 == flags.size()) break;
      argv.push_back(flag);
      argv.push_back(flags[++i]);
    } else if (is_kept(flag)) {
      argv.push_back(flag);
    }
  }
}

// -I and -isystem folders given as plain flags.
std::vector<Path> folders_in_flags(const std::vector<std::string>& flags) {
  std::vector<Path> folders;
  for (std::size_t i = 0; i < flags.size(); ++i) {
    for (const std::string_view prefix : {"-I", "-isystem"}) {
      if (!flags[i].starts_with(prefix)) continue;
      if (flags[i] == prefix && i + 1 < flags.size()) {
        folders.emplace_back(flags[++i]);
      } else {
        folders.emplace_back(flags[i].substr(prefix.size()));
      }
      break;
    }
  }
  return folders;
}

std::vector<Path> include_folders(const CompileGroup& flags) {
  std::vector<Path> folders = flags.includes;
  const std::vector<Path> more = folders_in_flags(flags.flags);
  folders.insert(folders.end(), more.begin(), more.end());
  folders.insert(folders.end(), {"/usr/include", "/usr/local/include"});
  return folders;
}

// The first of the folders that has this file, or empty.
Path folder_with(FileSystem& fs, const char* file, const std::vector<Path>& folders) {
  for (const Path& folder : folders) {
    const Result<FileStat> found = fs.stat(folder / file);
    if (found && found->is_regular()) return folder;
  }
  return {};
}

// What killed compilers left behind.
void remove_orphans(FileSystem& fs, const Path& folder) {
  const Result<std::vector<std::string>> names = fs.list(folder);
  if (!names) return;
  for (const std::string& name : *names) {
    if (is_orphan(name)) std::ignore = fs.remove(folder / name, MissingOk::yes);
  }
}

// Names and contents of the headers (and of `also`) directly in a folder. A missing one has
// none.
Status add_headers(FileSystem& fs, const Path& folder, const Path& also, Hasher& hasher) {
  const Result<std::vector<std::string>> names = fs.list(folder);
  if (!names) return names.error().code == ErrorCode::not_found ? ok_status() : names.error();
  for (const std::string& name : *names) {
    const Path file = folder / name;
    const Path extension = file.extension();
    if (extension != ".h" && extension != ".hpp" && file != also) continue;
    REHOOK_ASSIGN_OR_RETURN(const Digest digest, fs.digest(file));
    hasher.add_field(name);
    hasher.add_field(digest.hex());
  }
  return ok_status();
}

Path source_of(const BridgeRequest& request) {
  return request.source_dir / (std::string(name_of(request.library)) + "_bridge.cpp");
}

// The backend of nanobind 3's split mode, whose registries the bridge works on, is a module of
// its own: it is never built for the stable ABI, whatever the extension is.
bool has_backend_module(const CompileGroup& flags) {
  const auto names_it = [](const std::string& text) {
    return text.find("NB_BACKEND_MODULE") != std::string::npos;
  };
  return std::any_of(flags.defines.begin(), flags.defines.end(), names_it) ||
         std::any_of(flags.flags.begin(), flags.flags.end(), names_it);
}

Result<Digest> bridge_key(FileSystem& fs, const BridgeRequest& request, const Path& headers,
                          const std::vector<Path>& folders) {
  REHOOK_ASSIGN_OR_RETURN(const FileStat compiler, fs.stat(request.compiler));
  Hasher hasher;
  hasher.add_field(k_recipe);
  hasher.add_field(std::to_string(compiler.size));
  hasher.add_field(std::to_string(compiler.mtime_ns));
  for (const std::string& word : bridge_command(request, folders)) hasher.add_field(word);
  REHOOK_TRY(add_headers(fs, request.source_dir, source_of(request), hasher));
  for (const char* folder : {"", "detail", "conduit"}) {
    hasher.add_field(folder);
    REHOOK_TRY(add_headers(fs, headers / name_of(request.library) / folder, {}, hasher));
  }
  for (const Path& folder : folders) {
    REHOOK_TRY(add_headers(fs, folder, {}, hasher));
    REHOOK_TRY(add_headers(fs, folder / "tsl", {}, hasher));
  }
  return hasher.finish();
}

// ": nb_internals.h:29:4: error: …" of a compiler's output.
std::string first_error(const std::string& output) {
  const std::size_t at = output.find("error:");
  if (at == std::string::npos) return "";
  const std::size_t line = output.rfind('\n', at) + 1;  // npos + 1 is the beginning
  return ": " + output.substr(line, output.find('\n', at) - line);
}

// "<library>-<key>." + digest of the content + ".so": what is loaded is what was compiled.
Path bridge_file(const Path& folder, const std::string& stem, const Digest& content) {
  return folder / (stem + content.hex() + ".so");
}

// The bridge that an earlier process compiled. What is not whole any more is removed.
std::optional<Path> find_bridge(FileSystem& fs, const Path& folder, const std::string& stem) {
  const Result<std::vector<std::string>> names = fs.list(folder);
  if (!names) return std::nullopt;
  for (const std::string& name : *names) {
    if (!name.starts_with(stem)) continue;
    const Path file = folder / name;
    const Result<Digest> content = fs.digest(file);
    if (content && bridge_file(folder, stem, *content) == file) return file;
    std::ignore = fs.remove(file, MissingOk::yes);
  }
  return std::nullopt;
}

Result<Path> compile(FileSystem& fs, ProcessRunner& runner, const BridgeRequest& request,
                     const Path& headers, const std::vector<Path>& folders,
                     const std::string& stem, const CancelPoll& cancel) {
  const TraceStep step("compile_bridge", "headers", headers.native());
  const std::string library(name_of(request.library));
  const Path partial = request.cache_dir / temporary_name();
  Command command;
  command.argv = bridge_command(request, folders);
  command.argv.insert(command.argv.end(), {"-o", partial.native()});
  command.directory = request.cache_dir;
  command.environment = {{"LC_ALL", "C"}};
  command.niceness = 10;

  Result<Path> done = [&]() -> Result<Path> {
    REHOOK_ASSIGN_OR_RETURN(ProcessResult result, runner.run(command, {}, cancel));
    if (result.exit_code != 0) {
      return Error{ErrorCode::failed_build,
                   "rehook's bridge to the type registry of " + library + " in " +
                       headers.string() + " did not compile" + first_error(result.output),
                   "restart the interpreter after changes of C++ classes; rehook doctor tells "
                   "which versions of " +
                       library + " are supported",
                   std::move(result.output)};
    }
    REHOOK_ASSIGN_OR_RETURN(const Digest content, fs.digest(partial));
    Path output = bridge_file(request.cache_dir, stem, content);
    REHOOK_TRY(fs.publish_private(partial, output, k_library_mode));
    return output;
  }();
  if (!done) std::ignore = fs.remove(partial, MissingOk::yes);  // what is left is an orphan
  return done;
}

}  // namespace

Path binding_include_dir(FileSystem& fs, BindingLibrary library, const CompileGroup& flags) {
  const char* const header = library == BindingLibrary::pybind11 ? "pybind11/detail/internals.h"
                                                                 : "nanobind/nanobind.h";
  return folder_with(fs, header, include_folders(flags));
}

Result<std::vector<Path>> bridge_folders(FileSystem& fs, const BridgeRequest& request,
                                         const Path& headers) {
  if (request.library == BindingLibrary::pybind11) return std::vector<Path>();
  const Path root = headers.parent_path();
  const Path source =
      folder_with(fs, "nb_internals.h",
                  {root / "src", root / "share/nanobind/src", "/usr/share/nanobind/src"});
  if (source.empty()) {
    return Error{ErrorCode::not_found,
                 "the sources of nanobind (nb_internals.h) are not next to its headers in " +
                     headers.string(),
                 "install nanobind with pip, or with its CMake package: both have the sources"};
  }
  std::vector<Path> candidates = {source.parent_path() / "ext/robin_map/include"};
  const std::vector<Path> own = include_folders(request.flags);
  candidates.insert(candidates.end(), own.begin(), own.end());
  const Path robin_map = folder_with(fs, "tsl/robin_map.h", candidates);
  if (robin_map.empty()) {
    return Error{ErrorCode::not_found,
                 "nanobind in " + headers.string() + " has no tsl/robin_map.h",
                 "install nanobind with pip, which brings it, or robin-map 1.3 or newer"};
  }
  return std::vector<Path>{source, robin_map};
}

std::vector<std::string> bridge_command(const BridgeRequest& request,
                                        const std::vector<Path>& folders) {
  const CompileGroup& group = request.flags;
  std::vector<std::string> argv = {request.compiler.native(), "-shared", "-fPIC",
                                   "-fvisibility=hidden"};
  append_relevant_flags(group.flags, argv);
  for (const std::string& define : group.defines) {
    // What CMake defines for each target by its name: one bridge is to serve all of a project.
    if (!define.ends_with("_EXPORTS")) argv.push_back("-D" + define);
  }
  for (const Path& folder : group.includes) {
    const bool system = std::find(group.system_includes.begin(), group.system_includes.end(),
                                  folder) != group.system_includes.end();
    argv.emplace_back(system ? "-isystem" : "-I");
    argv.push_back(folder.native());
  }
  for (const Path& folder : folders) argv.insert(argv.end(), {"-I", folder.native()});
  if (has_backend_module(group)) {
    argv.insert(argv.end(), {"-U", "NB_BACKEND_MODULE", "-U", "Py_LIMITED_API"});
  }
  argv.push_back(standard_of(group));
  argv.insert(argv.end(), {"-frtti", "-fexceptions", "-fno-strict-aliasing", "-O1", "-g0", "-w",
                           source_of(request).native()});
  return argv;
}

Result<Path> build_bridge(FileSystem& fs, ProcessRunner& runner, const BridgeRequest& request,
                          const CancelPoll& cancel) {
  const std::string library(name_of(request.library));
  const Path headers = binding_include_dir(fs, request.library, request.flags);
  if (headers.empty()) {
    return Error{ErrorCode::not_found,
                 "no include folder of the extension contains the headers of " + library,
                 "make the CMake target with " + library + "_add_module"};
  }
  REHOOK_ASSIGN_OR_RETURN(const std::vector<Path> folders,
                          bridge_folders(fs, request, headers));
  REHOOK_ASSIGN_OR_RETURN(const Digest key, bridge_key(fs, request, headers, folders));
  const std::string stem = library + "-" + key.hex() + ".";
  if (std::optional<Path> known = find_bridge(fs, request.cache_dir, stem)) return *known;
  REHOOK_TRY(fs.make_directories(request.cache_dir));
  remove_orphans(fs, request.cache_dir);
  return compile(fs, runner, request, headers, folders, stem, cancel);
}

}  // namespace rehook
