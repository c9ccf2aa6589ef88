#!/usr/bin/env python3
"""Writes tests/data/formats/: tiny CTranslate2 models made by CTranslate2 itself.

Needs the Python packages ctranslate2 (4.8) and numpy. Each folder has model.bin, config.json and the
vocabulary, and expected.json with the tokens that CTranslate2 translates a few sources to.
"""
import json
import pathlib
import shutil

import ctranslate2
import numpy as np
from ctranslate2.specs import common_spec, transformer_spec

FOLDER = pathlib.Path(__file__).resolve().parent.parent / "tests" / "data" / "formats"
WIDTH, FFN, VOCABULARY, HEADS = 16, 24, 24, 2
TOKENS = ["</s>", "<unk>", "<s>"] + [chr(ord("a") + i) for i in range(VOCABULARY - 3)]
SOURCES = [["a", "b", "c", "</s>"], ["k", "</s>"], list("decidedly")[:7] + ["</s>"]]


class Filler:
    """Fills a specification with seeded numbers."""

    def __init__(self, seed):
        self.random = np.random.default_rng(seed)

    def numbers(self, *shape, size=0.4):
        return (self.random.standard_normal(shape) * size).astype(np.float32)

    def linear(self, spec, rows, columns):
        spec.weight = self.numbers(rows, columns)
        spec.bias = self.numbers(rows, size=0.1)

    def norm(self, spec):
        spec.gamma = 1 + self.numbers(WIDTH, size=0.1)
        spec.beta = self.numbers(WIDTH, size=0.1)

    def attention(self, spec, self_attention):
        rows = [3 * WIDTH, WIDTH] if self_attention else [WIDTH, 2 * WIDTH, WIDTH]
        for layer, count in zip(spec.linear, rows):
            self.linear(layer, count, WIDTH)
        self.norm(spec.layer_norm)

    def layer(self, spec, glu):
        self.attention(spec.self_attention, True)
        if hasattr(spec, "attention"):
            self.attention(spec.attention, False)
        self.norm(spec.ffn.layer_norm)
        self.linear(spec.ffn.linear_0, FFN, WIDTH)
        if glu:
            self.linear(spec.ffn.linear_0_noact, FFN, WIDTH)
        self.linear(spec.ffn.linear_1, WIDTH, FFN)


def model(seed, pre_norm, glu, tied, positions, from_zero):
    spec = transformer_spec.TransformerSpec.from_config(
        (2, 1), HEADS, pre_norm=pre_norm, ffn_glu=glu,
        activation=common_spec.Activation.SWISH if glu else common_spec.Activation.RELU)
    fill = Filler(seed)
    table = fill.numbers(VOCABULARY, WIDTH)
    spec.encoder.embeddings[0].weight = table
    spec.decoder.embeddings.weight = table if tied else fill.numbers(VOCABULARY, WIDTH)
    spec.decoder.projection.weight = table if tied else fill.numbers(VOCABULARY, WIDTH, size=1)
    spec.decoder.projection.bias = fill.numbers(VOCABULARY, size=0.1)
    for side in (spec.encoder, spec.decoder):
        if pre_norm:
            fill.norm(side.layer_norm)
        for layer in side.layer:
            fill.layer(layer, glu)
    if positions:
        shared = fill.numbers(40, WIDTH)
        spec.encoder.position_encodings.encodings = shared
        spec.decoder.position_encodings.encodings = shared
    spec.decoder.start_from_zero_embedding = from_zero
    spec.config.add_source_eos = False
    spec.register_source_vocabulary(TOKENS)
    spec.register_target_vocabulary(TOKENS)
    return spec


# name: type of the weights, and the options above
MODELS = {
    "ct2_post_f32": (None, dict(seed=1, pre_norm=False, glu=False, tied=True, positions=True, from_zero=True)),
    "ct2_pre_i8": ("int8", dict(seed=2, pre_norm=True, glu=False, tied=True, positions=False, from_zero=False)),
    "ct2_glu_i16": ("int16", dict(seed=3, pre_norm=True, glu=True, tied=False, positions=True, from_zero=False)),
    "ct2_post_f16": ("float16", dict(seed=4, pre_norm=False, glu=False, tied=False, positions=False, from_zero=True)),
}


def main():
    for name, (kind, options) in MODELS.items():
        folder = FOLDER / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        spec = model(**options)
        spec.validate()
        spec.optimize(quantization=kind)
        spec.save(str(folder))
        translator = ctranslate2.Translator(str(folder), device="cpu", compute_type="float32")
        results = translator.translate_batch(SOURCES, beam_size=1, max_decoding_length=20)
        expected = [{"source": s, "target": r.hypotheses[0]} for s, r in zip(SOURCES, results)]
        (folder / "expected.json").write_text(json.dumps(expected) + "\n")


if __name__ == "__main__":
    main()
