#include <gtest/gtest.h>
#include <sys/mman.h>

#include <algorithm>
#include <exception>
#include <set>
#include <stdexcept>
#include <string>
#include <vector>

#include "hook/registry/rtti_memory.hpp"
#include "hook/registry/rtti_name.hpp"
#include "hook/registry/rtti_objects.hpp"
#include "hook/registry/rtti_renames.hpp"

namespace registry_rtti_test {

struct Error : std::runtime_error {
  using std::runtime_error::runtime_error;
};
struct Base {
  virtual ~Base() = default;
};
struct Mixed : Base, virtual Error {
  Mixed() : Error("") {}
};
struct Plain {};
enum class Enumeration { one };

}  // namespace registry_rtti_test

namespace rehook_bridge {
namespace {

namespace types = registry_rtti_test;

TEST(RegistryName, KeepsHashAndOrder) {
  for (const char* name :
       {"i", "N3lib4BaseE", "N3lib8DerivedTIiEE", "12345678", "", "7seven.."}) {
    bool keeps_hash = false;
    const std::string retired = retired_name(name, "@gen1", keeps_hash);
    EXPECT_EQ(retired.rfind(std::string(name) + "@gen1", 0), 0U) << retired;
    if (!keeps_hash) GTEST_SKIP() << "not libstdc++ on a 64-bit machine";
    const void* words[] = {nullptr, retired.c_str()};
    const void* original[] = {nullptr, name};
    EXPECT_EQ(reinterpret_cast<const std::type_info*>(words)->hash_code(),
              reinterpret_cast<const std::type_info*>(original)->hash_code());
    for (char c : retired) EXPECT_TRUE(c > ' ' && c <= '~');
  }
}

TEST(RegistryName, DependsOnNothingElse) {
  bool ignored = false;
  std::set<std::string> names;
  for (int i = 0; i < 200; ++i) {
    const std::string suffix = "@rehook." + std::to_string(i);
    EXPECT_EQ(retired_name("N3lib4BaseE", suffix.c_str(), ignored),
              retired_name("N3lib4BaseE", suffix.c_str(), ignored));
    names.insert(retired_name("N3lib4BaseE", suffix.c_str(), ignored));
  }
  EXPECT_EQ(names.size(), 200U);
}

TEST(RegistryMemory, ReadsMaps) {
  MemoryMap map;
  map.parse(
      "1000-3000 r--p 00000000 08:01 1 /lib/a b\n3000-4000 rw-p 0 0:0 0\n"
      "4000-5000 ---p 0 0:0 0 \nnonsense\n\n9000-a000 r-xp 0 0:0 0 [vdso]");
  EXPECT_TRUE(map.readable(0x1000, 0x3000));
  EXPECT_FALSE(map.readable(0x1000, 0x3001));
  EXPECT_FALSE(map.readable(0xfff, 1));
  EXPECT_FALSE(map.readable(0x4000, 1));
  EXPECT_EQ(map.protection(0x3fff), PROT_READ | PROT_WRITE);
  EXPECT_EQ(map.protection(0x9000), PROT_READ | PROT_EXEC);
  EXPECT_EQ(map.protection(0x8fff), PROT_NONE);
}

TEST(RegistryMemory, LibrariesAreKnownOneByOne) {
  static int variable = 1;
  const std::string on_the_heap(100, 'x');
  std::string error;
  MemoryMap everything;
  ASSERT_TRUE(everything.read(error)) << error;
  const std::uintptr_t somewhere[] = {
      reinterpret_cast<std::uintptr_t>(&variable),
      reinterpret_cast<std::uintptr_t>(&typeid(types::Plain)),
      reinterpret_cast<std::uintptr_t>(typeid(types::Plain).name()),
      reinterpret_cast<std::uintptr_t>(&typeid(std::exception)),
      reinterpret_cast<std::uintptr_t>(&std::strlen),
      reinterpret_cast<std::uintptr_t>(&mmap),
      reinterpret_cast<std::uintptr_t>(on_the_heap.data()),
      8,
  };
  const MemoryMap one_by_one;
  for (const std::uintptr_t address : somewhere) {
    EXPECT_EQ(one_by_one.protection(address), everything.protection(address)) << address;
    EXPECT_EQ(MemoryMap().protection(address), everything.protection(address)) << address;
  }
}

TEST(RegistryName, OfAnAdoptedClassSwitches) {
  const std::string plain = "N3lib4BaseE";
  bool ignored = false;
  std::string text = retired_name(plain.c_str(), "@rehook.1", ignored);
  const std::string whole = text;
  const NameOnly known(text.c_str()), same(plain.c_str());
  AdoptedName name(text.data(), plain.size());
  EXPECT_FALSE(name.in_use());
  EXPECT_NE(known.index(), same.index());
  for (int i = 0; i < 3; ++i) {
    name.use();
    EXPECT_TRUE(name.in_use());
    EXPECT_EQ(known.index(), same.index());
    EXPECT_STREQ(name.text(), plain.c_str());
    name.retire();
    EXPECT_FALSE(name.in_use());
    EXPECT_NE(known.index(), same.index());
    EXPECT_EQ(name.text(), whole);
  }
}

TEST(RegistryMemory, StringsEndInReadableMemory) {
  const std::size_t page = 4096;
  void* pages =
      mmap(nullptr, 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  ASSERT_NE(pages, MAP_FAILED);
  char* text = static_cast<char*>(pages);
  std::fill(text, text + page, 'x');
  ASSERT_EQ(mprotect(text + page, page, PROT_NONE), 0);
  std::string error;
  MemoryMap map;
  ASSERT_TRUE(map.read(error)) << error;
  const auto address = reinterpret_cast<std::uintptr_t>(text + page - 4);
  EXPECT_EQ(map.c_string(address), nullptr);
  text[page - 1] = '\0';
  EXPECT_STREQ(map.c_string(address), "xxx");
  EXPECT_EQ(map.c_string(address + 4), nullptr);
  EXPECT_EQ(map.c_string(8), nullptr);
}

TEST(RegistryMemory, ProtectionComesBack) {
  const std::size_t page = 4096;
  void* pages = mmap(nullptr, 3 * page, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  ASSERT_NE(pages, MAP_FAILED);
  const auto begin = reinterpret_cast<std::uintptr_t>(pages);
  std::string error;
  MemoryMap map;
  ASSERT_TRUE(map.read(error)) << error;
  {
    WritablePages writable;
    ASSERT_TRUE(writable.open(map, {begin + 2 * page, begin + 8, begin + 16, begin + page}));
    store_word(begin + 8, 42);
    store_word(begin + 2 * page, 43);
  }
  EXPECT_EQ(load_word(begin + 8), 42U);
  MemoryMap after;
  ASSERT_TRUE(after.read(error)) << error;
  for (std::size_t i = 0; i < 3; ++i) EXPECT_EQ(after.protection(begin + i * page), PROT_READ);
  WritablePages unmapped;
  EXPECT_FALSE(unmapped.open(map, {8}));
}

TEST(RegistryTypes, AreFoundInALibrary) {
  Library program;
  ASSERT_TRUE(library_at(reinterpret_cast<std::uintptr_t>(&typeid(types::Plain)), program));
  std::string error;
  MemoryMap map;
  ASSERT_TRUE(map.read(error)) << error;
  const TypeObjects objects(map);
  std::set<const std::type_info*> found;
  objects.for_each(program, [&](const std::type_info* object, const char* name) {
    EXPECT_STREQ(raw_name(object), name);
    found.insert(object);
  });
  for (const std::type_info* type : {&typeid(types::Plain), &typeid(types::Error),
                                     &typeid(types::Mixed), &typeid(types::Enumeration)}) {
    EXPECT_EQ(found.count(type), 1U) << type->name();
  }
  EXPECT_FALSE(library_at(8, program));
}

TEST(RegistryTypes, ExceptionsAreRecognized) {
  std::string error;
  MemoryMap map;
  ASSERT_TRUE(map.read(error)) << error;
  const TypeObjects objects(map);
  for (const std::type_info* type : {&typeid(std::exception), &typeid(std::range_error),
                                     &typeid(types::Error), &typeid(types::Mixed)}) {
    EXPECT_TRUE(objects.is_exception(type)) << type->name();
  }
  for (const std::type_info* type : {&typeid(types::Base), &typeid(types::Plain), &typeid(int),
                                     &typeid(types::Enumeration)}) {
    EXPECT_FALSE(objects.is_exception(type)) << type->name();
  }
  const void* broken[] = {nullptr, nullptr, nullptr};
  EXPECT_FALSE(objects.is_exception(reinterpret_cast<const std::type_info*>(broken)));
  EXPECT_FALSE(objects.is_exception(reinterpret_cast<const std::type_info*>(8)));
}

}  // namespace
}  // namespace rehook_bridge
