"""Messages that are no messages: lengths, chunks, headers, targets, methods (HT-04 … 13, 27, 28, 32)."""

import gzip
import select
import socket
import time

import compliance
import wire
from compliance import expect

LIMIT = 1 << 20


def padded(size):
    """A request for translation of exactly that many bytes."""
    return b'{"text":"a b"' + b" " * (size - 14) + b"}"


def status_of(port, data, seconds=8):
    """The status of the first reply to raw bytes; None when the connection closes without one."""
    with wire.Wire(port, seconds) as line:
        line.send(data.replace(b"HOST", b"127.0.0.1:%d" % port))
        reply = line.reply()
        return reply.status if reply else None


def small_error(reply):
    expect(len(reply.body) <= 4096, f"an error of {len(reply.body)} bytes")
    expect(reply.header("content-type").startswith("application/json"), reply.header("content-type"))
    expect(set(reply.json()) == {"error"}, reply.body[:200])


def ht_04_content_length(context):
    port = context.server().port
    body = padded(LIMIT)
    reply = wire.ask(port, "POST", "/v1/translate", body)
    expect(reply.status == 200, f"{reply.status} for a body of the limit")
    reply = wire.ask(port, "POST", "/v1/translate", padded(LIMIT + 1))
    expect(reply.status == 413, f"{reply.status} for the limit and one")
    small_error(reply)
    for value in (b"9223372036854775808", b"9223372036854775807", b"18446744073709551615"):
        status = status_of(port, compliance.length(value))
        expect(status in (400, 413), (value, status))
    for value in (b"-1", b"+5", b"5, 6", b"5\r\nContent-Length: 6"):
        status = status_of(port, compliance.length(value))
        expect(status == 400, (value, status))
    expect(status_of(port, compliance.length(b"14, 14")) in (200, 400), "5, 5")


def ht_05_chunked_above_the_limit(context):
    port = context.server().port
    with wire.Wire(port, 10) as line:
        line.send(compliance.post(compliance.CHUNKED).replace(b"HOST", b"localhost"))
        sent = 0
        while sent < LIMIT + (64 << 10):
            line.send(b"4000\r\n" + b" " * 0x4000 + b"\r\n")
            sent += 0x4000
            if select.select([line.socket], [], [], 0.002)[0]:
                break
        reply = line.reply()
        expect(reply is not None and reply.status == 413, reply and reply.status)
        expect(sent > LIMIT, f"refused after {sent} bytes")
        small_error(reply)


def ht_06_chunk_sizes(context):
    port = context.server().port
    for size in (b"-2", b"+1", b"0x5", b"10000000000000000", b"fffffffffffffffff", b"", b"g", b" e", b"e e"):
        status = status_of(port, compliance.body_in_chunks(size))
        expect(status in (400, 413, None), (size, status))
    expect(status_of(port, compliance.body_in_chunks(end=b"")) in (400, None), "no line end behind a chunk")


def ht_07_tiny_chunks(context):
    server = context.server()
    before = server.resident()
    for count, wanted in ((150000, 200), (280000, 413)):
        with wire.Wire(server.port, 30) as line:
            line.send(
                compliance.post(compliance.CHUNKED).replace(b"HOST", b"localhost")
                + b"e\r\n"
                + compliance.BODY
                + b"\r\n"
            )
            line.send(b"6\r\n      \r\n" * count + b"0\r\n\r\n")
            reply = line.reply()
            expect(reply is not None and reply.status == wanted, (count, reply and reply.status))
    grown = server.resident() - before
    expect(grown < 32 << 20, f"{grown >> 20} MiB more memory")


def ht_08_ambiguous_messages(context):
    port = context.server().port
    wanted = ("length and coding", "unknown coding", "folded line", "space before the colon", "NUL in a field value")
    rows = [row for row in compliance.ROWS if row[1] in wanted]
    expect(len(rows) == len(wanted), "a missing row")
    for row in rows:
        compliance.check(port, row)
    for message in (b"GET /health HTTP/1.1\nHost: HOST\n\n", b"GET /health HTTP/1.1\r\nHost: HOST\nX-A: b\r\n\r\n"):
        status = status_of(port, message)
        expect(status in (400, None), f"{status} for a bare LF")


def ht_09_headers(context):
    server = context.server()
    host = b"Host: HOST\r\n"
    many = b"".join(b"X-%d: a\r\n" % i for i in range(101))
    expect(status_of(server.port, compliance.get(host + many)) == 431, "101 headers")
    long = b"X-A: " + b"a" * (8 << 10) + b"\r\n"
    expect(status_of(server.port, compliance.get(host + long)) == 431, "a header of 8 KiB and one")
    expect(
        status_of(server.port, compliance.get(host + b"X-A: " + b"a" * 7000 + b"\r\n")) == 200,
        "a header of 7,000 bytes",
    )
    before = server.resident()
    with wire.Wire(server.port, 10) as line:
        line.send(b"GET /health HTTP/1.1\r\nHost: localhost\r\nX-A: ")
        for _ in range(1000):
            if not line.send(b"a" * 10000):
                break
        data = line.everything(5)
        expect(line.ended and (not data or data[9:12] == b"431"), data[:60])
    expect(server.resident() - before < 8 << 20, "memory grows with an endless header")


