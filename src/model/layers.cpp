#include "heddle/model/layers.h"

#include <algorithm>

#include "heddle/base/half.h"
#include "heddle/ops/embedding.h"
#include "heddle/ops/ssru.h"

namespace heddle::model {

namespace {

/// What the last operation of a sublayer has to do to its result y.
struct Finish {
  const ops::Rows* residual;
  ops::Next next;
  ops::Rows& y;
};

/// x = what `wrap` makes of f. f(in, finish) computes from `in` alone and must not write finish.y
/// before it has read `in`, since both may be x.
template <typename F>
void sublayer(Pass& pass, const Wrap& wrap, const Projection& first, ops::Rows& x, const F& f) {
  ops::Workspace& workspace = pass.workspace();
  const ops::Workspace::Scope scope(workspace);
  const ops::Next next{.step = wrap.next_step};
  const auto compute = [&](const Finish& finish) {
    if (!wrap.before) return f(x, finish);
    ops::Rows normed(x.count(), x.width(), workspace);
    pass.norm(x, nullptr, *wrap.before, first.wanted(), normed);
    f(normed, finish);
  };
  if (!wrap.after) {
    compute({.residual = wrap.adds ? &x : nullptr, .next = next, .y = x});
    return;
  }
  ops::Rows y(x.count(), x.width(), workspace);
  compute({.residual = nullptr, .next = {}, .y = y});
  if (wrap.adds && !wrap.adds_first) {
    pass.norm(y, nullptr, *wrap.after, {}, y);
    pass.add(y, x);
  } else {
    pass.norm(y, wrap.adds ? &x : nullptr, *wrap.after, next, x);
  }
}

/// What stands behind the last layer; `embedded` is what stood before the first, or null.
void finish_stack(Pass& pass, const Wrap& top, const ops::Rows* embedded, ops::Rows& x) {
  const ops::Next next{.step = top.next_step};
  if (top.after && (!top.adds || top.adds_first)) {
    pass.norm(x, top.adds ? embedded : nullptr, *top.after, next, x);
    return;
  }
  if (top.after) pass.norm(x, nullptr, *top.after, next, x);
  if (top.adds) pass.add(*embedded, x);
}

/// x = layers(embedding), between what stands at the ends of a stack.
template <typename F>
void stack(Pass& pass, const StackEnds& ends, const PackedRows& rows, ops::Rows& x,
           const F& layers) {
  ops::Workspace& workspace = pass.workspace();
  const ops::Workspace::Scope scope(workspace);
  const ops::Positions positions = ends.positions.rows(rows.positions, workspace);
  const ops::Next next{.step = ends.first_step};
  ops::embed(rows.tokens, ends.embedding, ends.scale, positions,
             ends.embedding_norm ? ops::Next{} : next, x, workspace);
  if (ends.embedding_norm) pass.norm(x, nullptr, *ends.embedding_norm, next, x);
  if (!ends.top.adds) {
    layers();
    finish_stack(pass, ends.top, nullptr, x);
    return;
  }
  ops::Rows embedded(x.count(), x.width(), workspace);
  for (int64_t r = 0; r < x.count(); ++r) std::copy_n(x.row(r), x.width(), embedded.row(r));
  layers();
  finish_stack(pass, ends.top, &embedded, x);
}

/// Self-attention among x, or between x and the past that it is added to.
void self_attention(Pass& pass, const SelfAttention& layer, const StackEnds& ends,
                    const PackedRows& rows, const LayerPast& past, ops::Rows& x) {
  const AttentionShape& shape = ends.attention;
  sublayer(pass, layer.wrap, layer.in, x, [&](ops::Rows& in, const Finish& finish) {
    ops::Workspace& workspace = pass.workspace();
    ops::Rows projected(in.count(), layer.in.width, workspace);  // queries | keys | values
    pass.linear(in, layer.in, {}, projected);
    if (ends.rotary.used()) {
      ends.rotary.turn(rows.positions, shape.heads + shape.kv_heads, projected);
    }
    const int64_t keys_end = shape.queries() + shape.keys();
    Keys keys{.keys = projected.row(0) + shape.queries(),
              .values = projected.row(0) + keys_end,
              .tokens = projected.count(),
              .stride = projected.stride()};
    if (!past.at.empty()) {
      store_rows(projected.columns(shape.queries(), keys_end, workspace), past.at, past.dtype,
                 past.keys);
      store_rows(projected.columns(keys_end, layer.in.width, workspace), past.at, past.dtype,
                 past.values);
      keys = {past.keys, past.values, past.tokens, shape.keys(), past.dtype};
    }
    ops::Rows queries = projected.columns(0, shape.queries(), workspace);
    ops::Rows out(in.count(), shape.queries(), workspace);
    pass.attend(queries, keys, rows.visible, shape, out);
    pass.linear(out, layer.out, {.residual = finish.residual, .next = finish.next}, finish.y);
  });
}

/// The SSRU over whole sentences, or one step of its cells.
void ssru(Pass& pass, const Ssru& layer, const DecoderRows& rows, const LayerPast& past,
          ops::Rows& x) {
  sublayer(pass, layer.wrap, layer.gates, x, [&](ops::Rows& in, const Finish& finish) {
    ops::Workspace& workspace = pass.workspace();
    ops::Rows gates(in.count(), layer.gates.width, workspace);  // W x | W_f x + b_f
    pass.linear(in, layer.gates, {}, gates);
    ops::Rows own(in.count(), in.width(), workspace);
    ops::Rows& out = finish.residual != nullptr ? own : finish.y;
    if (past.at.empty()) {
      ops::ssru_scan(gates, rows.offsets, nullptr, out, workspace);
    } else {
      ops::ssru_step(gates, past.cells, past.at, out, workspace);
    }
    if (finish.residual != nullptr) pass.add(own, finish.y);  // y is the residual itself
  });
}

void cross_attention(Pass& pass, const CrossAttention& layer, const DecoderRows& rows,
                     const Keys& source, const AlignmentRows* alignments, ops::Rows& x) {
  const AttentionShape& shape = pass.weights().decoder_ends.attention;
  sublayer(pass, layer.wrap, layer.queries, x, [&](ops::Rows& in, const Finish& finish) {
    ops::Workspace& workspace = pass.workspace();
    ops::Rows queries(in.count(), shape.queries(), workspace);
    pass.linear(in, layer.queries, {}, queries);
    ops::Rows out(in.count(), shape.queries(), workspace);
    pass.attend(queries, source, rows.cross, shape, out, alignments);
    pass.linear(out, layer.out, {.residual = finish.residual, .next = finish.next}, finish.y);
  });
}

void feed_forward(Pass& pass, const FeedForward& layer, ops::Rows& x) {
  sublayer(pass, layer.wrap, layer.in, x, [&](ops::Rows& in, const Finish& finish) {
    ops::Workspace& workspace = pass.workspace();
    const bool gated = pass.weights().config.gated;
    const Pass::After to_out{.activation = pass.weights().activation, .next = layer.out.wanted()};
    ops::Rows wide(in.count(), layer.in.width, workspace);
    pass.linear(in, layer.in, gated ? Pass::After{} : to_out, wide);
    ops::Rows inner(gated ? in.count() : 0, layer.in.width / 2, workspace);
    if (gated) pass.gate(wide, layer.out.wanted(), inner);
    pass.linear(gated ? inner : wide, layer.out, {.residual = finish.residual, .next = finish.next},
                finish.y);
  });
}

}  // namespace

void run_encoder(Pass& pass, const PackedRows& rows, ops::Rows& x) {
  const Weights& weights = pass.weights();
  const StackEnds& ends = weights.encoder_ends;
  stack(pass, ends, rows, x, [&] {
    for (const EncoderLayer& layer : weights.encoder) {
      self_attention(pass, layer.attention, ends, rows, {}, x);
      feed_forward(pass, layer.feed_forward, x);
    }
  });
}

void run_decoder(Pass& pass, const DecoderRows& rows, DecoderMemory& memory, ops::Rows& x) {
  const Weights& weights = pass.weights();
  const StackEnds& ends = weights.decoder_ends;
  const auto layers = static_cast<int64_t>(weights.decoder.size());
  const int64_t aligns = (weights.config.alignment_layer + layers) % layers;
  stack(pass, ends, rows.rows, x, [&] {
    for (int64_t i = 0; i < layers; ++i) {
      const DecoderLayer& layer = weights.decoder[static_cast<size_t>(i)];
      const LayerPast past = memory.past(i);
      if (weights.config.decoder_kind == DecoderKind::ssru) {
        ssru(pass, layer.ssru, rows, past, x);
      } else {
        self_attention(pass, layer.attention, ends, rows.rows, past, x);
      }
      const ops::Workspace::Scope scope(pass.workspace());
      cross_attention(pass, layer.cross, rows, memory.source(pass, i),
                      i == aligns ? rows.alignments : nullptr, x);
      feed_forward(pass, layer.feed_forward, x);
    }
  });
}

void project_source(Pass& pass, const DecoderLayer& layer, ops::Rows& encoded, ops::Rows& y) {
  pass.linear(encoded, layer.cross.keys_values, {}, y);
}

void store_rows(const ops::Rows& from, std::span<const int32_t> at, DType dtype, void* pool) {
  const int64_t width = from.width();
  for (int64_t r = 0; r < from.count(); ++r) {
    const float* row = from.row(r);
    const int64_t first = at[static_cast<size_t>(r)] * width;
    if (dtype == DType::f32) {
      std::copy_n(row, width, static_cast<float*>(pool) + first);
    } else {
      auto* to = static_cast<BFloat16*>(pool) + first;
      for (int64_t i = 0; i < width; ++i) to[i] = BFloat16(row[i]);
    }
  }
}

}  // namespace heddle::model
