// An extension with a library of its project, from the store to the private copies. The input
// is the library, which also serves as the extension; files are real ones.
#include "shadow_store/private_libraries.hpp"

#include "tests/fuzz/fuzz_targets.hpp"
#include "tests/fuzz/scratch_folder.hpp"

namespace rehook::fuzz {
namespace {

struct Place {
  ScratchFolder folder;
  std::shared_ptr<ShadowFolder> shadows;
  Path artifact;
  Place() : artifact(folder.path() / "libx.so") {
    Result<ArtifactStore> store =
        ArtifactStore::open(posix_file_system(), folder.path() / "store");
    require(store.ok(), "a store can be opened");
    Result<std::shared_ptr<ShadowFolder>> opened =
        ShadowFolder::open(posix_file_system(), *store);
    require(opened.ok(), "a folder for copies can be opened");
    shadows = std::move(*opened);
  }
};

StoredLibrary library_of(const ElfImage& image, const Path& artifact, const Digest& digest) {
  StoredLibrary library;
  library.soname = image.soname();
  for (const std::string_view name : image.needed()) library.names.emplace_back(name);
  library.origin = "/project/build/libx.so";
  library.artifact = artifact;
  library.digest = library.code = digest;
  if (!unique_names(image).empty()) library.sharing = digest;
  return library;
}

}  // namespace

int private_libraries(const std::uint8_t* data, std::size_t size) {
  const std::string_view bytes = as_text(data, size);
  const Result<ElfImage> image = ElfImage::parse(bytes);
  if (!image) return 0;
  static const Place place;
  FileSystem& fs = posix_file_system();
  std::ignore = fs.remove(place.artifact, MissingOk::yes);
  require(fs.append(place.artifact, bytes).ok(), "a file can be written");

  LibraryRequest request;
  request.module = "pkg._core";
  request.artifact = place.artifact;
  request.digest = digest_of(bytes);
  request.libraries = {library_of(*image, place.artifact, request.digest)};
  request.sharing = request.libraries.front().sharing;
  request.groups[request.digest] = {place.artifact, place.artifact};
  RunningLibraries running;
  std::map<Digest, bool> made;
  PrivateLibraries libraries(fs, [](const std::string&) { return false; });
  const Result<PreparedLibraries> prepared =
      libraries.prepare(*place.shadows, request, running, made);
  require(prepared.ok() || prepared.error().code == ErrorCode::corrupt ||
              prepared.error().code == ErrorCode::unsupported,
          "a library that cannot be copied is refused");
  if (prepared) std::ignore = fs.remove(prepared->module_file, MissingOk::yes);
  for (const auto& [code, instance] : running.by_code) {
    std::ignore = fs.remove(instance.file, MissingOk::yes);
  }
  const Result<std::vector<std::string>> left = fs.list(place.shadows->path());
  require(left.ok() && left->size() <= 1, "only the lease is left");
  return 0;
}

}  // namespace rehook::fuzz
