#include "heddle/decode/gpu_engine.h"

#include <algorithm>
#include <utility>

#include "heddle/base/error.h"
#include "heddle/decode/choose.h"
#include "heddle/decode/gpu.h"
#include "heddle/decode/output_bias.h"

namespace heddle::decode {

namespace {

constexpr int kGpu = 0;
constexpr int kLeastCapability = 80;

}  // namespace

void require_gpu() {
  HEDDLE_CHECK(heddle::cuda::device_count() > 0,
               "--device: found cuda, but no GPU and driver that CUDA can use; expected cpu. "
               "Hint: look what nvidia-smi says, and at CUDA_VISIBLE_DEVICES");
  const int capability = heddle::cuda::compute_capability(kGpu);
  HEDDLE_CHECK(capability >= kLeastCapability, "--device: found a GPU of compute capability ",
               capability / 10, ".", capability % 10,
               "; expected 8.0 or above. Hint: --device cpu");
}

int64_t free_gpu_memory() { return static_cast<int64_t>(heddle::cuda::free_memory(kGpu)); }

GpuEngine::GpuEngine(const model::cuda::InferenceTransformer& model, const EngineSettings& settings)
    : config_(model.config()),
      settings_(settings),
      decoder_(model,
               {.rows = settings.rows,
                .source_tokens = settings.source_tokens,
                .target_tokens = settings.target_tokens,
                .graphs = settings.graphs},
               output_bias(model.config(), model.output_bias(), settings.allow_unknown)) {}

std::optional<int> GpuEngine::admit(int64_t source_length, int64_t target_limit) {
  return decoder_.state().admit(source_length, target_limit);
}

std::optional<int> GpuEngine::fork(int slot) { return decoder_.state().fork(slot); }

void GpuEngine::reorder(std::span<const int> slots, std::span<const int> parents) {
  decoder_.state().reorder(slots, parents);
}

void GpuEngine::release(int slot) { decoder_.state().release(slot); }

void GpuEngine::encode(std::span<const int32_t> tokens, std::span<const int32_t> offsets,
                       std::span<const int> slots) {
  const Share share(profile_.encoder);
  decoder_.encode(tokens, offsets, slots);
}

model::cuda::StepInput GpuEngine::input_of(const Step& step) const {
  return {.slots = step.slots,
          .previous = step.previous,
          .restriction = {.candidates = step.candidates, .banned = step.banned},
          .aligns = keeps_alignments_};
}

void GpuEngine::advance(const Step& step) {
  const Share share(profile_.decoder);
  decoder_.advance(input_of(step));
}

void GpuEngine::best(const Step& step, std::span<int32_t> tokens) {
  if (!settings_.fused) {
    std::vector<float> values(tokens.size() * static_cast<size_t>(vocabulary()));  // [R, V]
    logits(step, values);
    std::vector<Choice> choice(1);
    for (size_t r = 0; r < tokens.size(); ++r) {
      const auto width = static_cast<size_t>(vocabulary());
      best_of(std::span(values).subspan(r * width, width), choice);
      tokens[r] = choice[0].token;
    }
    return;
  }
  const Share share(profile_.decoder);
  decoder_.best(input_of(step), tokens);
  const bool free = step.candidates.empty() && step.banned.empty();
  HEDDLE_CHECK(!free || std::ranges::all_of(tokens, [](int32_t token) { return token >= 0; }),
               "translator: found logits that are no numbers; expected a model whose activations "
               "have room in its precision. Hint: --precision bf16, or --device cpu");
}

void GpuEngine::top(const Step& step, int k, std::span<Choice> choices) {
  const Share share(profile_.decoder);
  const model::cuda::RankedTokens ranked = decoder_.top(input_of(step), k);
  for (size_t i = 0; i < ranked.ids.size(); ++i) {
    const float log_sum = ranked.log_sums[i / static_cast<size_t>(k)];
    choices[i] = ranked.ids[i] < 0 ? Choice{} : Choice{ranked.ids[i], ranked.logits[i] - log_sum};
  }
}

void GpuEngine::logits(const Step& step, std::span<float> values) {
  const Share share(profile_.decoder);
  decoder_.logits(input_of(step), values);
  const auto width = static_cast<size_t>(vocabulary());
  for (size_t r = 0; r < step.slots.size(); ++r) {
    forbid(values.subspan(r * width, width),
           step.candidates.empty() ? Tokens{} : step.candidates[r],
           step.banned.empty() ? Tokens{} : step.banned[r]);
  }
}

struct GpuModel::State {
  model::cuda::InferenceTransformer transformer;
};

GpuModel::GpuModel(const model::ModelFiles& files, Half half)
    : state_(new State{model::cuda::InferenceTransformer(files, kGpu, half)}) {}
GpuModel::~GpuModel() = default;
GpuModel::GpuModel(GpuModel&&) noexcept = default;
GpuModel& GpuModel::operator=(GpuModel&&) noexcept = default;

const model::TransformerConfig& GpuModel::config() const { return state_->transformer.config(); }
int64_t GpuModel::bytes() const { return state_->transformer.bytes(); }

GpuModel::Made GpuModel::engine(const EngineSettings& settings) const {
  auto made = std::make_unique<GpuEngine>(state_->transformer, settings);
  const Profile* profile = &made->profile();
  return {std::move(made), profile};
}

}  // namespace heddle::decode
