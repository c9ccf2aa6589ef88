#!/usr/bin/env python3
"""Writes tests/golden/language_models/: tiny random language models of each family as Hugging Face
saves them, three of them as GGUF files too, each with what transformers computes: golden.safetensors
beside the weights.

  make_language_models.py [FOLDER]     needs torch, transformers, safetensors and gguf

  tokens i32 [T], offsets i32 [S + 1]   texts side by side; some are longer than the window
  logits f32 [T, V]                     each text read alone, in single precision, eager attention
  loss f32 [1]                          the sum of -ln p of each next token of its text
  gradient.NAME f32                     of the loss: whole for vectors …
  gradient_norm.NAME f32 [1]            … its length for matrices
"""
import json
import math
import pathlib
import shutil
import sys

import gguf
import torch
import transformers
from safetensors.torch import load_file, save_file

LENGTHS = [5, 23, 1, 14]
COMMON = dict(vocab_size=48, hidden_size=32, intermediate_size=40, num_hidden_layers=2,
              num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=64,
              bos_token_id=1, eos_token_id=2, pad_token_id=None)

FAMILIES = {
    "llama": dict(model_type="llama", num_key_value_heads=4, rope_theta=10000.0, attention_bias=True,
                  mlp_bias=True, eos_token_id=[2, 7]),
    "llama3": dict(model_type="llama", head_dim=16, tie_word_embeddings=True, rope_theta=1000.0,
                   rope_scaling=dict(rope_type="llama3", factor=4.0, low_freq_factor=1.0,
                                     high_freq_factor=4.0, original_max_position_embeddings=32)),
    "llama31": dict(model_type="llama", head_dim=16, rope_theta=10000.0,
                    rope_scaling=dict(rope_type="llama3", factor=8.0, low_freq_factor=1.0,
                                      high_freq_factor=4.0, original_max_position_embeddings=8192)),
    "mistral": dict(model_type="mistral", sliding_window=8),
    "qwen2": dict(model_type="qwen2", tie_word_embeddings=True, rope_theta=10000.0,
                  rope_scaling=dict(rope_type="yarn", factor=4.0,
                                    original_max_position_embeddings=16)),
    "qwen2_window": dict(model_type="qwen2", use_sliding_window=True, sliding_window=8,
                         max_window_layers=1),
    "qwen3": dict(model_type="qwen3", head_dim=16, rope_theta=10000.0,
                  rope_scaling=dict(rope_type="linear", factor=2.0)),
    "gemma3": dict(model_type="gemma3_text", num_hidden_layers=4, num_key_value_heads=1, head_dim=16,
                   sliding_window=8, sliding_window_pattern=3, query_pre_attn_scalar=24,
                   rope_theta=1000000.0, rope_local_base_freq=10000.0, intermediate_size=32,
                   rope_scaling=dict(rope_type="linear", factor=8.0)),
    "gemma3_even": dict(model_type="gemma3_text", head_dim=16, sliding_window=8,
                        num_hidden_layers=6, query_pre_attn_scalar=16, hidden_size=16,
                        num_attention_heads=2, num_key_value_heads=1, intermediate_size=16),
}
AS_GGUF = {"llama31": "llama", "qwen2": "qwen2", "gemma3_even": "gemma3"}


def draw(model):
    """Weights that make attention choose and norms differ, as bfloat16 holds them."""
    generator = torch.Generator().manual_seed(5)
    for name, parameter in model.named_parameters():
        values = torch.randn(parameter.shape, generator=generator)
        if "norm" in name:
            values = 0.25 * values + (0 if "gemma" in model.config.model_type else 1)
        elif name.endswith("bias"):
            values = 0.25 * values
        else:
            values = values * (1.2 / math.sqrt(parameter.shape[-1]))
        parameter.data = values.bfloat16().float()


def golden(model):
    generator = torch.Generator().manual_seed(7)
    texts = [torch.randint(model.config.vocab_size, (n,), generator=generator) for n in LENGTHS]
    logits, loss = [], 0.0
    model.zero_grad()
    for text in texts:
        out = model(input_ids=text[None]).logits[0]
        logits.append(out.detach())
        loss = loss + torch.nn.functional.cross_entropy(out[:-1], text[1:], reduction="sum")
    loss.backward()
    offsets = torch.tensor([0] + LENGTHS).cumsum(0).int()
    result = {"tokens": torch.cat(texts).int(), "offsets": offsets, "logits": torch.cat(logits),
              "loss": loss.detach().reshape(1)}
    for name, parameter in model.named_parameters():
        if parameter.dim() == 1:
            result[f"gradient.{name}"] = parameter.grad
        else:
            result[f"gradient_norm.{name}"] = parameter.grad.norm().reshape(1)
    return {name: tensor.contiguous() for name, tensor in result.items()}


