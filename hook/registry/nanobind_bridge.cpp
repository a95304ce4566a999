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
#include "nanobind_adoption.hpp"
#include "nanobind_classes.hpp"
#include "nanobind_functions.hpp"
#include "nanobind_registry.hpp"
#include "nanobind_retirement.hpp"
#include "nanobind_values.hpp"
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

// What the caller's handle stands for: one reload.
struct Reload {
  Retirement retirement;
  std::vector<std::unique_ptr<Adoption>> adoptions;
  RedirectedFunctions functions;

  Reload(const RehookRange* libraries, std::size_t count, const char* suffix)
      : retirement(Ranges(libraries, count), suffix, Strictness::refuse) {}
  void undo_adoptions() noexcept {
    functions.undo();
    while (!adoptions.empty()) {
      adoptions.back()->undo();
      adoptions.pop_back();
    }
  }
};

void* retire(const RehookRange* old_libraries, std::size_t count, const char* suffix,
             char* error, std::size_t error_size) noexcept {
  return guarded<void*>(nullptr, error, error_size, [&](std::string& message) -> void* {
    auto reload = std::make_unique<Reload>(old_libraries, count, suffix);
    MemoryMap map;
    WritablePages pages;
    if (!map.read(message) || !reload->retirement.plan(map, message) ||
        !open_pages(pages, map, reload->retirement.written_addresses(), message)) {
      return nullptr;
    }
    reload->retirement.apply();
    return reload.release();
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
    auto* reload = static_cast<Reload*>(handle);
    reload->undo_adoptions();
    if (!put_old_world_back(reload->retirement, Ranges(fresh, count), message)) return -1;
    delete reload;
    return 0;
  });
}

void commit(void* handle) noexcept {
  auto* reload = static_cast<Reload*>(handle);
  reload->retirement.commit();
  delete reload;
}

std::size_t count_types(const RehookRange* libraries, std::size_t count) noexcept {
  std::size_t result = 0;
  try {
    const Ranges ranges(libraries, count);
    for (Internals* internals : find_internals()) {
      for (const auto& [object, record] : internals->type_c2p_slow) {
        if (record == nullptr) continue;
        const bool foreign = renamed_objects().count(object) == 0 && made_by(*record, ranges);
        result += ranges.contains(object) || foreign ? 1 : 0;
      }
    }
  } catch (...) {
    return 0;
  }
  return result;
}

int describe(PyObject* type, RehookClass* out) noexcept {
  try {
    const FoundClass found = find_class(type);
    if (!found) return 0;
    out->cpp_name = name_as_compiled(found.record->type);
    out->size = found.record->size;
    out->align = found.record->align;
    out->is_enum = found.is_enum ? 1 : 0;
    return 1;
  } catch (...) {
    return 0;
  }
}

int can_adopt(const RehookClassPair* pair, char* error, std::size_t error_size) noexcept {
  return guarded<int>(-1, error, error_size, [&](std::string& message) -> int {
    return fits(*pair, message) ? 0 : -1;
  });
}

int adopt(void* handle, const RehookClassPair* pairs, std::size_t count, char* error,
          std::size_t error_size) noexcept {
  return guarded<int>(-1, error, error_size, [&](std::string& message) -> int {
    auto* reload = static_cast<Reload*>(handle);
    auto adoption = std::make_unique<Adoption>();
    reload->adoptions.reserve(reload->adoptions.size() + 1);
    if (!adoption->plan(pairs, count, message)) return -1;
    adoption->apply();
    reload->adoptions.push_back(std::move(adoption));
    return 0;
  });
}

std::size_t instances(PyObject* type, int subclasses,
                      void (*visit)(PyObject* instance, void* context),
                      void* context) noexcept {
  try {
    const FoundClass found = find_class(type);
    if (!found || found.is_enum) return 0;
    std::vector<PyObject*> all;  // the caller may make or free instances meanwhile
    for_each_instance(*found.internals, type, subclasses != 0,
                      [&](PyObject* instance) { all.push_back(instance); });
    for (PyObject* instance : all) visit(instance, context);
    return all.size();
  } catch (...) {
    return 0;
  }
}

void* detach_value(PyObject* instance, PyObject* old_class, PyObject* new_class,
                   PyObject* python_class, char* error, std::size_t error_size) noexcept {
  return guarded<void*>(nullptr, error, error_size, [&](std::string& message) -> void* {
    return DetachedValue::detach(instance, old_class, new_class, python_class, message)
        .release();
  });
}

int has_value(void* token) noexcept {
  return static_cast<DetachedValue*>(token)->has_value() ? 1 : 0;
}

void finish_value(void* token) noexcept {
  auto* value = static_cast<DetachedValue*>(token);
  value->finish();
  delete value;
}

void revert_value(void* token) noexcept {
  auto* value = static_cast<DetachedValue*>(token);
  value->revert();
  delete value;
}

int redirect(void* handle, PyObject* old_function, PyObject* new_function, char* error,
             std::size_t error_size) noexcept {
  return guarded<int>(-1, error, error_size, [&](std::string& message) -> int {
    auto* reload = static_cast<Reload*>(handle);
    return reload->functions.add(old_function, new_function, message) ? 0 : -1;
  });
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
      rehook_bridge::describe,
      rehook_bridge::can_adopt,
      rehook_bridge::adopt,
      rehook_bridge::instances,
      rehook_bridge::detach_value,
      rehook_bridge::has_value,
      rehook_bridge::finish_value,
      rehook_bridge::revert_value,
      rehook_bridge::redirect,
  };
  return &bridge;
}
