#pragma once

#include <sys/types.h>

#include <map>
#include <set>

namespace rehook {

// The descendants of one process, found in /proc. They are remembered, and so are their process
// groups, because once a parent has died nothing tells whose child a process was: ninja gives
// every compiler a group of its own and may die before them. The root must not be reaped
// meanwhile.
class ProcessFamily final {
 public:
  explicit ProcessFamily(pid_t root);

  // Looks again; true while the root or anybody it brought up is alive.
  bool refresh();
  void signal(int number) const;

 private:
  pid_t root_;
  std::set<pid_t> groups_;
  std::map<pid_t, unsigned long long> members_;  // with the time each was started
};

}  // namespace rehook
