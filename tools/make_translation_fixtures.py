#!/usr/bin/env python3
"""Writes tests/data/formats/{hf_marian,ct2_marian}: a tiny Hugging Face MarianMT model with its
SentencePiece files, and what CTranslate2 converts it to.

Needs the Python packages torch, transformers, sentencepiece and ctranslate2 (4.8). expected.json has,
for a few texts, the tokens and the text that Hugging Face and CTranslate2 translate them to, greedily.
The logit of the padding is made large, so that whoever may write it writes nothing else.
"""
import json
import pathlib
import shutil
import tempfile

import ctranslate2
import sentencepiece
import torch
import transformers

ROOT = pathlib.Path(__file__).resolve().parent.parent
FOLDER = ROOT / "tests" / "data" / "formats"
TEXTS = ["The warp is tied to the loom.", "A thread", "weave, weave and weave!", "7 looms? >>pt<< \u00e9"]
MOST_TOKENS = 20


def train_pieces(text, model, size):
    sentencepiece.SentencePieceTrainer.train(
        input=str(text), model_prefix=str(model), vocab_size=size, character_coverage=1.0,
        normalization_rule_name="identity", hard_vocab_limit=False, minloglevel=2)
    file = pathlib.Path(f"{model}.model")
    return file, sentencepiece.SentencePieceProcessor(model_file=str(file))


def numbering(models):
    pieces = {model.id_to_piece(i) for model in models for i in range(model.get_piece_size())
              if not (model.is_control(i) or model.is_unknown(i))}
    return {piece: i for i, piece in enumerate(["</s>", "<unk>", *sorted(pieces), "<pad>"])}


def random_model(config, seed):
    torch.manual_seed(seed)
    model = transformers.MarianMTModel(config).eval()
    pad = config.pad_token_id
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "norm" not in name and "embed_positions" not in name:
                parameter.normal_(0, 0.5 if parameter.dim() > 1 else 0.2)
        model.model.shared.weight[pad] = 0
        model.final_logits_bias.normal_(0, 1)
        model.final_logits_bias[0, 0] = 3  # the end comes soon
        model.final_logits_bias[0, pad] = 50
    return model


def translate(model, tokenizer):
    expected = []
    for text in TEXTS:
        source = tokenizer(text, return_tensors="pt")
        target = model.generate(**source, num_beams=1, do_sample=False, max_new_tokens=MOST_TOKENS,
                                bad_words_ids=[[model.config.pad_token_id]])[0, 1:].tolist()
        expected.append({"text": text, "source": source["input_ids"][0].tolist(), "target": target,
                         "output": tokenizer.decode(target, skip_special_tokens=True)})
    return expected


def is_telling(expected):
    """Every target ends by itself, after some different tokens."""
    targets = [one["target"] for one in expected]
    return all(t[-1] == 0 for t in targets) and sum(len(set(t)) for t in targets) >= 18


def make_hugging_face(folder):
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    models = []
    with tempfile.TemporaryDirectory() as scratch:
        for side, language in (("source", "en"), ("target", "pt")):
            text = ROOT / "examples" / "translate" / f"weaving.{language}"
            file, model = train_pieces(text, pathlib.Path(scratch) / side, 90)
            shutil.copy(file, folder / f"{side}.spm")
            models.append(model)
    vocabulary = numbering(models)
    (folder / "vocab.json").write_text(json.dumps(vocabulary, ensure_ascii=False))
    tokenizer = transformers.MarianTokenizer(
        source_spm=str(folder / "source.spm"), target_spm=str(folder / "target.spm"),
        vocab=str(folder / "vocab.json"), source_lang="en", target_lang="pt")
    pad = vocabulary["<pad>"]
    config = transformers.MarianConfig(
        vocab_size=len(vocabulary), d_model=16, encoder_layers=1, decoder_layers=1,
        encoder_attention_heads=2, decoder_attention_heads=2, encoder_ffn_dim=24,
        decoder_ffn_dim=24, activation_function="swish", max_position_embeddings=64,
        scale_embedding=True, pad_token_id=pad, eos_token_id=0, forced_eos_token_id=None,
        decoder_start_token_id=pad)
    for seed in range(2000):
        model = random_model(config, seed)
        expected = translate(model, tokenizer)
        if is_telling(expected):
            break
    else:
        raise SystemExit("no seed gives targets that tell something")
    with tempfile.TemporaryDirectory() as scratch:
        model.save_pretrained(scratch)
        shutil.copy(f"{scratch}/model.safetensors", folder)
        written = json.loads(pathlib.Path(f"{scratch}/config.json").read_text())
    written["bad_words_ids"] = [[pad]]  # as the models of OPUS have it
    (folder / "config.json").write_text(json.dumps(written, indent=2, sort_keys=True) + "\n")
    (folder / "expected.json").write_text(json.dumps(expected, ensure_ascii=False, indent=1) + "\n")
    return tokenizer, expected, seed


def make_ctranslate2(folder, source, tokenizer, expected):
    """What its converter makes of the Hugging Face model translates in the same way."""
    shutil.rmtree(folder, ignore_errors=True)
    with tempfile.TemporaryDirectory() as scratch:
        tokenizer.save_pretrained(scratch)
        for name in ("config.json", "model.safetensors"):
            shutil.copy(source / name, scratch)
        ctranslate2.converters.TransformersConverter(
            scratch, copy_files=["source.spm", "target.spm"]).convert(str(folder))
    engine = ctranslate2.Translator(str(folder), device="cpu", compute_type="float32")
    for one in expected:
        pieces = tokenizer.convert_ids_to_tokens(one["source"])
        found = engine.translate_batch([pieces], beam_size=1, max_decoding_length=MOST_TOKENS)
        target = tokenizer.convert_tokens_to_ids(found[0].hypotheses[0])
        assert target == one["target"][:-1], (one["text"], target, one["target"])
    (folder / "expected.json").write_text(json.dumps(expected, ensure_ascii=False, indent=1) + "\n")


def main():
    torch.set_num_threads(1)
    tokenizer, expected, seed = make_hugging_face(FOLDER / "hf_marian")
    make_ctranslate2(FOLDER / "ct2_marian", FOLDER / "hf_marian", tokenizer, expected)
    print("seed", seed, *(one["output"] for one in expected), sep="\n")


if __name__ == "__main__":
    main()
