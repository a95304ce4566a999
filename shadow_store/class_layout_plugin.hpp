#pragma once

#include <cstddef>

// What rehook_layouts.so offers. It is a library of its own because loading libdw costs
// milliseconds that an up-to-date import must not pay; this is C so that dlsym() can find it.

// Takes the serialised layouts (class_layout.hpp); the bytes live as long as the call.
using RehookLayoutsSink = void (*)(void* context, const char* bytes, std::size_t size);

// Reads `count` files that make up one build. What cannot be read is a gap in the result.
using RehookLayoutsRead = void (*)(const char* const* files, std::size_t count,
                                   RehookLayoutsSink sink, void* context);

inline constexpr const char* k_rehook_layouts_symbol = "rehook_layouts_read";
