#pragma once

#include <stddef.h>
#include <stdint.h>

// The contract between rehook and a registry bridge: a small shared library that is compiled,
// on the user's machine, against the binding library (pybind11) the user's own extension was
// compiled against, because only that compiler and those headers know the layout of its type
// registries. Plain C, so that neither side sees the other's C++ types. Every function is
// called with the GIL held, throws nothing, and runs no Python code besides reference counting.

#ifdef __cplusplus
extern "C" {
#endif

#define REHOOK_BRIDGE_ABI 2

// The mapped address range of one shared library, [begin, end).
struct RehookRange {
  uintptr_t begin;
  uintptr_t end;
};

// As Python.h declares it, which this header does not need.
typedef struct _object PyObject;  // NOLINT(modernize-use-using)

// One Python class that the binding library made, as its registry knows it.
struct RehookClass {
  // std::type_info::name() as the compiler wrote it, never the retired spelling; valid while
  // the process lives.
  const char* cpp_name;
  size_t size, align;  // of the C++ class in bytes; 0 when unknown
  int is_enum;
};

struct RehookClassPair {
  PyObject* old_class;
  PyObject* new_class;
};

struct RehookBridge {
  uint32_t abi;              // REHOOK_BRIDGE_ABI
  const char* internals_id;  // PYBIND11_INTERNALS_ID of the headers

  // Takes every C++ type, native enum and exception that the libraries in `old` registered out
  // of the way of their successors: their std::type_info objects get `suffix` appended to their
  // names and the registry entries move along, so that old code keeps finding old types.
  // Returns a handle, or null with a message in `error` and nothing changed.
  void* (*retire)(const struct RehookRange* old_libraries, size_t count, const char* suffix,
                  char* error, size_t error_size);

  // Sets what the libraries in `fresh` registered apart in the same way (a failed new
  // generation; they stay mapped, and what is left of them keeps its own types), then undoes
  // retire(). The handle is spent. 0, or -1 with a message and nothing changed.
  int (*restore)(void* handle, const struct RehookRange* fresh, size_t count, char* error,
                 size_t error_size);

  // Makes retire() final: the old types become immortal. The handle is spent.
  void (*commit)(void* handle);

  // How many C++ types and native enums these libraries own in the shared registry.
  size_t (*count)(const struct RehookRange* libraries, size_t count);

  const char* library;  // "pybind11" or "nanobind"

  // Whether `type` (a Python class) is in this registry: 1 and *out filled, or 0.
  int (*describe)(PyObject* type, struct RehookClass* out);

  // 0 when old_class could serve new_class's C++ class, given equal C++ layouts; -1 with the
  // reason in `error` (another holder, base, metaclass, size...). Changes nothing.
  int (*can_adopt)(const struct RehookClassPair* pair, char* error, size_t error_size);

  // Makes every old_class the Python class of new_class's C++ class: entries of the new and of
  // all retired generations of that class lead to the new record, which now names old_class;
  // objects that the new generation's initialisation made become instances of old_class;
  // records of functions that check their scope check old_class; caches are dropped.
  // Attributes of the classes are the caller's business (he sets them before or after with
  // type.__setattr__). No Python code runs. All or nothing: 0, or -1 with a reason and nothing
  // changed. Undone by restore(), made final by commit().
  int (*adopt)(void* handle, const struct RehookClassPair* pairs, size_t count, char* error,
               size_t error_size);

  // Calls visit for every live instance of exactly this class (subclass instances too when
  // `subclasses` != 0); returns how many. visit must not run Python code.
  size_t (*instances)(PyObject* type, int subclasses,
                      void (*visit)(PyObject* instance, void* context), void* context);

  // One instance changes from old_class's C++ value to a new_class value, in place (same
  // object, same __dict__). detach_value() puts the old value aside and leaves an instance of
  // `python_class` (new_class, or a Python subclass that was re-based on it) without a value,
  // for __setstate__ or __init__ to fill; null with a reason when it cannot. Afterwards exactly
  // one of finish_value() and revert_value().
  void* (*detach_value)(PyObject* instance, PyObject* old_class, PyObject* new_class,
                        PyObject* python_class, char* error, size_t error_size);
  // 1 when the instance has a complete new value.
  int (*has_value)(void* token);
  // The old value is destroyed by the old build's deleter. When nothing filled the value
  // (has_value() is 0) nothing may be freed: call revert_value() instead.
  void (*finish_value)(void* token);
  // The new value, if any, is destroyed; the old one is put back.
  void (*revert_value)(void* token);

  // For functions that the binding library owns (nanobind's nb_func, whose objects only its
  // headers can read): makes `old_function` run `new_function` from now on; part of the handle
  // like adopt(). 0, or -1 with a reason. Null in bridges whose functions are ordinary builtins
  // (pybind11).
  int (*redirect)(void* handle, PyObject* old_function, PyObject* new_function, char* error,
                  size_t error_size);
};

// The one exported symbol.
typedef const struct RehookBridge* (*RehookBridgeEntry)(void);  // NOLINT(modernize-use-using)
#define REHOOK_BRIDGE_ENTRY "rehook_registry_bridge"

#ifdef __cplusplus
}
#endif
