// Where what an adapter trains lies on a GPU; computed on the host.
#include <gtest/gtest.h>

#include <algorithm>
#include <map>

#include "heddle/model/cuda/adapter_parameters.h"
#include "heddle/model/cuda/parameters.h"
#include "heddle/model/training.h"
#include "tests/model/language_models.h"

namespace heddle::model {
namespace {

struct LaidOut {
  LaidOut(const std::string& name, LoraSettings given)
      : settings(std::move(given)),
        files(load_model(language_folder(name))),
        weights(files, ops::Precision::f32, Weights::Matrices::shapes) {
    const Adapter adapter = new_adapter(files, settings, 1);
    std::vector<Tensor> values(parameters_of(files.config).size());
    for (const ParameterShape& each : lora_parameters(files.config, settings)) {
      values.push_back(adapter.parameters.require(each.name, each.shape).values);
    }
    attach(weights, settings, values);
    layout = cuda::adapter_layout(weights, settings);
    for (size_t i = 0; i < layout.shapes.size(); ++i) {
      offsets[layout.shapes[i].name] = layout.offsets[i];
    }
  }
  int64_t at(const std::string& name) const {
    return offsets.at("model.layers.1." + name + ".weight");
  }

  LoraSettings settings;
  ModelFiles files;
  Weights weights;
  cuda::TrainedLayout layout;
  std::map<std::string, int64_t> offsets;
};

TEST(AdapterLayout, PiecesDoNotOverlapAndMatricesComeFirst) {
  for (const std::string& name : language_names()) {
    const LaidOut laid(name, {.rank = 8, .alpha = 8, .saved = {"embed_tokens", "norm"}});
    SCOPED_TRACE(name);
    std::vector<std::pair<int64_t, int64_t>> pieces;
    for (size_t i = 0; i < laid.layout.shapes.size(); ++i) {
      const Shape& shape = laid.layout.shapes[i].shape;
      const int64_t begin = laid.layout.offsets[i], end = begin + shape.elements();
      EXPECT_GE(begin, 0);
      EXPECT_EQ(begin % 8, 0) << laid.layout.shapes[i].name;
      EXPECT_LE(end, laid.layout.count);
      EXPECT_EQ(shape.rank() > 1, begin < laid.layout.matrices) << laid.layout.shapes[i].name;
      pieces.emplace_back(begin, end);
    }
    std::ranges::sort(pieces);
    for (size_t i = 1; i < pieces.size(); ++i) EXPECT_LE(pieces[i - 1].second, pieces[i].first);
  }
}

TEST(AdapterLayout, MatricesOfOneInputAreOneMatrix) {
  const LaidOut laid("qwen3", {.rank = 16, .alpha = 8});
  const int64_t each = 16 * laid.files.config.width;
  EXPECT_EQ(laid.at("self_attn.k_proj.lora_A"), laid.at("self_attn.q_proj.lora_A") + each);
  EXPECT_EQ(laid.at("self_attn.v_proj.lora_A"), laid.at("self_attn.q_proj.lora_A") + 2 * each);
  EXPECT_EQ(laid.at("mlp.up_proj.lora_A"), laid.at("mlp.gate_proj.lora_A") + each);
}

TEST(AdapterLayout, TablesHaveRoomForWhatTheLossAdds) {
  const LaidOut laid("gemma3", {.rank = 8, .alpha = 8, .saved = {"embed_tokens"}});
  const TransformerConfig& config = laid.files.config;
  const int64_t begin = laid.offsets.at("model.embed_tokens.weight");
  const int64_t end =
      begin + cuda::DeviceParameters::padded(config.target_vocabulary) * config.width;
  EXPECT_LE(end, laid.layout.matrices);
  for (const int64_t other : laid.layout.offsets) {
    EXPECT_TRUE(other <= begin || other >= end) << other;
  }
}

TEST(AdapterLayout, ShapesAreInTheHostsOrder) {
  const LoraSettings settings{.rank = 8, .alpha = 8, .saved = {"norm", "embed_tokens"}};
  const LaidOut laid("gemma3", settings);
  const TrainingTransformer host(laid.files, new_adapter(laid.files, settings, 1));
  ASSERT_EQ(laid.layout.shapes.size(), host.slots().size());
  for (size_t i = 0; i < laid.layout.shapes.size(); ++i) {
    EXPECT_EQ(laid.layout.shapes[i].name, host.slots()[i].name);
    EXPECT_EQ(laid.layout.shapes[i].shape, host.slots()[i].value.shape());
  }
}

TEST(AdapterLayout, WeightsWithoutNumbersHaveTheSameShapes) {
  for (const std::string& name : language_names()) {
    const ModelFiles files = load_model(language_folder(name));
    const Weights packed(files, ops::Precision::f32);
    const Weights shapes(files, ops::Precision::f32, Weights::Matrices::shapes);
    std::vector<std::pair<int64_t, int64_t>> of_packed, of_shapes;
    const auto visit = [](auto& to) {
      return [&to](const Projection& projection) {
        for (const Projection::Part& part : projection.parts) {
          to.emplace_back(part.matrix.rows(), part.matrix.columns());
        }
      };
    };
    cuda::each_projection(packed, visit(of_packed));
    cuda::each_projection(shapes, visit(of_shapes));
    EXPECT_EQ(of_packed, of_shapes) << name;
    EXPECT_EQ(packed.output.rows(), shapes.output.rows());
    EXPECT_LT(shapes.bytes, packed.bytes / 2);
  }
}

}  // namespace
}  // namespace heddle::model
