#include "hook/python_sources.hpp"

#include <algorithm>
#include <chrono>

namespace rehook {

bool PythonSources::is_own(const std::string& file) {
  if (library_folders_.empty()) {
    // The folder of a module that is always there: the standard library's.
    const Ref os = loaded_module("os");
    const std::string known = string_attribute(os.get(), "__file__");
    library_folders_.push_back(known.substr(0, known.rfind('/') + 1));
  }
  return file.ends_with(".py") && file.find("/site-packages/") == std::string::npos &&
         file.find("/dist-packages/") == std::string::npos &&
         std::none_of(library_folders_.begin(), library_folders_.end(),
                      [&](const std::string& folder) {
                        return !folder.empty() && file.starts_with(folder);
                      });
}

void PythonSources::remember(const std::string& module, const Path& file) {
  Source source;
  source.file.name = file.native();
  measure_input(*fs_, source.file);
  if (auto text = fs_->read(file)) {
    source.text = std::move(*text);
    source.has_text = true;
  }
  sources_[module] = std::move(source);
}

void PythonSources::remember_file(const std::string& module, const Path& file) {
  Source source;
  source.file.name = file.native();
  sources_[module] = std::move(source);
}

void PythonSources::adopt(const std::string& module, std::string text, const Input& file) {
  sources_[module] = {file, std::move(text), true};
}

void PythonSources::remember_loaded() {
  const Ref names = Ref::steal(PyDict_Keys(PyImport_GetModuleDict()));
  for (Py_ssize_t i = 0; names && i < PyList_GET_SIZE(names.get()); ++i) {
    const std::string name = to_string(PyList_GET_ITEM(names.get(), i));
    if (name == "__main__" || sources_.contains(name)) continue;
    const Ref module = loaded_module(name);
    if (!module || !PyModule_Check(module.get())) continue;
    const std::string file = string_attribute(module.get(), "__file__");
    if (is_own(file)) remember(name, file);
  }
}

const PythonSources::Source* PythonSources::find(const std::string& module) const {
  const auto found = sources_.find(module);
  return found == sources_.end() ? nullptr : &found->second;
}

bool PythonSources::is_changed(const std::string& module) {
  const auto known = sources_.find(module);
  if (known == sources_.end()) return false;
  std::vector<Input> now = {known->second.file};
  const InputScan scan = scan_inputs(*fs_, now, {});
  if (scan.changes.empty() && scan.touched) known->second.file = now.front();
  return !scan.changes.empty() && now.front().digest != Digest{};
}

bool PythonSources::is_gone(const std::string& module) const {
  const Source* const source = find(module);
  FileStat stat;
  return source != nullptr && !fs_->lookup(source->file.name.c_str(), stat);
}

Result<PythonSources::Saved> PythonSources::read(const std::string& module) const {
  Saved saved;
  const Source* const source = find(module);
  if (source == nullptr)
    return Error{ErrorCode::not_found, "the source of " + module + " is not known"};
  saved.file.name = source->file.name;
  // Measured before and after: an editor may be writing it just now.
  for (int attempt = 0; attempt < 3; ++attempt) {
    measure_input(*fs_, saved.file);
    REHOOK_ASSIGN_OR_RETURN(saved.text, fs_->read(saved.file.name));
    Input again;
    again.name = saved.file.name;
    measure_input(*fs_, again);
    if (again.digest == saved.file.digest) break;
  }
  return saved;
}

PythonSources::State PythonSources::state_of(const std::vector<std::string>& modules) const {
  State state;
  for (const std::string& module : modules) {
    const Source* const source = find(module);
    if (source == nullptr) continue;
    Input now;
    now.name = source->file.name;
    measure_input(*fs_, now);
    state[module] = now.digest;
  }
  return state;
}

namespace {

// Close enough: the compiled part is loaded before anybody reloads.
const std::int64_t k_process_start = std::chrono::duration_cast<std::chrono::nanoseconds>(
                                         std::chrono::system_clock::now().time_since_epoch())
                                         .count();

}  // namespace

bool PythonSources::is_older_than_process(const std::string& file) const {
  FileStat stat;
  return fs_->lookup(file.c_str(), stat) && stat.ctime_ns < k_process_start;
}

std::vector<std::string> PythonSources::names() const {
  std::vector<std::string> names;
  for (const auto& [name, source] : sources_) names.push_back(name);
  return names;
}

}  // namespace rehook
