#include "heddle/model/cuda/forward.h"

namespace heddle::model::cuda {

namespace {

Visible seen(DeviceBatch::Masked& masked) {
  return {.mask = masked.mask, .device_mask = &masked.on_device};
}

PackedRows rows_of(const BatchSide& side, DeviceBatch::Masked& masked) {
  return {.tokens = side.tokens, .positions = side.positions, .visible = seen(masked)};
}

}  // namespace

DeviceForward::DeviceForward(DeviceBatch& batch, const TransformerConfig& config)
    : width_(config.width),
      targets_{.rows = rows_of(batch.target(), batch.causal()), .offsets = batch.target().offsets} {
  if (DeviceBatch::Masked* window = batch.window()) targets_.rows.sliding = seen(*window);
  if (config.is_language_model()) return;
  sources_ = rows_of(batch.source(), batch.documents());
  targets_.cross = seen(batch.cross());
}

ops::cuda::Rows DeviceForward::run(Pass& pass, uint64_t first_row) {
  encoded_.emplace(pass.rows(sources_ ? std::ssize(sources_->tokens) : 0, width_));
  ops::cuda::Rows hidden = pass.rows(std::ssize(targets_.rows.tokens), width_);
  memory_.emplace(*encoded_);
  if (sources_) {
    pass.set_first_row(first_row);
    run_encoder(pass, *sources_, *encoded_);
  }
  pass.set_first_row(first_row);
  run_decoder(pass, targets_, *memory_, hidden);
  return hidden;
}

}  // namespace heddle::model::cuda
