#include "shadow_store/garbage_collector.hpp"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "shadow_store/object_lease.hpp"
#include "tests/support/fake_file_system.hpp"
#include "tests/support/temporary_folder.hpp"

namespace rehook {
namespace {

using Kind = CollectionPlan::Kind;
using Build = StoreInventory::Build;
using Configuration = StoreInventory::Configuration;

constexpr std::int64_t k_day = 24LL * 3600 * 1'000'000'000;
constexpr std::int64_t k_now = 1000 * k_day;

// An inventory in words: objects are "a" to "z", each of 100 bytes.
std::string object(char letter) {
  return std::string(32, letter) + "-x.so";
}

class GarbageCollectorTest : public testing::Test {
 protected:
  void store_objects(const std::string& letters) {
    for (const char letter : letters) {
      inventory_.objects.push_back({Path("objects") / object(letter), 100, k_now, false});
    }
  }
  static std::set<std::string> objects(const std::string& letters) {
    std::set<std::string> names;
    for (const char letter : letters) names.insert(object(letter));
    return names;
  }
  Configuration& add_project(const std::string& name, std::int64_t days_ago,
                             const std::string& letters) {
    Configuration one;
    one.folder = Path("projects") / name;
    one.bytes = 1000;
    one.last_used_ns = k_now - days_ago * k_day;
    one.objects = objects(letters);
    inventory_.configurations.push_back(one);
    return inventory_.configurations.back();
  }
  static void add_build(Configuration& project, const std::string& name, std::int64_t days_ago,
                        const std::string& letters) {
    project.builds.push_back(
        {project.folder / name, 10, k_now - days_ago * k_day, objects(letters), false});
  }
  void run_copies(const std::string& file_name, bool is_live) {
    SessionFolder session;
    session.folder = "sessions/1-2";
    session.is_live = is_live;
    session.bytes = 50;
    session.files = {file_name};
    inventory_.sessions.push_back(session);
  }
  [[nodiscard]] CollectionPlan plan(std::uint64_t max_bytes = 1'000'000,
                                    std::int64_t max_days = 30) const {
    return plan_collection(inventory_,
                           {max_bytes, std::chrono::nanoseconds(max_days * k_day), k_now});
  }
  // "build projects/p/1", in the plan's order.
  static std::vector<std::string> names(const CollectionPlan& plan) {
    std::vector<std::string> list;
    for (const CollectionPlan::Item& item : plan.items) {
      list.push_back(std::string(name_of(item.kind)) + " " + item.path.native());
    }
    return list;
  }
  using Names = std::vector<std::string>;

