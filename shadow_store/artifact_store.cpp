#include "shadow_store/artifact_store.hpp"

#include <charconv>
#include <chrono>
#include <string>
#include <thread>
#include <tuple>

#include "shadow_store/base/platform.hpp"
#include "shadow_store/base/temporary_name.hpp"
#include "shadow_store/base/trace.hpp"
#include "shadow_store/elf_image.hpp"
#include "shadow_store/file_name.hpp"
#include "shadow_store/safe_directory.hpp"

namespace rehook {
namespace {

// The file "format" is this line. Constraints: written before anything else, never changed; a
// rehook that does not know the number or the algorithm touches nothing. Other folders:
// artifact_store.hpp.
constexpr std::string_view k_format_words = "rehook store ";
constexpr int k_format = 1;

constexpr std::uint32_t k_private_mode = 0600;
constexpr std::uint32_t k_artifact_mode = 0500;
constexpr const char* k_collecting = "collecting";
constexpr int k_copy_attempts = 3;
constexpr std::chrono::milliseconds k_copy_back_off{20};

std::string format_line() {
  return std::string(k_format_words) + std::to_string(k_format) + " " +
         std::string(k_digest_algorithm) + "\n";
}

Status check_format(std::string_view text, const Path& path) {
  if (text == format_line()) return ok_status();
  int number = 0;
  const bool named = text.substr(0, k_format_words.size()) == k_format_words;
  if (named) text.remove_prefix(k_format_words.size());
  const auto parsed = std::from_chars(text.data(), text.data() + text.size(), number);
  if (!named || parsed.ec != std::errc{}) {
    return Error{ErrorCode::corrupt, path.native() + " is not what rehook writes there",
                 "remove this store; it holds nothing that cannot be built again"};
  }
  const bool newer = number >= k_format;
  return Error{ErrorCode::unsupported,
               path.native() + " was written by " + (newer ? "a newer" : "an older") +
                   " rehook (store format " + std::to_string(number) + ", this one knows " +
                   std::to_string(k_format) + " with " + std::string(k_digest_algorithm) + ")",
               newer ? "upgrade rehook, or use another store-dir"
                     : "remove this store; it holds nothing that cannot be built again"};
}

// One line saying that this is a store, and of which format: read, or written when missing.
Status agree_on_format(FileSystem& fs, const Path& root) {
  const Path path = root / "format";
  Result<std::string> text = fs.read(path);
  if (text) return check_format(*text, path);
  if (text.error().code != ErrorCode::not_found) return std::move(text).error();
  return fs.write_atomic(path, format_line());
}

std::size_t remove_orphans(FileSystem& fs, const Path& folder) {
  std::size_t removed = 0;
  Result<std::vector<std::string>> names = fs.list(folder);
  if (!names) return removed;
  for (const std::string& name : *names) {
    // Best effort: the next one to open the store tries again.
    if (is_orphan(name) && fs.remove(folder / name, MissingOk::yes).ok()) ++removed;
  }
  return removed;
}

// "libx.so", "_core.cpython-311-x86_64-linux-gnu.so", "libx.so.1.2".
bool is_shared_library(const Path& file) {
  const std::string name = file.filename().native();
  const std::size_t found = name.rfind(".so");
  if (found == std::string::npos) return false;
  return name.find_first_not_of("0123456789.", found + 3) == std::string::npos;
}

// Removes a private file that was not published.
class PrivateFile final {
 public:
  PrivateFile(FileSystem& fs, Path path) : fs_(&fs), path_(std::move(path)) {}
  PrivateFile(const PrivateFile&) = delete;
  PrivateFile& operator=(const PrivateFile&) = delete;
  ~PrivateFile() {
    // Best effort: remove_orphans() finds it.
    if (!published_) std::ignore = fs_->remove(path_, MissingOk::yes);
  }
  [[nodiscard]] const Path& path() const { return path_; }
  void published() { published_ = true; }

