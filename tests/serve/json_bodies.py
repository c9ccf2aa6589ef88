"""Texts that are not JSON (RFC 8259), the kinds that JSONTestSuite collects as n_: all must be refused."""

NUMBERS = """++1234 +1 +Inf -01 -1.0. -2. -NaN .-1 .2e-3 0.1.2 0.3e+ 0.3e 0.e1 0E+ 0E 0e+ 0e 1.0e+ 1.0e- 1.0e 1_000.0
1eE2 2.e+3 2.e-3 2.e3 9.e+ Inf NaN \uff11 1+2 0x1 0x42 Infinity 0e+-1 -123.123foo -Infinity -foo -012 -.123 -1x 1ea 1.
.123 1.2a-3 1.8011670033376514H-308 012 - --1 00 01.5 1e 1e1.5""".split()

ARRAYS = r"""[1 true]|["": 1]|[""],|[,1]|[1,,2]|["x",,]|["x"]]|["",]|["x"|[x|[3[4]]|[1:2]|[,]|[   , ""]|[1,]|[1,,]|[*]|
[""|[1,|[{}|[fals]|[nul]|[tru]|[1 000.0]|[- 1]|[True]|[1]x|[1]]|["asd]|[][]|]|[|['|[,|[{|["a|["a"|[1|
[ false, nul|[ true, fals|[ false, tru|[<null>]|<.>|1]|2@|['single quote']|abc|""x|"|
"\UA66D"|["\|[\u000A""]|[\u0020"asd"]|[\n]|*|["x", truth]"""

OBJECTS = r"""{[: "x"}|{"x", null}|{"x"::"b"}|{🇨🇭}|{"a":"a" 123}|{key: 'value'}|{"a" b}|{:"b"}|{"a" "b"}|{"a":|
{"a"|{1:1}|{9999E9999:1}|{null:null,null:null}|{"id":0,,,,,}|{'a':0}|{"id":0,}|{"a":"b"}/**/|{"a":"b"}/**//|{"a":"b"}//|
{"a":"b"}/|{"a":"b",,"c":"d"}|{a: "b"}|{"a":"a|{ "foo" : "bar", "a" }|{"a":"b"}#|{"x": true,|{}}|{"":|
{"a":/*comment*/"b"}|
{"a": true} "x"|{|{]|{,|{[|{"a|{'a'|{"a":"b"}#{}|{"asd":"asd"|{"text":"a",}|{"text":"a"}}|{"text":'a'}|{text:"a"}"""

STRINGS = r"""\uD800\|\uD800\u|\uD800\u1|\uD800\u1x|\x00|\\\|\🌀|\|\u00A|\uD834\uDd|\uD800\uD800\x|
\a|\uqqqq|\'|\u{41}|\U00000041"""

BYTES = [
    b"",
    b" ",
    b"\xef\xbb\xbf",
    b"\xef\xbb{}",
    b"\xe5",
    b"\xe9",
    b"[a\xe5]",
    b"[\xff]",
    b'["a",\n4\n,1,',
    b'["\x0ba"\x0c]',
    b"[1,\n1\n,1",
    b"123\0",
    b"[123\xe5]",
    b"[1e1\xe5]",
    b"[0\xe5]",
    b"[1e\xe5]",
    b'{"\xb9":"0",}',
    b'["\\\0"]',
    b'["\\\t"]',
    b'["\\u\xe5"]',
    b'["\\\xe5"]',
    b'["a\0a"]',
    b'["new\nline"]',
    b'["\t"]',
    b"[\0]",
    b"[\x0c]",
    "[é]".encode(),
    "[\u2060]".encode(),
    "\u2060".encode(),
    "å".encode(),
    "aå".encode(),
    b'["\\{["\\{["\\{["\\{',
    b"[" * 100000,
    b'[{"":' * 50000,
]


def bodies():
    for number in NUMBERS:
        yield f"[{number}]".encode()
    for text in (ARRAYS + "|" + OBJECTS).replace("\n", "").split("|"):
        yield text.encode()
    for text in STRINGS.replace("\n", "").split("|"):
        yield b'["' + text.encode() + b'"]'
    yield from BYTES
