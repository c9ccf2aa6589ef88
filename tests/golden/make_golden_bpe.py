#!/usr/bin/env python3
"""Writes tests/golden/bpe/: small tokenizers and what Hugging Face's library makes of hard texts.

    pip install tokenizers==0.23.3 && python3 tests/golden/make_golden_bpe.py

<name>.json is a tokenizer.json as models of that name have it, trained on LICENSE and on texts of
bpe_texts.py. cases.json: the texts; for each tokenizer the ids of each text ("ids"), those without
special tokens in the text ("plain") where they differ, what the ids decode to ("decoded") where that
is not the text, and ids at random with what they decode to. More than 32 ids are their number and a
checksum.
"""
import json
import pathlib
import random

from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from bpe_texts import LONG, TEXTS, TRAINING

HERE = pathlib.Path(__file__).resolve().parent
OUT = HERE / "bpe"
LINES = (HERE.parents[1] / "LICENSE").read_text(encoding="utf-8").splitlines() + TRAINING * 4

# The published patterns of the models.
LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
          r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
QWEN2 = LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")
CL100K = (r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}{1,3}"
          r"| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+")
UPPER, LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
TEKKEN = (rf"[^\r\n\p{{L}}\p{{N}}]?{UPPER}*{LOWER}+|[^\r\n\p{{L}}\p{{N}}]?{UPPER}+{LOWER}*|\p{{N}}"
          r"| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+")
O200K = (rf"[^\r\n\p{{L}}\p{{N}}]?{UPPER}*{LOWER}+(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
         rf"|[^\r\n\p{{L}}\p{{N}}]?{UPPER}+{LOWER}*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{{N}}{{1,3}}"
         r"| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+")
