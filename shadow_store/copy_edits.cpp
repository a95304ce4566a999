#include "shadow_store/copy_edits.hpp"

#include <algorithm>

#include "shadow_store/elf_editor.hpp"

namespace rehook {
namespace {

void append(std::vector<FilePatch>& patches, std::vector<FilePatch> more) {
  std::move(more.begin(), more.end(), std::back_inserter(patches));
}

// All but the name of a library without one, which is written where a reader of the file does
// not look for names.
Result<std::vector<FilePatch>> plan_edits(const ElfImage& image, const CopyEdits& edits) {
  REHOOK_ASSIGN_OR_RETURN(std::vector<FilePatch> patches,
                          plan_library_names(image, edits.libraries));
  if (edits.symbols) {
    append(patches, plan_symbol_names(image, *edits.symbols));
  } else {
    EditReport ignored;
    append(patches, plan_unique_isolation(image, ignored));
  }
  if (edits.own_symbols_first) {
    REHOOK_ASSIGN_OR_RETURN(std::vector<FilePatch> flag, plan_own_symbols_first(image));
    append(patches, std::move(flag));
  }
  return patches;
}

// Whether nothing is left to be edited, and the edited file is a whole library still.
Status check_edits(FileSystem& fs, const Path& file, const std::vector<FilePatch>& patches,
                   const CopyEdits& edits) {
  REHOOK_ASSIGN_OR_RETURN(const std::string after, fs.read(file));
  REHOOK_ASSIGN_OR_RETURN(const ElfImage image, ElfImage::parse(after));
  for (const FilePatch& patch : patches) {
    if (after.compare(patch.offset, patch.bytes.size(), patch.bytes) != 0) {
      return Error{ErrorCode::corrupt, "an edit did not last"};
    }
  }
  REHOOK_ASSIGN_OR_RETURN(const std::vector<FilePatch> left, plan_edits(image, edits));
  return left.empty() ? ok_status() : Status(Error{ErrorCode::corrupt, "an edit did not last"});
}

Status edit(FileSystem& fs, const Path& file, const CopyEdits& edits) {
  REHOOK_ASSIGN_OR_RETURN(const std::string before, fs.read(file));
  REHOOK_ASSIGN_OR_RETURN(const ElfImage image, ElfImage::parse(before));
  REHOOK_ASSIGN_OR_RETURN(const std::vector<FilePatch> patches, plan_edits(image, edits));
  if (!patches.empty()) {
    REHOOK_TRY(fs.patch(file, patches));
    REHOOK_TRY(check_edits(fs, file, patches, edits));
  }
  if (edits.soname.empty()) return ok_status();
  REHOOK_ASSIGN_OR_RETURN(const std::vector<FilePatch> name,
                          plan_soname(before, image, edits.soname));
  return fs.patch(file, name);
}

}  // namespace

Status apply_edits(FileSystem& fs, const Path& file, const CopyEdits& edits) {
  Status done = edit(fs, file, edits);
  if (done) return done;
  Error error = std::move(done).error();
  const bool is_of_file =
      error.code == ErrorCode::corrupt || error.code == ErrorCode::unsupported;
  if (is_of_file && error.message.find(file.native()) == std::string::npos) {
    error.message = file.native() + ": " + error.message;
  }
  return error;
}

}  // namespace rehook
