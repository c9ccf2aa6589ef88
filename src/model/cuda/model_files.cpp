#include "heddle/model/cuda/model_files.h"

#include <utility>

#include "heddle/attention/attention.h"
#include "heddle/base/error.h"

namespace heddle::model::cuda {

namespace {

constexpr int64_t kWidestNorm = 16384;  // that norm.cu takes

}  // namespace

void check_fits(const TransformerConfig& config, const char* what, const char* hint) {
  const auto multiple = [&](const char* which, int64_t found) {
    HEDDLE_CHECK(found % 8 == 0, what, " on a GPU: ", which, " is ", found,
                 "; expected a multiple of 8. Hint: ", hint);
  };
  multiple("the width", config.width);
  HEDDLE_CHECK(config.width <= kWidestNorm, what, " on a GPU: the width is ", config.width,
               "; expected at most ", kWidestNorm, ". Hint: ", hint);
  const int64_t of_encoder = config.is_language_model() ? 0 : config.encoder_head_width();
  for (const auto& [stack, head] : {std::pair{&config.encoder, of_encoder},
                                    std::pair{&config.decoder, config.decoder_head_width()}}) {
    if (stack->layers == 0) continue;
    multiple("the width of the feed-forward layers", stack->ffn_width);
    multiple("the width of a head", head);
    HEDDLE_CHECK(head <= attention::kMaxHeadDim, what, " on a GPU: the width of a head is ", head,
                 "; expected at most ", attention::kMaxHeadDim, ". Hint: ", hint);
  }
}

std::vector<Tensor> f32_values(const ModelFiles& files) {
  check_parameters(files.config, files.parameters);
  std::vector<Tensor> values;
  for (const ParameterShape& each : parameters_of(files.config)) {
    values.push_back(to_f32(files.parameters.require(each.name, each.shape)));
  }
  return values;
}

}  // namespace heddle::model::cuda
