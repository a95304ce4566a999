#pragma once

#include <cxxabi.h>

#include <exception>
#include <memory>
#include <tuple>
#include <utility>
#include <vector>

#include "nanobind_registry.hpp"
#include "rtti_memory.hpp"

namespace rehook_bridge {

using Translator = decltype(TranslatorNode::translator);

// Translators of retired libraries leave nanobind's list: they would see exceptions of new
// code. One translator in their place asks them about exceptions whose class a retired library
// defines.
struct RetiredTranslators {
  Ranges libraries;
  std::vector<std::pair<Translator, void*>> translators;  // in the order nanobind asked them
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

// Throws what it cannot translate, as nanobind expects from a translator.
inline void translate_for_retired(const std::exception_ptr& thrown, void*) {
  TypeObject type = class_of(thrown);
  const RetiredTranslators* retired = g_retired_translators;
  while (retired != nullptr && !retired->libraries.contains(type)) retired = retired->next;
  if (retired == nullptr) std::rethrow_exception(thrown);
  std::exception_ptr exception = thrown;
  for (const auto& [translate, payload] : retired->translators) {
    try {
      translate(exception, payload);
      return;
    } catch (...) {
      exception = std::current_exception();
    }
  }
  std::rethrow_exception(exception);
}

// The translators of one domain: those of some libraries out, and in again. The nodes of
// nanobind's list are used again with other content, as the first may be part of nb_internals.
class TranslatorExchange {
 public:
  void plan(Internals& internals, const Ranges& libraries) {
    internals_ = &internals;
    before_ = entries();
    auto record = std::make_unique<RetiredTranslators>();
    bool present = false;
    for (std::size_t i = 0; i < before_.size(); ++i) {
      // The last one is nanobind's own, for std::exception and so on. Only the library that
      // made the registry puts it there, so no new build would.
      const bool retired = i + 1 < before_.size() && libraries.contains(before_[i].first);
      if (retired) record->translators.push_back(before_[i]);
      if (retired || before_[i].first == &translate_for_retired) {
        if (!present) after_.emplace_back(&translate_for_retired, nullptr);
        present = true;
      } else {
        after_.push_back(before_[i]);
      }
    }
    if (record->translators.empty()) return;
    record->libraries = libraries;
    record_ = std::move(record);
  }
  void apply() noexcept {
    if (!record_) return;
    write(after_);
    record_->next = g_retired_translators;
    g_retired_translators = record_.get();
  }
  // Keeps what other libraries registered since, and our own for libraries retired since (the
  // failed new generation is retired when the old one comes back).
  void plan_undo() {
    if (!record_) return;
    restored_ = before_;
    restored_.reserve(entries().size() + before_.size());
    // For the translator of ours that stands for those of the failed generation.
    spare_ = new TranslatorNode{nullptr, nullptr, spare_};
  }
  void undo() noexcept {
    if (!record_) return;
    for (auto** link = &g_retired_translators; *link != nullptr; link = &(*link)->next) {
      if (*link != record_.get()) continue;
      *link = record_->next;
      break;
    }
    const bool drop_ours = g_retired_translators == nullptr || had(&translate_for_retired);
    std::size_t added = 0;
    for (TranslatorNode* node = first_translator(*internals_); node != nullptr;
         node = node->next) {
      const bool known =
          node->translator == &translate_for_retired ? drop_ours : had(node->translator);
      if (known) continue;
      restored_.insert(restored_.begin() + static_cast<std::ptrdiff_t>(added++),
                       {node->translator, node->payload});
    }
    write(restored_);
  }
  // From now on translate_for_retired() needs the record as long as the process lives.
  void commit() noexcept { std::ignore = record_.release(); }

 private:
  using Entries = std::vector<std::pair<Translator, void*>>;

  Entries entries() const {
    Entries result;
    for (TranslatorNode* node = first_translator(*internals_); node != nullptr;
         node = node->next) {
      result.emplace_back(node->translator, node->payload);
    }
    return result;
  }
  bool had(Translator translator) const {
    for (const auto& entry : before_) {
      if (entry.first == translator) return true;
    }
    return false;
  }
  // Never longer than the nodes in the list and those set aside together.
  void write(const Entries& entries) noexcept {
    TranslatorNode* last = first_translator(*internals_);
    while (last->next != nullptr) last = last->next;
    last->next = spare_;
    spare_ = nullptr;
    TranslatorNode* node = first_translator(*internals_);
    for (std::size_t i = 0; i < entries.size(); ++i) {
      node->translator = entries[i].first;
      node->payload = entries[i].second;
      if (i + 1 == entries.size()) {
        spare_ = node->next;
        node->next = nullptr;
      }
      node = node->next;
    }
  }

  Internals* internals_ = nullptr;
  Entries before_, after_, restored_;
  TranslatorNode* spare_ = nullptr;
  std::unique_ptr<RetiredTranslators> record_;
};

}  // namespace rehook_bridge