 private:
  FileSystem* fs_;
  Path path_;
  bool published_ = false;
};

Error torn(const Path& file, const std::string& reason) {
  return Error{ErrorCode::corrupt, file.native() + " is not a whole file: " + reason,
               "something is still writing it, or its build was interrupted: build it again"};
}

// Copies `file` and returns the digest of what was copied; corrupt when it changed meanwhile or
// cannot be a whole shared library.
Result<Digest> copy_whole(FileSystem& fs, const Path& file, const Path& copy) {
  REHOOK_ASSIGN_OR_RETURN(const FileStat before, fs.stat(file));
  REHOOK_TRY(fs.copy_new(file, copy, k_private_mode));
  REHOOK_ASSIGN_OR_RETURN(const FileStat after, fs.stat(file));
  if (!(before == after)) return torn(file, "it changed while it was copied");
  REHOOK_ASSIGN_OR_RETURN(const std::string bytes, fs.read(copy));
  if (bytes.empty()) return torn(file, "it is empty");
  if (bytes.size() != before.size) return torn(file, "its size changed while it was copied");
  if (is_shared_library(file)) {
    const Result<ElfImage> image = ElfImage::parse(bytes);
    if (!image) return torn(file, image.error().message);
  }
  return digest_of(bytes);
}

}  // namespace

Result<ArtifactStore> ArtifactStore::open(FileSystem& fs, Path root) {
  REHOOK_ASSIGN_OR_RETURN(root, make_private_directory(root));
  if (!mount_facts(root).allows_code) {
    return Error{
        ErrorCode::unsupported,
        root.native() +
            " cannot be the store: it is on a file system that is mounted noexec, from "
            "which no module can be loaded",
        "choose a folder elsewhere: REHOOK_STORE_DIR, or the setting store-dir"};
  }
  REHOOK_TRY(agree_on_format(fs, root));
  for (const char* name : {"objects", "projects", "sessions"}) {
    REHOOK_TRY(make_private_directory(root / name));
  }
  const std::size_t swept = remove_orphans(fs, root) + remove_orphans(fs, root / "objects");
  ArtifactStore store(fs, std::move(root));
  store.swept_ = swept;
  return store;
}

Path ArtifactStore::object_path(const Digest& digest, std::string_view file_name) const {
  const std::string hex = digest.hex();
  const std::size_t room = k_longest_file_name - hex.size() - 1;
  return root_ / "objects" / hex.substr(0, 2) / (hex + "-" + plain_file_name(file_name, room));
}

Result<FileLock> ArtifactStore::hold(
    std::chrono::milliseconds timeout,
    const std::function<bool(std::chrono::milliseconds)>& on_wait) {
  return FileLock::acquire(root_ / k_collecting, LockKind::shared, timeout, on_wait);
}

Result<FileLock> ArtifactStore::hold_alone() {
  return FileLock::try_acquire(root_ / k_collecting, LockKind::exclusive);
}

Result<Digest> ArtifactStore::publish(const Path& file) {
  const TraceStep step("publish", "file", file.native());
  Result<Digest> digest = publish_once(file);
  for (int attempt = 1; attempt < k_copy_attempts; ++attempt) {
    if (digest || digest.error().code != ErrorCode::corrupt) break;
    std::this_thread::sleep_for(k_copy_back_off * attempt);
    digest = publish_once(file);
  }
  return digest;
}

Result<Digest> ArtifactStore::publish_once(const Path& file) {
  REHOOK_ASSIGN_OR_RETURN(const FileStat stat, fs_->stat(file));
  if (!stat.is_regular()) {
    return Error{ErrorCode::invalid, "cannot store " + file.native() + ": not a regular file"};
  }
  const std::string name = file.filename().native();
  // The stored bytes count, so a source that changes under this look does no harm.
  const Result<Digest> likely = fs_->digest(file);
  if (likely && holds(likely.value(), name)) return likely;

  PrivateFile copy(*fs_, root_ / "objects" / temporary_name());
  REHOOK_ASSIGN_OR_RETURN(const Digest digest, copy_whole(*fs_, file, copy.path()));
  if (holds(digest, name)) return digest;
  const Path object = object_path(digest, name);
  REHOOK_TRY(fs_->make_directories(object.parent_path()));
  // What may be there under this name is not what the name says: a disk's or a crash's doing.
  REHOOK_TRY(fs_->remove(object, MissingOk::yes));
  REHOOK_TRY(fs_->publish_private(copy.path(), object, k_artifact_mode));
  copy.published();
  return digest;
}

bool ArtifactStore::holds(const Digest& digest, std::string_view file_name) const {
  if (!contains(digest, file_name)) return false;
  const Result<Digest> stored = fs_->digest(object_path(digest, file_name));
  return stored && stored.value() == digest;
}

bool ArtifactStore::contains(const Digest& digest, std::string_view file_name) const {
  const Result<FileStat> stat = fs_->stat(object_path(digest, file_name));
  return stat && stat.value().is_regular() && stat.value().size > 0;
}

Status ArtifactStore::verify(const Digest& digest, std::string_view file_name) {
  const Path object = object_path(digest, file_name);
  REHOOK_ASSIGN_OR_RETURN(const Digest found, fs_->digest(object));
  if (found == digest) return ok_status();
  REHOOK_TRY(fs_->remove(object, MissingOk::yes));
  return Error{ErrorCode::corrupt,
               object.native() + " did not have the content it was stored with and was removed",
               "build it again"};
}

}  // namespace rehook
