// Fuzz target: text of sentence pairs, compressed or not, as TSV, jsonl or two files. The first
// byte says which. However the bytes arrive, the pairs are the same; damage is an Error, though a
// checksum may be compared before or after the pairs of its block are handed out.
#include <algorithm>
#include <string>
#include <string_view>
#include <vector>

#include "fuzz/reader_of.h"
#include "fuzz/source_of.h"
#include "heddle/data/decompress.h"
#include "heddle/data/pair_format.h"

namespace {

using namespace heddle;

constexpr size_t kMost = 1 << 16;  // bytes of text that are looked at: compressed input may blow up

text::ReadBytes limited(text::ReadBytes read) {
  return [read = std::move(read), left = kMost](char* target, size_t room) mutable {
    const size_t count = left > 0 ? read(target, std::min(room, left)) : 0;
    left -= count;
    return count;
  };
}

struct Found {
  std::vector<std::string> pairs;
  std::string error;  ///< empty: the input was read to its end
};

Found found_in(std::string_view bytes, int form, size_t step) {
  data::CorpusFiles files;
  if (form == 2) {
    files.source = "a.txt", files.target = "b.txt";
  } else {
    files.pairs = form == 1 ? "a.jsonl" : "a.tsv";
    if (form == 1) files.source_field = "translation.en", files.weight_field = "weight";
    if (form == 0) files.weight_column = 2;
  }
  Found found;
  try {
    const auto half = bytes.size() / 2;
    const auto open = [&](std::string_view part) {
      return limited(data::decompressed(fuzz::reader_of(part, step), "input"));
    };
    const auto pairs = form == 2 ? data::read_pairs(files, 64, open(bytes.substr(0, half)),
                                                    open(bytes.substr(half)))
                                 : data::read_pairs(files, 64, open(bytes), {});
    for (data::RawPair pair; pairs->next(pair);) {
      fuzz::require(!pair.too_long || (pair.source.empty() && pair.target.empty()),
                    "corpus_pairs: text of a line that is too long");
      found.pairs.push_back(std::string(pair.source) + '\0' + std::string(pair.target) + '\0' +
                            std::to_string(pair.line));
    }
  } catch (const Error& error) {
    found.error = error.what();
  }
  return found;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const std::string_view bytes(reinterpret_cast<const char*>(data) + 1, size - 1);
  const int form = data[0] % 3;
  const auto whole = found_in(bytes, form, 1 << 20), pieces = found_in(bytes, form, 7);
  fuzz::require(whole.error.empty() == pieces.error.empty(),
                "corpus_pairs: an error depends on how the bytes arrive");
  const auto common = std::min(whole.pairs.size(), pieces.pairs.size());
  fuzz::require(
      std::equal(whole.pairs.begin(), whole.pairs.begin() + static_cast<ptrdiff_t>(common),
                 pieces.pairs.begin()),
      "corpus_pairs: other pairs when the bytes arrive in small pieces");
  fuzz::require(!whole.error.empty() || whole.pairs.size() == pieces.pairs.size(),
                "corpus_pairs: pairs are lost when the bytes arrive in small pieces");
  return 0;
}
