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

#define REHOOK_BRIDGE_ABI 1

// The mapped address range of one shared library, [begin, end).
struct RehookRange {
  uintptr_t begin;
  uintptr_t end;
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
};

// The one exported symbol.
typedef const struct RehookBridge* (*RehookBridgeEntry)(void);  // NOLINT(modernize-use-using)
#define REHOOK_BRIDGE_ENTRY "rehook_registry_bridge"

#ifdef __cplusplus
}
#endif
