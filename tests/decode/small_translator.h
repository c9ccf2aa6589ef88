// A model directory with random weights and a small SentencePiece vocabulary, in a folder that goes
// with the object; and lines to translate, ordinary and hostile.
#pragma once

#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "heddle/base/random.h"
#include "heddle/model/formats/formats.h"
#include "tests/model/random_model.h"
#include "tests/text/model_builder.h"

namespace heddle::decode::test {

class ModelFolder {
 public:
  explicit ModelFolder(model::DecoderKind kind = model::DecoderKind::ssru) {
    std::string pattern = (std::filesystem::temp_directory_path() / "heddle-XXXXXX").string();
    path_ = ::mkdtemp(pattern.data());
    text::TestModel pieces = text::small_model();
    std::ofstream(path_ + "/pieces.spm", std::ios::binary) << pieces.bytes();
    model::TransformerConfig config;
    config.width = 16;
    config.source_vocabulary = config.target_vocabulary = std::ssize(pieces.pieces);
    config.encoder = {.layers = 1, .heads = 2, .ffn_width = 32};
    config.decoder = {.layers = 1, .heads = 2, .ffn_width = 32};
    config.decoder_kind = kind;
    config.positions = model::Positions::sinusoidal_marian;
    config.scale_embedding = true;
    config.unk = 0;
    config.eos = 2;
    model::ModelFiles files = model::random_model(config);
    files.source_vocabulary = files.target_vocabulary = path_ + "/pieces.spm";
    model::save_model(files, model());
  }
  ~ModelFolder() { std::filesystem::remove_all(path_); }
  ModelFolder(const ModelFolder&) = delete;
  ModelFolder& operator=(const ModelFolder&) = delete;

  std::string model() const { return path_ + "/model"; }
  std::string file(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

inline std::vector<std::string> lines_to_translate(int count) {
  const std::vector<std::string> words{"the", "cat",   "sat",    "on",
                                       "mat", "Hello", "world!", "zebra"};
  const std::vector<std::string> hostile{"",
                                         "   ",
                                         "\t",
                                         std::string("a\0b", 3),
                                         "\xff\xfe\xc0\xaf",
                                         "caf\xc3",
                                         "\xe2\x80\xa8 a",
                                         std::string(3000, 'x'),
                                         "the\rcat",
                                         "\xc2\x85",
                                         "\xf0\x9f\x91\xa9\xe2\x80\x8d\xf0\x9f\x92\xbb",
                                         std::string(400, ' ') + "mat"};
  Random random(9);
  std::vector<std::string> lines;
  for (int i = 0; i < count; ++i) {
    if (i % 20 == 7) {
      lines.push_back(hostile[random.below(hostile.size())]);
      continue;
    }
    std::string line;
    for (int64_t n = random.between(1, 25); n > 0; --n) {
      if (!line.empty()) line += ' ';
      line += words[random.below(words.size())];
    }
    lines.push_back(std::move(line));
  }
  return lines;
}

}  // namespace heddle::decode::test