DEEPSEEK = (r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"
            r"| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
BLOOM = r" ?[^(\s|[.,!?…。，、।۔،])]+"


def split(pattern, behavior="Isolated", invert=False, kind="Regex"):
    return {"type": "Split", "pattern": {kind: pattern}, "behavior": behavior, "invert": invert}


def byte_level(use_regex=False, add_prefix_space=False):
    return {"type": "ByteLevel", "add_prefix_space": add_prefix_space, "trim_offsets": True,
            "use_regex": use_regex}


def replace(pattern, content):
    return {"type": "Replace", "pattern": {"String": pattern}, "content": content}


def sequence(name, *parts):
    return {"type": "Sequence", name: list(parts)}


def added(content, special=True, **options):
    return {"content": content, "single_word": False, "lstrip": False, "rstrip": False,
            "normalized": not special, "special": special, **options}


def template(*before, after=()):
    around = [{"SpecialToken": {"id": t, "type_id": 0}} for t in before]
    behind = [{"SpecialToken": {"id": t, "type_id": 0}} for t in after]
    return {"type": "TemplateProcessing", "single": around + [{"Sequence": {"id": "A", "type_id": 0}}] + behind,
            "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {t: {"id": t, "ids": [t], "tokens": [t]} for t in (*before, *after)}}


FALLBACK = [f"<0x{byte:02X}>" for byte in range(256)]
SPM_DECODER = sequence("decoders", replace("▁", " "), {"type": "ByteFallback"}, {"type": "Fuse"})
METASPACE = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "first", "split": False}
ODD = [added("<b>", lstrip=True), added("<c>", rstrip=True), added("<d>", single_word=True),
       added("<e>", special=False, lstrip=True, rstrip=True), added("ﬁ", special=False),
       added("it's", special=False, single_word=True, normalized=False), added("<|im_start|>", normalized=True)]
CHAT = [added(t) for t in ("<|begin_of_text|>", "<|end_of_text|>", "<|eot_id|>", "<|endoftext|>",
                           "<|im_start|>", "<|im_end|>", "<s>", "</s>")]

# name: (size of the trained vocabulary, the parts that are not null, options of the model)
TOKENIZERS = {
    "gpt2": (1500, dict(pre_tokenizer=byte_level(True), decoder=byte_level(True), added=CHAT[3:4],
                        post_processor=byte_level(True)), dict(strings=True)),
    "llama3": (1500, dict(pre_tokenizer=sequence("pretokenizers", split(LLAMA3), byte_level()),
                          decoder=byte_level(True), added=CHAT,
                          post_processor=sequence("processors", byte_level(True), template("<|begin_of_text|>"))),
               dict(ignore_merges=True)),
    "qwen2": (1200, dict(normalizer={"type": "NFC"}, decoder=byte_level(), post_processor=byte_level(),
                         pre_tokenizer=sequence("pretokenizers", split(QWEN2), byte_level()),
                         added=CHAT + [added("<tool_call>", special=False, normalized=False)]), {}),
    "cl100k": (400, dict(pre_tokenizer=sequence("pretokenizers", split(CL100K, "Removed", True), byte_level()),
                         decoder=byte_level(), added=CHAT), {}),
    "tekken": (400, dict(pre_tokenizer=sequence("pretokenizers", split(TEKKEN), byte_level()),
                         decoder=byte_level(), added=CHAT), dict(ignore_merges=True)),
    "o200k": (400, dict(pre_tokenizer=sequence("pretokenizers", split(O200K), byte_level()),
                        decoder=byte_level(), added=CHAT), {}),
    "deepseek": (400, dict(pre_tokenizer=sequence("pretokenizers", split(r"\p{N}{1,3}"), split(r"[一-龥぀-ゟ゠-ヿ]+"),
                                                  split(DEEPSEEK), byte_level()),
                           normalizer=sequence("normalizers"), decoder=byte_level(), added=CHAT), {}),
    "bloom": (400, dict(pre_tokenizer=sequence("pretokenizers", split(BLOOM), byte_level()),
                        decoder=byte_level(True, True), added=CHAT[6:]), {}),
    "starcoder": (400, dict(pre_tokenizer=sequence("pretokenizers", {"type": "Digits", "individual_digits": True},
                                                   byte_level(True)), decoder=byte_level(True), added=CHAT[3:4]), {}),
    "falcon": (400, dict(pre_tokenizer=sequence("pretokenizers", {"type": "Punctuation", "behavior": "Contiguous"},
                                                byte_level(True), {"type": "Digits", "individual_digits": False},
                                                split("[0-9][0-9][0-9]")), decoder=byte_level(True), added=CHAT[3:4]), {}),
    "roberta": (400, dict(pre_tokenizer=byte_level(True, True), decoder=byte_level(True, True), added=CHAT[6:],
                          post_processor={"type": "RobertaProcessing", "sep": ["</s>", "</s>"], "cls": ["<s>", "<s>"],
                                          "trim_offsets": True, "add_prefix_space": True}), {}),
    "llama2": (700, dict(normalizer=sequence("normalizers", {"type": "Prepend", "prepend": "▁"}, replace(" ", "▁")),
                         decoder=sequence("decoders", *SPM_DECODER["decoders"],
                                          {"type": "Strip", "content": " ", "start": 1, "stop": 0}),
                         added=[added("<unk>")] + CHAT[6:], post_processor=template("<s>", after=["</s>"])),
               dict(byte_fallback=True, fuse_unk=True, unk_token="<unk>", strings=True)),
    "gemma": (700, dict(normalizer=replace(" ", "▁"), pre_tokenizer=split(" ", "MergedWithPrevious", kind="String"),
                        decoder=SPM_DECODER, added=[added("<unk>")] + CHAT[6:] +
                        [added(t, special=False, normalized=False) for t in ("\n\n", "▁▁", "▁▁▁▁", "<b>")]),
              dict(byte_fallback=True, fuse_unk=True, unk_token="<unk>")),
    "mistral": (700, dict(pre_tokenizer=METASPACE, added=[added("<unk>")] + CHAT[6:], decoder=sequence(
        "decoders", replace("▁", " "), {"type": "ByteFallback"}, {"type": "Fuse"},
        {"type": "Strip", "content": " ", "start": 1, "stop": 0})), dict(byte_fallback=True, unk_token="<unk>")),
    "metaspace": (300, dict(pre_tokenizer={**METASPACE, "prepend_scheme": "always", "split": True}, added=[added("<unk>")],
                            decoder={**METASPACE, "prepend_scheme": "always", "split": True}), dict(unk_token="<unk>")),
    "odd": (300, dict(normalizer=sequence("normalizers", {"type": "NFKC"}, replace("ö", "oe")), added=ODD + [added("<unk>")],
                      pre_tokenizer=sequence("pretokenizers", split(r"\w+", "MergedWithNext"), split(r"[aeiou]+\b", "Contiguous"),
                                             split(r"\B\d?", "MergedWithPrevious"), {"type": "WhitespaceSplit"})),
            dict(unk_token="<unk>", fuse_unk=True)),
}


def trained(name, size, parts, options):
    """A tokenizer.json, with ids where the names of tokens stand."""
    base = Tokenizer(models.BPE())
    tokens = [t["content"] for t in parts["added"]]
    spm = name in ("llama2", "gemma", "mistral", "metaspace", "odd")
    if spm:
        base.pre_tokenizer = pre_tokenizers.Metaspace()
        tokens = ["<unk>"] + tokens + (FALLBACK if options.get("byte_fallback") else [])
    else:
        base.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    base.train_from_iterator(LINES, trainers.BpeTrainer(
        vocab_size=size, special_tokens=list(dict.fromkeys(tokens)), show_progress=False,
        limit_alphabet=160 if spm else 256, initial_alphabet=[] if spm else pre_tokenizers.ByteLevel.alphabet()))
    model = json.loads(base.to_str())["model"]
    vocab, merges = model["vocab"], model["merges"]
    if not spm:  # the added tokens are behind the model's own, as in most files
        inner = [piece for piece in sorted(vocab, key=vocab.get) if piece not in tokens]
        vocab = {piece: i for i, piece in enumerate(inner)}
        ids = {piece: len(inner) + i for i, piece in enumerate(tokens)}
    else:
        ids = vocab
    return composed(parts, options, vocab, merges, ids)


def composed(parts, options, vocab, merges, ids):
    """The whole file; `ids` are those of the added tokens."""
    options = dict(options)
    if options.pop("strings", False):
        merges = [" ".join(pair) for pair in merges]
    model = {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None, "end_of_word_suffix": None,
             "fuse_unk": False, "byte_fallback": False, "ignore_merges": False, **options, "vocab": vocab, "merges": merges}
    post = json.loads(json.dumps(parts.get("post_processor")))
    for processor in (post or {}).get("processors", [post]):
        if processor and processor["type"] == "TemplateProcessing":
            for token in processor["special_tokens"].values():
                token["ids"] = [ids[piece] for piece in token["ids"]]
        if processor and processor["type"] == "RobertaProcessing":
            processor.update(sep=["</s>", ids["</s>"]], cls=["<s>", ids["<s>"]])
    tokens = sorted(({"id": ids[t["content"]], **t} for t in parts["added"]), key=lambda token: token["id"])
    return {"version": "1.0", "truncation": None, "padding": None, "added_tokens": tokens,
            "normalizer": parts.get("normalizer"), "pre_tokenizer": parts.get("pre_tokenizer"), "post_processor": post,
            "decoder": parts.get("decoder"), "model": model}


def checksum(ids):
    value = 0
    for number in ids:
        value = (value * 31 + number + 1) % 1000000007
    return value


def shortened(ids):
    return ids if len(ids) <= 32 else {"count": len(ids), "checksum": checksum(ids)}


def cases(tokenizer, seed):
    texts = []
    for text in TEXTS:
        tokenizer.encode_special_tokens = False
        ids = tokenizer.encode(text, add_special_tokens=False).ids
        tokenizer.encode_special_tokens = True
        plain = tokenizer.encode(text, add_special_tokens=False).ids
        decoded = tokenizer.decode(ids, skip_special_tokens=False)
        texts.append({"ids": shortened(ids), **({} if plain == ids else {"plain": shortened(plain)}),
                      **({} if decoded == text else {"decoded": decoded})})
    tokenizer.encode_special_tokens = False
    long = []
    for before, text, count in LONG:
        ids = tokenizer.encode(before + text * count, add_special_tokens=False).ids
        long.append(shortened(ids))
    generator = random.Random(seed)
    mixed = []
    for _ in range(12):
        ids = [generator.randrange(tokenizer.get_vocab_size()) for _ in range(generator.randrange(1, 24))]
        mixed.append({"ids": ids, "decoded": tokenizer.decode(ids, skip_special_tokens=True)})
    around = tokenizer.encode("", add_special_tokens=True).ids
    return {"texts": texts, "long": long, "random": mixed, "around": around}


def main():
    OUT.mkdir(exist_ok=True)
    result = {"texts": TEXTS, "long": LONG, "tokenizers": {}}
    for seed, (name, (size, parts, options)) in enumerate(TOKENIZERS.items()):
        text = json.dumps(trained(name, size, parts, options), ensure_ascii=False, separators=(",", ":"))
        (OUT / f"{name}.json").write_text(text + "\n", encoding="utf-8")
        result["tokenizers"][name] = cases(Tokenizer.from_str(text), seed)
    text = json.dumps(result, ensure_ascii=False, separators=(",", ":")).replace("},{", "},\n{")
    (OUT / "cases.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
