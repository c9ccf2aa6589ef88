#include "heddle/model/layers.h"

#include <algorithm>

#include "heddle/base/half.h"
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
  const Pass::Scope scope(pass);
  const ops::Next next{.step = wrap.next_step};
  const auto compute = [&](const Finish& finish) {
    const bool drops = wrap.drops_input && pass.drops();
    if (!wrap.before && !drops) return f(x, finish);
    ops::Rows normed = pass.rows(x.count(), x.width());
    if (wrap.before) {
      pass.norm(x, nullptr, *wrap.before, first.wanted(), normed);
    } else {
      pass.copy(x, normed);
    }
    if (drops) pass.drop(normed);
    f(normed, finish);
  };
  const bool drops = wrap.drops_result && pass.drops();
  if (!wrap.after && !drops) {
    compute({.residual = wrap.adds ? &x : nullptr, .next = next, .y = x});
    return;
  }
  ops::Rows y = pass.rows(x.count(), x.width());
  compute({.residual = nullptr, .next = {}, .y = y});
  if (drops) pass.drop(y);
  if (!wrap.after) {
    if (wrap.adds) {
      pass.add(y, x);
    } else {
      pass.copy(y, x);
    }
  } else if (wrap.adds && !wrap.adds_first) {
    pass.norm(y, nullptr, *wrap.after, {}, y);
    pass.add(y, x);
  } else {
    pass.norm(y, wrap.adds ? &x : nullptr, *wrap.after, next, x);
  }
}

/// What stands behind the last layer; `embedded` is what stood before the first, or null.
void finish_stack(Pass& pass, const Wrap& top, const ops::Rows* embedded, ops::Rows& x) {
  const ops::Next next{.step = top.next_step};
  if (top.drops_result && pass.drops()) pass.drop(x);
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
  const Pass::Scope scope(pass);
  const ops::Next next{.step = ends.first_step};
  pass.embed(rows.tokens, ends, rows.positions, ends.embedding_norm ? ops::Next{} : next, x);
  if (ends.embedding_norm) pass.norm(x, nullptr, *ends.embedding_norm, next, x);
  if (ends.drops_embedding && pass.drops()) pass.drop(x);
  if (!ends.top.adds) {
    layers();
    finish_stack(pass, ends.top, nullptr, x);
    return;
  }
  ops::Rows embedded = pass.rows(x.count(), x.width());
  pass.copy(x, embedded);
  layers();
  finish_stack(pass, ends.top, &embedded, x);
}

/// Self-attention among x, or between x and the past that it is added to.
void self_attention(Pass& pass, const SelfAttention& layer, const StackEnds& ends,
                    const PackedRows& rows, const LayerPast& past, ops::Rows& x) {
  const AttentionShape& shape = ends.attention;
  sublayer(pass, layer.wrap, layer.in, x, [&](ops::Rows& in, const Finish& finish) {
    ops::Workspace& workspace = pass.workspace();
    ops::Rows projected = pass.rows(in.count(), layer.in.width);  // queries | keys | values
    pass.linear(in, layer.in, {}, projected);
    if (ends.rotary.used()) {
      pass.turn(ends.rotary, rows.positions, shape.heads + shape.kv_heads, projected);
    }
    const int64_t keys_end = shape.queries() + shape.keys();
    Keys keys{.keys = projected.row(0) + shape.queries(),
              .values = projected.row(0) + keys_end,
              .tokens = projected.count(),
              .stride = projected.stride(),
              .rows = &projected,
              .first_key = shape.queries(),
              .first_value = keys_end};
    if (!past.at.empty()) {
      store_rows(projected.columns(shape.queries(), keys_end, workspace), past.at, past.dtype,
                 past.keys);
      store_rows(projected.columns(keys_end, layer.in.width, workspace), past.at, past.dtype,
                 past.values);
      keys = {past.keys, past.values, past.tokens, shape.keys(), past.dtype};
    }
    ops::Rows queries = projected.columns(0, shape.queries(), workspace);
    ops::Rows out = pass.rows(in.count(), shape.queries());
    pass.attend(queries, keys, rows.visible, shape, out);
    pass.linear(out, layer.out, {.residual = finish.residual, .next = finish.next}, finish.y);
  });
}

