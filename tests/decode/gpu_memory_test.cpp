// What decoding takes of a GPU's memory: the largest shape that fits, and less for less.
#include "heddle/decode/gpu_memory.h"

#include <gtest/gtest.h>

namespace heddle::decode {
namespace {

model::TransformerConfig light() {
  model::TransformerConfig config;  // 12-1, d 512
  config.encoder.layers = 12;
  config.decoder.layers = 1;
  config.source_vocabulary = config.target_vocabulary = 32'000;
  return config;
}

EngineSettings engine_of(const GpuShape& shape) {
  EngineSettings engine;
  engine.rows = shape.rows;
  engine.source_tokens = 64 * int64_t{shape.rows};
  engine.target_tokens = 160 * int64_t{shape.rows};
  return engine;
}

int64_t bytes_of(const GpuShape& shape) {
  return shape.decoders * engine_bytes(light(), engine_of(shape), shape.encode_tokens);
}

TEST(GpuMemory, SlotsAreTheirKeysAndValues) {
  EngineSettings engine = engine_of({});
  const int64_t before = engine_bytes(light(), engine, 1024);
  engine.target_tokens += 1000;
  EXPECT_EQ(engine_bytes(light(), engine, 1024) - before, 1000 * 2 * 512 * 2);
  model::TransformerConfig ssru = light();
  ssru.decoder_kind = model::DecoderKind::ssru;
  EXPECT_EQ(engine_bytes(ssru, engine, 1024), engine_bytes(ssru, engine_of({}), 1024));
}

TEST(GpuMemory, TheLargestThatFits) {
  const GpuShape whole{3, 4096, 16384};
  EXPECT_EQ(fitted(whole, bytes_of(whole), bytes_of), whole);
  std::optional<GpuShape> last = whole;
  for (int64_t room = bytes_of(whole); last; room -= room / 50) {
    const std::optional<GpuShape> shape = fitted(whole, room, bytes_of);
    if (shape) {
      EXPECT_LE(bytes_of(*shape), room);
      EXPECT_LE(shape->decoders, last->decoders);
      EXPECT_LE(shape->rows * shape->decoders, last->rows * last->decoders);
      EXPECT_GE(shape->rows, 16);
      EXPECT_GE(shape->encode_tokens, 1024);
    } else {
      EXPECT_LT(room, bytes_of({1, 16, 1024}));
    }
    last = shape;
  }
}

}  // namespace
}  // namespace heddle::decode
