// New values for packed weights, in the same memory.
#include <algorithm>

#include "heddle/base/error.h"
#include "heddle/model/weights.h"

namespace heddle::model {

namespace {

class Updater {
 public:
  explicit Updater(std::span<const Tensor> values) : values_(values) {}

  void projection(Projection& projection) const {
    for (Projection::Part& part : projection.parts) {
      std::vector<ops::Weight> weights;
      int64_t row = 0;
      for (const Projection::Part::Source& source : part.sources) {
        weights.push_back({scaled(at(source.weight), source.weight_factor)});
        if (source.bias >= 0) {
          const float* from = at(source.bias).data<float>();
          std::transform(from, from + source.rows, part.bias.begin() + row,
                         [&](float value) { return value * source.bias_factor; });
        }
        row += source.rows;
      }
      part.matrix.assign(weights);
    }
  }

  void vector(Vector& vector, ParameterNumber number) const {
    if (number >= 0) std::copy_n(at(number).data<float>(), vector.size(), vector.begin());
  }

  void norm(std::optional<NormWeights>& norm) const {
    if (!norm) return;
    vector(norm->weight, norm->weight_number);
    vector(norm->bias, norm->bias_number);
  }

  void head_norms(std::optional<HeadNorms>& norms) const {
    if (!norms) return;
    for (NormWeights* each : {&norms->queries, &norms->keys}) {
      vector(each->weight, each->weight_number);
    }
  }

  void wrap(Wrap& wrap) const {
    norm(wrap.before);
    norm(wrap.after);
  }

  void table(ops::Matrix& matrix, ParameterNumber number) const {
    const ops::Weight weight{at(number)};
    matrix.assign({&weight, 1});
  }

  void ends(StackEnds& ends) const {
    norm(ends.embedding_norm);
    wrap(ends.top);
    if (ends.positions_number >= 0) {
      const Tensor& learned = at(ends.positions_number);
      ends.positions.assign({learned.data<float>(), static_cast<size_t>(learned.elements())});
    }
  }

  void attention(SelfAttention& layer) const {
    projection(layer.in);
    projection(layer.out);
    head_norms(layer.head_norms);
    wrap(layer.wrap);
  }

  void feed_forward(FeedForward& layer) const {
    projection(layer.in);
    projection(layer.out);
    wrap(layer.wrap);
  }

  void decoder(DecoderLayer& layer) const {
    attention(layer.attention);
    projection(layer.ssru.gates);
    wrap(layer.ssru.wrap);
    projection(layer.cross.queries);
    projection(layer.cross.keys_values);
    projection(layer.cross.out);
    wrap(layer.cross.wrap);
    feed_forward(layer.feed_forward);
  }

 private:
  const Tensor& at(ParameterNumber number) const { return values_[static_cast<size_t>(number)]; }

  static Tensor scaled(const Tensor& values, float factor) {
    if (factor == 1) return values;
    Tensor out = Tensor::empty(values.shape(), DType::f32);
    const float* from = values.data<float>();
    std::transform(from, from + values.elements(), out.data<float>(),
                   [factor](float value) { return value * factor; });
    return out;
  }

  std::span<const Tensor> values_;
};

}  // namespace

void Weights::update(std::span<const Tensor> values) {
  const Updater updater(values);
  updater.table(encoder_ends.embedding, encoder_ends.embedding_number);
  if (decoder_ends.embedding_number != encoder_ends.embedding_number) {
    updater.table(decoder_ends.embedding, decoder_ends.embedding_number);
  }
  if (output_number != decoder_ends.embedding_number) updater.table(output, output_number);
  updater.vector(output_bias, output_bias_number);
  updater.ends(encoder_ends);
  updater.ends(decoder_ends);
  for (EncoderLayer& layer : encoder) {
    updater.attention(layer.attention);
    updater.feed_forward(layer.feed_forward);
  }
  for (DecoderLayer& layer : decoder) updater.decoder(layer);
}

}  // namespace heddle::model
