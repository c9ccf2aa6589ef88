#include "heddle/model/decoder_state.h"

#include <algorithm>
#include <utility>

#include "heddle/base/error.h"
#include "heddle/model/transformer.h"

namespace heddle::model {

namespace {

const TransformerConfig& checked(const TransformerConfig& config, const Limits& limits) {
  const bool reads = !config.is_language_model();
  HEDDLE_CHECK(limits.rows > 0 && limits.target_tokens >= 0 &&
                   (reads ? limits.source_tokens > 0 : limits.source_tokens == 0),
               "decoder state: limits are ", limits.rows, " rows, ", limits.source_tokens,
               " source tokens, ", limits.target_tokens, " target tokens; expected more than 0",
               reads ? "" : ", and no source of a language model");
  constexpr int64_t kMost = int64_t{1} << 31;  // attention counts tokens of a pool in int32
  HEDDLE_CHECK(limits.source_tokens < kMost && limits.target_tokens < kMost,
               "decoder state: limits are ", limits.source_tokens, " source tokens, ",
               limits.target_tokens, " target tokens; expected less than ", kMost);
  HEDDLE_CHECK(limits.memory == DType::f32 || limits.memory == DType::bf16,
               "decoder state: memory is ", name_of(limits.memory), "; expected f32 or bf16");
  return config;
}

}  // namespace

DecoderState::DecoderState(const Transformer& transformer, const Limits& limits)
    : DecoderState(transformer.config(), limits) {}

DecoderState::DecoderState(const TransformerConfig& config, const Limits& limits)
    : DecoderState(config, limits, std::make_unique<HostPools>(checked(config, limits), limits)) {}

DecoderState::DecoderState(const TransformerConfig& config, const Limits& limits,
                           std::unique_ptr<PoolMemory> memory)
    : limits_(limits),
      attends_(checked(config, limits).decoder_kind == DecoderKind::self_attention),
      reads_(!config.is_language_model()),
      slots_(static_cast<size_t>(limits.rows)),
      sources_(static_cast<size_t>(limits.rows)),
      before_(static_cast<size_t>(limits.rows)),
      taken_(static_cast<size_t>(limits.rows)),
      source_pool_(limits.source_tokens),
      target_pool_(limits.target_tokens),
      memory_(std::move(memory)) {
  for (int i = limits.rows - 1; i >= 0; --i) {  // so that slot 0 is handed out first
    slots_[static_cast<size_t>(i)].memory.cell = i;
    free_slots_.push_back(i);
    free_sources_.push_back(i);
  }
}

const DecoderState::Slot& DecoderState::slot(int index) const {
  HEDDLE_CHECK(is_live(index), "decoder state: slot ", index, " is not in use; expected one of ",
               live_, " live slots of ", limits_.rows);
  return slots_[static_cast<size_t>(index)];
}

DecoderState::Slot& DecoderState::slot(int index) {
  return const_cast<Slot&>(std::as_const(*this).slot(index));
}

bool DecoderState::is_live(int slot) const {
  return slot >= 0 && slot < limits_.rows && slots_[static_cast<size_t>(slot)].live;
}

int64_t DecoderState::source_length(int slot) const { return source_range(slot).length; }
int64_t DecoderState::length(int slot) const { return this->slot(slot).memory.length; }
int64_t DecoderState::target_limit(int slot) const { return this->slot(slot).limit; }

std::optional<int> DecoderState::admit(int64_t source_length, int64_t target_limit) {
  HEDDLE_CHECK((reads_ ? source_length > 0 : source_length == 0) && target_limit > 0,
               "decoder state: asked for ", source_length, " source tokens and ", target_limit,
               " steps; expected at least 1 of each",
               reads_ ? "" : ", but no source of a language model");
  if (free_slots_.empty()) return std::nullopt;
  const auto range = source_pool_.take(source_length);
  if (!range) return std::nullopt;
  const int source = free_sources_.back();  // as many as slots, so there is one
  sources_[static_cast<size_t>(source)] = {.range = *range, .users = 0};
  free_sources_.pop_back();
  const auto slot = start(source, target_limit);
  if (!slot) {
    source_pool_.give_back(*range);
    free_sources_.push_back(source);
  }
  return slot;
}

/// Takes a slot for a source that is in the pool already.
std::optional<int> DecoderState::start(int source, int64_t target_limit) {
  if (free_slots_.empty()) return std::nullopt;
  const auto past = target_pool_.take(attends_ ? target_limit : 0);
  if (!past) return std::nullopt;
  const int index = free_slots_.back();
  free_slots_.pop_back();
  Slot& slot = slots_[static_cast<size_t>(index)];
  slot = {.live = true,
          .source = source,
          .limit = target_limit,
          .memory = {.past = *past, .cell = slot.memory.cell, .length = 0}};
  ++sources_[static_cast<size_t>(source)].users;
  ++live_;
  if (!attends_) memory_->clear_cell(slot.memory.cell);
  return index;
}

std::optional<int> DecoderState::fork(int slot) {
  const Slot& from = this->slot(slot);
  const auto index = start(from.source, from.limit);
  if (index && from.memory.length > 0) {  // else there is nothing to copy yet
    copy_memory(from.memory, slots_[static_cast<size_t>(*index)].memory);
  }
  return index;
}

void DecoderState::copy_state(int from, int to) {
  if (from == to) return;
  const Slot& source = slot(from);
  Slot& target = slot(to);
  HEDDLE_CHECK(source.memory.length <= target.limit, "decoder state: slot ", from, " has done ",
               source.memory.length, " steps; expected at most ", target.limit,
               ", the limit of slot ", to);
  if (source.source != target.source) {
    ++sources_[static_cast<size_t>(source.source)].users;
    drop_source(target.source);
    target.source = source.source;
  }
  copy_memory(source.memory, target.memory);
}

void DecoderState::copy_memory(const Memory& from, Memory& to) {
  to.length = from.length;
  if (!attends_) {
    memory_->copy_cell(from.cell, to.cell);
  } else if (from.length > 0) {
    memory_->copy_past(from.past.begin, to.past.begin, from.length);
  }
}

void DecoderState::reorder(std::span<const int> slots, std::span<const int> parents) {
  HEDDLE_CHECK(slots.size() == parents.size(), "decoder state: ", slots.size(), " slots take over ",
               parents.size(), " states; expected as many");
  const size_t count = slots.size();
  for (size_t i = 0; i < count; ++i) {
    const Slot &to = slot(slots[i]), &from = slot(parents[i]);
    HEDDLE_CHECK(to.source == from.source && to.limit == from.limit, "decoder state: slot ",
                 slots[i], " takes over slot ", parents[i],
                 "; expected slots of one source and limit");
    // A parent that is not written keeps its memory: it counts as taken.
    for (const int index : {slots[i], parents[i]}) {
      before_[static_cast<size_t>(index)] = slots_[static_cast<size_t>(index)].memory;
      taken_[static_cast<size_t>(index)] = 1;
    }
  }
  for (const int index : slots) {
    uint8_t& taken = taken_[static_cast<size_t>(index)];
    HEDDLE_CHECK(taken != 0, "decoder state: slot ", index, " is to take over two states");
    taken = 0;
  }

  // One child of each parent goes on with its memory, rather the one that has it already.
  constexpr int32_t kNone = -1;
  const auto take = [&](size_t i) {
    const auto parent = static_cast<size_t>(parents[i]);
    Memory& memory = slots_[static_cast<size_t>(slots[i])].memory;
    memory = before_[parent];
    if (taken_[parent] != 0) memory.cell = kNone;
    taken_[parent] = 1;
  };
  for (size_t i = 0; i < count; ++i) {
    if (slots[i] == parents[i]) take(i);
  }
  for (size_t i = 0; i < count; ++i) {
    if (slots[i] != parents[i]) take(i);
  }
  // The others copy into memory that no child goes on with; there is one for each.
  size_t unused = 0;
  for (size_t i = 0; i < count; ++i) {
    Memory& memory = slots_[static_cast<size_t>(slots[i])].memory;
    if (memory.cell != kNone) continue;
    while (taken_[static_cast<size_t>(slots[unused])] != 0) ++unused;
    memory = before_[static_cast<size_t>(slots[unused++])];
    copy_memory(before_[static_cast<size_t>(parents[i])], memory);
  }
}

void DecoderState::drop_source(int source) {
  Source& its = sources_[static_cast<size_t>(source)];
  if (--its.users > 0) return;
  source_pool_.give_back(its.range);
  free_sources_.push_back(source);
}

void DecoderState::release(int slot) {
  Slot& released = this->slot(slot);
  drop_source(released.source);
  target_pool_.give_back(released.memory.past);
  released.live = false;
  free_slots_.push_back(slot);
  --live_;
}

void DecoderState::release_all() {
  for (int i = 0; i < limits_.rows; ++i) {
    if (is_live(i)) release(i);
  }
}

TokenPool::Range DecoderState::source_range(int slot) const {
  return sources_[static_cast<size_t>(this->slot(slot).source)].range;
}

DecoderState::Step DecoderState::advance(int slot) {
  Slot& its = this->slot(slot);
  Memory& memory = its.memory;
  HEDDLE_CHECK(memory.length < its.limit, "decoder state: slot ", slot, " has done its ", its.limit,
               " steps; expected no more, or a higher target limit at admission");
  const int64_t position = memory.length++;
  return {.position = position,
          .at = attends_ ? memory.past.begin + position : memory.cell,
          .past = memory.past,
          .source = sources_[static_cast<size_t>(its.source)].range};
}

}  // namespace heddle::model
