// Fuzz target: tokenizer.json files. What is refused must be refused with heddle::Error; what is
// taken must give ids in range, decode them as a whole and one by one to the same text, and decode
// to valid UTF-8, with bytes of the input as text.
#include <string>
#include <string_view>

#include "fuzz/source_of.h"
#include "heddle/base/error.h"
#include "heddle/text/bpe_tokenizer.h"
#include "heddle/text/utf8.h"

namespace {

using heddle::fuzz::require;
using heddle::text::BpeTokenizer;

void use(const BpeTokenizer& tokenizer, std::string_view text, bool special) {
  const auto ids =
      tokenizer.encode(text, {.add_special_tokens = special, .allow_special = special});
  for (const int32_t id : ids) {
    require(id >= 0 && id < tokenizer.size(), "tokenizer_json: an id out of range");
  }
  const std::string whole = tokenizer.decode(ids, special);
  require(heddle::text::is_valid_utf8(whole), "tokenizer_json: decoded to what is not UTF-8");
  heddle::text::BpeStream stream(tokenizer, special);
  std::string streamed;
  for (const int32_t id : ids) {
    const std::string part = stream.push(id);
    require(heddle::text::is_valid_utf8(part), "tokenizer_json: a part that is not UTF-8");
    streamed += part;
  }
  streamed += stream.finish();
  require(streamed == whole, "tokenizer_json: decoded one by one to another text");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  try {
    const BpeTokenizer tokenizer = heddle::text::make_bpe_tokenizer(bytes, "input");
    for (const std::string_view text :
         {bytes.substr(0, 300), std::string_view("It's 12345 w\xC3\xB6rds.\n\n <s>\xE2\x82")}) {
      use(tokenizer, text, true);
      use(tokenizer, text, false);
    }
  } catch (const heddle::Error&) {
    // refused: fine
  }
  return 0;
}
