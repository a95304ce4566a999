#include "builder/diagnostics.hpp"

#include <gtest/gtest.h>

namespace rehook {
namespace {

using List = std::vector<Diagnostic>;

std::string place(const Diagnostic& found) {
  return found.file + ":" + std::to_string(found.line) + ":" + std::to_string(found.column);
}

TEST(Diagnostics, Gcc) {
  const List found = parse_diagnostics(
      "[1/2] Building CXX object CMakeFiles/m.dir/a.cpp.o\n"
      "FAILED: CMakeFiles/m.dir/a.cpp.o \n"
      "/usr/bin/c++ -Dm_EXPORTS -fPIC -MD -MT x -c /src/a.cpp\n"
      "In file included from /src/b.hpp:1,\n"
      "                 from /src/a.cpp:1:\n"
      "/src/a.cpp: In function 'int main()':\n"
      "/src/a.cpp:4:18: warning: unused variable 'unused' [-Wunused-variable]\n"
      "    4 |   int unused;\n"
      "      |       ^~~~~~\n"
      "/src/a.cpp:5:9: error: 'vector' is not a member of 'std'\n"
      "    5 |   std::vector<int> v;\n"
      "      |        ^~~~~~\n"
      "/src/a.cpp:1:1: note: 'std::vector' is defined in header '<vector>'; did you forget to "
      "'#include <vector>'?\n"
      "  +++ |+#include <vector>\n"
      "    1 | int main() {\n"
      "ninja: build stopped: subcommand failed.\n");
  ASSERT_EQ(found.size(), 3U);
  EXPECT_EQ(found[0].severity, "error");
  EXPECT_EQ(place(found[0]), "/src/a.cpp:5:9");
  EXPECT_EQ(found[0].text, "'vector' is not a member of 'std'");
  EXPECT_EQ(found[0].excerpt, "    5 |   std::vector<int> v;\n      |        ^~~~~~");
  EXPECT_EQ(found[1].severity, "warning");
  EXPECT_EQ(found[2].severity, "note");
  EXPECT_EQ(found[2].excerpt, "  +++ |+#include <vector>\n    1 | int main() {");
}

TEST(Diagnostics, GccInColour) {
  const List found = parse_diagnostics(
      "\x1b[01m\x1b[Ka.cpp:4:42:\x1b[m\x1b[K \x1b[01;31m\x1b[Kerror: \x1b[m\x1b[Kno '"
      "\x1b[01m\x1b[Kx\x1b[m\x1b[K' [\x1b]8;;https://gcc.gnu.org/\x07-Wx\x1b]8;;\x1b\\]\n"
      "    4 | f(\x1b[01;31m\x1b[Kx\x1b[m\x1b[K)\r\n"
      "      |   \x1b[01;31m\x1b[K^\x1b[m\x1b[K\n");
  ASSERT_EQ(found.size(), 1U);
  EXPECT_EQ(place(found[0]), "a.cpp:4:42");
  EXPECT_EQ(found[0].text, "no 'x' [-Wx]");
  EXPECT_EQ(found[0].excerpt, "    4 | f(x)\n      |   ^");
}

TEST(Diagnostics, GccNamesWhoInstantiatedATemplate) {
  const List found = parse_diagnostics(
      "a.cpp: In instantiation of 'void S<T>::f(T) [with T = int]':\n"
      "a.cpp:4:55:   required from here\n"
      "a.cpp:3:47: error: request for member 'nope' in 't'\n");
  ASSERT_EQ(found.size(), 2U);
  EXPECT_EQ(place(found[0]), "a.cpp:3:47");
  EXPECT_EQ(place(found[1]), "a.cpp:4:55");
  EXPECT_EQ(found[1].text, "required from here");
  EXPECT_EQ(found[1].severity, "note");
}

TEST(Diagnostics, FatalAndInternalErrors) {
  const List found = parse_diagnostics(
      "d.cpp:1:10: fatal error: nope.h: No such file or directory\n"
      "    1 | #include <nope.h>\n"
      "      |          ^~~~~~~~\n"
      "compilation terminated.\n"
      "cc1plus: fatal error: nofile.cpp: No such file or directory\n"
      "e.cpp:7: internal compiler error: Segmentation fault\n"
      "x86_64-linux-gnu-g++-12: error: unrecognized command-line option '-bogus'\n"
      "gen.py: error: the following arguments are required: out\n"
      "<command-line>: error: macro names must be identifiers\n"
      "/tmp/cc1.s:12: Error: no such instruction: `nope'\n");
  ASSERT_EQ(found.size(), 7U);
  EXPECT_EQ(place(found[0]), "d.cpp:1:10");
  EXPECT_EQ(found[0].text, "nope.h: No such file or directory");
  EXPECT_EQ(found[0].severity, "error");
  EXPECT_EQ(place(found[1]), ":0:0");
  EXPECT_EQ(found[1].text, "nofile.cpp: No such file or directory");
  EXPECT_EQ(place(found[2]), "e.cpp:7:0");
  EXPECT_EQ(found[3].text, "unrecognized command-line option '-bogus'");
  EXPECT_EQ(found[4].text, "gen.py: the following arguments are required: out");
  EXPECT_EQ(found[5].text, "macro names must be identifiers");
  EXPECT_EQ(place(found[6]), "/tmp/cc1.s:12:0");
}

TEST(Diagnostics, Clang) {
  const List found = parse_diagnostics(
      "a.cpp:4:38: error: no viable conversion from 'int' to 'std::string'\n"
      "int main() { std::string s = 5; }\n"
      "                         ^   ~\n"
      "/usr/include/string.h:540:7: note: candidate constructor not viable\n"
      "      basic_string(const basic_string& __str)\n"
      "      ^\n"
      "b.cpp:1:1: error: without an excerpt\n"
      "c.cpp:3:2: error: as clang 17 shows it\n"
      "    3 |  nope\n"
      "      |  ^\n"
      "3 errors generated.\n");
  ASSERT_EQ(found.size(), 4U);
  EXPECT_EQ(found[0].excerpt,
            "int main() { std::string s = 5; }\n                         ^   ~");
  EXPECT_EQ(place(found[1]), "b.cpp:1:1");
  EXPECT_EQ(found[1].excerpt, "");
  EXPECT_EQ(found[2].excerpt, "    3 |  nope\n      |  ^");
  EXPECT_EQ(found[3].severity, "note");
}

TEST(Diagnostics, GnuLinkerWithAndWithoutLines) {
  const List found = parse_diagnostics(
      "/usr/bin/ld: CMakeFiles/m.dir/c.cpp.o: in function `twice()':\n"
      "c.cpp:(.text+0x0): multiple definition of `twice()'; b.o:b.cpp:(.text+0x0): first "
      "defined "
      "here\n"
      "/usr/bin/ld: CMakeFiles/m.dir/b.cpp.o: in function `main':\n"
      "/src/b.cpp:3: undefined reference to `undefined_one(int)'\n"
      "/usr/bin/ld: (.text+0x20): undefined reference to `lost'\n"
      "/usr/bin/ld: skipping incompatible /lib/libfoo.a when searching for -lfoo\n"
      "/usr/bin/ld.bfd: cannot find -lfoo: No such file or directory\n"
      "/usr/bin/ld: e.o: relocation R_X86_64_32 against symbol `g' can not be used when making "
      "a "
      "shared object; recompile with -fPIC\n"
      "/usr/bin/ld: final link failed: bad value\n"
      "/usr/bin/ld: warning: x.o: missing .note.GNU-stack section\n"
      "collect2: error: ld returned 1 exit status\n");
  ASSERT_EQ(found.size(), 6U);
  EXPECT_EQ(place(found[0]), "c.cpp:0:0");
  EXPECT_EQ(found[0].text.substr(0, 33), "multiple definition of `twice()';");
  EXPECT_EQ(place(found[1]), "/src/b.cpp:3:0");
  EXPECT_EQ(found[1].text, "undefined reference to `undefined_one(int)'");
  EXPECT_EQ(place(found[2]), "CMakeFiles/m.dir/b.cpp.o:0:0");
  EXPECT_EQ(found[3].text, "cannot find -lfoo: No such file or directory");
  EXPECT_EQ(found[4].file, "e.o");
  EXPECT_EQ(found[5].severity, "warning");
}

TEST(Diagnostics, OtherLinkers) {
  const List found = parse_diagnostics(
      "ld.lld: error: undefined symbol: nope()\n"
      ">>> referenced by b.cpp:2 (/src/b.cpp:2)\n"
      ">>>               b.o:(main)\n"
      "ld.lld: error: unable to find library -lfoo\n"
      "mold: fatal: library not found: foo\n"
      "/tmp/b.o:b.cpp:function twice(): error: undefined reference to 'one(int)'\n"
      "/usr/bin/ld.gold: error: cannot find -lbar\n"
      "/usr/bin/ld.gold: b.o: previous definition here\n"
      "clang: error: linker command failed with exit code 1 (use -v to see invocation)\n");
  ASSERT_EQ(found.size(), 5U);
  EXPECT_EQ(place(found[0]), "/src/b.cpp:2:0");
  EXPECT_EQ(found[0].text, "undefined symbol: nope()");
  EXPECT_EQ(found[0].excerpt,
            ">>> referenced by b.cpp:2 (/src/b.cpp:2)\n>>>               b.o:(main)");
  EXPECT_EQ(found[1].text, "unable to find library -lfoo");
  EXPECT_EQ(found[2].text, "library not found: foo");
  EXPECT_EQ(found[3].file, "b.cpp");
  EXPECT_EQ(found[4].text, "cannot find -lbar");
}

TEST(Diagnostics, Cmake) {
  const List found = parse_diagnostics(
      "-- The CXX compiler identification is GNU 12.2.0\n"
      "CMake Warning (dev) at CMakeLists.txt:3 (message):\n"
      "  a warning\n"
      "\n"
      "  of two lines\n"
      "\n"
      "\n"
      "CMake Error at cmake/sub dir/x.cmake:12 (find_package):\n"
      "  By not providing \"Findnope.cmake\" in CMAKE_MODULE_PATH this project has\n"
      "  asked CMake to find a package, but CMake did not find one.\n"
      "\n"
      "  Could not find a package with any of the following names:\n"
      "\n"
      "    nopeConfig.cmake\n"
      "    nope-config.cmake\n"
      "\n"
      "Call Stack (most recent call first):\n"
      "  CMakeLists.txt:2 (include)\n"
      "\n"
      "CMake Error at CMakeLists.txt:5:\n"
      "  Parse error.  Function missing ending \")\".\n"
      "\n"
      "CMake Error in CMakeLists.txt:\n"
      "  Target \"x\" is broken\n"
      "\n"
      "CMake Error: CMAKE_CXX_COMPILER not set, after EnableLanguage\n"
      "CMake Generate step failed.  Build files cannot be regenerated correctly.\n"
      "-- Configuring incomplete, errors occurred!\n");
  ASSERT_EQ(found.size(), 5U);
  EXPECT_EQ(place(found[0]), "cmake/sub dir/x.cmake:12:0");
  EXPECT_EQ(found[0].text,
            "By not providing \"Findnope.cmake\" in CMAKE_MODULE_PATH this project has asked "
            "CMake to find a package, but CMake did not find one.");
  EXPECT_EQ(found[0].excerpt,
            "Could not find a package with any of the following names:\n\n"
            "  nopeConfig.cmake\n  nope-config.cmake");
  EXPECT_EQ(place(found[1]), "CMakeLists.txt:5:0");
  EXPECT_EQ(found[1].text, "Parse error.  Function missing ending \")\".");
  EXPECT_EQ(place(found[2]), "CMakeLists.txt:0:0");
  EXPECT_EQ(found[2].text, "Target \"x\" is broken");
  EXPECT_EQ(found[3].text, "CMAKE_CXX_COMPILER not set, after EnableLanguage");
  EXPECT_EQ(found[4].severity, "warning");
  EXPECT_EQ(found[4].text, "a warning of two lines");
}

TEST(Diagnostics, CmakeSentenceOverParagraphs) {
  const List found = parse_diagnostics(
      "CMake Error at CMakeLists.txt:3 (add_library):\n"
      "  Cannot find source file:\n"
      "\n"
      "    a.cpp\n"
      "\n"
      "\n"
      "CMake Error at /usr/share/cmake/CMakeTestCXXCompiler.cmake:63 (message):\n"
      "  The C++ compiler\n"
      "\n"
      "    \"/bin/false\"\n"
      "\n"
      "  is not able to compile a simple test program.\n"
      "\n"
      "  It fails with the following output:\n"
      "\n"
      "    /tmp/x.cxx:1:1: error: inner\n");
  ASSERT_EQ(found.size(), 2U);
  EXPECT_EQ(found[0].text, "Cannot find source file: a.cpp");
  EXPECT_EQ(found[1].text,
            "The C++ compiler \"/bin/false\" is not able to compile a simple test program.");
  EXPECT_NE(found[1].excerpt.find("error: inner"), std::string::npos);
}

TEST(Diagnostics, CmakeWithAnotherGenerator) {
  const List found = parse_diagnostics(
      "CMake Error: Error: generator : Unix Makefiles\n"
      "Does not match the generator used previously: Ninja\n"
      "Either remove the CMakeCache.txt file or choose a different binary directory.\n");
  ASSERT_EQ(found.size(), 1U);
  EXPECT_EQ(found[0].text,
            "Error: generator : Unix Makefiles Does not match the generator used previously: "
            "Ninja");
}

TEST(Diagnostics, BuildTools) {
  const List found = parse_diagnostics(
      "ninja: error: '/src/a.cpp', needed by 'CMakeFiles/l.dir/a.cpp.o', missing and no known "
      "rule to make it\n"
      "make[2]: *** No rule to make target '/src/a.cpp', needed by 'a.cpp.o'.  Stop.\n"
      "make[1]: *** [CMakeFiles/Makefile2:83: CMakeFiles/l.dir/all] Error 2\n");
  ASSERT_EQ(found.size(), 2U);
  EXPECT_EQ(
      found[0].text,
      "'/src/a.cpp', needed by 'CMakeFiles/l.dir/a.cpp.o', missing and no known rule to make "
      "it");
  EXPECT_EQ(found[1].text, "No rule to make target '/src/a.cpp', needed by 'a.cpp.o'.  Stop.");
}

TEST(Diagnostics, RepeatsAreDroppedAndAnyTextIsRead) {
  const std::string line = "a.hpp:1:2: error: twice\n";
  EXPECT_EQ(parse_diagnostics(line + "b\n" + line).size(), 1U);
  EXPECT_TRUE(parse_diagnostics("").empty());
  EXPECT_TRUE(parse_diagnostics("nothing wrong here\n[1/1] all fine: error: \n").empty());
  EXPECT_EQ(parse_diagnostics("a.cpp:99999999999999999999:1: error: x").size(), 1U);
  const std::string text =
      "CMake Error at a:1 (b):\n  c.\n\n  d\nx.cpp:1:2: error: e\n  1 | f\n"
      "ld.lld: error: g\n>>> referenced by h:1 (i:1)\n\x1b[31mld: o: in function `f':\n"
      "(.text+0x1): undefined reference to `z'\n";
  for (std::size_t size = 0; size <= text.size(); ++size) {
    std::ignore = parse_diagnostics(std::string_view(text).substr(0, size));
    std::ignore = parse_diagnostics(std::string_view(text).substr(size));
  }
}

TEST(Diagnostics, AProgramThatWasKilledIsNoneThatCrashed) {
  for (const char* line :
       {"x86_64-linux-gnu-gcc-12: fatal error: Killed signal terminated program cc1plus",
        "collect2: fatal error: ld terminated with signal 9 [Killed]",
        "clang: error: unable to execute command: Killed", "Killed",
        "rehook: the build tool was ended by signal 9"}) {
    const std::string output = std::string("FAILED: a.o\n") + line + "\ncompilation ended.\n";
    EXPECT_EQ(killed_program(output), line);
  }
  for (const char* line :
       {"", "cc: fatal error: Segmentation fault signal terminated program cc1", "Killed by me",
        "a.c:3:1: error: 'Killed' undeclared", "collect2: error: ld returned 1 exit status",
        "collect2: fatal error: ld terminated with signal 11 [Segmentation fault]"}) {
    EXPECT_EQ(killed_program(line), "") << line;
  }
}

TEST(NinjaProgress, NamesTheFile) {
  const auto what = [](std::string_view line) {
    NinjaProgress progress;
    return parse_ninja_progress(line, progress) ? progress.what : "no";
  };
  NinjaProgress progress;
  ASSERT_TRUE(parse_ninja_progress(
      "[3/17] Building CXX object CMakeFiles/_core.dir/src/algo.cpp.o", progress));
  EXPECT_EQ(progress.done, 3);
  EXPECT_EQ(progress.total, 17);
  EXPECT_EQ(progress.what, "algo.cpp");
  EXPECT_EQ(what("\x1b[32m[1/2] Building CXX object CMakeFiles/a.dir/my dir/b.cpp.o\x1b[0m"),
            "b.cpp");
  EXPECT_EQ(what("[2/2] Linking CXX shared module _core.cpython-311-x86_64-linux-gnu.so"),
            "_core.cpython-311-x86_64-linux-gnu.so");
  EXPECT_EQ(what("[1/2] Generating gen/table.hpp"), "table.hpp");
  EXPECT_EQ(what("[0/1] Re-running CMake..."), "Re-running CMake...");
  for (const char* line :
       {"", "[", "[1/2", "[x/2] a", "[1/y] a", "[/] a", "[-1/2] a", "1/2] a",
        "[ 33%] Building CXX object a.o", "ninja: no work to do.", "[99999999999/1] a"}) {
    EXPECT_EQ(what(line), "no") << line;
  }
}

}  // namespace
}  // namespace rehook
