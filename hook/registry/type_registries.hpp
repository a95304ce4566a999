#pragma once

#include <atomic>
#include <future>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "hook/registry/bridge_abi.h"
#include "hook/registry/bridge_builder.hpp"

namespace rehook {

// Hands out registry bridges: compiles them in the background while nobody needs them, waits
// for them when a reload does. Thread-safe.
class TypeRegistries final {
 public:
  TypeRegistries(FileSystem& fs, ProcessRunner& runner, Path source_dir, Path cache_dir)
      : fs_(&fs),
        runner_(&runner),
        source_dir_(std::move(source_dir)),
        cache_dir_(std::move(cache_dir)) {}
  ~TypeRegistries();
  TypeRegistries(const TypeRegistries&) = delete;
  TypeRegistries& operator=(const TypeRegistries&) = delete;

  // Starts compiling unless the bridge for these flags is there already. Never fails: bridge()
  // tells.
  void prepare(BindingLibrary library, const CompileGroup& flags, const Path& compiler);

  // The bridge for modules compiled with these flags; compiles it now if it must.
  Result<const RehookBridge*> bridge(BindingLibrary library, const CompileGroup& flags,
                                     const Path& compiler, const CancelPoll& cancel);

 private:
  struct Job {
    std::shared_future<Result<Path>> path;
    std::shared_ptr<std::atomic<bool>> canceled;
  };
  [[nodiscard]] static std::string key(BindingLibrary library, const CompileGroup& flags,
                                       const Path& compiler);
  [[nodiscard]] Job& job(BindingLibrary library, const CompileGroup& flags,
                         const Path& compiler);

  FileSystem* fs_;
  ProcessRunner* runner_;
  Path source_dir_, cache_dir_;
  std::mutex mutex_;
  std::map<std::string, Job> jobs_;
  std::map<Path, const RehookBridge*> loaded_;
};

}  // namespace rehook
