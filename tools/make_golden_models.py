#!/usr/bin/env python3
"""Writes tests/golden/models.json: small random translation models of every architecture option, with
the hidden states that a plain PyTorch model in double precision computes, and
tests/golden/training.json: the loss of each, a digest of every gradient, and 10 losses of descent.

  make_golden_models.py [FOLDER]     needs torch (any build)

Weights are not stored: weight i of a parameter is a hash of its name and i (see `draw`), which
tests/model/random_model.h draws too. The model below is written from the papers, one sentence at a
time, without masks or packing, and shares nothing with src/model.
"""
import json
import math
import pathlib
import sys

import torch

F = torch.nn.functional
MASK64 = (1 << 64) - 1


def fnv1a(text):
    value = 0xCBF29CE484222325
    for byte in text.encode():
        value = (value ^ byte) * 0x100000001B3 & MASK64
    return value


def splitmix(value):
    value = (value + 0x9E3779B97F4A7C15) & MASK64
    value = (value ^ (value >> 30)) * 0xBF58476D1CE4E5B9 & MASK64
    value = (value ^ (value >> 27)) * 0x94D049BB133111EB & MASK64
    return value ^ (value >> 31)


def unit_numbers(name, *shape):
    """Uniform in [−1, 1) with 24 bits."""
    seed, count = fnv1a(name), math.prod(shape)
    return torch.tensor([(splitmix((seed + i) & MASK64) >> 40) / 2.0**23 - 1 for i in range(count)],
                        dtype=torch.float64).reshape(shape)


def draw(name, *shape):
    """Unit numbers, made as wide as such a parameter should be."""
    unit = unit_numbers(name, *shape)
    if "norm" in name and name.endswith(".weight"):
        values = 1 + 0.25 * unit
    elif name.endswith("bias"):
        values = 0.25 * unit
    else:
        values = unit * (1.5 / math.sqrt(shape[-1]))
    return values.float().double()  # what a file of single precision holds