def ht_10_targets(context):
    port = context.server().port
    long = status_of(port, compliance.get(line=b"GET /" + b"a" * (8 << 10) + b" HTTP/1.1"))
    expect(long == 414, f"{long} for a target of 8 KiB and one")
    for target in (b"/%", b"/%zz", b"/%2", b"/health%00", b"/%00", b"/health?a=%zz%"):
        status = status_of(port, compliance.get(line=b"GET " + target + b" HTTP/1.1"))
        expect(status in (400, 404) or (b"?" in target and status == 200), (target, status))


def ht_11_path_traversal(context):
    port = context.server().port
    for path in (
        "/../etc/passwd",
        "/..%2fetc/passwd",
        "/%2e%2e%2fetc%2fpasswd",
        "/..%5c..%5cetc%5cpasswd",
        "/%252e%252e%252fetc/passwd",
        "//etc/passwd",
        "/page.js/../../etc/passwd",
        "/./page/index.html",
        "/etc/passwd",
        "http://localhost/../etc/passwd",
        "file:///etc/passwd",
        "/page.css%00.html",
        "/%c0%ae%c0%ae/etc/passwd",
    ):
        reply = wire.ask(port, "GET", path)
        expect(reply is None or reply.status in (400, 403, 404, 421), (path, reply and reply.status))
        expect(reply is None or b"root:" not in reply.body, path)


def ht_12_range_flood(context):
    server = context.server()
    ranges = "Range: bytes=" + ",".join(["0-"] * 2000)
    wire.ask(server.port, "GET", "/page.js", headers=[ranges])
    before = server.resident()
    whole = wire.ask(server.port, "GET", "/page.js").body
    for _ in range(200):
        reply = wire.ask(server.port, "GET", "/page.js", headers=[ranges])
        expect(reply.status in (200, 416, 431) and len(reply.body) <= len(whole), reply.status)
    expect(server.resident() - before < 4 << 20, "memory grows")


def ht_13_content_encoding(context):
    server = context.server()
    bomb = gzip.compress(padded(200 << 20), 9)
    before = server.resident()
    for coding, body in (("gzip", bomb), ("br", b"x"), ("deflate", b"x"), ("gzip, gzip", bomb), ("nonsense", b"{}")):
        reply = wire.ask(server.port, "POST", "/v1/translate", body, [f"Content-Encoding: {coding}"])
        expect(reply.status in (413, 415), (coding, reply.status))
        small_error(reply)
    expect(
        wire.ask(server.port, "POST", "/v1/translate", padded(99), ["Content-Encoding: identity"]).status in (200, 415),
        "identity",
    )
    expect(server.resident() - before < 8 << 20, "memory grows")


def ht_27_other_protocols(context):
    port = context.server("--header-seconds", "1.5").port
    hello = bytes.fromhex("16030100c8010000c40303") + bytes(range(200))
    for data in (
        hello,
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0",
        b"GET /\r\n",
        b"SSH-2.0-x\r\n",
        b"\0" * 64,
        b"\r\n" * 500 + b"x\r\n\r\n",
    ):
        with wire.Wire(port, 5) as line:
            line.send(data)
            line.socket.shutdown(socket.SHUT_WR)
            found = line.everything(5)
            expect(line.ended, f"open after {data[:20]!r}")
            expect(not found or found[9:12] in (b"400", b"404", b"405", b"408", b"501", b"505"), found[:60])
            expect(b"heddle" not in found.lower() or found.startswith(b"HTTP/1."), found[:60])
    upgrade = compliance.with_header(
        b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA=="
    )
    expect(status_of(port, upgrade) in (200, 400, 426), "an upgrade")


def ht_28_methods(context):
    port = context.server().port
    for method in ("TRACE", "CONNECT", "DELETE", "PUT", "PATCH", "PROPFIND", "FOO", "get", "GeT", "M" * 2000):
        for path in ("/health", "/v1/translate", "/"):
            reply = wire.ask(port, method, path)
            expect(
                reply is None or reply.status in (400, 405, 431, 414, 501), (method[:10], path, reply and reply.status)
            )
            expect(reply is None or b"Host:" not in reply.body, "a request that comes back")


def ht_32_expect(context):
    port = context.server().port
    with wire.Wire(port, 5) as line:
        started = time.monotonic()
        line.send(
            compliance.post(b"Expect: 100-continue\r\nContent-Length: 1000000000\r\n").replace(b"HOST", b"localhost")
        )
        reply = line.head()
        expect(reply is not None and reply.status == 413, reply and reply.status)
        expect(time.monotonic() - started < 1, "slow")
    status = status_of(port, compliance.post(b"Expect: miracles\r\nContent-Length: 14\r\n", compliance.BODY))
    expect(status in (200, 417), status)
