#!/usr/bin/env python3
"""Writes tests/golden/preference/golden.safetensors: losses of ranked answers and their gradients as
plain PyTorch and transformers compute them, each answer behind its question in a padded row of its
own. Where TRL is installed, its trainers must give the same losses.

  make_preference.py                 needs torch and transformers; trl if it is there
  make_preference.py check HEDDLE    lets the command train reward models, and loads them in
                                     transformers and peft: the same scores

  questions, answers, counts i32     lengths in tokens; answers of each question
  tokens i32                         each question once, then its answers
  scores, margins f32                of the answers, of the questions
  CASE.loss f32 [1]                  the mean over questions of the mean over pairs
  CASE.gradient.NAME f32
  MODEL.score f32 [1, D]             of the reward models
"""
import itertools
import json
import pathlib
import shutil
import subprocess
import sys
import tempfile

import torch
import transformers
from safetensors.torch import load_file, save_file

GOLDEN = pathlib.Path(__file__).parent.parent / "golden"
MODELS = GOLDEN / "language_models"
POLICY, REFERENCE = "llama3", "qwen3"
PADDING = 3
DPO_CASES = {
    "sigmoid": dict(loss_type="sigmoid"),
    "smoothed": dict(loss_type="sigmoid", label_smoothing=0.2),
    "norm": dict(loss_type="sigmoid_norm"),
    "robust": dict(loss_type="robust", label_smoothing=0.2),
    "ipo": dict(loss_type="ipo"),
    "hinge": dict(loss_type="hinge"),
    "rpo": dict(loss_type="sigmoid", rpo_alpha=0.7),
    "free": dict(loss_type="sigmoid", reference_free=True),
}
REWARD_CASES = {"plain": dict(), "margin": dict(margin=True), "centred": dict(center=0.3)}
BETA = 0.4
KEPT = ["model.layers.0.self_attn.q_proj.weight", "model.layers.0.mlp.down_proj.weight",
        "model.norm.weight", "model.embed_tokens.weight"]


def groups():
    """Questions with 2, 3, 5 and 2 answers."""
    random = torch.Generator().manual_seed(5)
    length = lambda low, high: int(torch.randint(low, high, (1,), generator=random))
    text = lambda count: torch.randint(4, 48, (count,), generator=random)
    made = []
    for count in (2, 3, 5, 2):
        scores = torch.randperm(count, generator=random).float()
        if count == 5:
            scores[0] = scores[1]  # a tie
        made.append(dict(question=text(length(1, 6)), scores=scores,
                         answers=[text(length(1, 7)) for _ in range(count)],
                         margin=float(length(0, 3)) / 2))
    return made


def padded(made):
    """Rows [A, longest], a mask of tokens and one of answers."""
    rows = [torch.cat([g["question"], a]) for g in made for a in g["answers"]]
    longest = max(map(len, rows))
    ids = torch.full((len(rows), longest), PADDING)
    mask, answer = torch.zeros_like(ids), torch.zeros_like(ids)
    questions = [len(g["question"]) for g in made for _ in g["answers"]]
    for i, (row, question) in enumerate(zip(rows, questions)):
        ids[i, :len(row)] = row
        mask[i, :len(row)] = 1
        answer[i, question:len(row)] = 1
    return ids, mask, answer


def log_probabilities(model, made):
    """Sums over the answers [A], and their lengths."""
    ids, mask, answer = padded(made)
    logits = model(input_ids=ids, attention_mask=mask).logits[:, :-1]
    each = torch.log_softmax(logits.float(), -1).gather(2, ids[:, 1:, None])[..., 0]
    return (each * answer[:, 1:]).sum(1), answer.sum(1)


def pairs(made):
    """(better, worse, share, group) of answers in the order of padded()."""
    first = 0
    for number, g in enumerate(made):
        s = g["scores"]
        found = [(i, j) for i, j in itertools.permutations(range(len(s)), 2) if s[i] > s[j]]
        for i, j in found:
            yield first + i, first + j, 1 / len(found) / len(made), number
        first += len(s)


def dpo_loss(values, reference, lengths, made, loss_type, label_smoothing=0.0, rpo_alpha=0.0,
             reference_free=False):
    f = torch.nn.functional
    gap = values if reference_free else values - reference
    if loss_type in ("ipo", "sigmoid_norm"):
        gap = gap / lengths
    total = 0
    for c, r, share, _ in pairs(made):
        delta = gap[c] - gap[r]
        right, wrong = f.logsigmoid(BETA * delta), f.logsigmoid(-BETA * delta)
        loss = {"sigmoid": lambda: -(1 - label_smoothing) * right - label_smoothing * wrong,
                "sigmoid_norm": lambda: -right,
                "robust": lambda: (-(1 - label_smoothing) * right + label_smoothing * wrong) /
                                  (1 - 2 * label_smoothing),
                "ipo": lambda: (delta - 1 / (2 * BETA)) ** 2,
                "hinge": lambda: torch.relu(1 - BETA * delta)}[loss_type]()
        total = total + share * (loss - rpo_alpha * values[c] / lengths[c])
    return total


