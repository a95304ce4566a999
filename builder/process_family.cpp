#include "builder/process_family.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <charconv>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <memory>
#include <optional>
#include <string>

namespace rehook {
namespace {

// One line of /proc/<pid>/stat.
struct ProcessLine {
  pid_t parent = 0;
  pid_t group = 0;
  unsigned long long started = 0;  // tells a process from a later one with the same number
  bool alive = false;
};

std::optional<ProcessLine> read_process(pid_t pid) {
  const std::string path = "/proc/" + std::to_string(pid) + "/stat";
  const int file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (file < 0) return std::nullopt;
  std::array<char, 1024> buffer{};
  const ssize_t size = ::read(file, buffer.data(), buffer.size() - 1);
  ::close(file);
  if (size <= 0) return std::nullopt;
  // The name is in parentheses and may itself hold blanks and parentheses.
  const char* rest = std::strrchr(buffer.data(), ')');
  char state = 0;
  ProcessLine line;
  constexpr const char* k_format =
      " %c %d %d %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %llu";
  if (rest == nullptr ||
      std::sscanf(rest + 1, k_format, &state, &line.parent, &line.group, &line.started) != 4) {
    return std::nullopt;
  }
  line.alive = state != 'Z' && state != 'X';
  return line;
}

std::map<pid_t, ProcessLine> all_processes() {
  std::map<pid_t, ProcessLine> result;
  const std::unique_ptr<DIR, int (*)(DIR*)> folder(::opendir("/proc"), &::closedir);
  while (folder) {
    const dirent* entry = ::readdir(folder.get());
    if (entry == nullptr) break;
    pid_t pid = 0;
    const char* end = entry->d_name + std::strlen(entry->d_name);
    if (std::from_chars(entry->d_name, end, pid).ptr != end) continue;
    if (const auto line = read_process(pid)) result.emplace(pid, *line);
  }
  return result;
}

}  // namespace

ProcessFamily::ProcessFamily(pid_t root) : root_(root), groups_{root} {}

bool ProcessFamily::refresh() {
  const std::map<pid_t, ProcessLine> processes = all_processes();
  std::erase_if(members_, [&](const auto& member) {
    const auto found = processes.find(member.first);
    return found == processes.end() || !found->second.alive ||
           found->second.started != member.second;
  });
  const pid_t own_group = ::getpgrp();
  bool grown = true;
  while (grown) {
    grown = false;
    for (const auto& [pid, line] : processes) {
      const bool belongs = pid == root_ || line.parent == root_ ||
                           members_.contains(line.parent) || groups_.contains(line.group);
      if (!line.alive || !belongs || members_.contains(pid)) continue;
      members_.emplace(pid, line.started);
      if (line.group != own_group) groups_.insert(line.group);
      grown = true;
    }
  }
  return !members_.empty();
}

void ProcessFamily::signal(int number) const {
  ::kill(-root_, number);  // works without /proc, too
  for (const auto& member : members_) ::kill(member.first, number);
}

}  // namespace rehook
