#include "heddle/model/cuda/batch.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "heddle/mask/builders.h"
#include "heddle/model/label_rows.h"
#include "heddle/model/packed_forward.h"

namespace heddle::model::cuda {

namespace {

constexpr int64_t kPieceAlignment = 256;  // bytes

/// The rows whose `places` are not negative, by place and then by number, in short groups.
struct Groups {
  explicit Groups(std::span<const int32_t> places) {
    int32_t most = -1;
    for (const int32_t place : places) most = std::max(most, place);
    std::vector<int32_t> next(static_cast<size_t>(most) + 2, 0);
    for (const int32_t place : places) {
      if (place >= 0) ++next[static_cast<size_t>(place) + 1];
    }
    for (size_t i = 1; i < next.size(); ++i) next[i] += next[i - 1];
    for (int32_t place = 0; place <= most; ++place) {
      const int32_t end = next[static_cast<size_t>(place) + 1];
      for (int32_t at = next[static_cast<size_t>(place)]; at < end; at += ops::cuda::kGroupRows) {
        starts.push_back(at);
        targets.push_back(place);
      }
    }
    order.resize(static_cast<size_t>(next.back()));
    starts.push_back(next.back());
    for (size_t row = 0; row < places.size(); ++row) {
      if (places[row] < 0) continue;
      order[static_cast<size_t>(next[static_cast<size_t>(places[row])]++)] =
          static_cast<int32_t>(row);
    }
  }
  std::vector<int32_t> order, starts, targets;
};

GroupOffsets put(const Groups& groups, Staging& staging) {
  return {staging.put<int32_t>(groups.order), staging.put<int32_t>(groups.starts),
          staging.put<int32_t>(groups.targets), static_cast<int32_t>(groups.targets.size())};
}

/// Positions of tokens in sentences, or of groups in their texts.
std::vector<int32_t> positions_of(std::span<const int32_t> offsets,
                                  std::span<const AnswerGroup> groups) {
  std::vector<int32_t> positions(offsets.empty() ? 0 : static_cast<size_t>(offsets.back()));
  if (!groups.empty()) write_positions(groups, positions);
  for (size_t s = 0; groups.empty() && s + 1 < offsets.size(); ++s) {
    for (int32_t t = offsets[s]; t < offsets[s + 1]; ++t) {
      positions[static_cast<size_t>(t)] = t - offsets[s];
    }
  }
  return positions;
}

SideOffsets put(std::span<const int32_t> tokens, std::span<const int32_t> offsets,
                std::span<const AnswerGroup> groups, bool by_positions, Staging& staging) {
  const std::vector<int32_t> positions = positions_of(offsets, groups);
  int64_t longest = 0;
  for (const int32_t position : positions) longest = std::max(longest, int64_t{position} + 1);
  return {.tokens = staging.put(tokens),
          .positions = staging.put<int32_t>(positions),
          .offsets = staging.put(offsets),
          .by_token = put(Groups(tokens), staging),
          .by_position = by_positions ? put(Groups(positions), staging) : GroupOffsets{},
          .count = tokens.size(),
          .sentences = offsets.size(),
          .longest = longest};
}

}  // namespace

int64_t Staging::put_bytes(const void* from, int64_t bytes) {
  const int64_t at = used_;
  const int64_t end = (at + bytes + kPieceAlignment - 1) / kPieceAlignment * kPieceAlignment;
  if (!memory_.defined() || end > memory_.elements()) {
    const Tensor larger = Tensor::empty({std::max<int64_t>(2 * end, int64_t{1} << 20)}, DType::i8,
                                        heddle::cuda::pinned_allocator());
    if (used_ > 0) std::memcpy(larger.raw(), memory_.raw(), static_cast<size_t>(used_));
    memory_ = larger;
  }
  if (bytes > 0) {
    std::memcpy(static_cast<std::byte*>(memory_.raw()) + at, from, static_cast<size_t>(bytes));
  }
  used_ = end;
  return at;
}

MaskOffsets lay_out(ColumnMask mask, Staging& staging) {
  std::vector<heddle::cuda::ColumnBounds> bounds;
  const MaskView view = mask.view();
  bounds.reserve(static_cast<size_t>(view.key_length));
  for (int32_t key = 0; key < view.key_length; ++key) {
    const MaskColumn column = mask_column(view, 0, key);
    bounds.push_back({column.lts, column.lte, column.uts, column.ute});
  }
  const int64_t at = staging.put<heddle::cuda::ColumnBounds>(bounds);
  const MaskReach reach = mask.reach();
  return {std::move(mask), reach, at};
}

heddle::cuda::DeviceColumns columns_of(const MaskOffsets& mask, const std::byte* base) {
  return {reinterpret_cast<const heddle::cuda::ColumnBounds*>(base + mask.bounds),
          1,
          1,
          mask.mask.query_length(),
          mask.mask.key_length(),
          mask.mask.offset(),
          mask.mask.causal()};
}

LaidOutBatch::LaidOutBatch(const TrainingBatch& batch, const BatchNeeds& needs,
                           std::unique_ptr<Staging> memory)
    : staging_((memory->clear(), std::move(memory))),
      source_(put(batch.pair.sources, batch.pair.source_offsets, {}, needs.learned_positions,
                  *staging_)),
      target_(put(batch.pair.targets, batch.pair.target_offsets, batch.pair.groups,
                  needs.learned_positions, *staging_)),
      causal_(lay_out(causal_mask(batch.pair), *staging_)) {
  if (needs.window != 0) {
    window_.emplace(lay_out(window_mask(batch.pair, causal_.mask, needs.window), *staging_));
  }
  if (!batch.pair.groups.empty()) {
    put_answers(batch, needs.scores);
    return;
  }
  if (needs.only_texts) {
    const LabelRows labelled(batch);
    put_labels(labelled.batch());
    put_places(labelled.places(), batch.labels.size());
    return;
  }
  documents_.emplace(
      lay_out(masks::document(lengths_with_tokens(batch.pair.source_offsets)), *staging_));
  cross_.emplace(lay_out(masks::cross_document(lengths_of(batch.pair.target_offsets),
                                               lengths_of(batch.pair.source_offsets)),
                         *staging_));
  put_labels(batch);
}

void LaidOutBatch::put_labels(const TrainingBatch& batch) {
  label_count_ = std::ssize(batch.labels);
  labels_ = staging_->put(batch.labels);
  weights_ = staging_->put(batch.weights);
  teacher_ids_ = staging_->put(batch.teacher.ids);
  teacher_log_probabilities_ = staging_->put(batch.teacher.log_probabilities);
  weighted_ = !batch.weights.empty();
}

void LaidOutBatch::put_places(std::span<const size_t> places, size_t rows) {
  std::vector<int32_t> of_labels, of_rows(rows, -1);
  for (const size_t row : places) {
    of_rows[row] = static_cast<int32_t>(of_labels.size());
    of_labels.push_back(static_cast<int32_t>(row));
  }
  label_places_ = staging_->put<int32_t>(of_labels);
  places_of_rows_ = staging_->put<int32_t>(of_rows);
}

void LaidOutBatch::put_answers(const TrainingBatch& batch, bool scores) {
  using Of = AnswerRows::Of;
  answers_.emplace(batch.pair.groups, batch.pair.targets, batch.labels,
                   scores ? Of::last_tokens : Of::learned_tokens);
  const TrainingBatch labelled{.pair = {}, .labels = answers_->labels()};
  put_labels(labelled);
  label_count_ = answers_->count();
  std::vector<int32_t> places, order(static_cast<size_t>(label_count_));
  std::vector<int32_t> starts(batch.pair.targets.size() + 1, 0);
  for (const int64_t place : answers_->places()) {
    places.push_back(static_cast<int32_t>(place));
    ++starts[static_cast<size_t>(place) + 1];
  }
  for (size_t t = 1; t < starts.size(); ++t) starts[t] += starts[t - 1];
  std::vector<int32_t> next = starts;
  for (size_t i = 0; i < places.size(); ++i) {
    order[static_cast<size_t>(next[static_cast<size_t>(places[i])]++)] = static_cast<int32_t>(i);
  }
  label_places_ = staging_->put<int32_t>(places);
  answer_order_ = staging_->put<int32_t>(order);
  answer_starts_ = staging_->put<int32_t>(starts);
}

BatchSide DeviceBatch::side(const SideOffsets& side) const {
  const auto groups = [this](const GroupOffsets& offsets) {
    return ops::cuda::RowGroups{at<int32_t>(offsets.order), at<int32_t>(offsets.starts),
                                at<int32_t>(offsets.targets), offsets.groups};
  };
  return {.tokens = {at<int32_t>(side.tokens), side.count},
          .positions = {at<int32_t>(side.positions), side.count},
          .offsets = {at<int32_t>(side.offsets), side.sentences},
          .by_token = groups(side.by_token),
          .by_position = groups(side.by_position),
          .longest = side.longest};
}

DeviceBatch::Masked DeviceBatch::masked(const MaskOffsets& mask,
                                        autograd::cuda::Machine& machine) const {
  const heddle::cuda::DeviceColumns columns = columns_of(mask, base_);
  return {&mask.mask, DeviceMask(columns, machine.context(), mask.reach)};
}

std::optional<DeviceBatch::Masked> DeviceBatch::masked(const std::optional<MaskOffsets>& mask,
                                                       autograd::cuda::Machine& machine) const {
  if (!mask) return std::nullopt;
  return masked(*mask, machine);
}

DeviceBatch::DeviceBatch(const LaidOutBatch& host, autograd::cuda::Machine& machine)
    : host_(host),
      base_(machine.values.take<std::byte>(host.staging_->used())),
      source_(side(host.source_)),
      target_(side(host.target_)),
      causal_(masked(host.causal_, machine)),
      documents_(masked(host.documents_, machine)),
      cross_(masked(host.cross_, machine)),
      window_(masked(host.window_, machine)) {
  const int64_t bytes = host.staging_->used();
  heddle::cuda::copy(host.staging_->memory().slice(0, 0, bytes),
                     Tensor::wrap(const_cast<std::byte*>(base_), {bytes}, {1}, DType::i8,
                                  machine.context().device()),
                     machine.stream());
}

}  // namespace heddle::model::cuda
