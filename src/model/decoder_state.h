// What the decoder remembers of the sentences it is writing: fixed slots, made once.
//
//   source   of a slot: a range of the source pool, where each decoder layer keeps the keys and
//            values of the encoded sentence; forks share it, counted
//   memory   of a slot: the decoder's own past. Self-attention: a range of the target pool,
//   reserved
//            up to the target limit; SSRU: one cell [D] a layer
//
// A language model has no source: its slots are admitted with source length 0, and its prompt is
// the beginning of its own past.
//
// Nothing grows or moves while a sentence is decoded: admitting, forking and releasing are searches
// in short lists of free ranges. Not for use by several threads at once; one state a worker.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "heddle/model/config.h"
#include "heddle/model/pool_memory.h"
#include "heddle/model/token_pool.h"

namespace heddle::model {

class Transformer;

class DecoderState {
 public:
  DecoderState(const Transformer& transformer, const Limits& limits);
  DecoderState(const TransformerConfig& config, const Limits& limits);

  /// … with memory that is elsewhere, or of another size than the limits say.
  DecoderState(const TransformerConfig& config, const Limits& limits,
               std::unique_ptr<PoolMemory> memory);

  const Limits& limits() const { return limits_; }

  /// A slot for a sentence of `source_length` tokens and up to `target_limit` steps; nothing when
  /// it does not fit now. Encode into it before the first step.
  std::optional<int> admit(int64_t source_length, int64_t target_limit);

  /// Another slot with the same source and a copy of the memory; nothing when it does not fit.
  std::optional<int> fork(int slot);

  /// Overwrites the memory (and the source, where it is another) of `to` with those of `from`.
  void copy_state(int from, int to);

  /// slots[i] takes on the state that parents[i] has now, all at once; each slot once, all of the
  /// same source and target limit. Copies only where a parent is taken more than once.
  void reorder(std::span<const int> slots, std::span<const int> parents);

  void release(int slot);
  void release_all();

  bool is_live(int slot) const;
  int live() const { return live_; }  ///< slots in use
  int free_rows() const { return limits_.rows - live_; }
  int64_t free_source_tokens() const { return source_pool_.free_tokens(); }
  int64_t source_length(int slot) const;              ///< tokens of its source
  int64_t length(int slot) const;                     ///< steps done
  int64_t target_limit(int slot) const;               ///< most steps
  int64_t bytes() const { return memory_->bytes(); }  ///< held, all of it from the start

  // For the model.

  const StatePools& pools() const { return memory_->pools(); }
  TokenPool::Range source_range(int slot) const;

  /// Where a slot's own past lies: a range of the target pool, or a row of the cells.
  struct Place {
    TokenPool::Range past;
    int32_t cell;
  };
  Place place(int slot) const {
    return {this->slot(slot).memory.past, this->slot(slot).memory.cell};
  }

  /// What a step of a slot reads and writes.
  struct Step {
    int64_t position;         ///< steps done before
    int64_t at;               ///< row of the pool, or cell, that it writes
    TokenPool::Range past;    ///< of the target pool
    TokenPool::Range source;  ///< of the source pool
  };
  /// Counts one more step of a slot.
  Step advance(int slot);

 private:
  struct Source {
    TokenPool::Range range;
    int users = 0;
  };
  /// A place for the decoder's own past. Each slot has one; slots may swap them.
  struct Memory {
    TokenPool::Range past;  // of the target pool; empty for SSRU
    int32_t cell = 0;       // row of the cells
    int64_t length = 0;     // steps done
  };
  struct Slot {
    bool live = false;
    int source = -1;  // index of sources_
    int64_t limit = 0;
    Memory memory;
  };

  const Slot& slot(int index) const;  // checked: live
  Slot& slot(int index);
  std::optional<int> start(int source, int64_t target_limit);
  void drop_source(int source);
  void copy_memory(const Memory& from, Memory& to);

  Limits limits_;
  bool attends_;  // to its past; else SSRU
  bool reads_;    // a source

  std::vector<Slot> slots_;
  std::vector<Source> sources_;
  std::vector<int> free_slots_, free_sources_;
  std::vector<Memory> before_;  // reorder: what each slot held before
  std::vector<uint8_t> taken_;  // … and whether a slot has gone on with it
  int live_ = 0;

  TokenPool source_pool_, target_pool_;
  std::unique_ptr<PoolMemory> memory_;
};

}  // namespace heddle::model