def reward_loss(rewards, made, margin=False, center=0.0):
    total = 0
    for c, r, share, number in pairs(made):
        gap = rewards[c] - rewards[r] - (made[number]["margin"] if margin else 0)
        total = total + share * (-torch.nn.functional.logsigmoid(gap) +
                                 center * (rewards[c] + rewards[r]) ** 2)
    return total


def load(kind, name, **more):
    return kind.from_pretrained(MODELS / name, dtype=torch.float32, attn_implementation="eager",
                                **more)


def reward_model(name):
    model = load(transformers.AutoModelForSequenceClassification, name, num_labels=1,
                 pad_token_id=PADDING)
    random = torch.Generator().manual_seed(9)
    model.score.weight.data = torch.randn(model.score.weight.shape, generator=random)
    return model


def rewards_of(model, made):
    ids, mask, _ = padded(made)
    return model(input_ids=ids, attention_mask=mask).logits[:, 0].float()


def differentiate(name, model, loss, tensors, kept):
    model.zero_grad()
    loss.backward()
    tensors[f"{name}.loss"] = loss.detach()[None]
    for key, parameter in model.named_parameters():
        if key in kept:
            tensors[f"{name}.gradient.{key}"] = parameter.grad.clone()


def trl_says(made):
    """TRL's loss and that of dpo_loss, for pairs of two answers."""
    import pyarrow
    from datasets import Dataset
    from tokenizers import Tokenizer, models, pre_tokenizers
    import trl
    words = Tokenizer(models.WordLevel({f"t{i}": i for i in range(48)}, unk_token="t0"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=words, eos_token="t2",
                                                     pad_token=f"t{PADDING}")
    rows = pyarrow.Table.from_pylist([dict(prompt="t5 ", chosen="t6", rejected="t7")])
    data = Dataset(rows, fingerprint="pairs")
    two = [g for g in made if len(g["answers"]) == 2]
    best = [int(g["scores"].argmax()) for g in two]
    order = [2 * i + b for i, b in enumerate(best)] + [2 * i + 1 - b for i, b in enumerate(best)]
    ids, mask, answer = (each[order] for each in padded(two))
    common = dict(use_cpu=True, report_to="none", per_device_train_batch_size=2)
    with tempfile.TemporaryDirectory() as folder:
        for name, case in DPO_CASES.items():
            if name in ("smoothed", "rpo", "free"):
                continue  # not in this version of TRL
            policy, reference = (load(transformers.AutoModelForCausalLM, n)
                                 for n in (POLICY, REFERENCE))
            trainer = trl.DPOTrainer(
                model=policy, ref_model=reference, processing_class=tokenizer, train_dataset=data,
                args=trl.DPOConfig(folder, beta=BETA, loss_type=[case["loss_type"]], bf16=False,
                                   label_smoothing=case.get("label_smoothing", 0.0),
                                   disable_dropout=True, gradient_checkpointing=False, **common))
            found = trainer._compute_loss(trainer.model, dict(
                input_ids=ids, attention_mask=mask, completion_mask=answer), False)
            values, lengths = log_probabilities(policy, two)
            expected = dpo_loss(values, log_probabilities(reference, two)[0], lengths, two, **case)
            yield f"dpo {name}", float(found), float(expected)
        for name, case in REWARD_CASES.items():
            model = reward_model(POLICY)
            trainer = trl.RewardTrainer(
                model=model, processing_class=tokenizer, train_dataset=data,
                args=trl.RewardConfig(folder, center_rewards_coefficient=case.get("center"),
                                      bf16=False, disable_dropout=True,
                                      gradient_checkpointing=False, **common))
            inputs = dict(input_ids=ids, attention_mask=mask)
            if case.get("margin"):
                inputs["margin"] = torch.tensor([g["margin"] for g in two])
            found = trainer.compute_loss(trainer.model, inputs)
            yield f"rm {name}", float(found), float(reward_loss(rewards_of(model, two), two, **case))


def write():
    made = groups()
    lengths = lambda texts: torch.tensor([len(t) for t in texts], dtype=torch.int32)
    tensors = {
        "questions": lengths(g["question"] for g in made),
        "answers": lengths(a for g in made for a in g["answers"]),
        "counts": lengths(g["answers"] for g in made),
        "tokens": torch.cat([t for g in made for t in [g["question"], *g["answers"]]]).int(),
        "scores": torch.cat([g["scores"] for g in made]),
        "margins": torch.tensor([g["margin"] for g in made]),
    }
    policy, reference = (load(transformers.AutoModelForCausalLM, n) for n in (POLICY, REFERENCE))
    with torch.no_grad():
        refers, _ = log_probabilities(reference, made)
    for name, case in DPO_CASES.items():
        values, count = log_probabilities(policy, made)
        differentiate(f"dpo.{name}", policy, dpo_loss(values, refers, count, made, **case), tensors,
                      KEPT)
    for base in ("llama3", "gemma3"):
        model = reward_model(base)
        tensors[f"{base}.score"] = model.score.weight.detach().clone()
        for name, case in REWARD_CASES.items():
            loss = reward_loss(rewards_of(model, made), made, **case)
            differentiate(f"{base}.{name}", model, loss, tensors, KEPT + ["score.weight"])
    folder = GOLDEN / "preference"
    folder.mkdir(exist_ok=True)
    save_file(tensors, folder / "golden.safetensors")
    (folder / "golden.safetensors").chmod(0o644)
    try:
        import trl
    except ImportError:
        print("no TRL here: plain PyTorch alone")
        return
    print("TRL", trl.__version__)
    for name, found, expected in trl_says(made):
        print(f"  {name:14} TRL {found:.6f}  here {expected:.6f}")
        assert abs(found - expected) < 1e-5 * max(1, abs(expected)), name


def tokenizer_json():
    """Bytes alone, as small as the models' vocabularies."""
    pieces = ["<s>", "</s>", "Ġ", *"abcdefghijklmnopqrstuvwxyz"]
    special = dict(special=True, single_word=False, lstrip=False, rstrip=False, normalized=False)
    return json.dumps({
        "version": "1.0", "normalizer": None, "post_processor": None,
        "added_tokens": [dict(id=i, content=pieces[i], **special) for i in range(2)],
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True,
                          "use_regex": True},
        "decoder": {"type": "ByteLevel"},
        "model": {"type": "BPE", "vocab": {p: i for i, p in enumerate(pieces)}, "merges": []}})


