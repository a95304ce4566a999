// The registry bridge for pybind11; see bridge_abi.h for the contract and README.md for the
// idea. Shipped as source and compiled on the user's machine against the headers, flags and
// compiler of the user's extension. pybind11 2.10 to 3.1.

// First, as it includes Python.h; and alone, as all of pybind11 takes seconds to compile.
#include <pybind11/detail/internals.h>

#include <cstdio>
#include <exception>
#include <memory>

#include "bridge_abi.h"
#include "pybind11_adoption.hpp"
#include "pybind11_migration.hpp"
#include "pybind11_retirement.hpp"

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

// What a handle is: one reload.
struct Transaction {
  Transaction(const Ranges& libraries, const std::string& suffix)
      : retirement(libraries, suffix, Strictness::refuse) {}

  Retirement retirement;
  std::vector<std::unique_ptr<Adoption>> adoptions;  // in order
};

void* retire(const RehookRange* old_libraries, std::size_t count, const char* suffix,
             char* error, std::size_t error_size) noexcept {
  return guarded<void*>(nullptr, error, error_size, [&](std::string& message) -> void* {
    auto transaction = std::make_unique<Transaction>(Ranges(old_libraries, count), suffix);
    Retirement& retirement = transaction->retirement;
    Internals* internals = find_internals();
    if (internals == nullptr) return transaction.release();
    MemoryMap map;
    WritablePages pages;
    if (!retirement.plan(*internals, map, message) ||
        !open_pages(pages, map, retirement.written_addresses(), message)) {
      return nullptr;
    }
    retirement.apply();
    return transaction.release();
  });
}

// The failed generation is retired in its turn: what is left of it (threads, callbacks, objects
// in use) goes on finding its own types, never those that get their names back.
bool put_old_world_back(Internals& internals, Retirement& old, const Ranges& fresh,
                        std::string& error) {
  static unsigned failures = 0;
  Retirement failed(fresh, "@failed." + std::to_string(++failures), Strictness::best_effort);
  MemoryMap map;
  WritablePages pages;
  if (!failed.plan(internals, map, error)) return false;
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
    auto* transaction = static_cast<Transaction*>(handle);
    auto& adoptions = transaction->adoptions;
    Internals* internals = find_internals();
    const NoCollection no_collection;
    std::size_t undone = 0;
    for (; undone < adoptions.size(); ++undone) {
      Adoption& last = *adoptions[adoptions.size() - 1 - undone];
      if (!last.prepare_undo(message)) break;
      last.undo();
    }
    if (undone < adoptions.size() ||
        (internals != nullptr && !put_old_world_back(*internals, transaction->retirement,
                                                     Ranges(fresh, count), message))) {
      while (undone > 0) adoptions[adoptions.size() - undone--]->redo();
      return -1;
    }
    for (auto& adoption : adoptions) adoption.release()->release();
    adoptions.clear();
    if (!transaction->retirement.must_stay()) delete transaction;
    return 0;
  });
}

void commit(void* handle) noexcept {
  auto* transaction = static_cast<Transaction*>(handle);
  transaction->retirement.commit();
  for (auto& adoption : transaction->adoptions) adoption.release()->release();
  delete transaction;
}

int describe(PyObject* type, RehookClass* out) noexcept {
  Internals* internals = find_internals();
  return internals != nullptr && describe_class(*internals, type, *out) ? 1 : 0;
}

int can_adopt(const RehookClassPair* pair, char* error, std::size_t error_size) noexcept {
  return guarded<int>(-1, error, error_size, [&](std::string& message) -> int {
    Internals* internals = find_internals();
    message = "no extension with pybind11 is loaded";
    if (internals != nullptr) {
      message = why_not_adopt(*internals, as_type(pair->old_class), as_type(pair->new_class));
    }
    return message.empty() ? 0 : -1;
  });
}

int adopt(void* handle, const RehookClassPair* pairs, std::size_t count, char* error,
          std::size_t error_size) noexcept {
  return guarded<int>(-1, error, error_size, [&](std::string& message) -> int {
    auto* transaction = static_cast<Transaction*>(handle);
    Internals* internals = find_internals();
    if (count == 0) return 0;
    message = "no extension with pybind11 is loaded";
    if (internals == nullptr) return -1;
    const NoCollection no_collection;
    MemoryMap map;
    auto adoption = std::make_unique<Adoption>();
    transaction->adoptions.reserve(transaction->adoptions.size() + 1);
    if (!adoption->plan(*internals, transaction->retirement, map, pairs, count, message)) {
      return -1;
    }
    adoption->apply();
    transaction->adoptions.push_back(std::move(adoption));
    return 0;
  });
}

std::size_t instances(PyObject* type, int subclasses, void (*visit)(PyObject*, void*),
                      void* context) noexcept {
  Internals* internals = find_internals();
  if (internals == nullptr || !PyType_Check(type)) return 0;
  try {
    return visit_instances(*internals, as_type(type), subclasses != 0, visit, context);
  } catch (...) {
    return 0;
  }
}

void* detach_value(PyObject* instance, PyObject* old_class, PyObject* new_class,
                   PyObject* python_class, char* error, std::size_t error_size) noexcept {
  return guarded<void*>(nullptr, error, error_size, [&](std::string& message) -> void* {
    Internals* internals = find_internals();
    message = "no extension with pybind11 is loaded";
    if (internals == nullptr) return nullptr;
    const NoCollection no_collection;
    return Migration::start(*internals, instance, as_type(old_class), as_type(new_class),
                            as_type(python_class), message)
        .release();
  });
}

int has_value(void* token) noexcept {
  return static_cast<const Migration*>(token)->has_value() ? 1 : 0;
}

void finish_value(void* token) noexcept {
  auto* migration = static_cast<Migration*>(token);
  if (!migration->has_value()) return;  // as the contract says: to be reverted
  migration->finish();
  delete migration;
}

void revert_value(void* token) noexcept {
  auto* migration = static_cast<Migration*>(token);
  migration->revert();
  delete migration;
}

std::size_t count_types(const RehookRange* libraries, std::size_t count) noexcept {
  Internals* internals = find_internals();
  if (internals == nullptr) return 0;
  std::size_t result = 0;
  try {
    const Ranges ranges(libraries, count);
    const Ownership ownership(*internals, ranges);
    for (const auto& [key, record] : internals->registered_types_cpp) {
      if (!ownership.owns(record)) continue;
      result += record->cpptype == object_of(key) ? 1 : 0;  // not for its trampoline class
    }
    if (EnumMap* enums = native_enums(*internals)) {
      for (const auto& entry : *enums) {
        result += ranges.contains(object_of(entry.first)) ? 1 : 0;
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
      PYBIND11_INTERNALS_ID,
      rehook_bridge::retire,
      rehook_bridge::restore,
      rehook_bridge::commit,
      rehook_bridge::count_types,
      "pybind11",
      rehook_bridge::describe,
      rehook_bridge::can_adopt,
      rehook_bridge::adopt,
      rehook_bridge::instances,
      rehook_bridge::detach_value,
      rehook_bridge::has_value,
      rehook_bridge::finish_value,
      rehook_bridge::revert_value,
      nullptr,
  };
  return &bridge;
}
