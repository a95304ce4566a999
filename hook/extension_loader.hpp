#pragma once

#include <string>

#include "hook/interpreter.hpp"
#include "shadow_store/elf_image.hpp"

namespace rehook {

// Everything that depends on how CPython loads extension modules (PEP 489, single- and
// multi-phase initialisation) lives here.

// `_imp.create_dynamic(spec)` with RTLD_NOW | RTLD_LOCAL whatever sys.setdlopenflags() says: a
// module loaded globally would lend its symbols to every later generation. Null with an
// exception set.
[[nodiscard]] Ref create_extension(PyObject* spec);

// `_imp.exec_dynamic(module)`: runs the exec slots of multi-phase modules; nothing for
// single-phase ones.
[[nodiscard]] bool exec_extension(PyObject* module);

// Whether the library has the entry point that importing it as `module` needs: PyInit_<last
// part>, or PyInitU_<punycode> for names beyond ASCII (PEP 489). failed_load names what it has
// instead.
[[nodiscard]] Status check_init_symbol(const ElfImage& image, const std::string& module);

// importlib's spec_from_file_location(name, path, loader=loader_type(name, path)).
[[nodiscard]] Ref make_file_spec(const std::string& name, const Path& path,
                                 PyObject* loader_type);

// Like the import system's _load_unlocked: creates the module from `spec`, puts it into
// sys.modules under its name marked as initialising, executes it. Null with an exception set;
// sys.modules then has no entry of that name.
// With Visible::no the entry of sys.modules stays as it is meanwhile: what runs now.
enum class Visible { no, yes };
[[nodiscard]] Ref load_extension(PyObject* spec, Visible visible);

// Makes `hidden`, a module object, use `dict` as its namespace from now on, so that C code that
// keeps a handle of the module it was initialised with writes where everybody reads. false when
// the interpreter lays out module objects in another way than CPython 3.11 to 3.14 do (then
// nothing is done).
bool share_namespace(PyObject* hidden, PyObject* dict);

}  // namespace rehook
