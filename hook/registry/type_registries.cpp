#include "hook/registry/type_registries.hpp"

#include <dlfcn.h>

#include <chrono>

namespace rehook {

TypeRegistries::~TypeRegistries() {
  const std::lock_guard lock(mutex_);
  for (auto& [key, job] : jobs_) job.canceled->store(true);
  // The futures' destructors wait for the compilers to be gone.
}

std::string TypeRegistries::key(BindingLibrary library, const CompileGroup& flags,
                                const Path& compiler) {
  std::string text(name_of(library));
  text += '\n' + compiler.native() + '\n' + flags.standard;
  for (const std::string& flag : flags.flags) text += '\n' + flag;
  for (const std::string& define : flags.defines) text += "\nD" + define;
  for (const Path& include : flags.includes) text += "\nI" + include.native();
  return text;
}

TypeRegistries::Job& TypeRegistries::job(BindingLibrary library, const CompileGroup& flags,
                                         const Path& compiler) {
  const auto [at, is_new] = jobs_.try_emplace(key(library, flags, compiler));
  Job& job = at->second;
  const auto failed = [&] {
    return job.path.wait_for(std::chrono::seconds(0)) == std::future_status::ready &&
           !job.path.get();
  };
  if (is_new || failed()) {
    job.canceled = std::make_shared<std::atomic<bool>>(false);
    const BridgeRequest request{source_dir_, library, compiler, flags, cache_dir_};
    job.path =
        std::async(std::launch::async, [fs = fs_, runner = runner_, request,
                                        canceled = job.canceled] {
          return build_bridge(*fs, *runner, request, [canceled] { return canceled->load(); });
        }).share();
  }
  return job;
}

void TypeRegistries::prepare(BindingLibrary library, const CompileGroup& flags,
                             const Path& compiler) {
  const std::lock_guard lock(mutex_);
  std::ignore = job(library, flags, compiler);
}

Result<const RehookBridge*> TypeRegistries::bridge(BindingLibrary library,
                                                   const CompileGroup& flags,
                                                   const Path& compiler,
                                                   const CancelPoll& cancel) {
  std::shared_future<Result<Path>> path;
  {
    const std::lock_guard lock(mutex_);
    path = job(library, flags, compiler).path;
  }
  while (path.wait_for(std::chrono::milliseconds(20)) != std::future_status::ready) {
    if (cancel && cancel()) {
      return Error{ErrorCode::canceled, "interrupted while preparing the reload"};
    }
  }
  const Result<Path>& built = path.get();
  if (!built) return built.error();

  const std::lock_guard lock(mutex_);
  const auto known = loaded_.find(*built);
  if (known != loaded_.end()) return known->second;
  void* handle = dlopen(built->c_str(), RTLD_NOW | RTLD_LOCAL);
  void* entry = handle == nullptr ? nullptr : dlsym(handle, REHOOK_BRIDGE_ENTRY);
  if (entry == nullptr) {
    const char* text = dlerror();
    return Error{ErrorCode::failed_load,
                 std::string("the registry bridge cannot be loaded: ") +
                     (text == nullptr ? "unknown reason" : text),
                 "please report this with the output of: rehook doctor"};
  }
  const RehookBridge* bridge = reinterpret_cast<RehookBridgeEntry>(entry)();
  if (bridge == nullptr || bridge->abi != REHOOK_BRIDGE_ABI) {
    return Error{ErrorCode::unsupported,
                 "the registry bridge speaks another version of its contract",
                 "remove " + cache_dir_.string() + " and try again"};
  }
  loaded_.emplace(*built, bridge);
  return bridge;
}

}  // namespace rehook
