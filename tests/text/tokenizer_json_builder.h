// A tokenizer.json for tests: small, and each part can be another.
#pragma once

#include <string>

namespace heddle::text {

struct TestTokenizerJson {
  std::string added = R"([{"id":12,"content":"<s>","special":true},)"
                      R"({"id":13,"content":"<e>","special":true}])";
  std::string normalizer = "null";
  std::string pre_tokenizer = R"({"type":"ByteLevel","add_prefix_space":false,"use_regex":true})";
  std::string post_processor = "null";
  std::string decoder = R"({"type":"ByteLevel"})";
  std::string options = R"("type":"BPE")";
  std::string vocab = R"({"a":0,"b":1,"c":2,"Ġ":3,"ab":4,"abc":5,"Ġa":6,"Ċ":7,"Ã":8,"©":9,"é":10,)"
                      R"("Ã©":11})";
  std::string merges = R"(["a b","ab c","Ġ a","Ã ©"])";
  std::string more = "";  // members of the file

  std::string text() const {
    return R"({"version":"1.0","truncation":null,"padding":null,"added_tokens":)" + added +
           R"(,"normalizer":)" + normalizer + R"(,"pre_tokenizer":)" + pre_tokenizer +
           R"(,"post_processor":)" + post_processor + R"(,"decoder":)" + decoder + R"(,"model":{)" +
           options + R"(,"vocab":)" + vocab + R"(,"merges":)" + merges + "}" + more + "}";
  }
};

}  // namespace heddle::text
