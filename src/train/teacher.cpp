#include "heddle/train/teacher.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <map>
#include <optional>
#include <utility>

#include "heddle/base/error.h"
#include "heddle/io/hash64.h"
#include "heddle/io/paths.h"
#include "heddle/model/formats/formats.h"
#include "heddle/ops/project.h"
#include "heddle/train/teacher_model.h"
#include "heddle/train/translation.h"

namespace heddle::train {

namespace {

constexpr uint64_t kVersion = 1;
constexpr data::TokenFileShape kShape{.lists = 2};

/// The k best by the mean of the teachers' probabilities; ties go to the lower token.
TeacherWords mean_of(const std::vector<TeacherWords>& all, int64_t k) {
  if (all.size() == 1) return all.front();
  TeacherWords mean = all.front();
  const auto choices = static_cast<size_t>(k);
  for (size_t begin = 0; begin < mean.ids.size(); begin += choices) {
    std::map<int32_t, double> sums;
    for (const TeacherWords& each : all) {
      for (size_t i = begin; i < begin + choices; ++i) {
        if (each.ids[i] >= 0) sums[each.ids[i]] += std::exp(static_cast<double>(each.logs[i]));
      }
    }
    std::vector<std::pair<double, int32_t>> best;
    for (const auto& [id, sum] : sums) best.emplace_back(-sum, id);
    std::sort(best.begin(), best.end());
    for (size_t i = 0; i < choices; ++i) {
      const bool there = i < best.size();
      mean.ids[begin + i] = there ? best[i].second : -1;
      mean.logs[begin + i] =
          there ? static_cast<float>(std::log(-best[i].first / static_cast<double>(all.size())))
                : 0.0f;
    }
  }
  return mean;
}

/// Pairs [first, last) as pairs of their own.
data::TokenPairs range_of(const data::TokenPairs& pairs, uint64_t first, uint64_t last) {
  return {.tokens = pairs.tokens,
          .offsets = pairs.offsets.subspan(2 * first, 2 * (last - first) + 1),
          .weights = {}};
}

std::string hash_of(const std::string& path) {
  return path.empty() ? "" : io::hex64(io::hash_file(path));
}

/// Tokens must stand for the same text.
void check_vocabulary(const std::string& name, const model::ModelFiles& teacher,
                      const model::ModelFiles& student) {
  const bool same = hash_of(teacher.source_vocabulary) == hash_of(student.source_vocabulary) &&
                    hash_of(teacher.target_vocabulary) == hash_of(student.target_vocabulary) &&
                    teacher.config.eos == student.config.eos &&
                    teacher.config.target_vocabulary == student.config.target_vocabulary;
  HEDDLE_CHECK(same, "teacher_model: ", name,
               " has another vocabulary than the student; expected the same SentencePiece models");
}

class Maker {
 public:
  Maker(const TeacherSettings& settings, const TeacherTask& task, ThreadPool& threads)
      : settings_(settings), task_(task), threads_(threads) {}

  void make(const std::string& path, uint64_t key, uint64_t first, uint64_t last) {
    if (teachers_.empty()) load();
    const std::vector<data::PackedBatch> batches = batches_of(first, last);
    std::vector<TeacherWords> made(batches.size());
    const auto choose = [&](int64_t index, int) {
      const auto at = static_cast<size_t>(index);
      std::vector<TeacherWords> all;
      for (const auto& each : teachers_)
        all.push_back(each->choose(batches[at], settings_.choices));
      made[at] = mean_of(all, settings_.choices);
    };
    if (teachers_.front()->is_shared()) {
      threads_.parallel_for(std::ssize(batches), choose);
    } else {
      for (int64_t i = 0; i < std::ssize(batches); ++i) choose(i, 0);
    }
    data::TokenFileWriter writer(path, key, kShape);
    for (size_t b = 0; b < batches.size(); ++b) {
      for (int64_t s = 0; s < batches[b].sentences(); ++s) add(batches[b], made[b], s, writer);
    }
    writer.finish({});
  }

 private:
  void load() {
    int64_t longest = 0;
    for (uint64_t i = 0; i < task_.pairs.size(); ++i) {
      const auto most = std::max(task_.pairs.source(i).size(), task_.pairs.target(i).size());
      longest = std::max(longest, static_cast<int64_t>(most) + 1);
    }
    for (const std::string& path : settings_.models) {
      const model::ModelFiles files = model::load_model(path);
      check_vocabulary(path, files, task_.student);
      HEDDLE_CHECK(files.config.decoder_start == task_.student.config.decoder_start &&
                       files.config.ends_source == task_.student.config.ends_source,
                   "teacher_model: ", path,
                   " begins or ends its texts with other tokens than the "
                   "student; expected the same");
      teachers_.push_back(make_teacher_model(files, task_.device, longest));
    }
    set_ends(task_.student.config, packing_);
    packing_.shuffle = false;
    packing_.max_tokens = std::max(teachers_.front()->tokens_at_once(), longest);
  }

  std::vector<data::PackedBatch> batches_of(uint64_t first, uint64_t last) const {
    std::vector<data::PackedBatch> batches;
    data::Packer packer(range_of(task_.pairs, first, last), packing_);
    for (data::PackedBatch batch; packer.next(batch);) batches.push_back(std::move(batch));
    return batches;
  }

