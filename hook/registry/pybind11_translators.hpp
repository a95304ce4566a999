#pragma once

#include <cxxabi.h>

#include <algorithm>
#include <exception>
#include <iterator>
#include <memory>
#include <tuple>
#include <utility>
#include <vector>

#include "pybind11_registry.hpp"
#include "rtti_memory.hpp"
#include "rtti_renames.hpp"

namespace rehook_bridge {

// Translators of retired libraries leave pybind11's list: they would see exceptions of new
// code. One translator in their place asks them about exceptions whose class a retired library
// defines.
struct RetiredTranslators {
  Ranges libraries;
  std::vector<Translator> translators;  // in the order in which pybind11 asked them
  RetiredTranslators* next = nullptr;
};
inline RetiredTranslators* g_retired_translators = nullptr;  // newest first

inline TypeObject class_of(const std::exception_ptr& exception) {
  try {
    std::rethrow_exception(exception);
  } catch (...) {
    return abi::__cxa_current_exception_type();
  }
}

// Throws what it cannot translate, as pybind11 expects from a translator.
inline void translate_for_retired(std::exception_ptr exception) {
  if (!exception) return;
  TypeObject type = class_of(exception);
  const RetiredTranslators* retired = g_retired_translators;
  while (retired != nullptr && !retired->libraries.contains(type)) retired = retired->next;
  if (retired == nullptr) std::rethrow_exception(exception);
  for (Translator translate : retired->translators) {
    try {
      translate(exception);
      return;
    } catch (...) {
      exception = std::current_exception();
    }
  }
  std::rethrow_exception(exception);
}

class TranslatorExchange {
 public:
  void plan(TranslatorList& list, const Ranges& libraries) {
    list_ = &list;
    before_ = list;
    auto record = std::make_unique<RetiredTranslators>();
    auto last = after_.before_begin();
    bool present = false;
    for (auto at = list.begin(); at != list.end(); ++at) {
      const Translator translator = *at;
      // The last one is pybind11's own, for std::exception, StopIteration and so on. Only the
      // library that made the registry puts it there, so no new build would. It knows no class
      // of a user's.
      const bool retired = std::next(at) != list.end() && libraries.contains(translator);
      if (retired) record->translators.push_back(translator);
      if (retired || translator == &translate_for_retired) {
        if (!present) last = after_.insert_after(last, &translate_for_retired);
        present = true;
      } else {
        last = after_.insert_after(last, translator);
      }
    }
    if (record->translators.empty()) return;
    record->libraries = libraries;
    record_ = std::move(record);
  }
  void apply() noexcept {
    if (!record_) return;
    list_->swap(after_);
    record_->next = g_retired_translators;
    g_retired_translators = record_.get();
  }
  // Keeps what other libraries registered since, and our own for libraries retired since.
  void undo() noexcept {
    if (!record_) return;
    for (auto** link = &g_retired_translators; *link != nullptr; link = &(*link)->next) {
      if (*link != record_.get()) continue;
      *link = record_->next;
      break;
    }
    const bool drop_ours = g_retired_translators == nullptr || had(&translate_for_retired);
    list_->remove_if([&](Translator translator) {
      return translator == &translate_for_retired ? drop_ours : had(translator);
    });
    auto last = list_->before_begin();
    while (std::next(last) != list_->end()) ++last;
    list_->splice_after(last, before_);
  }
  // From now on translate_for_retired() needs the record as long as the process lives.
  void commit() noexcept { std::ignore = record_.release(); }

 private:
  bool had(Translator translator) const {
    return std::find(before_.begin(), before_.end(), translator) != before_.end();
  }

  TranslatorList* list_ = nullptr;
  TranslatorList before_, after_;
  std::unique_ptr<RetiredTranslators> record_;
};

}  // namespace rehook_bridge