class Model:
    def __init__(self, config):
        self.c = config
        self.parameters = {}

    def draw(self, name, *shape):
        if name not in self.parameters:
            self.parameters[name] = draw(name, *shape).requires_grad_()
        return self.parameters[name]

    def linear(self, x, name, out, bias):
        y = x @ self.draw(name + ".weight", out, x.shape[-1]).T
        return y + self.draw(name + ".bias", out) if bias else y

    def norm(self, x, name):
        width = x.shape[-1]
        weight = self.draw(name + ".weight", width)
        if self.c["norm_type"] == "layer_norm":
            y = F.layer_norm(x, (width,), weight, None, self.c["layer_norm_eps"])
        else:
            y = x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.c["layer_norm_eps"]) * weight
        return y + self.draw(name + ".bias", width) if self.c["norm_bias"] else y

    def wrapped(self, x, name, sublayer):
        """Marian's preprocess and postprocess around a sublayer."""
        pre, post = self.c["preprocess"], self.c["postprocess"]
        y = x
        if "n" in pre:
            y = self.norm(y, name + "_pre" if "n" in post else name)
        y = sublayer(y)
        return self.letters(y, x, post, name)

    def letters(self, y, x, letters, name):
        for letter in letters:
            if letter == "a":
                y = y + x
            elif letter == "n":
                y = self.norm(y, name)
        return y

    def activation(self, x):
        kind = self.c["activation_function"]
        return {"relu": F.relu, "gelu": F.gelu, "silu": F.silu,
                "quick_gelu": lambda v: v * torch.sigmoid(1.702 * v),
                "gelu_new": lambda v: F.gelu(v, approximate="tanh")}[kind](x)

    def rotate(self, x):
        """x [T, heads, E] turned by its position, halves paired."""
        half = x.shape[-1] // 2
        steps = self.c["rope_theta"] ** (-torch.arange(half, dtype=torch.float64) / half)
        angle = torch.arange(x.shape[0], dtype=torch.float64)[:, None, None] * steps
        a, b = x[..., :half], x[..., half:]
        return torch.cat([a * angle.cos() - b * angle.sin(), b * angle.cos() + a * angle.sin()], -1)

    def attention(self, x, source, name, side, causal):
        c, bias = self.c, self.c["attention_bias"]
        heads, kv_heads = c[side + "_attention_heads"], c[side + "_key_value_heads"]
        width = c["head_dim"] or c["d_model"] // heads
        q = self.linear(x, name + ".q_proj", heads * width, bias).view(-1, heads, width)
        k = self.linear(source, name + ".k_proj", kv_heads * width, bias).view(-1, kv_heads, width)
        v = self.linear(source, name + ".v_proj", kv_heads * width, bias).view(-1, kv_heads, width)
        if c["position_embedding_type"] == "rotary" and name.endswith("self_attn"):
            q, k = self.rotate(q), self.rotate(k)
        k, v = (t.repeat_interleave(heads // kv_heads, 1) for t in (k, v))
        scores = torch.einsum("qhe,khe->hqk", q, k) / math.sqrt(width)
        if causal:
            hidden = torch.ones(scores.shape[1:], dtype=torch.bool).triu(1)
            scores = scores.masked_fill(hidden, -math.inf)
        out = torch.einsum("hqk,khe->qhe", scores.softmax(-1), v).reshape(-1, heads * width)
        return self.linear(out, name + ".out_proj", c["d_model"], bias)

    def ssru(self, x, name):
        candidate = self.linear(x, name + ".input_proj", x.shape[1], False)
        forget = self.linear(x, name + ".forget_proj", x.shape[1], True).sigmoid()
        cell, out = torch.zeros(x.shape[1], dtype=torch.float64), []
        for t in range(x.shape[0]):
            cell = forget[t] * cell + (1 - forget[t]) * candidate[t]
            out.append(cell.relu())
        return torch.stack(out)

    def feed_forward(self, x, name, side):
        width, bias = self.c[side + "_ffn_dim"], self.c["mlp_bias"]
        y = self.linear(x, name + ".fc1", width, bias)
        if self.c["gated_ffn"]:
            y = self.activation(self.linear(x, name + ".fc_gate", width, bias)) * y
        else:
            y = self.activation(y)
        return self.linear(y, name + ".fc2", self.c["d_model"], bias)

    def positions(self, count, stack):
        c, width, kind = self.c, self.c["d_model"], self.c["position_embedding_type"]
        if kind in ("none", "rotary"):
            return torch.zeros(count, width, dtype=torch.float64)
        if kind == "learned":
            rows = c["max_position_embeddings"] + c["position_offset"]
            table = self.draw(f"model.{stack}.embed_positions.weight", rows, width)
            return table[c["position_offset"]:][:count]
        half = width // 2
        over = half - 1 if kind == "sinusoidal_marian" else half
        steps = 10000.0 ** (-torch.arange(half, dtype=torch.float64) / over)
        angle = torch.arange(count, dtype=torch.float64)[:, None] * steps
        if kind == "sinusoidal_interleaved":
            return torch.stack([angle.sin(), angle.cos()], -1).reshape(count, width)
        return torch.cat([angle.sin(), angle.cos()], -1)

    def embedding(self, tokens, stack):
        c, width = self.c, self.c["d_model"]
        vocabulary = c["vocab_size"] if stack == "encoder" else c["decoder_vocab_size"]
        shared = c["share_encoder_decoder_embeddings"]
        name = "model.shared.weight" if shared else f"model.{stack}.embed_tokens.weight"
        table = self.draw(name, vocabulary, width)
        rows = [table[t] if t >= 0 else torch.zeros(width, dtype=torch.float64) for t in tokens]
        x = torch.stack(rows) * (math.sqrt(width) if c["scale_embedding"] else 1)
        x = x + self.positions(len(tokens), stack)
        if "n" in c["postprocess_embedding"]:
            x = self.norm(x, f"model.{stack}.layernorm_embedding")
        return x

    def encode(self, tokens):
        x = embedded = self.embedding(tokens, "encoder")
        for i in range(self.c["encoder_layers"]):
            name = f"model.encoder.layers.{i}"
            x = self.wrapped(x, name + ".self_attn_layer_norm", lambda y: self.attention(
                y, y, name + ".self_attn", "encoder", False))
            x = self.wrapped(x, name + ".final_layer_norm",
                             lambda y: self.feed_forward(y, name, "encoder"))
        return self.letters(x, embedded, self.c["postprocess_top"], "model.encoder.layer_norm")

    def decode(self, tokens, source):
        x = embedded = self.embedding(tokens, "decoder")
        for i in range(self.c["decoder_layers"]):
            name = f"model.decoder.layers.{i}"
            if self.c["decoder_type"] == "ssru":
                x = self.wrapped(x, name + ".self_attn_layer_norm",
                                 lambda y: self.ssru(y, name + ".ssru"))
            else:
                x = self.wrapped(x, name + ".self_attn_layer_norm", lambda y: self.attention(
                    y, y, name + ".self_attn", "decoder", True))
            x = self.wrapped(x, name + ".encoder_attn_layer_norm", lambda y: self.attention(
                y, source, name + ".encoder_attn", "decoder", False))
            x = self.wrapped(x, name + ".final_layer_norm",
                             lambda y: self.feed_forward(y, name, "decoder"))
        return self.letters(x, embedded, self.c["postprocess_top"], "model.decoder.layer_norm")

    def logits(self, hidden):
        c = self.c
        name = "lm_head.weight"
        if c["tie_word_embeddings"]:
            shared = c["share_encoder_decoder_embeddings"]
            name = "model.shared.weight" if shared else "model.decoder.embed_tokens.weight"
        y = hidden @ self.draw(name, c["decoder_vocab_size"], c["d_model"]).T
        return y + self.draw("final_logits_bias", c["decoder_vocab_size"]) if c["output_bias"] else y


BASE = {
    "model_type": "heddle", "d_model": 16, "head_dim": 0, "vocab_size": 23, "decoder_vocab_size": 23,
    "encoder_layers": 2, "encoder_attention_heads": 4, "encoder_key_value_heads": 4,
    "encoder_ffn_dim": 24, "decoder_layers": 1, "decoder_attention_heads": 4,
    "decoder_key_value_heads": 4, "decoder_ffn_dim": 20, "decoder_type": "self_attention",
    "preprocess": "", "postprocess": "dan", "postprocess_embedding": "d", "postprocess_top": "",
    "norm_type": "layer_norm", "layer_norm_eps": 1e-6, "norm_bias": True,
    "activation_function": "relu", "gated_ffn": False, "attention_bias": True, "mlp_bias": True,
    "output_bias": True, "share_encoder_decoder_embeddings": True, "tie_word_embeddings": True,
    "scale_embedding": True, "position_embedding_type": "sinusoidal", "position_offset": 0,
    "rope_theta": 10000.0, "max_position_embeddings": 0, "eos_token_id": 0, "unk_token_id": 1,
    "decoder_start_token_id": -1,
}
PRE = {"preprocess": "n", "postprocess": "da"}
KEY_VALUE_2 = {"encoder_key_value_heads": 2, "decoder_key_value_heads": 2}
KEY_VALUE_1 = {"encoder_key_value_heads": 1, "decoder_key_value_heads": 1}
NO_BIAS = {"attention_bias": False, "mlp_bias": False, "norm_bias": False, "output_bias": False}
APART = {"share_encoder_decoder_embeddings": False}
SSRU = {"decoder_type": "ssru", "position_embedding_type": "sinusoidal_marian"}

MODELS = {
    "post_norm": {},
    "pre_norm": PRE | {"postprocess_top": "n", "activation_function": "gelu"},
    "pre_norm_without_top": PRE | {"activation_function": "silu"},
    "norm_before_and_after": {"preprocess": "n", "activation_function": "gelu_new"},
    "norm_then_add": {"postprocess": "dna"},
    "norm_without_residual": {"postprocess": "n"},
    "residual_alone": {"postprocess": "a", "postprocess_top": "n"},
    "neither_norm_nor_residual": {"postprocess": "", "encoder_layers": 1},
    "pre_norm_then_add": {"preprocess": "dn", "postprocess": "dna", "postprocess_top": "n"},
    "pre_norm_without_residual": {"preprocess": "n", "postprocess": "d", "encoder_layers": 1},
    "top_adds": {"postprocess_top": "a"},
    "top_adds_then_norms": PRE | {"postprocess_top": "dan"},
    "top_norms_then_adds": {"postprocess_top": "na", "postprocess_embedding": "n"},
    "llama_like": PRE | KEY_VALUE_2 | NO_BIAS | {
        "postprocess_top": "n", "norm_type": "rms_norm", "position_embedding_type": "rotary",
        "gated_ffn": True, "activation_function": "silu", "scale_embedding": False},
    "gated_gelu_tanh": {"gated_ffn": True, "activation_function": "gelu_new"},
    "quick_gelu": {"activation_function": "quick_gelu"},
    "gated_quick_gelu": NO_BIAS | {"activation_function": "quick_gelu", "gated_ffn": True},
    "gated_relu_pre_norm": PRE | {"gated_ffn": True, "postprocess_top": "n"},
    "gated_gelu_without_bias": {"gated_ffn": True, "activation_function": "gelu"} | NO_BIAS,
    "firefox_student": SSRU | {"decoder_layers": 2},
    "ssru_pre_norm": SSRU | PRE | {"postprocess_top": "n"},
    "ssru_norm_then_add": SSRU | {"postprocess": "na"},
    "ssru_gated_rms": SSRU | {"gated_ffn": True, "norm_type": "rms_norm", "norm_bias": False,
                              "activation_function": "silu", "decoder_layers": 2},
    "ssru_without_residual": SSRU | {"postprocess": "dn"},
    "bart_like": {"position_embedding_type": "learned", "position_offset": 2,
                  "max_position_embeddings": 16, "postprocess_embedding": "n",
                  "activation_function": "gelu", "layer_norm_eps": 1e-5, "scale_embedding": False,
                  "decoder_start_token_id": 2},
    "opus_like": {"activation_function": "silu", "layer_norm_eps": 1e-5,
                  "decoder_start_token_id": 22, "max_position_embeddings": 64,
                  "pad_token_id": 22},
    "tied_source_target": {"tie_word_embeddings": False},
    "tied_target_output": APART | {"decoder_vocab_size": 31},
    "nothing_tied": APART | {"tie_word_embeddings": False, "decoder_vocab_size": 19},
    "nothing_tied_ssru": APART | SSRU | {"tie_word_embeddings": False},
    "four_and_one_layers": {"encoder_layers": 4},
    "one_and_three_layers": PRE | {"encoder_layers": 1, "decoder_layers": 3, "postprocess_top": "n"},
    "wide_heads": {"head_dim": 8, "encoder_attention_heads": 3, "encoder_key_value_heads": 3},
    "grouped_keys": KEY_VALUE_2,
    "one_key_head": PRE | KEY_VALUE_1 | {"postprocess_top": "n"},
    "interleaved_positions": {"position_embedding_type": "sinusoidal_interleaved",
                              "layer_norm_eps": 1e-3},
    "without_positions": {"position_embedding_type": "none"},
    "rotary_post_norm": {"position_embedding_type": "rotary", "rope_theta": 500.0},
    "rms_norm_with_bias": {"norm_type": "rms_norm"},
}

LENGTHS = [(5, 4), (1, 1), (9, 7), (3, 6)]
LONG = {"post_norm": (150, 70), "firefox_student": (80, 66), "llama_like": (70, 67)}


def tokens(name, count, vocabulary):
    return [splitmix((fnv1a(name) + i) & MASK64) % vocabulary for i in range(count)]


def sentences(name, config):
    for i, (source, target) in enumerate(LENGTHS + ([LONG[name]] if name in LONG else [])):
        inputs = tokens(f"{name} target {i}", target - 1, config["decoder_vocab_size"])
        yield {"source": tokens(f"{name} source {i}", source, config["vocab_size"]),
               "target": [config["decoder_start_token_id"]] + inputs}


def numbers(tensor):
    return [float(f"{value:.8g}") for value in tensor.flatten().tolist()]


def golden(name, changes):
    config = BASE | changes
    model, pairs = Model(config), []
    for pair in sentences(name, config):
        hidden = model.decode(pair["target"], model.encode(pair["source"]))
        shown = hidden[-2:] if len(pair["target"]) > 10 else hidden  # long ones: the last rows
        pairs.append(pair | {"hidden": numbers(shown), "logits": numbers(model.logits(hidden[-1]))})
    return {"name": name, "config": config, "pairs": pairs}


def supervision(name, number, config):
    """Labels, weights and, for every third model, a teacher's choices; z-loss for another third."""
    vocabulary, settings, rows = config["decoder_vocab_size"], {"label_smoothing": 0.1}, []
    if number % 3 == 0:
        settings["teacher_weight"] = 0.3
    elif number % 3 == 1:
        settings["z_loss"] = 0.01
    for i, pair in enumerate(sentences(name, config)):
        count = len(pair["target"])
        labels = tokens(f"{name} label {i}", count, vocabulary)
        weights = (1 + 0.5 * unit_numbers(f"{name} weight {i}", count)).float().tolist()
        row = {"labels": [-1 if t % 5 == 3 else label for t, label in enumerate(labels)],
               "weights": [float(f"{w:.9g}") for w in weights]}
        if number % 3 == 0:
            ids = [[(first + 4 * k) % vocabulary for k in range(3)] for first in labels]
            logs = (unit_numbers(f"{name} teacher {i}", count, 3) - 2).float()
            row["teacher_ids"] = sum(ids, [])
            row["teacher_logs"] = [float(f"{v:.9g}") for v in logs.flatten().tolist()]
        rows.append(row)
    return settings, rows


def loss_of(model, name, settings, rows):
    """Σ weight · loss as model/training.h defines it."""
    total, smoothing = 0, settings["label_smoothing"]
    for pair, row in zip(sentences(name, model.c), rows):
        logits = model.logits(model.decode(pair["target"], model.encode(pair["source"])))
        z, logs = logits.logsumexp(-1), logits.log_softmax(-1)
        for t, label in enumerate(row["labels"]):
            if label < 0:
                continue
            loss = -(1 - smoothing) * logs[t, label] - smoothing * logs[t].mean()
            if "teacher_weight" in settings:
                part = slice(3 * t, 3 * t + 3)
                q = torch.tensor(row["teacher_logs"][part], dtype=torch.float64).log_softmax(0)
                divergence = (q.exp() * (q - logs[t, row["teacher_ids"][part]])).sum()
                loss = loss + settings["teacher_weight"] * (divergence - loss)
            total = total + row["weights"][t] * (loss + settings.get("z_loss", 0) * z[t] ** 2)
    return total


STEPS, RATE = 10, 2.0**-9


def trained(name, number, changes):
    """The first loss and gradients, each as its norm and its product with unit numbers; then the
    losses before each of STEPS steps of plain descent at RATE."""
    config = BASE | changes
    model, losses, gradients = Model(config), [], {}
    settings, rows = supervision(name, number, config)
    for step in range(STEPS):
        loss = loss_of(model, name, settings, rows)
        loss.backward()
        losses.append(float(f"{loss.item():.12g}"))
        for key, value in model.parameters.items():
            if step == 0:
                along = (value.grad * unit_numbers(key + " probe", *value.shape)).sum().item()
                gradients[key] = [float(f"{v:.8g}") for v in (value.grad.norm().item(), along)]
            with torch.no_grad():
                value -= RATE * value.grad
            value.grad = None
    return {"name": name, "settings": settings, "pairs": rows, "rate": RATE, "losses": losses,
            "gradients": gradients}


def write(path, items):
    text = ",\n".join(json.dumps(item, separators=(",", ":")) for item in items)
    path.write_text("[\n" + text + "\n]\n", encoding="utf-8")
    print(f"{path}: {len(items)} models, {path.stat().st_size} bytes")


def main():
    root = pathlib.Path(__file__).resolve().parent.parent
    folder = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else root / "tests/golden"
    write(folder / "models.json", [golden(*each) for each in MODELS.items()])
    write(folder / "training.json",
          [trained(name, i, changes) for i, (name, changes) in enumerate(MODELS.items())])


if __name__ == "__main__":
    main()