  void add(const data::PackedBatch& batch, const TeacherWords& made, int64_t sentence,
           data::TokenFileWriter& writer) const {
    const auto s = static_cast<size_t>(sentence);
    const auto k = static_cast<size_t>(settings_.choices);
    const size_t begin = static_cast<size_t>(batch.target_offsets[s]) * k;
    const size_t end = static_cast<size_t>(batch.target_offsets[s + 1]) * k;
    writer.add_list(std::span(made.ids).subspan(begin, end - begin));
    std::vector<int32_t> bits;
    for (size_t i = begin; i < end; ++i) bits.push_back(std::bit_cast<int32_t>(made.logs[i]));
    writer.add_list(bits);
    writer.add_weight(1);
  }

  const TeacherSettings& settings_;
  const TeacherTask& task_;
  ThreadPool& threads_;
  std::vector<std::unique_ptr<TeacherModel>> teachers_;
  data::PackerOptions packing_;
};

/// None when it is to be made, for the first time or again.
std::optional<data::TokenFile> open_part(const std::string& path, uint64_t key) {
  if (!io::exists(path)) return {};
  try {
    return data::TokenFile(path, key, kShape);
  } catch (const Error&) {
    return {};  // whatever is wrong with it, making it again is right
  }
}

class TaughtStream : public BatchStream {
 public:
  TaughtStream(std::unique_ptr<BatchStream> pairs, const TeacherText& teacher)
      : pairs_(std::move(pairs)), teacher_(teacher) {}
  bool next(data::PackedBatch& batch) override {
    if (!pairs_->next(batch)) return false;
    teacher_.attach(batch);
    return true;
  }
  data::PackerPosition position() const override { return pairs_->position(); }
  double progress() const override { return pairs_->progress(); }

 private:
  std::unique_ptr<BatchStream> pairs_;
  const TeacherText& teacher_;
};

}  // namespace

void TeacherText::attach(data::PackedBatch& batch) const {
  batch.teacher_count = choices_;
  batch.teacher_ids.clear();
  batch.teacher_logs.clear();
  for (size_t s = 0; s < batch.pairs.size(); ++s) {
    const uint64_t pair = batch.pairs[s];
    const data::TokenFile& part = parts_[pair / kPairsOfPart];
    const auto list = [&](uint64_t index) {
      const uint64_t begin = part.offsets()[index];
      return part.tokens().subspan(begin, part.offsets()[index + 1] - begin);
    };
    const auto ids = list(2 * (pair % kPairsOfPart)), logs = list(2 * (pair % kPairsOfPart) + 1);
    const auto rows = batch.target_offsets[s + 1] - batch.target_offsets[s];
    HEDDLE_CHECK(std::ssize(ids) == rows * choices_ && ids.size() == logs.size(), "teacher: found ",
                 ids.size(), " choices for pair ", pair, "; expected ", rows, " of ", choices_);
    batch.teacher_ids.insert(batch.teacher_ids.end(), ids.begin(), ids.end());
    for (const int32_t bits : logs) batch.teacher_logs.push_back(std::bit_cast<float>(bits));
  }
}

uint64_t teacher_key(const TeacherSettings& settings, uint64_t text_key) {
  data::CacheHash hash;
  hash.add(kVersion);
  hash.add(text_key);
  hash.add(static_cast<uint64_t>(settings.choices));
  for (const std::string& path : settings.models) {
    for (const char* name : {"config.json", "model.safetensors"}) {
      const std::string file = io::join_path(path, name);
      HEDDLE_CHECK(io::exists(file), "teacher_model: found no ", file,
                   "; expected a directory as heddle train or heddle convert leaves it");
      hash.add(data::state_of_file(file));
    }
  }
  return hash.value();
}

std::unique_ptr<TeacherText> open_teacher_text(const TeacherSettings& settings,
                                               const TeacherTask& task, ThreadPool& threads) {
  HEDDLE_CHECK(!settings.models.empty(), "teacher_model: found none; expected at least one");
  HEDDLE_CHECK(settings.choices >= 1 && settings.choices <= ops::kMaxTopK, "teacher_top_k: found ",
               settings.choices, "; expected 1 to ", ops::kMaxTopK);
  const uint64_t key = teacher_key(settings, task.text_key), all = task.pairs.size();
  io::make_folder(task.folder);
  Maker maker(settings, task, threads);
  std::vector<data::TokenFile> parts;
  for (uint64_t first = 0; first < all; first += kPairsOfPart) {
    const uint64_t last = std::min(all, first + kPairsOfPart);
    const std::string path = io::join_path(
        task.folder, str("teacher-", io::hex64(key), "-", first / kPairsOfPart, ".tokens"));
    if (task.stop_requested && task.stop_requested()) return {};
    auto part = open_part(path, key);
    if (!part) {
      maker.make(path, key, first, last);
      if (task.progress) task.progress(last, all);
      part.emplace(path, key, kShape);
    }
    parts.push_back(std::move(*part));
    HEDDLE_CHECK(parts.back().offsets().size() == 2 * (last - first) + 1, path, ": found ",
                 parts.back().offsets().size() / 2, " pairs; expected ", last - first);
  }
  return std::make_unique<TeacherText>(std::move(parts), settings.choices);
}

std::unique_ptr<BatchStream> TaughtBatches::open(const data::PackerPosition& position) const {
  return std::make_unique<TaughtStream>(pairs_.open(position), teacher_);
}

void TaughtBatches::describe(io::Value& fixed) const {
  pairs_.describe(fixed);
  fixed.set("teacher", io::hex64(key_));
}

}  // namespace heddle::train
