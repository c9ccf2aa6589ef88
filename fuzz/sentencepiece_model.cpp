// Fuzz target: SentencePiece model files. What is refused must be refused with heddle::Error, by
// our own check; what passes it is loaded by the library and used, with bytes of the input as text.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string_view>

#include "heddle/base/error.h"
#include "heddle/text/sentencepiece_model.h"
#include "heddle/text/tokenizer.h"

namespace {

void require(bool condition, const char* what) {
  if (condition) return;
  std::fprintf(stderr, "sentencepiece_model: %s\n", what);
  std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  try {
    heddle::text::parse_sentencepiece(bytes, "input");
  } catch (const heddle::Error&) {
    return 0;  // refused: fine
  }
  try {
    const auto tokenizer = heddle::text::make_tokenizer(bytes, "input");
    for (const std::string_view text :
         {bytes.substr(0, 200), std::string_view("AB the cat. ~~~~")}) {
      const auto ids = tokenizer.encode(text);
      for (const int32_t id : ids) require(id >= 0 && id < tokenizer.size(), "an id out of range");
      require(tokenizer.decode(ids) == tokenizer.decode_plainly(ids), "decoded unlike the library");
    }
  } catch (const heddle::Error&) {
    // The library may find something else to refuse: fine.
  }
  return 0;
}