def with_old_rotary_fields(path, config):
    """Half of the models have rope_theta and rope_scaling, as configs up to transformers 4 do."""
    json_file = path / "config.json"
    values = json.loads(json_file.read_text())
    values.pop("rope_parameters", None)
    values.pop("layer_types", None)
    values.pop("transformers_version", None)
    for key in ("rope_theta", "rope_scaling", "rope_local_base_freq", "sliding_window_pattern",
                "max_window_layers"):
        if key in config:
            values[key] = config[key]
    json_file.write_text(json.dumps(values, indent=2, sort_keys=True) + "\n")


def permuted(weight, heads):
    """Rows as llama.cpp has them for architecture llama: what turns together side by side."""
    return weight.reshape(heads, 2, -1, *weight.shape[1:]).swapaxes(1, 2).reshape(weight.shape)


def write_gguf(path, model, architecture):
    c = model.config
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_context_length(c.max_position_embeddings)
    writer.add_embedding_length(c.hidden_size)
    writer.add_block_count(c.num_hidden_layers)
    writer.add_feed_forward_length(c.intermediate_size)
    writer.add_head_count(c.num_attention_heads)
    writer.add_head_count_kv(c.num_key_value_heads)
    writer.add_layer_norm_rms_eps(c.rms_norm_eps)
    head = getattr(c, "head_dim", None) or c.hidden_size // c.num_attention_heads
    writer.add_key_length(head)
    writer.add_value_length(head)
    writer.add_vocab_size(c.vocab_size)
    rope = c.rope_parameters.get("full_attention", c.rope_parameters)
    writer.add_rope_freq_base(rope["rope_theta"])
    if rope["rope_type"] == "yarn":
        writer.add_rope_scaling_type(gguf.RopeScalingType.YARN)
        writer.add_rope_scaling_factor(rope["factor"])
        writer.add_rope_scaling_orig_ctx_len(rope["original_max_position_embeddings"])
    if rope["rope_type"] == "llama3":
        frequencies = rope["rope_theta"] ** -(torch.arange(0, head, 2, dtype=torch.float64) / head)
        turns = rope["original_max_position_embeddings"] * frequencies / (2 * math.pi)
        kept = ((turns - rope["low_freq_factor"]) /
                (rope["high_freq_factor"] - rope["low_freq_factor"])).clamp(0, 1)
        writer.add_tensor("rope_freqs.weight",
                          (1 / ((1 - kept) / rope["factor"] + kept)).float().numpy())
    if architecture == "gemma3":
        writer.add_sliding_window(c.sliding_window)
    writer.add_bos_token_id(c.bos_token_id)
    writer.add_eos_token_id(c.eos_token_id)
    writer.add_tokenizer_model("llama")
    writer.add_token_list([f"<{i}>" for i in range(c.vocab_size)])
    writer.add_token_scores([float(-i) for i in range(c.vocab_size)])
    writer.add_token_types([1] * c.vocab_size)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH[architecture.upper()], c.num_hidden_layers)
    for name, values in model.state_dict().items():
        if name == "lm_head.weight" and c.tie_word_embeddings:
            continue
        if architecture == "llama" and ".q_proj." in name:
            values = permuted(values, c.num_attention_heads)
        if architecture == "llama" and ".k_proj." in name:
            values = permuted(values, c.num_key_value_heads)
        if architecture == "gemma3" and name.endswith("norm.weight"):
            values = values + 1
        to = names.get_name(name, try_suffixes=(".weight", ".bias"))
        if values.dim() == 2 and architecture != "gemma3":  # its matrices stay f32
            raw = gguf.quants.quantize(values.numpy(), gguf.GGMLQuantizationType.BF16)
            writer.add_tensor(to, raw, raw_dtype=gguf.GGMLQuantizationType.BF16)
        else:
            writer.add_tensor(to, values.numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def main():
    here = pathlib.Path(__file__).resolve().parent.parent
    root = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else here / "golden" / "language_models")
    for name, given in FAMILIES.items():
        path = root / name
        shutil.rmtree(path, ignore_errors=True)
        path.mkdir(parents=True)
        values = COMMON | json.loads(json.dumps(given))
        config = transformers.AutoConfig.for_model(**values)
        config._attn_implementation = "eager"
        model = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float32)
        draw(model)
        model.eval()
        sharded = name == "mistral"
        copy = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
        copy.load_state_dict(model.state_dict())
        copy.save_pretrained(path, max_shard_size="12KB" if sharded else "1GB")
        (path / "generation_config.json").unlink(missing_ok=True)
        if name not in ("qwen3", "gemma3_even", "llama"):
            with_old_rotary_fields(path, given)
        results = golden(model)
        save_file(results, path / "golden.safetensors")
        again = transformers.AutoModelForCausalLM.from_pretrained(
            path, dtype=torch.float32, attn_implementation="eager")
        assert torch.equal(golden(again)["logits"], results["logits"]), name
        if name in AS_GGUF:
            write_gguf(path / "model.gguf", model, AS_GGUF[name])
        size = sum(file.stat().st_size for file in path.iterdir())
        print(f"{name}: {size} bytes, loss {results['loss'].item():.6f}")


main()
