"""Texts for make_golden_bpe.py: those that tokenizers are trained on, and those that are hard."""

TRAINING = [
    "A loom holds two sets of threads; the weaver lifts some of them, and a gap opens between the others.",
    "It's what we've said: they'll go, I'd stay, you're right, she isn't, and that's all I'm saying.",
    "Der Weber hebt die Fäden, und zwischen den übrigen öffnet sich ein Fach; größer als zuvor, süß und schön.",
    "O tecelão levanta os fios e abre-se um espaço entre eles: coração, ação, útil, você não está só.",
    "Le tisserand lève les fils à l'été; où est-ce que c'était? Voilà, déjà reçu, naïve, Noël.",
    "El niño pequeño corrió mañana por el camino; ¿qué pasó? ¡Nada!",
    "Ткач поднимает нити, и между остальными открывается зазор. Это было давно.",
    "Ο υφαντής σηκώνει τα νήματα και ανοίγει ένα κενό ανάμεσά τους.",
    "يرفع النساج الخيوط فتنفتح فجوة بينها، وهذا كل شيء.",
    "האורג מרים את החוטים ונפתח רווח ביניהם.",
    "बुनकर धागों को उठाता है और उनके बीच एक जगह खुल जाती है।",
    "ช่างทอยกเส้นด้ายขึ้นและเกิดช่องว่างระหว่างเส้นด้าย",
    "织工提起经线，其余的线之间便出现一个开口。这是很久以前的事了。",
    "機織りは糸を持ち上げ、その間にすき間ができます。カタカナもあります。",
    "직조공이 실을 들어 올리면 그 사이에 틈이 생긴다. 아주 오래전 일이다.",
    "Dệt vải là một nghề rất cũ; người thợ nâng các sợi chỉ lên.",
    "def weave(threads, gap=3):\n    for i in range(len(threads)):\n        if threads[i] > 0: return i + 1",
    "int main(void) { for (int i = 0; i < 10; ++i) { sum += values[i] * 2; } return 0; }",
    "In 1999, 2024 and 31 December: 3.14159, 1,000,000, 50%, $42.00, 12:30, 0x1F, 1e-9.",
    "😀 😃 🎉 👍 ❤️ 🚀 ✨ 🇩🇪 👩‍👩‍👧",
]

SPACES = "\t\n\v\f\r\x1c\x1d\x1e\x1f \x85\xa0\u1680\u180e\u2000\u2001\u2009\u200a\u200b\u2028\u2029\u202f\u205f\u3000\ufeff"

