#include "hook/stored_layouts.hpp"

#include "shadow_store/base/trace.hpp"
#include "shadow_store/class_layout_reader.hpp"

namespace rehook {
namespace {

constexpr const char* k_object_name = "class-layouts";

}  // namespace

Digest store_class_layouts(FileSystem& fs, ArtifactStore& store, const std::vector<Path>& files,
                           const Path& folder) {
  const TraceStep step("read layouts", "file", files.empty() ? "" : files.front().native());
  Result<ClassLayouts> layouts = read_class_layouts(files);
  if (!layouts) {
    ClassLayouts none;
    none.gap = layouts.error().message;
    layouts = std::move(none);
  }
  const Path file = folder / k_object_name;
  if (!fs.write_atomic(file, serialize(*layouts)).ok()) return {};
  const Result<Digest> digest = store.publish(file);
  std::ignore = fs.remove(file, MissingOk::yes);
  return digest ? *digest : Digest{};
}

Result<ClassLayouts> load_class_layouts(FileSystem& fs, const ArtifactStore& store,
                                        const Digest& digest) {
  if (digest == Digest{}) {
    return Error{ErrorCode::not_found, "the class layouts of this build are not known"};
  }
  REHOOK_ASSIGN_OR_RETURN(const std::string bytes,
                          fs.read(store.object_path(digest, k_object_name)));
  return parse_class_layouts(bytes);
}

}  // namespace rehook
