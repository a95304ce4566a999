// The registry bridge for nanobind; see bridge_abi.h for the contract and README.md for the
// idea. Shipped as source and compiled on the user's machine against the headers and sources,
// flags and compiler of the user's extension. nanobind 2.0 to 3.1.

// First, as it includes Python.h.
#include <nb_internals.h>
#if __has_include(<nb_abi.h>)
#include <nb_abi.h>  // 2.6 and later 2.x: the ABI tag
#endif

#include <cstdarg>
#include <cstdio>
#include <exception>
#include <memory>
#include <string>

#include "bridge_abi.h"
#include "nanobind_registry.hpp"
#include "nanobind_retirement.hpp"
#include "rtti_memory.hpp"

// What nanobind's headers leave to its library: only a failed allocation inside of one of its
// maps gets here.
NAMESPACE_BEGIN(NB_NAMESPACE)
NAMESPACE_BEGIN(detail)
void fail(const char* format, ...) noexcept {
  va_list arguments;
  va_start(arguments, format);
  std::vfprintf(stderr, format, arguments);
  va_end(arguments);
  std::fputc('\n', stderr);
  std::abort();
}
NAMESPACE_END(detail)
NAMESPACE_END(NB_NAMESPACE)

namespace rehook_bridge {
namespace {

// Nothing is thrown across the C boundary: what could still fail then is memory.
template <typename Value, typename Body>
Value guarded(Value failure, char* error, std::size_t error_size, Body body) noexcept {
  std::string message;
  try {
    Value value = body(message);
    if (value != failure) return value;
  } catch (const std::exception& exception) {
    std::snprintf(error, error_size, "%s", exception.what());
    return failure;
  } catch (...) {
    message.clear();
  }
  std::snprintf(error, error_size, "%s", message.empty() ? "unknown failure" : message.c_str());
  return failure;
}

bool open_pages(WritablePages& pages, const MemoryMap& map,
                const std::vector<std::uintptr_t>& addresses, std::string& error) {
  if (pages.open(map, addresses)) return true;
  error = std::string("cannot make type information writable: ") + std::strerror(errno);
  return false;
}

void* retire(const RehookRange* old_libraries, std::size_t count, const char* suffix,
             char* error, std::size_t error_size) noexcept {
  return guarded<void*>(nullptr, error, error_size, [&](std::string& message) -> void* {
    auto retirement =
        std::make_unique<Retirement>(Ranges(old_libraries, count), suffix, Strictness::refuse);
    MemoryMap map;
    WritablePages pages;
    if (!map.read(message) || !retirement->plan(map, message) ||
        !open_pages(pages, map, retirement->written_addresses(), message)) {
      return nullptr;
    }
    retirement->apply();
    return retirement.release();
  });
}

// The failed generation is retired in its turn: what is left of it (threads, callbacks, objects
// in use) goes on finding its own types, never those that get their names back.
bool put_old_world_back(Retirement& old, const Ranges& fresh, std::string& error) {
  static unsigned failures = 0;
  Retirement failed(fresh, "@failed." + std::to_string(++failures), Strictness::best_effort);
  MemoryMap map;
  WritablePages pages;
  if (!map.read(error) || !failed.plan(map, error)) return false;
  old.plan_undo(fresh);
  std::vector<std::uintptr_t> addresses = failed.written_addresses();
  const std::vector<std::uintptr_t> more = old.written_addresses();
  addresses.insert(addresses.end(), more.begin(), more.end());
  if (!open_pages(pages, map, addresses, error)) return false;
  failed.apply();
  old.undo();
  failed.commit();
  return true;
}

int restore(void* handle, const RehookRange* fresh, std::size_t count, char* error,
            std::size_t error_size) noexcept {
  return guarded<int>(-1, error, error_size, [&](std::string& message) -> int {
    auto* retirement = static_cast<Retirement*>(handle);
    if (!put_old_world_back(*retirement, Ranges(fresh, count), message)) return -1;
    delete retirement;
    return 0;
  });
}

void commit(void* handle) noexcept {
  auto* retirement = static_cast<Retirement*>(handle);
  retirement->commit();
  delete retirement;
}

std::size_t count_types(const RehookRange* libraries, std::size_t count) noexcept {
  std::size_t result = 0;
  try {
    const Ranges ranges(libraries, count);
    for (Internals* internals : find_internals()) {
      for (const auto& [object, record] : internals->type_c2p_slow) {
        if (record == nullptr) continue;
        result += ranges.contains(object) || made_by(*record, ranges) ? 1 : 0;
      }
    }
  } catch (...) {
    return 0;
  }
  return result;
}

}  // namespace
}  // namespace rehook_bridge

extern "C" __attribute__((visibility("default"))) const RehookBridge* rehook_registry_bridge() {
  static const RehookBridge bridge = {
      REHOOK_BRIDGE_ABI,
      rehook_bridge::k_internals_id,
      rehook_bridge::retire,
      rehook_bridge::restore,
      rehook_bridge::commit,
      rehook_bridge::count_types,
      "nanobind",
      nullptr,
      nullptr,
      nullptr,
      nullptr,
      nullptr,
      nullptr,
      nullptr,
      nullptr,
      nullptr,
  };
  return &bridge;
}
