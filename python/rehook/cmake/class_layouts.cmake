# Included at the first project() of a build that rehook configures in a folder of its own: adds the
# debug information from which rehook reads the layouts of C++ classes, so that it knows which
# objects a new build may work on.
#
# It is added to a target at the very end, when all its flags are known, in front of its own
# options: a -g of any kind that the project or the user chose, -g0 included, is left alone.
# Neither the code nor the data of the result differ: compilers promise that for -g.
include_guard(GLOBAL)

if(WIN32 OR APPLE)
  return()
endif()

# What of -g costs most is where variables live while a function runs; layouts need none of it.
set(_rehook_gnu_flags -g -fno-var-tracking -fno-var-tracking-assignments)
set(_rehook_gnu_8_flags ${_rehook_gnu_flags} -gno-statement-frontiers
    -gno-variable-location-views -gno-column-info)
set(_rehook_clang_flags -g -gno-column-info)
foreach(_rehook_kind gnu gnu_8 clang)
  set_property(GLOBAL PROPERTY rehook_${_rehook_kind}_flags "${_rehook_${_rehook_kind}_flags}")
endforeach()

# The flags for one language, as `out`; empty for a compiler that is not known.
function(_rehook_layout_flags language out)
  set(kind "")
  if(CMAKE_${language}_COMPILER_ID STREQUAL "GNU")
    set(kind gnu)
    if(CMAKE_${language}_COMPILER_VERSION VERSION_GREATER_EQUAL 8)
      set(kind gnu_8)
    endif()
  elseif(CMAKE_${language}_COMPILER_ID MATCHES "Clang")
    set(kind clang)
  endif()
  set(flags "")
  if(kind)
    get_property(flags GLOBAL PROPERTY rehook_${kind}_flags)
  endif()
  set(${out} "${flags}" PARENT_SCOPE)
endfunction()

# Whether a list or a command line says what debug information to make.
function(_rehook_names_debug_level text out)
  string(REPLACE ";" " " text " ${text} ")
  set(${out} FALSE PARENT_SCOPE)
  if(text MATCHES " -g(0|1|2|3|gdb[0-3]?|dwarf[-0-9]*|split-dwarf|mlt|line-tables-only|line-directives-only|full|simple-template-names)? ")
    set(${out} TRUE PARENT_SCOPE)
  endif()
endfunction()

function(_rehook_add_to_target target directory configuration)
  get_target_property(options ${target} COMPILE_OPTIONS)
  if(NOT options)
    set(options "")
  endif()
  set(added "")
  foreach(language C CXX)
    get_directory_property(flags DIRECTORY "${directory}" DEFINITION CMAKE_${language}_FLAGS)
    get_directory_property(more DIRECTORY "${directory}" DEFINITION
                           CMAKE_${language}_FLAGS_${configuration})
    _rehook_names_debug_level("${flags} ${more};${options}" is_chosen)
    _rehook_layout_flags(${language} wanted)
    if(NOT is_chosen)
      foreach(flag IN LISTS wanted)
        list(APPEND added "$<$<COMPILE_LANGUAGE:${language}>:${flag}>")
      endforeach()
    endif()
  endforeach()
  set_property(TARGET ${target} PROPERTY COMPILE_OPTIONS ${added} ${options})

  # nanobind_add_module() strips while it links. A plain -s is the project's own wish.
  get_target_property(links ${target} LINK_OPTIONS)
  if(links AND added)
    list(FILTER links EXCLUDE REGEX "^\\$<.*:-Wl,-s>$")
    set_property(TARGET ${target} PROPERTY LINK_OPTIONS ${links})
  endif()
endfunction()

function(_rehook_add_to_directory directory configuration)
  get_property(targets DIRECTORY "${directory}" PROPERTY BUILDSYSTEM_TARGETS)
  foreach(target IN LISTS targets)
    get_target_property(type ${target} TYPE)
    if(type MATCHES "^(STATIC|MODULE|SHARED|OBJECT)_LIBRARY$")
      _rehook_add_to_target(${target} "${directory}" "${configuration}")
    endif()
  endforeach()
  get_property(folders DIRECTORY "${directory}" PROPERTY SUBDIRECTORIES)
  foreach(folder IN LISTS folders)
    _rehook_add_to_directory("${folder}" "${configuration}")
  endforeach()
endfunction()

function(_rehook_add_class_layouts)
  string(TOUPPER "${CMAKE_BUILD_TYPE}" configuration)
  _rehook_add_to_directory("${CMAKE_SOURCE_DIR}" "${configuration}")
endfunction()

cmake_language(DEFER DIRECTORY "${CMAKE_SOURCE_DIR}" CALL _rehook_add_class_layouts)
