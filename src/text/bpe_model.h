// The pieces of a byte-pair vocabulary and the merges that make them: a word to ids.
//
// A word begins as one piece a character; then the pair of neighbours with the lowest rank is
// merged, the leftmost first, until no pair has a rank. Long words go through a heap over a linked
// list, in O(n log n); short ones are quicker without.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "heddle/text/piece_index.h"

namespace heddle::text {

/// What a file says. Pieces by id; an empty one is an id that no piece has.
struct BpeVocabulary {
  struct Merge {
    int32_t left = -1, right = -1, merged = -1;  // ranks are the order in the list
  };
  std::vector<std::string> pieces;
  std::vector<Merge> merges;
  int32_t unk = -1;
  bool fuse_unk = false;       // neighbours that are unknown become one
  bool byte_fallback = false;  // an unknown character becomes the pieces <0x00> to <0xFF>
  bool ignore_merges = false;  // a word that is a piece is taken as it is
  bool byte_level = false;     // words are bytes, pieces write them as in bpe_bytes.h
};

/// The merges of a pair of ids, in one flat table.
class MergeTable {
 public:
  struct Entry {
    uint64_t pair = kNone;
    uint32_t rank = UINT32_MAX;
    int32_t merged = -1;
  };

  MergeTable() = default;
  /// Of a pair that is there twice, the later rank counts.
  explicit MergeTable(const std::vector<BpeVocabulary::Merge>& merges);

  /// Rank UINT32_MAX: the pair has none.
  const Entry& find(int32_t left, int32_t right) const {
    return slots_[place_of(key(left, right))];
  }

 private:
  static constexpr uint64_t kNone = UINT64_MAX;
  static uint64_t key(int32_t left, int32_t right) {
    return static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32 | static_cast<uint32_t>(right);
  }
  size_t place_of(uint64_t pair) const;

  std::vector<Entry> slots_ = std::vector<Entry>(2);
  int shift_ = 63;
};

/// Memory for encode(), for one thread.
struct BpeScratch {
  struct Symbol {
    int32_t id;
    int32_t previous, next;  // places in the list; -1: none
  };
  struct Candidate {
    uint32_t rank, place;
    int32_t merged;
  };
  std::vector<int32_t> ids;
  std::vector<Symbol> symbols;
  std::vector<Candidate> heap;
};

/// Immutable: any number of threads may encode with one model.
class BpeModel {
 public:
  explicit BpeModel(BpeVocabulary vocabulary);
  BpeModel(const BpeModel&) = delete;  // the index looks into it

  const BpeVocabulary& vocabulary() const { return vocabulary_; }
  int32_t size() const { return static_cast<int32_t>(vocabulary_.pieces.size()); }

  /// Adds the ids of a word, which is bytes in a byte-level model and UTF-8 in any other.
  void encode(std::string_view word, std::vector<int32_t>& ids, BpeScratch& scratch) const;

  /// What the piece says: the bytes it stands for in a byte-level model, else the piece.
  std::string_view surface(int32_t id) const {
    const auto at = static_cast<size_t>(id);
    return std::string_view(surfaces_).substr(begins_[at], begins_[at + 1] - begins_[at]);
  }

 private:
  void make_surfaces();
  void index_words();
  void index_characters();
  void find_stable_pieces();
  void add_characters(std::string_view word, std::vector<int32_t>& ids) const;
  bool add_bytes(std::string_view character, std::vector<int32_t>& ids) const;
  void merge(std::vector<int32_t>& ids, BpeScratch& scratch) const;
  void merge_long(std::vector<int32_t>& ids, BpeScratch& scratch) const;

  BpeVocabulary vocabulary_;
  MergeTable merges_;
  std::string surfaces_;
  std::vector<uint32_t> begins_;
  std::vector<uint8_t> is_word_;      // by id: the surface can be found in a word
  PieceIndex words_;                  // of those surfaces
  std::array<int32_t, 256> bytes_{};  // the pieces of single bytes, or of ASCII; -1: none
  std::array<int32_t, 256> fallback_{};
  std::vector<uint8_t> is_stable_;  // by id: the piece, as a word, is encoded to itself
  size_t longest_ = 0;              // bytes of a surface
};

}  // namespace heddle::text