TEXTS = [
    "", " ", "  ", "\n", "a", " a", "a ", "  a  b   c    ", "Hello, world!", "Hello,world!  How're you?\n\n\nFine.\r\n\r\n",
    "It's I'M we'VE they'll SHE'D can't 'tis 's'S 'ſ 'K '’s ’s it's's ''s 'sx",
    "e\u0301 o\u0308 \u00e9 \u0041\u030a \u212b \u1e9b\u0323 a\u0315\u0300\u05ae\u0300\u0062 \u0344 \u03d3 Ǆ ǅ ǆ ﬁ ﬃ ½ ² Ⅷ ⅷ ㎏ ｱﾞ Ａ１",
    "Größe ÖÄÜ öäü straße STRASSE ẞ İstanbul ıI naïve Ångström",
    "O coração não está só; ação, você, àquele, pôr-se-á.",
    "مرحبا بالعالم، كيف الحال؟ ١٢٣٫٤٥٦ لَا إِلٰهَ ﷺ ﻻ", "שלום עולם, שָׁלוֹם ־ ״ט״",
    "हिन्दी में लिखा हुआ क्षत्रिय श्री १२३४५ ज़्यादा।", "ภาษาไทยไม่มีช่องว่าง ๑๒๓ กำลังทำ น้ำ", "မြန်မာ ភាសាខ្មែរ ພາສາລາວ தமிழ் తెలుగు ಕನ್ನಡ മലയാളം සිංහල বাংলা ਪੰਜਾਬੀ ગુજરાતી",
    "中文文本，没有空格。日本語のテキスト：カタカナとひらがな！漢字々〆ヵヶ", "中文English混排123文字4567",
    "한국어 텍스트 \u1112\u1161\u11ab\u1100\u1173\u11af ㅎㅏㄴ 각\u11a8", "ქართული ენა Հայերեն ትግርኛ ᏣᎳᎩ ᐃᓄᒃᑎᑐᑦ ᠮᠣᠩᠭᠣᠯ བོད་སྐད ⵜⴰⵎⴰⵣⵉⵖⵜ",
    "Ελληνικά: ΣΊΣΥΦΟΣ ᾳ ᾼ ὈΔΥΣΣΕΎΣ; Русский ЁЖИК ёжик й и\u0306 Україна ї",
    "😀 👩‍👩‍👧‍👦 👩🏽‍💻 🏳️‍🌈 🇩🇪🇵🇹 1️⃣ ❤ ❤️ ☺︎ 🧑🏿‍🚀🫠 \U0001f468\u200d", "𝔘𝔫𝔦𝔠𝔬𝔡𝔢 𝟙𝟚𝟛 𐍈 𠀀𠮷 𓀀 𒀀 \U0010fffd \U000e0041",
    "\u200fعربي\u200e LTR \u202eevil\u202c \u2066iso\u2069 a\u200cb\u200dc\u00adx", SPACES, "a" + "a".join(SPACES) + "a", "x".join(2 * c for c in SPACES),
    "".join(map(chr, range(0x20))) + "\x7f" + "".join(map(chr, range(0x80, 0xa0))), "\0", "a\0b\0\0c", "\ufffd a\ufffdb \ufffe \uffff \ufdd0 \U0001fffe",
    "1 12 123 1234 12345 123456 1234567 3.14 1,000,000 ١٢٣٤ १२३ ๑๒๓ ①②③ ½¾ Ⅻ 𝟘𝟙𝟚𝟛 x1y22z333 0x1F 1e-9 2²",
    "def f(x):\n\tif x >= 3:\n\t\treturn {'a': [1, 2], \"b\": None}  # ok\n    \n\n  return x**2 // 7\r\n",
    "#include <vector>\nint main() { std::vector<int> v{1,2}; return v[0]!=v[1] && !(a||b) ? x->y : *p; } // äöü",
    "https://example.org/a/b?q=1&r=%20#x user@example.org C:\\dir\\file.txt ~/x ../y", "<html><b>x</b><!-- c --></html> {{x}} [[y]] ((z)) $$ @@ ## __init__ ...…--——",
    "camelCase PascalCase snake_case SCREAMING_CASE kebab-case iPhone macOS McDonald HTTPServer XMLHttpRequest2",
    "don't DON'T Don’t rock'n'roll o'clock y'all'd've 'twas '90s 5'10\"", " leading", "trailing ", "\n\n a \n b\n", "a\n \nb", "a \n\n\n", "   \n   x", "\t\tx\t y", "a\r\nb\rc\n\rd",
    "!!!", " !!!", "!!!\n\n", "?!a?!", "。。。", " 。x", "a.b.c", "x\u2e43y\u166dz\U000111c9\u2e2e\u061fw", "()[]{}", "/ // ///\n", "-- --\r\n\r\n x", "€100 £5 ¥¥ 20% ±3 ×÷ ∑∏√ ≠≈ ←→ ♠♥ ©®™ §¶ °C",
    "<|endoftext|>", "a<|endoftext|>b", "<|endoftext|><|endoftext|>", " <|endoftext|> ", "<|endoftext", "<|endoftext|", "|endoftext|>", "<<|endoftext|>>",
    "<|begin_of_text|><|im_start|>user\nHi<|im_end|>\n<|eot_id|><|end_of_text|>", "<|im_start|>ß<|im_end|>e\u0301<|im_start|> x", "<s>[INST] Hi [/INST]</s> <s>x</s>y", "<|IM_START|><|im_start |>",
    "<tool_call>{\"a\":1}</tool_call><tool_call>", "<0x41><0xE2><0x82>", "<unk> <pad>", "x \n <b> \t y<b>z <b> <b>", "x <c>  y<c> <c>\n<c>", "x<d>y <d> <d>. _<d> <d>\u0301 \u200d<d> é<d>", "a  <e>  b <e><e> <c> <e>  <b>",
    "ﬁ fi ﬁx it's it'sx xit's it's.", "\n\n\n a\n\nb ▁▁▁▁▁ ▁x  y", "▁a ▁ ▁▁", "a\u2581b", "Ġthe Ċ Ã© ĠĠ", "schön o\u0308l Öl ö", "aeiou idea 1a2 a1 queue eau x1y", "The quick brown fox jumps over the lazy dog. " * 3,
    "TERMS AND CONDITIONS FOR USE, REPRODUCTION, AND DISTRIBUTION\n\n   1. Definitions.\n\n      \"License\" shall mean",
]

# Texts that are long: (at the head, repeated, how often).
LONG = [("", "a", 20000), ("x", " ", 5000), ("", " ", 3000), ("", "\n", 2000), ("", "ab", 5000), ("e", "\u0301", 3000), ("", "日本", 2000), ("", "0123456789", 500),
        ("", "Donaudampfschifffahrtsgesellschaft", 300), ("", "!?", 2000), ("", "👩\u200d", 700), ("", "<|endoftext|>", 200), ("", " the", 2000), ("", "\ufffd", 1500), ("a ", "\0", 2000)]
