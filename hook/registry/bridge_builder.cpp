#include "hook/registry/bridge_builder.hpp"

#include <algorithm>
#include <array>
#include <string_view>
#include <tuple>

#include "shadow_store/base/temporary_name.hpp"
#include "shadow_store/base/trace.hpp"

namespace rehook {
namespace {

// Raised when the same inputs must give another file than before.
constexpr std::string_view k_recipe = "bridge 1";
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

Result<Digest> bridge_key(FileSystem& fs, const BridgeRequest& request, const Path& headers) {
  REHOOK_ASSIGN_OR_RETURN(const FileStat compiler, fs.stat(request.compiler));
  Hasher hasher;
  hasher.add_field(k_recipe);
  hasher.add_field(std::to_string(compiler.size));
  hasher.add_field(std::to_string(compiler.mtime_ns));
  for (const std::string& word : bridge_command(request)) hasher.add_field(word);
  REHOOK_TRY(add_headers(fs, request.source.parent_path(), request.source, hasher));
  for (const char* folder : {"", "detail", "conduit"}) {
    hasher.add_field(folder);
    REHOOK_TRY(add_headers(fs, headers / "pybind11" / folder, {}, hasher));
  }
  return hasher.finish();
}

Status compile(FileSystem& fs, ProcessRunner& runner, const BridgeRequest& request,
               const Path& headers, const Path& output, const CancelPoll& cancel) {
  const TraceStep step("compile_bridge", "headers", headers.native());
  const Path partial = request.cache_dir / temporary_name();
  Command command;
  command.argv = bridge_command(request);
  command.argv.insert(command.argv.end(), {"-o", partial.native()});
  command.directory = request.cache_dir;
  command.environment = {{"LC_ALL", "C"}};
  command.niceness = 10;

  Status done = [&]() -> Status {
    REHOOK_ASSIGN_OR_RETURN(ProcessResult result, runner.run(command, {}, cancel));
    if (result.exit_code != 0) {
      return Error{ErrorCode::failed_build,
                   "rehook's bridge to the type registry of pybind11 in " + headers.string() +
                       " did not compile",
                   "restart the interpreter after changes of C++ classes; rehook doctor tells "
                   "which versions of pybind11 are supported",
                   std::move(result.output)};
    }
    return fs.publish_private(partial, output, k_library_mode);
  }();
  if (!done) std::ignore = fs.remove(partial, MissingOk::yes);  // what is left is an orphan
  return done;
}

}  // namespace

Path pybind11_include_dir(FileSystem& fs, const CompileGroup& flags) {
  std::vector<Path> folders = flags.includes;
  const std::vector<Path> more = folders_in_flags(flags.flags);
  folders.insert(folders.end(), more.begin(), more.end());
  folders.insert(folders.end(), {"/usr/include", "/usr/local/include"});
  for (const Path& folder : folders) {
    const Result<FileStat> header = fs.stat(folder / "pybind11" / "detail" / "internals.h");
    if (header && header->is_regular()) return folder;
  }
  return {};
}

std::vector<std::string> bridge_command(const BridgeRequest& request) {
  const CompileGroup& group = request.flags;
  std::vector<std::string> argv = {request.compiler.native(), "-shared", "-fPIC",
                                   "-fvisibility=hidden"};
  append_relevant_flags(group.flags, argv);
  for (const std::string& define : group.defines) argv.push_back("-D" + define);
  for (const Path& folder : group.includes) {
    const bool system = std::find(group.system_includes.begin(), group.system_includes.end(),
                                  folder) != group.system_includes.end();
    argv.emplace_back(system ? "-isystem" : "-I");
    argv.push_back(folder.native());
  }
  argv.push_back(standard_of(group));
  argv.insert(argv.end(), {"-frtti", "-fexceptions", "-fno-strict-aliasing", "-O1", "-g0", "-w",
                           request.source.native()});
  return argv;
}

Result<Path> build_bridge(FileSystem& fs, ProcessRunner& runner, const BridgeRequest& request,
                          const CancelPoll& cancel) {
  const Path headers = pybind11_include_dir(fs, request.flags);
  if (headers.empty()) {
    return Error{ErrorCode::not_found,
                 "no include folder of the extension contains pybind11/detail/internals.h",
                 "link the CMake target to pybind11::module or use pybind11_add_module"};
  }
  REHOOK_ASSIGN_OR_RETURN(const Digest key, bridge_key(fs, request, headers));
  const Path output = request.cache_dir / ("pybind11-" + key.hex() + ".so");
  const Result<FileStat> known = fs.stat(output);
  if (known && known->is_regular()) return output;
  REHOOK_TRY(fs.make_directories(request.cache_dir));
  remove_orphans(fs, request.cache_dir);
  REHOOK_TRY(compile(fs, runner, request, headers, output, cancel));
  return output;
}

}  // namespace rehook
