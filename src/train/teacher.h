// Word-level distillation (Hinton et al. 2015, arXiv 1503.02531; Kim & Rush 2016, section 3.1): at
// every target position of a corpus the k tokens that teachers find most probable, computed once
// and kept in files beside the tokenised text.
//
// A part holds kPairsOfPart pairs, of each its ids and their ln p; what was interrupted goes on
// with the first part that is missing. Several teachers: the mean of their probabilities, each
// one's k best.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "heddle/base/threads.h"
#include "heddle/data/token_file.h"
#include "heddle/data/token_pairs.h"
#include "heddle/model/parameters.h"
#include "heddle/train/batch_source.h"

namespace heddle::train {

struct TeacherSettings {
  std::vector<std::string> models;  ///< directories; their vocabularies are the student's
  int64_t choices = 8;              ///< k
};

inline constexpr uint64_t kPairsOfPart = 16384;

/// What teachers say of a corpus, in files that are mapped into memory.
class TeacherText {
 public:
  TeacherText(std::vector<data::TokenFile> parts, int64_t choices)
      : parts_(std::move(parts)), choices_(choices) {}

  /// Adds to the batch what the teachers say of its pairs.
  void attach(data::PackedBatch& batch) const;

  int64_t choices() const { return choices_; }

 private:
  std::vector<data::TokenFile> parts_;
  int64_t choices_;
};

struct TeacherTask {
  const data::TokenPairs& pairs;
  uint64_t text_key = 0;                                        ///< of the token cache
  const model::ModelFiles& student;                             ///< whose vocabulary it must be
  std::string folder;                                           ///< for the parts
  Device device{};                                              ///< where teachers compute
  std::function<void(uint64_t done, uint64_t all)> progress{};  ///< in pairs
  std::function<bool()> stop_requested{};
};

/// A number for all that the teachers' files depend on.
uint64_t teacher_key(const TeacherSettings& settings, uint64_t text_key);

/// Opens the parts, making those that are missing. Null when it was stopped before all were there.
std::unique_ptr<TeacherText> open_teacher_text(const TeacherSettings& settings,
                                               const TeacherTask& task, ThreadPool& threads);

/// Sentence pairs with what teachers say of them.
class TaughtBatches : public BatchSource {
 public:
  TaughtBatches(const BatchSource& pairs, const TeacherText& teacher, uint64_t key)
      : pairs_(pairs), teacher_(teacher), key_(key) {}
  bool empty() const override { return pairs_.empty(); }
  std::unique_ptr<BatchStream> open(const data::PackerPosition& position) const override;
  void describe(io::Value& fixed) const override;

 private:
  const BatchSource& pairs_;
  const TeacherText& teacher_;
  uint64_t key_;
};

}  // namespace heddle::train
