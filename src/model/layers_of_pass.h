// The layers as templates over the pass that computes them; included where they are instantiated.
#pragma once

#include "heddle/model/layers.h"

namespace heddle::model {

namespace parts {

/// What the last operation of a sublayer has to do to its result y.
template <typename Rows>
struct Finish {
  const Rows* residual;
  ops::Next next;
  Rows& y;
};

/// x = what `wrap` makes of f. f(in, finish) computes from `in` alone and must not write finish.y
/// before it has read `in`, since both may be x.
template <typename P, typename F>
void sublayer(P& pass, const Wrap& wrap, const Projection& first, typename P::Rows& x, const F& f) {
  const typename P::Scope scope(pass);
  const ops::Next next{.step = wrap.next_step};
  const auto compute = [&](const Finish<typename P::Rows>& finish) {
    const bool drops = wrap.drops_input && pass.drops();
    if (!wrap.before && !drops) return f(x, finish);
    typename P::Rows normed = pass.rows(x.count(), x.width());
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
  typename P::Rows y = pass.rows(x.count(), x.width());
  compute({.residual = nullptr, .next = {}, .y = y});
  if (!wrap.after) {
    if (wrap.adds) {
      pass.add(y, x, drops);
    } else {
      if (drops) pass.drop(y);
      pass.copy(y, x);
    }
  } else if (wrap.adds && !wrap.adds_first) {
    pass.norm(y, nullptr, *wrap.after, {}, y, drops);
    pass.add(y, x);
  } else {
    pass.norm(y, wrap.adds ? &x : nullptr, *wrap.after, next, x, drops);
  }
}

/// What stands behind the last layer; `embedded` is what stood before the first, or null.
template <typename P>
void finish_stack(P& pass, const Wrap& top, typename P::Rows* embedded, typename P::Rows& x) {
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
template <typename P, typename F>
void stack(P& pass, const StackEnds& ends, const PackedRows& rows, typename P::Rows& x,
           const F& layers) {
  const typename P::Scope scope(pass);
  const ops::Next next{.step = ends.first_step};
  pass.embed(rows.tokens, ends, rows.positions, ends.embedding_norm ? ops::Next{} : next, x);
  if (ends.embedding_norm) pass.norm(x, nullptr, *ends.embedding_norm, next, x);
  if (ends.drops_embedding && pass.drops()) pass.drop(x);
  if (!ends.top.adds) {
    layers();
    finish_stack(pass, ends.top, nullptr, x);
    return;
  }
  typename P::Rows embedded = pass.rows(x.count(), x.width());
  pass.copy(x, embedded);
  layers();
  finish_stack(pass, ends.top, &embedded, x);
}

/// Self-attention among x, or between x and the past that it is added to.
template <typename P>
void self_attention(P& pass, const SelfAttention& layer, const StackEnds& ends,
                    const PackedRows& rows, const LayerPast& past, typename P::Rows& x) {
  const AttentionShape& shape = ends.attention;
  sublayer(pass, layer.wrap, layer.in, x, [&](auto& in, const auto& finish) {
    typename P::Rows projected = pass.rows(in.count(), layer.in.width);  // queries | keys | values
    pass.linear(in, layer.in, {}, projected);
    if (layer.head_norms) pass.norm_heads(*layer.head_norms, shape, projected);
    const bool turns_apart = layer.slides && ends.sliding_rotary.used();
    const RotaryTable& rotary = turns_apart ? ends.sliding_rotary : ends.rotary;
    if (rotary.used()) {
      pass.turn(rotary, rows.positions, shape.heads + shape.kv_heads, projected);
    }
    const int64_t keys_end = shape.queries() + shape.keys();
    KeysOf<typename P::Rows> keys{.keys = projected.row(0) + shape.queries(),
                                  .values = projected.row(0) + keys_end,
                                  .tokens = projected.count(),
                                  .stride = projected.stride(),
                                  .rows = &projected,
                                  .first_key = shape.queries(),
                                  .first_value = keys_end};
    if (!past.at.empty()) {
      pass.store(projected, {shape.queries(), keys_end, shape.keys()}, past);
      keys = {past.keys, past.values, past.tokens, shape.keys(), past.dtype};
    }
    typename P::Rows queries = pass.columns(projected, 0, shape.queries());
    typename P::Rows out = pass.rows(in.count(), shape.queries());
    pass.attend(queries, keys, layer.slides ? rows.sliding : rows.visible, shape, out);
    pass.linear(out, layer.out, {.residual = finish.residual, .next = finish.next}, finish.y);
  });
}

/// The SSRU over whole sentences, or one step of its cells.
template <typename P>
void ssru(P& pass, const Ssru& layer, const DecoderRows& rows, const LayerPast& past,
          typename P::Rows& x) {
  sublayer(pass, layer.wrap, layer.gates, x, [&](auto& in, const auto& finish) {
    typename P::Rows gates = pass.rows(in.count(), layer.gates.width);  // W x | W_f x + b_f
    pass.linear(in, layer.gates, {}, gates);
    typename P::Rows own = pass.rows(in.count(), in.width());
    typename P::Rows& out = finish.residual != nullptr ? own : finish.y;
    if (past.at.empty()) {
      pass.ssru_scan(gates, rows.offsets, out);
    } else {
      pass.ssru_step(gates, past, out);
    }
    if (finish.residual != nullptr) pass.add(own, finish.y);  // y is the residual itself
  });
}

template <typename P>
void cross_attention(P& pass, const CrossAttention& layer, const DecoderRows& rows,
                     const KeysOf<typename P::Rows>& source, const AlignmentRows* alignments,
                     typename P::Rows& x) {
  const AttentionShape& shape = pass.weights().decoder_ends.attention;
  sublayer(pass, layer.wrap, layer.queries, x, [&](auto& in, const auto& finish) {
    typename P::Rows queries = pass.rows(in.count(), shape.queries());
    pass.linear(in, layer.queries, {}, queries);
    typename P::Rows out = pass.rows(in.count(), shape.queries());
    pass.attend(queries, source, rows.cross, shape, out, alignments);
    pass.linear(out, layer.out, {.residual = finish.residual, .next = finish.next}, finish.y);
  });
}

template <typename P>
void feed_forward(P& pass, const FeedForward& layer, typename P::Rows& x) {
  sublayer(pass, layer.wrap, layer.in, x, [&](auto& in, const auto& finish) {
    const bool gated = pass.weights().config.gated;
    const typename P::After to_out{.activation = pass.weights().activation,
                                   .next = layer.out.wanted()};
    typename P::Rows wide = pass.rows(in.count(), layer.in.width);
    pass.linear(in, layer.in, gated ? typename P::After{} : to_out, wide);
    typename P::Rows inner = pass.rows(gated ? in.count() : 0, layer.in.width / 2);
    if (gated) pass.gate(wide, layer.out.wanted(), inner);
    typename P::Rows& active = gated ? inner : wide;
    pass.drop_activations(active);
    pass.linear(active, layer.out, {.residual = finish.residual, .next = finish.next}, finish.y);
  });
}

template <typename P>
void decoder_layer(P& pass, int64_t number, const DecoderRows& rows, DecoderMemoryOf<P>& memory,
                   bool aligns, typename P::Rows& x) {
  const Weights& weights = pass.weights();
  const DecoderLayer& layer = weights.decoder[static_cast<size_t>(number)];
  const LayerPast past = memory.past(number);
  if (weights.config.decoder_kind == DecoderKind::ssru) {
    ssru(pass, layer.ssru, rows, past, x);
  } else {
    self_attention(pass, layer.attention, weights.decoder_ends, rows.rows, past, x);
  }
  const typename P::Scope scope(pass);
  if (!weights.config.is_language_model()) {
    cross_attention(pass, layer.cross, rows, memory.source(pass, number),
                    aligns ? rows.alignments : nullptr, x);
  }
  feed_forward(pass, layer.feed_forward, x);
}

}  // namespace parts

template <typename P>
void run_encoder(P& pass, const PackedRows& rows, typename P::Rows& x) {
  const Weights& weights = pass.weights();
  const StackEnds& ends = weights.encoder_ends;
  parts::stack(pass, ends, rows, x, [&] {
    for (const EncoderLayer& each : weights.encoder) {
      pass.block(x, [&pass, layer = &each, stack_ends = &ends, of = &rows](typename P::Rows& y) {
        parts::self_attention(pass, layer->attention, *stack_ends, *of, {}, y);
        parts::feed_forward(pass, layer->feed_forward, y);
      });
    }
  });
}

template <typename P>
void run_decoder(P& pass, const DecoderRows& rows, DecoderMemoryOf<P>& memory,
                 typename P::Rows& x) {
  const Weights& weights = pass.weights();
  const StackEnds& ends = weights.decoder_ends;
  const auto layers = static_cast<int64_t>(weights.decoder.size());
  const int64_t aligns = (weights.config.alignment_layer + layers) % layers;
  parts::stack(pass, ends, rows.rows, x, [&] {
    for (int64_t i = 0; i < layers; ++i) {
      pass.block(
          x, [&pass, &of = rows, &from = memory, i, aligned = i == aligns](typename P::Rows& y) {
            parts::decoder_layer(pass, i, of, from, aligned, y);
          });
    }
  });
}

}  // namespace heddle::model
