#include "tests/support/fake_file_system.hpp"

#include <algorithm>
#include <utility>

namespace rehook {

std::vector<FakeFileSystem::Call> FakeFileSystem::calls() const {
  const std::lock_guard<std::mutex> guard(mutex_);
  return calls_;
}

std::vector<FakeFileSystem::Call> FakeFileSystem::writes() const {
  const std::lock_guard<std::mutex> guard(mutex_);
  return writes_;
}

std::size_t FakeFileSystem::count(std::string_view operation) const {
  const std::lock_guard<std::mutex> guard(mutex_);
  return static_cast<std::size_t>(
      std::count_if(calls_.begin(), calls_.end(),
                    [&](const Call& call) { return call.operation == operation; }));
}

void FakeFileSystem::forget() {
  const std::lock_guard<std::mutex> guard(mutex_);
  calls_.clear();
  writes_.clear();
}

void FakeFileSystem::fail_write(std::size_t index, Error error) {
  forget();
  failing_write_ = index;
  failure_ = std::move(error);
}

void FakeFileSystem::stop_at_write(std::size_t index) {
  forget();
  last_write_ = index;
}

bool FakeFileSystem::stopped() const {
  const std::lock_guard<std::mutex> guard(mutex_);
  return stopped_;
}

Status FakeFileSystem::note(Kind kind, std::string_view operation, const Path& path) {
  const Call call{operation, path};
  {
    const std::lock_guard<std::mutex> guard(mutex_);
    if (kind == Kind::write && last_write_ && writes_.size() >= *last_write_) stopped_ = true;
    if (stopped_) return Error{ErrorCode::io, "stopped before " + path.native()};
    const bool fails = kind == Kind::write && failing_write_ == writes_.size();
    calls_.push_back(call);
    if (kind == Kind::write) writes_.push_back(call);
    if (fails) {
      failing_write_.reset();
      return failure_;
    }
  }
  if (before) before(call);
  return ok_status();
}

Result<FileStat> FakeFileSystem::stat(const Path& path) {
  REHOOK_TRY(note(Kind::read, "stat", path));
  return real_->stat(path);
}

Result<std::string> FakeFileSystem::read(const Path& path) {
  REHOOK_TRY(note(Kind::read, "read", path));
  return real_->read(path);
}

Result<Digest> FakeFileSystem::digest(const Path& path) {
  REHOOK_TRY(note(Kind::read, "digest", path));
  return real_->digest(path);
}

Result<std::vector<std::string>> FakeFileSystem::list(const Path& path) {
  REHOOK_TRY(note(Kind::read, "list", path));
  return real_->list(path);
}

std::uint64_t FakeFileSystem::tree_size(const Path& path) {
  return note(Kind::read, "tree_size", path) ? real_->tree_size(path) : 0;
}

Status FakeFileSystem::write_atomic(const Path& path, std::string_view data) {
  REHOOK_TRY(note(Kind::write, "write_atomic", path));
  return real_->write_atomic(path, data);
}

Status FakeFileSystem::publish_copy(const Path& source, const Path& path, std::uint32_t mode) {
  REHOOK_TRY(note(Kind::write, "publish_copy", path));
  return real_->publish_copy(source, path, mode);
}

Status FakeFileSystem::publish_private(const Path& private_file, const Path& path,
                                       std::uint32_t mode) {
  REHOOK_TRY(note(Kind::write, "publish_private", path));
  return real_->publish_private(private_file, path, mode);
}

Status FakeFileSystem::copy_new(const Path& source, const Path& path, std::uint32_t mode) {
  REHOOK_TRY(note(Kind::write, "copy_new", path));
  return real_->copy_new(source, path, mode);
}

Status FakeFileSystem::patch(const Path& path, const std::vector<FilePatch>& patches) {
  REHOOK_TRY(note(Kind::write, "patch", path));
  return real_->patch(path, patches);
}

Status FakeFileSystem::set_mode(const Path& path, std::uint32_t mode) {
  REHOOK_TRY(note(Kind::write, "set_mode", path));
  return real_->set_mode(path, mode);
}

Status FakeFileSystem::rename(const Path& from, const Path& to) {
  REHOOK_TRY(note(Kind::write, "rename", to));
  return real_->rename(from, to);
}

Status FakeFileSystem::touch(const Path& path) {
  REHOOK_TRY(note(Kind::write, "touch", path));
  return real_->touch(path);
}

Status FakeFileSystem::set_mtime(const Path& path, std::int64_t mtime_ns) {
  REHOOK_TRY(note(Kind::write, "set_mtime", path));
  return real_->set_mtime(path, mtime_ns);
}

Status FakeFileSystem::append(const Path& path, std::string_view data) {
  REHOOK_TRY(note(Kind::write, "append", path));
  return real_->append(path, data);
}

Status FakeFileSystem::make_directories(const Path& path) {
  REHOOK_TRY(note(Kind::write, "make_directories", path));
  return real_->make_directories(path);
}

Status FakeFileSystem::remove(const Path& path, MissingOk missing) {
  REHOOK_TRY(note(Kind::write, "remove", path));
  return real_->remove(path, missing);
}

Status FakeFileSystem::remove_tree(const Path& path) {
  REHOOK_TRY(note(Kind::write, "remove_tree", path));
  return real_->remove_tree(path);
}

}  // namespace rehook