/// The SSRU over whole sentences, or one step of its cells.
void ssru(Pass& pass, const Ssru& layer, const DecoderRows& rows, const LayerPast& past,
          ops::Rows& x) {
  sublayer(pass, layer.wrap, layer.gates, x, [&](ops::Rows& in, const Finish& finish) {
    ops::Workspace& workspace = pass.workspace();
    ops::Rows gates = pass.rows(in.count(), layer.gates.width);  // W x | W_f x + b_f
    pass.linear(in, layer.gates, {}, gates);
    ops::Rows own = pass.rows(in.count(), in.width());
    ops::Rows& out = finish.residual != nullptr ? own : finish.y;
    if (past.at.empty()) {
      pass.ssru_scan(gates, rows.offsets, out);
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
    ops::Rows queries = pass.rows(in.count(), shape.queries());
    pass.linear(in, layer.queries, {}, queries);
    ops::Rows out = pass.rows(in.count(), shape.queries());
    pass.attend(queries, source, rows.cross, shape, out, alignments);
    pass.linear(out, layer.out, {.residual = finish.residual, .next = finish.next}, finish.y);
  });
}

void feed_forward(Pass& pass, const FeedForward& layer, ops::Rows& x) {
  sublayer(pass, layer.wrap, layer.in, x, [&](ops::Rows& in, const Finish& finish) {
    const bool gated = pass.weights().config.gated;
    const Pass::After to_out{.activation = pass.weights().activation, .next = layer.out.wanted()};
    ops::Rows wide = pass.rows(in.count(), layer.in.width);
    pass.linear(in, layer.in, gated ? Pass::After{} : to_out, wide);
    ops::Rows inner = pass.rows(gated ? in.count() : 0, layer.in.width / 2);
    if (gated) pass.gate(wide, layer.out.wanted(), inner);
    ops::Rows& active = gated ? inner : wide;
    pass.drop_activations(active);
    pass.linear(active, layer.out, {.residual = finish.residual, .next = finish.next}, finish.y);
  });
}

void decoder_layer(Pass& pass, int64_t number, const DecoderRows& rows, DecoderMemory& memory,
                   bool aligns, ops::Rows& x) {
  const Weights& weights = pass.weights();
  const DecoderLayer& layer = weights.decoder[static_cast<size_t>(number)];
  const LayerPast past = memory.past(number);
  if (weights.config.decoder_kind == DecoderKind::ssru) {
    ssru(pass, layer.ssru, rows, past, x);
  } else {
    self_attention(pass, layer.attention, weights.decoder_ends, rows.rows, past, x);
  }
  const Pass::Scope scope(pass);
  cross_attention(pass, layer.cross, rows, memory.source(pass, number),
                  aligns ? rows.alignments : nullptr, x);
  feed_forward(pass, layer.feed_forward, x);
}

}  // namespace

void run_encoder(Pass& pass, const PackedRows& rows, ops::Rows& x) {
  const Weights& weights = pass.weights();
  const StackEnds& ends = weights.encoder_ends;
  stack(pass, ends, rows, x, [&] {
    for (const EncoderLayer& each : weights.encoder) {
      pass.block(x, [&pass, layer = &each, stack_ends = &ends, of = &rows](ops::Rows& y) {
        self_attention(pass, layer->attention, *stack_ends, *of, {}, y);
        feed_forward(pass, layer->feed_forward, y);
      });
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
      pass.block(x, [&pass, &of = rows, &from = memory, i, aligned = i == aligns](ops::Rows& y) {
        decoder_layer(pass, i, of, from, aligned, y);
      });
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