  StoreInventory inventory_;
};

TEST_F(GarbageCollectorTest, WhatIsInUseStays) {
  store_objects("ab");
  Configuration& project = add_project("p", 1, "a");
  add_build(project, "1", 1, "a");
  add_build(project, "2", 20, "b");
  const CollectionPlan nothing = plan();
  EXPECT_EQ(names(nothing), Names{});
  EXPECT_EQ(nothing.bytes_before, 1220U);
  EXPECT_EQ(nothing.bytes_freed, 0U);
}

TEST_F(GarbageCollectorTest, AnOldBuildGoesWithWhatOnlyItUses) {
  store_objects("abc");
  Configuration& project = add_project("p", 1, "a");
  add_build(project, "new", 1, "a");
  add_build(project, "old", 31, "bc");
  add_build(project, "less old", 29, "c");
  const CollectionPlan old = plan();
  EXPECT_EQ(names(old), (Names{"build projects/p/old", "object objects/" + object('b')}));
  EXPECT_EQ(old.items[0].reason, "not used for 31 days");
  EXPECT_EQ(old.bytes_freed, 110U);
}

TEST_F(GarbageCollectorTest, AnUnusedProjectGoesAsAWhole) {
  store_objects("ab");
  add_build(add_project("p", 40, "a"), "1", 50, "a");
  add_project("q", 3, "b");
  const CollectionPlan old = plan();
  EXPECT_EQ(names(old), (Names{"project projects/p", "object objects/" + object('a')}));
  EXPECT_EQ(old.bytes_freed, 1110U);
}

TEST_F(GarbageCollectorTest, AProjectThatIsGoneGoesAfterAWeek) {
  add_project("p", 6, "").is_source_gone = true;
  add_project("q", 8, "").is_source_gone = true;
  add_project("r", 8, "");
  EXPECT_EQ(names(plan()), Names{"project projects/q"});
}

TEST_F(GarbageCollectorTest, TheBudgetTakesWhatWasUsedLeastRecently) {
  store_objects("abcd");
  Configuration& project = add_project("p", 1, "a");
  add_build(project, "1", 1, "a");
  add_build(project, "2", 3, "b");
  add_build(project, "3", 2, "c");
  Configuration& other = add_project("q", 9, "d");
  add_build(other, "4", 9, "d");
  const std::uint64_t all = inventory_.bytes();
  EXPECT_EQ(all, 2440U);
  EXPECT_EQ(names(plan(all)), Names{});
  // The other project is the oldest, and enough.
  EXPECT_EQ(names(plan(all - 1)),
            (Names{"project projects/q", "object objects/" + object('d')}));
  EXPECT_EQ(names(plan(all - 1110 - 1)),
            (Names{"project projects/q", "build projects/p/2", "object objects/" + object('b'),
                   "object objects/" + object('d')}));
  const CollectionPlan everything = plan(1);
  EXPECT_EQ(everything.bytes_freed, all);
  EXPECT_EQ(names(everything).front(), "project projects/q");
}

TEST_F(GarbageCollectorTest, RubbishIsNoReasonToRemoveAnythingElse) {
  store_objects("abz");  // nobody uses z
  Configuration& project = add_project("p", 1, "a");
  add_build(project, "2", 3, "b");
  EXPECT_EQ(names(plan(inventory_.bytes() - 100)), Names{"object objects/" + object('z')});
}

TEST_F(GarbageCollectorTest, WhatWasUsedJustNowStaysWhateverTheBudget) {
  store_objects("ab");
  Configuration& project = add_project("p", 0, "a");
  add_build(project, "1", 0, "b");
  project.builds[0].last_used_ns = k_now - 60'000'000'000;
  EXPECT_EQ(names(plan(1)), Names{});
}

TEST_F(GarbageCollectorTest, WhatALivingProcessRunsStays) {
  store_objects("ab");
  Configuration& project = add_project("p", 50, "");
  add_build(project, "1", 60, "ab");
  run_copies("pkg._core.g1.aaaaaaaa.0.x.so", true);
  EXPECT_EQ(names(plan(1)), Names{}) << "b is needed to compare the next build with a";
  inventory_.sessions[0].is_live = false;
  EXPECT_EQ(names(plan()),
            (Names{"session sessions/1-2", "project projects/p",
                   "object objects/" + object('a'), "object objects/" + object('b')}));
}

TEST_F(GarbageCollectorTest, AnObjectThatOnlyAProcessRunsStays) {
  store_objects("a");
  run_copies("pkg._core.g1.aaaaaaaa.0.x.so", true);
  EXPECT_EQ(names(plan(1)), Names{});
}

TEST_F(GarbageCollectorTest, WhatAProcessMapsItselfStays) {
  store_objects("abc");
  inventory_.objects[0].is_leased = true;
  Configuration& project = add_project("p", 50, "c");
  add_build(project, "1", 60, "ab");
  const CollectionPlan old = plan(1);
  EXPECT_EQ(names(old), Names{}) << "the project has a build that is in use";
  inventory_.configurations.clear();
  EXPECT_EQ(names(plan(1)),
            (Names{"object objects/" + object('b'), "object objects/" + object('c')}));
}

TEST_F(GarbageCollectorTest, WhatIsBeingBuiltStays) {
  add_project("p", 50, "").is_busy = true;
  EXPECT_EQ(names(plan(1)), Names{});
}

TEST_F(GarbageCollectorTest, LeftoversAndDamagedRecordsGo) {
  inventory_.orphans.push_back({"objects/.tmp-1-0123456789abcdef", 7, 0, false});
  Configuration& project = add_project("p", 0, "");
  add_build(project, "torn", 0, "");
  project.builds[0].is_damaged = true;
  EXPECT_EQ(names(plan()),
            (Names{"orphan objects/.tmp-1-0123456789abcdef", "build projects/p/torn"}));
}

TEST_F(GarbageCollectorTest, BridgesGoOnlyWhileNoProcessCouldRunThem) {
  inventory_.bridges.push_back({"bridges/old.so", 9, k_now - 31 * k_day, false});
  inventory_.bridges.push_back({"bridges/new.so", 9, k_now - 29 * k_day, false});
  EXPECT_EQ(names(plan()), Names{"bridge bridges/old.so"});
  run_copies("x", true);
  EXPECT_EQ(names(plan()), Names{});
}

TEST_F(GarbageCollectorTest, AClockThatWentBackRemovesNothing) {
  add_build(add_project("p", -100, ""), "1", -100, "");
  EXPECT_EQ(names(plan(1)), Names{});
}

TEST(ShadowCopyName, TellsTheArtifact) {
  EXPECT_EQ(artifact_of_shadow_copy("pkg._core.g12.0123abcd.0._core.so"), "0123abcd");
  EXPECT_EQ(artifact_of_shadow_copy("a.g1.g2.0123abcd.0.x.so"), "0123abcd");
  EXPECT_EQ(artifact_of_shadow_copy("a.g1.0123abc.0.x.so"), "");
  EXPECT_EQ(artifact_of_shadow_copy("lease"), "");
  EXPECT_EQ(artifact_of_shadow_copy(".g1."), "");
}

// ---- removing, on real files ----

class RunCollectionTest : public testing::Test {
 protected:
  void SetUp() override {
    Result<ArtifactStore> store = ArtifactStore::open(fs_, folder_ / "store");
    ASSERT_TRUE(store.ok()) << reason(store);
    store_.emplace(std::move(store).value());
    project_ = store_->root() / "projects/p-1/abi";
    ASSERT_TRUE(fs_.make_directories(project_ / "records").ok());
    ASSERT_TRUE(fs_.make_directories(project_ / "build").ok());
    for (const char* name : {"lock", "state", "records/1", "build/x.o"}) {
      ASSERT_TRUE(fs_.write_atomic(project_ / name, "text").ok());
    }
  }
  [[nodiscard]] bool exists(const Path& path) { return fs_.stat(path).ok(); }

