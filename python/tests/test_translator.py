"""heddle.Translator on a small random model, written here in the layout of Hugging Face's MarianMT."""
import importlib.util
import json
import pathlib
import struct
import threading

import numpy as np
import pytest

import heddle
from heddle import _core

WIDTH, HIDDEN, LAYERS = 16, 32, 2
FOLDER = pathlib.Path(__file__).resolve().parents[2]


def test_an_attention_build_says_so():
    if hasattr(_core, "TranslatorCore"):
        pytest.skip("this build has models")
    with pytest.raises(RuntimeError, match="HEDDLE_ATTENTION_ONLY"):
        heddle.Translator("model")


def seeds():
    spec = importlib.util.spec_from_file_location("seeds", FOLDER / "fuzz" / "make_text_seeds.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def tensors(vocabulary):
    random = np.random.default_rng(5)
    named = {"model.shared.weight": (vocabulary, WIDTH), "final_logits_bias": (1, vocabulary)}

    def linear(name, rows, columns):
        named[name + ".weight"] = (rows, columns)
        named[name + ".bias"] = (rows,)

    for side in ("encoder", "decoder"):
        for i in range(LAYERS):
            layer = f"model.{side}.layers.{i}."
            for block in ("self_attn", "encoder_attn")[: 1 if side == "encoder" else 2]:
                for part in ("q_proj", "k_proj", "v_proj", "out_proj"):
                    linear(f"{layer}{block}.{part}", WIDTH, WIDTH)
                linear(f"{layer}{block}_layer_norm", WIDTH, 1)
            linear(layer + "fc1", HIDDEN, WIDTH)
            linear(layer + "fc2", WIDTH, HIDDEN)
            linear(layer + "final_layer_norm", WIDTH, 1)
    for name, shape in named.items():
        if "norm.weight" in name:
            yield name, np.ones(WIDTH, np.float32)
        else:
            array = random.normal(0, 0.4, shape).astype(np.float32)
            if name == "final_logits_bias":
                array[0, :5] = [-99, -99, 0, 0, -99]  # no text of spaces alone
            yield name, array


def write_safetensors(path, named):
    header, data = {}, b""
    for name, array in named:
        end = len(data) + array.nbytes
        header[name] = {"dtype": "F32", "shape": list(array.shape), "data_offsets": [len(data), end]}
        data += array.tobytes()
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    if not hasattr(_core, "TranslatorCore"):
        pytest.skip("built for masks and attention alone")
    folder = tmp_path_factory.mktemp("model")
    made = seeds()
    words = [made.piece("\u2581" + word, -2.0) for word in ("cat", "dog", "is", "here", "a")]
    letters = [made.piece(chr(c), -6.0) for c in range(ord("a"), ord("z") + 1) if chr(c) != "t"]
    (folder / "source.spm").write_bytes(made.model(words + letters))
    (folder / "target.spm").write_bytes(made.model(words + letters))
    vocabulary = 8 + len(words) + len(letters) + 1  # and the padding
    write_safetensors(folder / "model.safetensors", tensors(vocabulary))
    (folder / "config.json").write_text(json.dumps({
        "model_type": "marian", "architectures": ["MarianMTModel"], "vocab_size": vocabulary,
        "d_model": WIDTH, "encoder_layers": LAYERS, "decoder_layers": LAYERS,
        "encoder_attention_heads": 2, "decoder_attention_heads": 2, "encoder_ffn_dim": HIDDEN,
        "decoder_ffn_dim": HIDDEN, "activation_function": "swish", "max_position_embeddings": 64,
        "scale_embedding": True, "static_position_embeddings": True, "normalize_before": False,
        "normalize_embedding": False, "add_final_layer_norm": False,
        "share_encoder_decoder_embeddings": True, "tie_word_embeddings": True,
        "eos_token_id": 2, "pad_token_id": vocabulary - 1,
        "decoder_start_token_id": vocabulary - 1, "bad_words_ids": [[vocabulary - 1]],
    }))
    return folder


LINES = ["the cat is here", "a dog", "", "   ", "----", "is the dog here."]


def test_lines_in_lines_out(model):
    translator = heddle.Translator(model, threads=1)
    translations = translator.translate(LINES)
    assert len(translations) == len(LINES)
    assert translations[2:5] == LINES[2:5]  # nothing to translate
    assert translations[0] and isinstance(translations[0], str)
    assert not any("\n" in text for text in translations)
    assert translator.translate(LINES[0]) == translations[0]
    assert translator.translate([]) == []
    assert len(translator.translate(["a\nb"])) == 1


def test_company_and_threads_change_nothing(model):
    alone = heddle.Translator(model, threads=1)
    many = heddle.Translator(str(model), threads=2)
    expected = [alone.translate(line, beam_size=2) for line in LINES]
    assert many.threads == 2
    assert many.translate(LINES * 10, beam_size=2) == expected * 10
    found = [None] * 4
    threads = [
        threading.Thread(target=lambda i=i: found.__setitem__(i, many.translate(LINES, beam_size=2)))
        for i in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [expected] * 4


def test_details(model):
    translator = heddle.Translator([model], threads=1)
    (details,) = translator.translate_detailed([LINES[0]], beam_size=4, n_best=3, scores=True,
                                               alignments=True)
    scores = [variant.score for variant in details.variants]
    assert len(scores) == 3 and scores == sorted(scores, reverse=True)
    assert details.text == details.variants[0].text
    assert len(details.variants[0].pieces) == len(details.variants[0].token_scores)
    assert details.source_pieces[0] == "\u2581the"
    assert all(0 <= weight <= 1.001 for _, _, weight in details.variants[0].alignment)
    drawn = [translator.translate(LINES[0], sampling=True, seed=7) for _ in range(2)]
    assert drawn[0] == drawn[1]


def test_what_is_refused(model, tmp_path):
    translator = heddle.Translator(model, threads=1)
    with pytest.raises(ValueError, match="beam"):
        translator.translate("a", beam_size=0)
    with pytest.raises(ValueError):
        heddle.Translator(tmp_path / "absent")
    with pytest.raises(ValueError, match="precision"):
        heddle.Translator(model, precision="int3")
    with pytest.raises(TypeError):
        translator.translate([1, 2])
    with pytest.raises(TypeError):
        translator.translate("a", n_best=2)
    with pytest.raises(TypeError):
        translator.translate_detailed("a line")
