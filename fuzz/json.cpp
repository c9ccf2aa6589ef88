// Fuzz target: the readers of JSON and YAML. What is refused must be refused with heddle::Error;
// accepted JSON, written and read again, must be the same value.
#include <string_view>

#include "fuzz/source_of.h"
#include "heddle/io/json.h"
#include "heddle/io/yaml.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  try {
    const heddle::io::Value value = heddle::io::parse_json(text, "input");
    for (const int indent : {0, 2}) {
      const std::string again = heddle::io::to_json(value, indent);
      heddle::fuzz::require(heddle::io::parse_json(again, "again") == value,
                            "json: another value when written and read again");
    }
  } catch (const heddle::Error&) {
    // refused: fine
  }
  try {
    heddle::io::parse_yaml(text.substr(0, 4096), "input");
  } catch (const heddle::Error&) {
    // refused: fine
  }
  return 0;
}
