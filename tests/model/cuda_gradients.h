// Gradients on a GPU beside those of the same model on the host.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "heddle/model/cuda/training.h"
#include "heddle/model/training.h"

namespace heddle::model {

inline double length_of(const std::vector<float>& numbers) {
  double sum = 0;
  for (const float number : numbers) sum += std::pow(static_cast<double>(number), 2);
  return std::sqrt(sum);
}

inline std::vector<float> numbers_of(const Tensor& tensor) {
  const auto* from = tensor.data<float>();
  return {from, from + tensor.elements()};
}

inline std::vector<Tensor> gradients_of(cuda::TrainingTransformer& model) {
  std::vector<Tensor> gradients;
  for (const ParameterShape& each : model.shapes()) {
    gradients.push_back(Tensor::empty(each.shape, DType::f32));
  }
  model.parameters().download(model.parameters().gradients(), gradients);
  return gradients;
}

inline LossSums run_on_gpu(cuda::TrainingTransformer& model, const TrainingBatch& batch,
                           const LossSettings& settings) {
  model.parameters().zero_gradients();
  return model.forward_backward(batch, settings);
}

/// The loss and all gradients, one after the other.
inline std::vector<float> bits_of_run(cuda::TrainingTransformer& model, const TrainingBatch& batch,
                                      const LossSettings& settings) {
  std::vector<float> all{static_cast<float>(run_on_gpu(model, batch, settings).loss)};
  for (const Tensor& each : gradients_of(model)) {
    const std::vector<float> numbers = numbers_of(each);
    all.insert(all.end(), numbers.begin(), numbers.end());
  }
  return all;
}

/// Fails unless all gradients are those of the host to within `share` of their size (and a
/// hundredth of the largest one's).
inline void expect_same_gradients(cuda::TrainingTransformer& gpu, const TrainingTransformer& host,
                                  double share) {
  const std::vector<Tensor> found = gradients_of(gpu);
  ASSERT_EQ(found.size(), host.slots().size());
  double largest = 0;
  for (const auto& slot : host.slots()) {
    largest = std::max(largest, length_of(numbers_of(slot.gradient)));
  }
  for (size_t i = 0; i < found.size(); ++i) {
    const auto& slot = host.slots()[i];
    EXPECT_EQ(gpu.shapes()[i].name, slot.name);
    std::vector<float> difference = numbers_of(found[i]);
    const std::vector<float> expected = numbers_of(slot.gradient);
    for (size_t j = 0; j < difference.size(); ++j) difference[j] -= expected[j];
    EXPECT_LE(length_of(difference), share * (length_of(expected) + 0.02 * largest))
        << slot.name << ": the gradient has norm " << length_of(expected) << " of at most "
        << largest;
  }
}

}  // namespace heddle::model