  TemporaryFolder folder_;
  FakeFileSystem fs_;
  std::optional<ArtifactStore> store_;
  Path project_;
};

TEST_F(RunCollectionTest, AProjectGoesWithItsEmptyFolder) {
  CollectionPlan plan;
  plan.items.push_back({Kind::configuration, project_, 16, ""});
  const CollectionResult done = run_collection(fs_, plan, {});
  EXPECT_EQ(done.removed, 1U);
  EXPECT_EQ(done.bytes_freed, 16U);
  EXPECT_FALSE(exists(project_.parent_path()));
  EXPECT_TRUE(exists(store_->root() / "projects"));
}

TEST_F(RunCollectionTest, AProjectThatSomebodyBuildsStaysAndSoDoObjects) {
  const Result<FileLock> builder =
      FileLock::try_acquire(project_ / "lock", LockKind::exclusive);
  ASSERT_TRUE(builder.ok());
  const Path object = store_->root() / "objects/x";
  ASSERT_TRUE(fs_.write_atomic(object, "text").ok());
  CollectionPlan plan;
  plan.items.push_back({Kind::configuration, project_, 16, ""});
  plan.items.push_back({Kind::object, object, 4, ""});
  const CollectionResult done = run_collection(fs_, plan, {});
  EXPECT_EQ(done.removed, 0U);
  EXPECT_EQ(done.failures.size(), 1U);
  EXPECT_TRUE(exists(project_ / "state"));
  EXPECT_TRUE(exists(object));
}

TEST_F(RunCollectionTest, ASessionThatCameToLifeStays) {
  const Path session = store_->root() / "sessions/1-1";
  ASSERT_TRUE(fs_.make_directories(session).ok());
  CollectionPlan plan;
  plan.items.push_back({Kind::session, session, 0, ""});
  {
    const Result<FileLock> lease = take_lease(session);
    ASSERT_TRUE(lease.ok());
    EXPECT_EQ(run_collection(fs_, plan, {}).failures.size(), 1U);
  }
  EXPECT_TRUE(exists(session));
  EXPECT_EQ(run_collection(fs_, plan, {}).removed, 1U);
  EXPECT_FALSE(exists(session));
}

TEST_F(RunCollectionTest, AnObjectThatAProcessMapsStaysUntilItIsGone) {
  const Path object = store_->root() / "objects/x";
  ASSERT_TRUE(fs_.write_atomic(object, "text").ok());
  ASSERT_TRUE(fs_.set_mode(object, 0400).ok());
  EXPECT_FALSE(is_leased(object));
  int ready[2];
  ASSERT_EQ(::pipe(ready), 0);
  const pid_t child = ::fork();
  if (child == 0) {
    const char byte = lease_object(object) ? 'y' : 'n';
    if (::write(ready[1], &byte, 1) != 1) ::_exit(1);
    while (true) ::pause();
  }
  char byte = 0;
  ASSERT_EQ(::read(ready[0], &byte, 1), 1);
  ASSERT_EQ(byte, 'y');
  EXPECT_TRUE(is_leased(object));
  CollectionPlan plan;
  plan.items.push_back({Kind::object, object, 4, ""});
  EXPECT_EQ(run_collection(fs_, plan, {}).failures.size(), 1U);
  EXPECT_TRUE(exists(object));
  ::kill(child, SIGKILL);
  ::waitpid(child, nullptr, 0);
  EXPECT_FALSE(is_leased(object));
  EXPECT_EQ(run_collection(fs_, plan, {}).removed, 1U);
}

TEST_F(RunCollectionTest, EndsWhenItIsTold) {
  CollectionPlan plan;
  plan.items.push_back({Kind::build, project_ / "records/1", 4, ""});
  plan.items.push_back({Kind::build, project_ / "state", 4, ""});
  int asked = 0;
  const CollectionResult done = run_collection(fs_, plan, [&] { return ++asked < 2; });
  EXPECT_FALSE(done.is_complete);
  EXPECT_FALSE(exists(project_ / "records/1"));
  EXPECT_TRUE(exists(project_ / "state"));
}

TEST_F(RunCollectionTest, KilledAnywhereNothingRefersToWhatIsGone) {
  const Path object = store_->root() / "objects/x";
  CollectionPlan plan;
  plan.items.push_back({Kind::build, project_ / "records/1", 4, ""});
  plan.items.push_back({Kind::configuration, project_, 16, ""});
  plan.items.push_back({Kind::object, object, 4, ""});
  for (std::size_t stop = 0;; ++stop) {
    SetUp();
    ASSERT_TRUE(fs_.write_atomic(object, "text").ok());
    FakeFileSystem killed;
    killed.stop_at_write(stop);
    std::ignore = run_collection(killed, plan, {});
    if (!exists(object)) {
      EXPECT_FALSE(exists(project_ / "state")) << "stopped before write " << stop;
      EXPECT_FALSE(exists(project_ / "records/1")) << "stopped before write " << stop;
    }
    if (exists(project_ / "build")) continue;  // not yet past the removal of the tree
    EXPECT_FALSE(exists(project_ / "state"));
    if (!killed.stopped()) break;
  }
}

TEST_F(RunCollectionTest, WhoPublishesKeepsTheCollectorAway) {
  {
    const Result<FileLock> first = store_->hold(std::chrono::seconds(1), {});
    const Result<FileLock> second = store_->hold(std::chrono::seconds(1), {});
    ASSERT_TRUE(first.ok() && second.ok()) << "several may publish at once";
    ASSERT_FALSE(store_->hold_alone().ok());
    EXPECT_EQ(store_->hold_alone().error().code, ErrorCode::busy);
  }
  const Result<FileLock> collector = store_->hold_alone();
  ASSERT_TRUE(collector.ok()) << reason(collector);
  EXPECT_EQ(store_->hold(std::chrono::milliseconds(20), {}).error().code, ErrorCode::busy);
}

TEST_F(RunCollectionTest, AKilledCollectorBlocksNobody) {
  int ready[2];
  ASSERT_EQ(::pipe(ready), 0);
  const pid_t child = ::fork();
  if (child == 0) {
    const Result<FileLock> lock = store_->hold_alone();
    const char byte = lock.ok() ? 'y' : 'n';
    if (::write(ready[1], &byte, 1) != 1) ::_exit(1);
    while (true) ::pause();
  }
  char byte = 0;
  ASSERT_EQ(::read(ready[0], &byte, 1), 1);
  ASSERT_EQ(byte, 'y');
  EXPECT_FALSE(store_->hold(std::chrono::milliseconds(0), {}).ok());
  ::kill(child, SIGKILL);
  ::waitpid(child, nullptr, 0);
  EXPECT_TRUE(store_->hold(std::chrono::seconds(5), {}).ok());
}

}  // namespace
}  // namespace rehook