def check(heddle):
    """Reward models that the command trains, in transformers and peft."""
    with tempfile.TemporaryDirectory() as folder:
        for base in ("llama3", "mistral", "qwen2", "qwen3", "gemma3"):
            for kind in ("full", "lora"):
                check_one(heddle, base, kind, pathlib.Path(folder) / f"{base}-{kind}")


def check_one(heddle, name, kind, folder):
    import peft
    base, out, scores = folder / "base", folder / "out", folder / "scores.jsonl"
    shutil.copytree(MODELS / name, base)
    (base / "tokenizer.json").write_text(tokenizer_json())
    data = folder / "data.jsonl"
    lines = [dict(prompt="ab", chosen=["c" * (i % 3 + 1), "ce"], rejected="d") for i in range(6)]
    data.write_text("".join(json.dumps(line) + "\n" for line in lines))
    run(heddle, "finetune", "--stage", "rm", "--model_name_or_path", base, "--dataset", data,
        "--output_dir", out, "--max_steps", 5, "--learning_rate", 0.05, "--finetuning_type", kind)
    run(heddle, "score", "--model", out, "--input", data, "--output", scores, "--tokens")
    kind_of = transformers.AutoModelForSequenceClassification
    if kind == "lora":
        model = kind_of.from_pretrained(base, num_labels=1, dtype=torch.float32)
        model = peft.PeftModel.from_pretrained(model, out)
        assert model.peft_config["default"].task_type == "SEQ_CLS"
    else:
        model = kind_of.from_pretrained(out, dtype=torch.float32)
        assert model.config.num_labels == 1
    pad, worst = model.config.pad_token_id, 0
    model.eval()
    for line in map(json.loads, scores.read_text().splitlines()):
        longest = max(map(len, line["tokens"]))
        for tokens, score in zip(line["tokens"], line["scores"]):
            found = [model(input_ids=torch.tensor([tokens])).logits[0, 0].item()]
            if pad is not None:  # padded as in a batch
                rows = torch.tensor([tokens + [pad] * (longest + 2 - len(tokens))])
                found.append(model(input_ids=rows, attention_mask=(rows != pad).long()).logits
                             [0, 0].item())
            worst = max([worst] + [abs(each - score) / max(1, abs(score)) for each in found])
    print(f"{name} {kind}: {type(model).__name__}, pad {pad}, scores differ by {worst:.1e} at most")
    assert worst < 1e-4


def run(*words):
    done = subprocess.run(list(map(str, words)), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


if __name__ == "__main__":
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    check(sys.argv[2]) if sys.argv[1:2] == ["check"] else write()
