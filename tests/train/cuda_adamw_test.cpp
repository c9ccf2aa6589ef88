// The optimiser on a GPU against the one on the host. Where the host fuses multiply-adds they
// differ in a last bit, so that a few places of the 8-bit code may lie beside each other.
#include "heddle/train/cuda/adamw.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "heddle/base/random.h"
#include "heddle/io/safetensors.h"
#include "heddle/model/cuda/parameters.h"
#include "tests/io/files.h"

namespace heddle::train {
namespace {

using State = std::map<std::string, Tensor>;

/// Projections of several parameters, of which none is a whole number of blocks long.
model::TransformerConfig odd_config() {
  model::TransformerConfig config;
  config.width = 72;
  config.source_vocabulary = config.target_vocabulary = 101;
  config.encoder = {.layers = 1, .heads = 3, .ffn_width = 104};
  config.decoder = {.layers = 1, .heads = 3, .ffn_width = 88};
  config.positions = model::Positions::sinusoidal;
  config.pad = config.decoder_start = 2;
  return config;
}

size_t bytes_of(const Tensor& tensor) {
  return static_cast<size_t>(tensor.elements()) * size_of(tensor.dtype());
}

bool same_bits(const State& a, const State& b) {
  if (a.size() != b.size()) return false;
  for (const auto& [name, tensor] : a) {
    if (std::memcmp(tensor.raw(), b.at(name).raw(), bytes_of(tensor)) != 0) return false;
  }
  return true;
}

void expect_near(const Tensor& found, const Tensor& expected, const std::string& name) {
  ASSERT_EQ(found.shape(), expected.shape()) << name;
  ASSERT_EQ(found.dtype(), expected.dtype()) << name;
  int64_t beside = 0;
  for (int64_t i = 0; i < found.elements(); ++i) {
    if (found.dtype() == DType::i8) {
      const int gap = found.data<int8_t>()[i] - expected.data<int8_t>()[i];
      ASSERT_LE(std::abs(gap), 1) << name << " " << i;
      beside += gap != 0;
    } else {
      const float value = expected.data<float>()[i];
      ASSERT_NEAR(found.data<float>()[i], value, 1e-5 * std::abs(value) + 1e-6) << name << " " << i;
    }
  }
  EXPECT_LE(beside, found.elements() / 500) << name;
}

class AdamWGpu : public heddle::testing::FolderTest {
 protected:
  void SetUp() override {
    FolderTest::SetUp();
    if (heddle::cuda::device_count() == 0) GTEST_SKIP() << "no GPU";
  }
};

TEST_F(AdamWGpu, EightBitsAreTheHostsAndComeBackToTheBit) {
  const model::ModelFiles files = model::random_model(odd_config(), 3);
  model::TrainingTransformer host(files);
  model::cuda::TrainingTransformer gpu(files, 0), other(files, 0);
  AdamWSettings settings;
  settings.state_bits = 8;
  settings.ema_decay = 0.9;
  settings.weight_decay = 0.1;
  AdamW expected(host.slots(), settings);
  cuda::AdamW found(gpu, settings), resumed(other, settings);
  Random random(4);
  const auto new_gradients = [&] {
    std::vector<Tensor> gradients;
    for (const auto& slot : host.slots()) {
      gradients.push_back(slot.gradient);
      const double size = std::pow(10, random.between(-6, 1));
      for (int64_t i = 0; i < slot.gradient.elements(); ++i) {
        slot.gradient.data<float>()[i] = static_cast<float>(size * random.normal());
      }
    }
    return gradients;
  };

  for (int step = 1; step <= 6; ++step) {
    const std::vector<Tensor> gradients = new_gradients();
    gpu.parameters().upload(gradients, gpu.parameters().gradients());
    expected.update(host.slots(), step, 0.01, 0.5);
    found.update(step, 0.01, 0.5);
    const State state = found.state();
    ASSERT_EQ(state.size(), expected.state().size());
    for (const auto& [name, tensor] : expected.state()) {
      ASSERT_NO_FATAL_FAILURE(expect_near(state.at(name), tensor, str("step ", step, " ", name)));
    }
  }
  const model::ModelFiles now = gpu.files();
  for (const auto& slot : host.slots()) {
    expect_near(model::to_f32(*now.parameters.find(slot.name)), slot.value, slot.name);
  }

  io::write_safetensors(path("state"), found.state(), {});
  std::vector<Tensor> values;
  for (const auto& each : gpu.shapes()) values.push_back(Tensor::empty(each.shape, DType::f32));
  gpu.parameters().download(gpu.parameters().values(), values);
  other.load(values);
  resumed.load(path("state"));
  EXPECT_TRUE(same_bits(resumed.state(), found.state()));
  const std::vector<Tensor> gradients = new_gradients();
  for (model::cuda::TrainingTransformer* each : {&gpu, &other}) {
    each->parameters().upload(gradients, each->parameters().gradients());
  }
  found.update(7, 0.01, 1);
  resumed.update(7, 0.01, 1);
  EXPECT_TRUE(same_bits(resumed.state(), found.state()));
  cuda::AdamW wide(gpu, {});
  EXPECT_THROW(wide.load(path("state")), Error);  // f32 of another shape
}

}  // namespace
}  // namespace heddle::train
