#include "heddle/text/bpe_model.h"

#include <algorithm>
#include <bit>
#include <functional>
#include <utility>

#include "heddle/base/error.h"
#include "heddle/text/bpe_bytes.h"
#include "heddle/text/utf8.h"

namespace heddle::text {

namespace {

/// Up to here, looking at all pairs for each merge is quicker than a heap.
constexpr size_t kShortWord = 24;

constexpr uint32_t kNoRank = UINT32_MAX;

/// "<0x0A>".
std::string fallback_piece(int byte) {
  constexpr std::string_view kDigits = "0123456789ABCDEF";
  return {'<',
          '0',
          'x',
          kDigits[static_cast<size_t>(byte) / 16],
          kDigits[static_cast<size_t>(byte) % 16],
          '>'};
}

/// Merges in a word of at most kShortWord pieces; returns how many are left.
size_t merge_short(const MergeTable& table, int32_t* ids, size_t count) {
  std::array<const MergeTable::Entry*, kShortWord> pairs;  // of ids[i] and ids[i + 1]
  for (size_t i = 0; i + 1 < count; ++i) pairs[i] = &table.find(ids[i], ids[i + 1]);
  while (count > 1) {
    size_t best = 0;
    for (size_t i = 1; i + 1 < count; ++i) {
      if (pairs[i]->rank < pairs[best]->rank) best = i;
    }
    if (pairs[best]->rank == kNoRank) break;
    ids[best] = pairs[best]->merged;
    std::copy(ids + best + 2, ids + count, ids + best + 1);
    if (best + 2 < count) {
      std::copy(pairs.data() + best + 2, pairs.data() + count - 1, pairs.data() + best + 1);
    }
    --count;
    if (best > 0) pairs[best - 1] = &table.find(ids[best - 1], ids[best]);
    if (best + 1 < count) pairs[best] = &table.find(ids[best], ids[best + 1]);
  }
  return count;
}

/// Whether a candidate is taken after another: std::push_heap keeps the largest on top.
bool is_later(const BpeScratch::Candidate& a, const BpeScratch::Candidate& b) {
  return a.rank != b.rank ? a.rank > b.rank : a.place > b.place;
}

}  // namespace

MergeTable::MergeTable(const std::vector<BpeVocabulary::Merge>& merges) {
  const size_t size = std::bit_ceil(2 * merges.size() + 2);
  slots_.assign(size, {});
  shift_ = 64 - std::countr_zero(size);
  for (size_t rank = 0; rank < merges.size(); ++rank) {
    const BpeVocabulary::Merge& merge = merges[rank];
    const uint64_t pair = key(merge.left, merge.right);
    slots_[place_of(pair)] = {pair, static_cast<uint32_t>(rank), merge.merged};
  }
}

size_t MergeTable::place_of(uint64_t pair) const {
  // Fibonacci hashing: the upper bits of the product are mixed well. In 128 bits, since wrapping
  // around is counted as a fault where overflow is looked for.
  __extension__ using Wide = unsigned __int128;
  const auto product = static_cast<uint64_t>(Wide{pair} * 0x9E3779B97F4A7C15u);
  size_t place = product >> shift_;
  while (slots_[place].pair != pair && slots_[place].pair != kNone) {
    place = (place + 1) & (slots_.size() - 1);
  }
  return place;
}

BpeModel::BpeModel(BpeVocabulary vocabulary)
    : vocabulary_(std::move(vocabulary)), merges_(vocabulary_.merges) {
  make_surfaces();
  index_words();
  index_characters();
  find_stable_pieces();
  std::vector<BpeVocabulary::Merge>().swap(vocabulary_.merges);
}

void BpeModel::make_surfaces() {
  begins_.reserve(vocabulary_.pieces.size() + 1);
  is_word_.reserve(vocabulary_.pieces.size());
  for (const std::string& piece : vocabulary_.pieces) {
    const size_t begin = surfaces_.size();
    begins_.push_back(static_cast<uint32_t>(begin));
    const bool is_bytes = vocabulary_.byte_level && append_bytes_of(surfaces_, piece);
    if (!is_bytes) surfaces_ += piece;
    const size_t length = surfaces_.size() - begin;
    is_word_.push_back(!piece.empty() && (is_bytes || !vocabulary_.byte_level));
    if (is_word_.back() != 0) longest_ = std::max(longest_, length);
    HEDDLE_CHECK(surfaces_.size() <= UINT32_MAX, "tokenizer: found pieces of more than ",
                 UINT32_MAX, " bytes together; expected at most that");
  }
  begins_.push_back(static_cast<uint32_t>(surfaces_.size()));
}

void BpeModel::index_words() {
  words_ = PieceIndex(vocabulary_.pieces.size());
  for (int32_t id = 0; id < size(); ++id) {
    if (is_word_[static_cast<size_t>(id)] != 0) words_.add(surface(id), id);
  }
}

void BpeModel::index_characters() {
  const int count = vocabulary_.byte_level ? 256 : 128;
  bytes_.fill(-1);
  for (int byte = 0; byte < count; ++byte) {
    const char character = static_cast<char>(byte);
    bytes_[static_cast<size_t>(byte)] = words_.find({&character, 1});
  }
  fallback_.fill(-1);
  if (!vocabulary_.byte_fallback) return;
  for (int byte = 0; byte < 256; ++byte) {
    std::string piece = fallback_piece(byte);
    std::string bytes;  // a byte-level index knows the piece by its bytes: the same, all are ASCII
    if (vocabulary_.byte_level && append_bytes_of(bytes, piece)) piece = bytes;
    fallback_[static_cast<size_t>(byte)] = words_.find(piece);
  }
}

/// A word that is a piece is mostly what its merges give: finding that out once is what a cache
/// would do, without its locks.
void BpeModel::find_stable_pieces() {
  is_stable_.assign(vocabulary_.pieces.size(), vocabulary_.ignore_merges ? 1 : 0);
  if (vocabulary_.ignore_merges) return;
  BpeScratch scratch;
  for (int32_t id = 0; id < size(); ++id) {
    if (is_word_[static_cast<size_t>(id)] == 0) continue;
    scratch.ids.clear();
    add_characters(surface(id), scratch.ids);
    merge(scratch.ids, scratch);
    is_stable_[static_cast<size_t>(id)] = scratch.ids.size() == 1 && scratch.ids[0] == id;
  }
}

void BpeModel::encode(std::string_view word, std::vector<int32_t>& ids, BpeScratch& scratch) const {
  if (word.size() <= longest_) {
    const int32_t id = words_.find(word);
    if (id >= 0 && is_stable_[static_cast<size_t>(id)] != 0) {
      ids.push_back(id);
      return;
    }
  }
  scratch.ids.clear();
  add_characters(word, scratch.ids);
  merge(scratch.ids, scratch);
  ids.insert(ids.end(), scratch.ids.begin(), scratch.ids.end());
}

/// The pieces of single characters. An unknown one waits until a known one comes, as in the
/// reference: bytes it falls back to go before it.
void BpeModel::add_characters(std::string_view word, std::vector<int32_t>& ids) const {
  bool waits = false;
  std::string character;
  for (size_t i = 0; i < word.size();) {
    const auto byte = static_cast<uint8_t>(word[i]);
    size_t length = 1;
    int32_t id = bytes_[byte];
    if (!vocabulary_.byte_level && byte >= 0x80) {
      length = static_cast<size_t>(decode_utf8(word, i).bytes);
      id = words_.find(word.substr(i, length));
    }
    if (id >= 0) {
      if (waits) ids.push_back(vocabulary_.unk);
      waits = false;
      ids.push_back(id);
    } else {
      character.assign(word.substr(i, length));
      if (vocabulary_.byte_level) {
        character.clear();
        append_utf8(character, char_of_byte(byte));
      }
      if (!add_bytes(character, ids) && vocabulary_.unk >= 0) {
        if (waits && !vocabulary_.fuse_unk) ids.push_back(vocabulary_.unk);
        waits = true;
      }
    }
    i += length;
  }
  if (waits) ids.push_back(vocabulary_.unk);
}

/// False, and nothing added, unless there is a piece for each byte.
bool BpeModel::add_bytes(std::string_view character, std::vector<int32_t>& ids) const {
  if (!vocabulary_.byte_fallback) return false;
  for (const char c : character) {
    if (fallback_[static_cast<uint8_t>(c)] < 0) return false;
  }
  for (const char c : character) ids.push_back(fallback_[static_cast<uint8_t>(c)]);
  return true;
}

void BpeModel::merge(std::vector<int32_t>& ids, BpeScratch& scratch) const {
  if (ids.size() > kShortWord) {
    merge_long(ids, scratch);
  } else {
    ids.resize(merge_short(merges_, ids.data(), ids.size()));
  }
}

void BpeModel::merge_long(std::vector<int32_t>& ids, BpeScratch& scratch) const {
  auto& symbols = scratch.symbols;
  auto& heap = scratch.heap;
  symbols.clear();
  heap.clear();
  const auto count = static_cast<int32_t>(ids.size());
  for (int32_t i = 0; i < count; ++i) {
    symbols.push_back({ids[static_cast<size_t>(i)], i - 1, i + 1 < count ? i + 1 : -1});
  }
  const auto at = [&](int32_t place) -> BpeScratch::Symbol& {
    return symbols[static_cast<size_t>(place)];
  };
  const auto pair_at = [&](int32_t place) -> const MergeTable::Entry& {
    return merges_.find(at(place).id, at(at(place).next).id);
  };
  for (int32_t i = 0; i + 1 < count; ++i) {
    const MergeTable::Entry& pair = pair_at(i);
    if (pair.rank != kNoRank) heap.push_back({pair.rank, static_cast<uint32_t>(i), pair.merged});
  }
  std::make_heap(heap.begin(), heap.end(), is_later);
  const auto push = [&](int32_t place) {
    const MergeTable::Entry& pair = pair_at(place);
    if (pair.rank == kNoRank) return;
    heap.push_back({pair.rank, static_cast<uint32_t>(place), pair.merged});
    std::push_heap(heap.begin(), heap.end(), is_later);
  };
  while (!heap.empty()) {
    std::pop_heap(heap.begin(), heap.end(), is_later);
    const BpeScratch::Candidate top = heap.back();
    heap.pop_back();
    const auto place = static_cast<int32_t>(top.place);
    BpeScratch::Symbol& left = at(place);
    // Stale: the left part has gone into another, or one of the two is no longer what it was.
    if (left.id < 0 || left.next < 0 || pair_at(place).rank != top.rank) continue;
    BpeScratch::Symbol& right = at(left.next);
    left.id = top.merged;
    right.id = -1;
    left.next = right.next;
    if (left.next >= 0) at(left.next).previous = place;
    if (left.previous >= 0) push(left.previous);
    if (left.next >= 0) push(place);
  }
  ids.clear();
  for (int32_t i = 0; i >= 0; i = at(i).next) ids.push_back(at(i).id);
}

}  // namespace heddle::text
