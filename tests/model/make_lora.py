#!/usr/bin/env python3
"""Writes tests/golden/lora/: adapters of PEFT for models of tests/golden/language_models, each with
what transformers and peft compute with it.

  make_lora.py                       needs torch, transformers and peft
  make_lora.py check HEDDLE          lets the command train adapters of all kinds, and loads them and
                                     what `heddle merge` makes of them in peft and transformers: the
                                     same logits

  logits f32 [T, V]                  each text of the base's golden.safetensors read alone
  loss f32 [1]                       the sum of -ln p of each next token of its text
  gradient.NAME f32                  of the loss, for everything that is trained
"""
import json
import pathlib
import shutil
import subprocess
import sys
import tempfile
import warnings

import peft
import torch
import transformers
from safetensors.torch import load_file, save_file

GOLDEN = pathlib.Path(__file__).parent.parent / "golden"
CASES = {
    "gemma3_lora": ("gemma3", dict(r=3, lora_alpha=6, target_modules="all-linear")),
    "qwen2_rslora": ("qwen2", dict(r=4, lora_alpha=3, use_rslora=True,
                                   target_modules=["q_proj", "v_proj", "down_proj"])),
    "llama_dora": ("llama", dict(r=2, lora_alpha=4, use_dora=True, target_modules="all-linear",
                                 modules_to_save=["lm_head"])),
    "gemma3_saved": ("gemma3", dict(r=2, lora_alpha=8, use_dora=True, use_rslora=True,
                                    target_modules=["k_proj", "o_proj", "up_proj"],
                                    modules_to_save=["embed_tokens", "lm_head", "input_layernorm"])),
}


def base_model(folder):
    return transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32,
                                                             attn_implementation="eager")


def texts_of(base):
    golden = load_file(GOLDEN / "language_models" / base / "golden.safetensors")
    offsets = golden["offsets"].tolist()
    return [golden["tokens"][a:b].long() for a, b in zip(offsets, offsets[1:])]


def logits_of(model, texts):
    return [model(input_ids=text[None]).logits[0] for text in texts]


def write(name, base, settings):
    model = base_model(GOLDEN / "language_models" / base)
    model = peft.get_peft_model(model, peft.LoraConfig(task_type="CAUSAL_LM", **settings))
    trained = {n: p for n, p in model.named_parameters() if p.requires_grad}
    tied = model.config.tie_word_embeddings and "lm_head" in settings.get("modules_to_save", [])
    if tied:  # one memory for both, as in the base
        model.base_model.model.lm_head.modules_to_save["default"].weight = (
            model.base_model.model.model.embed_tokens.modules_to_save["default"].weight)
    generator = torch.Generator().manual_seed(11)
    for key, parameter in trained.items():
        values = torch.randn(parameter.shape, generator=generator)
        scale = 1 + 0.2 * values if "magnitude" in key else values * 0.3
        parameter.data = parameter.data * scale if "magnitude" in key else (
            scale if "lora_" in key else parameter.data + 0.1 * values)
    if tied:
        trained = {n: p for n, p in trained.items() if "lm_head" not in n}
    folder = GOLDEN / "lora" / name
    model.save_pretrained(folder)
    (folder / "README.md").unlink(missing_ok=True)
    config = folder / "adapter_config.json"
    config.write_text(config.read_text().replace(str(GOLDEN), "golden") + "\n")
    texts = texts_of(base)
    logits = logits_of(model, texts)
    loss = sum(torch.nn.functional.cross_entropy(out[:-1], text[1:], reduction="sum")
               for out, text in zip(logits, texts) if len(text) > 1)
    loss.backward()
    result = {"logits": torch.cat(logits).detach(), "loss": loss.detach().reshape(1)}
    for key, parameter in trained.items():
        short = key.replace("base_model.model.", "", 1).replace(".default", "")
        short = short.replace(".modules_to_save", "").replace("magnitude_vector.weight",
                                                              "magnitude_vector")
        result["gradient." + short] = parameter.grad.contiguous()
    save_file(result, folder / "golden.safetensors")
    print(name, float(loss.detach()), len(result))


def tokenizer_json():
    pieces = ["<s>", "</s>"] + [chr(ord("a") + i) for i in range(26)] + ["\u0120", ":"]
    special = dict(single_word=False, lstrip=False, rstrip=False, normalized=False, special=True)
    return json.dumps({
        "version": "1.0", "normalizer": None, "post_processor": None,
        "added_tokens": [dict(id=i, content=pieces[i], **special) for i in range(2)],
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True,
                          "use_regex": True},
        "decoder": {"type": "ByteLevel"},
        "model": {"type": "BPE", "vocab": {p: i for i, p in enumerate(pieces)}, "merges": []}})


def logits_after(path, texts, adapter=None):
    model = base_model(path)
    if adapter:
        model = peft.PeftModel.from_pretrained(model, adapter)
    with torch.no_grad():
        return torch.cat(logits_of(model, texts))


def check(heddle, folder):
    texts = [torch.randint(0, 30, (20,), generator=torch.Generator().manual_seed(s)) for s in (1, 2)]
    (folder / "texts.jsonl").write_text('{"text": "a cat sat on a mat"}\n' * 8)
    for name, (of, settings) in CASES.items():
        base, adapter, merged = (folder / f"{name}_{part}" for part in ("base", "adapter", "merged"))
        shutil.copytree(GOLDEN / "language_models" / of, base)
        (base / "tokenizer.json").write_text(tokenizer_json())
        keys = {k: v for k, v in settings.items() if k != "ensure_weight_tying"}
        config = {"model_name_or_path": str(base), "dataset": str(folder / "texts.jsonl"),
                  "output_dir": str(adapter), "max_steps": 20, "learning_rate": 0.02, **keys}
        (folder / "run.yaml").write_text(json.dumps(config))
        subprocess.run([heddle, "finetune", "--config", folder / "run.yaml"], check=True,
                       stderr=subprocess.DEVNULL)
        subprocess.run([heddle, "merge", "--adapter", adapter, "--output", merged], check=True,
                       stdout=subprocess.DEVNULL)
        plain, ours = logits_after(base, texts), logits_after(base, texts, adapter)
        changed = (ours - plain).abs().max().item()
        error = (ours - logits_after(merged, texts)).abs().max().item()
        print(f"{name}: moves logits by {changed:.4g}; adapter and merged differ by {error:.3g}")
        assert changed > 1e-2, "the adapter changes nothing"
        assert error < 1e-5 * ours.abs().max().item(), "adapter and merged model differ"


if __name__ == "__main__":
    warnings.filterwarnings("ignore")
    if sys.argv[1:2] == ["check"]:
        with tempfile.TemporaryDirectory() as place:
            check(sys.argv[2], pathlib.Path(place))
    else:
        for case, (of, how) in CASES.items():
            write(case, of, how)
