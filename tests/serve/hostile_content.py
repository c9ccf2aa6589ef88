"""Bodies: JSON that is none, wrong fields, numbers and texts beyond measure (HT-14 … 20, 31)."""

import json

import compliance
import json_bodies
import wire
from compliance import expect
from hostile_framing import small_error

MARK = "Zx9marker"


def refused(port, body, wanted=(400, 422)):
    """Posts a body that must be refused, briefly and without repeating it."""
    reply = wire.ask(port, "POST", "/v1/translate", body)
    expect(
        reply is not None and reply.status in wanted,
        (body[:80] if isinstance(body, bytes) else body, reply and reply.status),
    )
    small_error(reply)
    expect(MARK.encode() not in reply.body, "the input comes back in the error")
    return reply


def ht_14_bodies_that_are_not_json(context):
    port = context.server().port
    found = list(json_bodies.bodies())
    for body in found:
        refused(port, body, (400,))
    return f"{len(found)} bodies"


def ht_15_depth(context):
    port = context.server().port
    refused(port, b'{"text":' + b"[" * 64 + b"]" * 64 + b"}", (400,))
    refused(port, b'{"text":' + b"[" * 62 + b"]" * 62 + b"}", (422,))
    refused(port, b"[" * 100000 + b"]" * 100000, (400,))
    with wire.Wire(port, 20) as line:
        line.send(compliance.post(compliance.CHUNKED).replace(b"HOST", b"localhost"))
        part = b'{"":' * 4096
        sent = 0
        while sent < 164 << 20 and line.send(b"4000\r\n" + part + b"\r\n"):
            sent += len(part)
        data = line.everything(5)
        expect(line.ended and (not data or data[9:12] in (b"400", b"413")), data[:60])
    return f"the stream was cut after {sent / 2**20:.1f} MiB, socket buffers counted"


def ht_16_characters(context):
    port = context.server().port
    for text in (
        b"\xff",
        b"\xc0\xaf",
        b"\xed\xa0\x80",
        b"caf\xc3",
        b"\xf5\x80\x80\x80",
        b"\\ud800",
        b"\\udc00\\ud800",
        b"\\ud800x",
        b"a\0b",
    ):
        refused(port, b'{"text":"' + text + b'"}', (400,))
    refused(port, b'{"text":"a\\u0000b"}')
    expect(wire.translate(port, "a \U0001f9f5 b").status == 200, "an emoji")
    expect(wire.ask(port, "POST", "/v1/translate", b'{"text":"\\ud83e\\uddf5"}').status == 200, "a pair of surrogates")


def ht_17_fields(context):
    port = context.server().port
    for body in (
        {},
        [],
        "x",
        1,
        None,
        True,
        {"text": None},
        {"text": 1},
        {"text": {}},
        {"text": [1]},
        {"text": ["a", None]},
        {"text": [["a"]]},
        {"text": "a", MARK: 1},
        {"text": "a", "options": {MARK: 1}},
        {"text": "a", "options": []},
        {"text": "a", "options": "x"},
        {"text": "a", "stream": MARK},
        {"text": "a", "stream": 1},
        {"text": "a", "deadline_ms": MARK},
        {"text": "a", "model": 1},
        {"text": "a", "model": [MARK]},
        {"text": "a", "options": {"beam": MARK}},
        {"text": "a", "options": {"scores": MARK}},
        {"text": "a", "options": {"prefix": 1}},
        {"Text": "a"},
        {"text ": MARK},
    ):
        refused(port, body)
    reply = refused(port, {"text": "a", "colour": 1}, (422,))
    expect("colour" in reply.json()["error"]["message"], "the error does not name the field")
    refused(port, b'{"text":"a","text":"b"}')
    refused(port, {"text": "a", **{f"{MARK}{i}": MARK for i in range(12000)}})
    refused(port, {"text": [MARK] * 100 + [1] * 12000})
    refused(port, {"text": "a", MARK * 1000: 1})
    reply = wire.ask(port, "POST", "/v1/translate", b"text=a", ["Content-Type: text/plain"])
    expect(reply.status in (400, 415), reply.status)


def ht_18_numbers(context):
    port = context.server().port
    for name, values in (
        ("beam", (-1, 0, 2**31, 2**63, 2**64, 1.5, 1e308, "4", True, None, [])),
        ("n_best", (-1, 0, 2**31, 2, 1e300)),
        ("length_penalty", (-1e308, 1e308, -5, "1")),
        ("max_length", (-1, 0, 2**40, 1e308, 0.5)),
    ):
        for value in values:
            refused(port, {"text": "a", "options": {name: value}}, (422,))
    for value in (-1, 0, 2**63, 1e308, "60", 0.1):
        refused(port, {"text": "a", "deadline_ms": value}, (422,))
    for text in ("NaN", "Infinity", "-Infinity", "1e999999", "-1e999999"):
        refused(port, b'{"text":"a","options":{"length_penalty":' + text.encode() + b"}}")


def ht_19_much_text(context):
    server = context.server()
    before = server.resident()
    refused(server.port, {"text": "a" * 1000000}, (413, 422))
    reply = wire.ask(server.port, "POST", "/v1/translate", {"text": ["a"] * 100000}, timeout=120)
    expect(reply.status in (200, 413, 422, 429), reply.status)
    if reply.status == 200:
        expect(len(reply.json()["translations"]) == 100000, "lost sentences")
    sentence = wire.ask(server.port, "POST", "/v1/translate", {"text": "a " * 49999 + "a"}, timeout=120)
    expect(sentence.status in (200, 413, 422, 429, 504), sentence.status)
    grown = server.resident() - before
    expect(grown < 200 << 20, f"{grown >> 20} MiB more memory")
    return f"10^5 sentences: {reply.status}; a sentence of 10^5 characters: {sentence.status}"


def ht_20_line_feeds(context):
    port = context.server().port
    with wire.Wire(port, 10) as line:
        line.send(
            compliance.post(b"Content-Length: 4294967308\r\n").replace(b"HOST", b"localhost")
            + b'{"text":"'
            + b"\\n" * 100000
        )
        reply = line.reply()
        expect(reply is not None and reply.status == 413, reply and reply.status)
    reply = wire.ask(port, "POST", "/v1/translate", {"text": "\n" * 500000}, timeout=60)
    expect(reply.status in (200, 413, 422, 429), reply.status)
    if reply.status == 200:
        expect(reply.json()["translations"][0]["text"] == "\n" * 500000, "other line feeds")
    found = wire.translate(port, "\n\na b\n\n").json()["translations"][0]["text"]
    expect(found.count("\n") == 4 and found.startswith("\n\n"), found)


def ht_31_model_names(context):
    port = context.server().port
    for model in (
        "../../x",
        "/etc",
        "en-pt/../x",
        "",
        ".",
        "en-pt\0",
        "x" * 10000,
        MARK,
        "http://localhost/",
        "en-pt ",
    ):
        body = json.dumps({"text": "a", "model": model}).encode()
        refused(port, body, (400, 404, 422))
    reply = refused(port, {"text": "a", "model": MARK}, (404,))
    expect(reply.json()["error"]["code"], "no code")
