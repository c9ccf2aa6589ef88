#!/usr/bin/env python3
"""Writes tests/golden/lora/: adapters of PEFT for models of tests/golden/language_models, each with
what transformers and peft compute with it.

  make_lora.py                       needs torch, transformers and peft
  make_lora.py check BASE ADAPTER MERGED
                                     an adapter and a merged model that were saved here load there,
                                     with the same logits

  logits f32 [T, V]                  each text of the base's golden.safetensors read alone
  loss f32 [1]                       the sum of -ln p of each next token of its text
  gradient.NAME f32                  of the loss, for everything that is trained
"""
import pathlib
import sys
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


def check(base, adapter, merged):
    texts = [torch.randint(0, 40, (20,), generator=torch.Generator().manual_seed(s)) for s in (1, 2)]
    with torch.no_grad():
        plain = torch.cat(logits_of(base_model(base), texts))
        ours = torch.cat(logits_of(peft.PeftModel.from_pretrained(base_model(base), adapter), texts))
        whole = torch.cat(logits_of(base_model(merged), texts))
    changed, error = (ours - plain).abs().max().item(), (ours - whole).abs().max().item()
    print(f"the adapter moves logits by {changed:.4g}; adapter and merged model differ by {error:.3g}")
    assert changed > 1e-3, "the adapter changes nothing"
    assert error < 1e-4 * ours.abs().max().item(), "adapter and merged model differ"


if __name__ == "__main__":
    warnings.filterwarnings("ignore")
    if sys.argv[1:2] == ["check"]:
        check(*sys.argv[2:5])
    else:
        for case, (of, how) in CASES.items():
            write(case, of, how)
