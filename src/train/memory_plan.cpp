#include "heddle/train/memory_plan.h"

#include <algorithm>
#include <cstdio>
#include <fstream>

#include "heddle/base/error.h"
#include "heddle/data/row_packer.h"
#include "heddle/model/device_memory.h"
#include "heddle/model/training_shards.h"
#include "heddle/tensor/cuda.h"

namespace heddle::train {

namespace {

constexpr int64_t kFloat = sizeof(float);
constexpr int64_t kLogitRows = 64;  // of a block of the output's logits

/// Floats of a token that one layer leaves on the tape, in the order of layers_of_pass.h.
int64_t layer_floats(const model::TransformerConfig& config, const PlannedRun& run) {
  const int64_t width = config.width, heads = config.decoder.heads;
  const int64_t queries = heads * config.decoder_head_width();
  const int64_t keys = config.decoder_key_value_heads() * config.decoder_head_width();
  const int64_t ffn = config.decoder.ffn_width;
  const bool after = config.postprocess.find('n') != std::string::npos;
  const int64_t sublayer = width + (after ? 3 : 1) * width;  // norms, the result, the sum
  int64_t floats = 2 * sublayer + (config.head_norms ? 2 : 1) * (queries + 2 * keys) + queries +
                   heads + (config.gated ? 3 : 2) * ffn;
  if (run.lora) {
    floats += 7 * run.lora->rank;
    if (run.lora->dropout > 0) floats += 3 * width + queries + ffn;
    if (run.lora->use_dora) floats += 2 * (queries + 2 * keys + 2 * width + 2 * ffn);
  }
  return floats;
}

/// Of the gradients that exist at one time.
int64_t gradient_floats(const model::TransformerConfig& config) {
  const int64_t queries = config.decoder.heads * config.decoder_head_width();
  const int64_t keys = config.decoder_key_value_heads() * config.decoder_head_width();
  return 4 * config.width + 2 * (queries + 2 * keys) + queries + 3 * config.decoder.ffn_width;
}

int64_t shard_tokens(const PlannedRun& run) {
  const int64_t share = (run.batch_tokens + run.workers - 1) / run.workers;
  return std::max(std::min(share, model::kShardTokens), run.longest);
}

int64_t numbers_of(const std::vector<model::ParameterShape>& parameters) {
  int64_t numbers = 0;
  for (const auto& each : parameters) numbers += each.shape.elements();
  return numbers;
}

int64_t trained_numbers(const model::TransformerConfig& config, const PlannedRun& run) {
  const auto all = model::parameters_of(config);
  if (!run.lora) return numbers_of(all);
  int64_t numbers = numbers_of(model::lora_parameters(config, *run.lora));
  const auto saved = model::saved_parameters(config, *run.lora);
  for (const auto& each : all) {
    if (std::ranges::find(saved, each.name) != saved.end()) numbers += each.shape.elements();
  }
  return numbers;
}

std::string size_text(int64_t bytes) {
  char text[32];
  std::snprintf(text, sizeof text, "%8.2f GiB", static_cast<double>(bytes) / (1 << 30));
  return text;
}

}  // namespace

int64_t MemoryPlan::bytes() const {
  int64_t sum = 0;
  for (const MemoryPart& part : parts) sum += part.bytes;
  return sum;
}

std::string MemoryPlan::text() const {
  std::string lines;
  const auto line = [&](std::string name, int64_t bytes) {
    name.resize(std::max<size_t>(name.size(), 34), ' ');
    lines += str(name, size_text(bytes), "\n");
  };
  for (const MemoryPart& part : parts) line(part.name, part.bytes);
  line("together", bytes());
  return lines;
}

namespace {

/// Numbers of the base's vectors: norms and biases.
int64_t vector_numbers(const std::vector<model::ParameterShape>& parameters) {
  int64_t numbers = 0;
  for (const auto& each : parameters) {
    if (each.shape.rank() == 1) numbers += each.shape.elements();
  }
  return numbers;
}

MemoryPlan plan_gpu(const model::TransformerConfig& config, const PlannedRun& run) {
  constexpr int64_t kHalf = 2;
  constexpr int64_t kLibraries = int64_t{640} << 20;  // CUDA's context, kernels, cuBLAS
  if (run.lora) model::check_on_gpu(*run.lora);
  const auto all = model::parameters_of(config);
  const int64_t base = numbers_of(all), trained = trained_numbers(config, run);
  const int64_t tokens = std::max(run.batch_tokens, run.longest);
  const model::DeviceActivations pass =
      model::device_activations(config, {.tokens = tokens,
                                         .labels = tokens,
                                         .lora = run.lora ? &*run.lora : nullptr,
                                         .recompute = run.recompute});
  MemoryPlan plan{.parts = {}, .trained = trained};
  if (run.lora) {
    plan.parts.push_back({"base, bf16 and frozen", base * kHalf + vector_numbers(all) * kFloat});
  }
  if (run.reference > 0) {
    const auto forth = model::device_activations(
        config, {.tokens = tokens, .labels = tokens, .lora = nullptr, .trains = false});
    plan.parts.push_back({"the reference, bf16, and its pass",
                          run.reference * kHalf + forth.values + forth.scratch});
  }
  plan.parts.push_back({"what is trained: f32, bf16", trained * (kFloat + kHalf)});
  plan.parts.push_back({"gradients, f32", trained * kFloat});
  plan.parts.push_back({"optimiser's moments", trained * 2 * run.state_bits / 8});
  plan.parts.push_back({str("activations, ", tokens, " tokens"), pass.values});
  plan.parts.push_back({"their gradients", pass.gradients});
  plan.parts.push_back({"logits and attention's sums", pass.scratch});
  plan.parts.push_back({"CUDA and its libraries", kLibraries});
  return plan;
}

}  // namespace

MemoryPlan plan_memory(const model::TransformerConfig& config, const PlannedRun& run) {
  if (run.device == DeviceType::cuda) return plan_gpu(config, run);
  const int64_t base = numbers_of(model::parameters_of(config));
  const int64_t trained = trained_numbers(config, run);
  const int64_t tokens = shard_tokens(run);
  const int64_t layers = config.decoder.layers;
  const int64_t of_layer = layer_floats(config, run);
  const int64_t kept = run.recompute ? layers * 2 * config.width + of_layer : layers * of_layer;
  const int64_t outputs = config.scores ? 1 : config.target_vocabulary;
  MemoryPlan plan{.parts = {}, .trained = trained};
  plan.parts.push_back({"weights, as stored and packed, f32", 2 * base * kFloat});
  if (run.reference > 0) plan.parts.push_back({"the reference", 2 * run.reference * kFloat});
  plan.parts.push_back({"what is trained: values", run.lora ? 2 * trained * kFloat : 0});
  plan.parts.push_back({"gradients, a worker each", run.workers * trained * kFloat});
  plan.parts.push_back({"optimiser's moments", trained * 2 * run.state_bits / 8});
  plan.parts.push_back({str("activations, ", run.workers, " x ", tokens, " tokens"),
                        run.workers * tokens * (kept + 3 * config.width) * kFloat});
  plan.parts.push_back(
      {"their gradients", run.workers * tokens * gradient_floats(config) * kFloat});
  plan.parts.push_back(
      {"logits", run.workers * kFloat * std::max<int64_t>(kLogitRows * outputs, int64_t{2} << 20)});
  return plan;
}

int64_t longest_that_fits(const model::TransformerConfig& config, PlannedRun run, int64_t bytes) {
  const auto fits = [&](int64_t length) {
    run.longest = run.batch_tokens = length;
    return plan_memory(config, run).bytes() <= bytes;
  };
  int64_t least = 0, most = data::kLongestRow + 1;
  while (least + 1 < most) {
    const int64_t middle = (least + most) / 2;
    (fits(middle) ? least : most) = middle;
  }
  return least;
}

int64_t free_memory(DeviceType device) {
  if (device == DeviceType::cuda) {
    return heddle::cuda::device_count() > 0 ? static_cast<int64_t>(heddle::cuda::free_memory(0))
                                            : 0;
  }
  std::ifstream file("/proc/meminfo");
  std::string name;
  for (int64_t kilobytes = 0; file >> name;) {
    if (name == "MemAvailable:" && file >> kilobytes) return kilobytes << 10;
  }
  return 0;
}

}  // namespace heddle::train
