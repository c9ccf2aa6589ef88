"""The MUST rules of HTTP/1.1 that a client can test in an origin server: RFC 9112 (framing) and RFC 9110 (meaning).

A row is (RFC and section, name, bytes sent, what must come back). HOST stands for the server's own address. Kinds:
  400      exactly 400, then the connection closes
  in step  refused as below, or taken with the next request in its place
  reject   no success: 4xx, 501, 505 or a closed connection, and no second reply
  once     any one reply, then the connection closes: what follows is never taken for a request
  ok       200; the connection stays
  silent   never a success: the message stays incomplete until the server closes
"""

import concurrent.futures

import wire

BODY = b'{"text":"a b"}'
CHUNKED = b"Transfer-Encoding: chunked\r\n"
SMUGGLED = b"GET /health HTTP/1.1\r\nHost: HOST\r\nX: y\r\n\r\n"


def get(headers=b"Host: HOST\r\n", line=b"GET /health HTTP/1.1"):
    return line + b"\r\n" + headers + b"\r\n"


def with_header(line):
    return get(b"Host: HOST\r\n" + line + b"\r\n")


def post(headers, body=b"", line=b"POST /v1/translate HTTP/1.1"):
    return line + b"\r\nHost: HOST\r\nContent-Type: application/json\r\n" + headers + b"\r\n" + body


def length(value, body=BODY):
    return post(b"Content-Length: " + value + b"\r\n", body)


def coded(value, body=b"e\r\n" + BODY + b"\r\n0\r\n\r\n", name=b"Transfer-Encoding"):
    return post(name + b": " + value + b"\r\n", body)


def chunks(data):
    return post(CHUNKED, data)


def both(coding=b"Transfer-Encoding: chunked", size=b"Content-Length: 4", tail=SMUGGLED, flip=False):
    lines = [size, coding] if not flip else [coding, size]
    return post(b"\r\n".join(lines) + b"\r\n", b"0\r\n\r\n" + tail)


def body_in_chunks(size=b"e", before=b"", end=b"\r\n", extra=b""):
    return chunks(before + size + extra + b"\r\n" + BODY + end + b"0\r\n\r\n")


ROWS = [
    # Lines and fields
    ("9112 5.1", "space before the colon", with_header(b"X-A : b"), "400"),
    ("9112 5.1", "space before the colon of Host", get(b"Host : HOST\r\n"), "400"),
    ("9112 5.1", "space before the colon of Content-Length", post(b"Content-Length : 14\r\n", BODY), "400"),
    (
        "9112 5.1",
        "space before the colon of Transfer-Encoding",
        post(b"Transfer-Encoding : chunked\r\n", b"0\r\n\r\n"),
        "400",
    ),
    ("9112 5.2", "folded line", with_header(b"X-A: b\r\n c"), "400"),
    ("9112 5.2", "folded line with a tab", with_header(b"X-A: b\r\n\tc"), "400"),
    ("9112 5.2", "folded Transfer-Encoding", post(b"Transfer-Encoding:\r\n chunked\r\n", b"0\r\n\r\n"), "400"),
    ("9112 5.2", "folded Transfer-Encoding and length", both(b"Transfer-Encoding:\r\n chunked"), "400"),
    (
        "9112 5.2",
        "folded Transfer-Encoding in OPTIONS",
        b"OPTIONS / HTTP/1.1\r\nHost: HOST\r\nTransfer-Encoding:\r\n chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
        "400",
    ),
    ("9112 5", "empty field name", with_header(b": b"), "reject"),
    ("9112 5", "bracket in a field name", with_header(b"X[A]: b"), "reject"),
    ("9112 5", "field without a colon", with_header(b"X-A"), "reject"),
    ("9112 5", "tab in a field name", with_header(b"X\tA: b"), "reject"),
    ("9112 5", "byte above 127 in a field name", with_header(b"X-\xc3\xa9: b"), "reject"),
    ("9112 5", "NUL in a field name", with_header(b"X\0A: b"), "reject"),
    ("9110 5.5", "NUL in a field value", with_header(b"X-A: b\0c"), "reject"),
    ("9110 5.5", "control character in a field value", with_header(b"X-A: b\x01c"), "reject"),
    ("9110 5.5", "delete character in a field value", with_header(b"X-A: b\x7fc"), "reject"),
    ("9112 2.2", "bare CR in a field value", with_header(b"X-A: b\rc"), "reject"),
    ("9112 2.2", "bare CR before an injected field", with_header(b"X-A: b\rContent-Length: 5"), "reject"),
    ("9112 2.2", "CR alone ends lines", b"GET /health HTTP/1.1\rHost: HOST\r\r", "reject"),
    ("9112 2.2", "white space before the first field", get(b" X-A: b\r\nHost: HOST\r\n"), "reject"),
    ("9112 2.2", "tab before the first field", get(b"\tX-A: b\r\nHost: HOST\r\n"), "reject"),
    ("9112 2.2", "NUL in the target", get(line=b"GET /heal\0th HTTP/1.1"), "reject"),
    ("9112 2.2", "bare CR in the request line", get(line=b"GET /health\r HTTP/1.1"), "reject"),
    # Request line
    ("9112 3", "no target", get(line=b"GET HTTP/1.1"), "reject"),
    ("9112 3", "empty target", get(line=b"GET  HTTP/1.1"), "reject"),
    ("9112 3", "bytes above 127 in the target", get(line=b"GET /h\xc3\xa9 HTTP/1.1"), "reject"),
    ("9112 3", "space in the target", get(line=b"GET /health x HTTP/1.1"), "reject"),
    ("9112 3", "target longer than the limit", get(line=b"GET /" + b"a" * 9000 + b" HTTP/1.1"), "414"),
    ("9112 3.2.4", "asterisk with GET", get(line=b"GET * HTTP/1.1"), "reject"),
    ("9112 3.2.4", "OPTIONS *", get(line=b"OPTIONS * HTTP/1.1"), "options"),
    ("9112 3.2.2", "absolute form", get(line=b"GET http://HOST/health HTTP/1.1"), "ok"),
    ("9110 9.1", "method names are case-sensitive", get(line=b"get /health HTTP/1.1"), "reject"),
    ("9112 2.3", "version without a minor number", get(line=b"GET /health HTTP/1"), "reject"),
    ("9112 2.3", "version with zeros", get(line=b"GET /health HTTP/01.1"), "reject"),
    ("9112 2.3", "version with zeros behind", get(line=b"GET /health HTTP/1.01"), "reject"),
    ("9112 2.3", "space in the version", get(line=b"GET /health HTTP/1 .1"), "reject"),
    ("9112 2.3", "version in lower case", get(line=b"GET /health http/1.1"), "reject"),
    ("9112 2.3", "version 2.0", get(line=b"GET /health HTTP/2.0"), "reject"),
    ("9112 2.3", "other protocol name", get(line=b"GET /health HTTX/1.1"), "reject"),
    ("3629 3", "overlong UTF-8 in the target", get(line=b"GET /%c0%ae%c0%ae/etc/passwd HTTP/1.1"), "reject"),
    ("3629 3", "raw overlong UTF-8 in the target", get(line=b"GET /\xc0\xaf HTTP/1.1"), "reject"),
    # Host
    ("9112 3.2", "no Host", get(b""), "400"),
    ("9112 3.2", "two Hosts", get(b"Host: HOST\r\nHost: other\r\n"), "400"),
    ("9112 3.2", "the same Host twice", get(b"Host: HOST\r\nHost: HOST\r\n"), "400"),
    ("9112 3.2", "Host with a user", get(b"Host: user@HOST\r\n"), "reject"),
    ("9112 3.2", "Host with a path", get(b"Host: HOST/path\r\n"), "reject"),
    ("9112 3.2", "empty Host", get(b"Host:\r\n"), "reject"),
    ("9110 7.2", "two hosts with a comma", get(b"Host: HOST, other\r\n"), "reject"),
    ("9112 3.2", "Host with a space", get(b"Host: local host\r\n"), "reject"),
    ("9112 3.2", "Host with a port that is no number", get(b"Host: localhost:x\r\n"), "reject"),
    # Content-Length
    ("9112 6.3", "length that is no number", length(b"abc"), "400"),
    ("9112 6.3", "length with a plus", length(b"+14"), "400"),
    ("9110 8.6", "two different lengths", post(b"Content-Length: 14\r\nContent-Length: 15\r\n", BODY), "400"),
    (
        "9110 8.6",
        "two different lengths, a request behind",
        post(b"Content-Length: 14\r\nContent-Length: 90\r\n", BODY + SMUGGLED),
        "400",
    ),
    ("9110 8.6", "different lengths with a comma", length(b"14, 15"), "400"),
    ("9110 8.6", "negative length", length(b"-14"), "400"),
    ("9110 8.6", "negative zero", length(b"-0"), "400"),
    ("9110 8.6", "underscore in a length", length(b"1_4"), "400"),
    ("9110 8.6", "octal length", length(b"0o16"), "400"),
    ("9110 8.6", "hexadecimal length", length(b"0xe"), "400"),
    ("9110 8.6", "space in a length", length(b"1 4"), "400"),
    ("9110 8.6", "empty length", length(b""), "400"),
    ("9110 8.6", "length with letters behind", length(b"14abc"), "400"),
    ("9110 8.6", "length with a fraction", length(b"14.0"), "400"),
    ("9110 8.6", "length above 2^64", length(b"99999999999999999999"), "reject"),
    ("9110 8.6", "length that wraps to 14", length(b"18446744073709551630"), "reject"),
    ("9110 8.6", "length of 100 digits", length(b"1" * 100), "reject"),
    ("9110 8.6", "huge length without a body", length(b"999999999999", b""), "reject"),
    # Transfer-Encoding
    ("9112 6.3", "chunked is not the last coding", coded(b"chunked, gzip"), "reject"),
    ("9112 6.1", "unknown coding", coded(b"xchunked"), "reject"),
    ("9112 6.1", "empty coding", coded(b""), "reject"),
    ("9112 6.1", "identity, removed from the registry", coded(b"identity"), "reject"),
    ("9112 6.1", "identity with a length", both(b"Transfer-Encoding: identity"), "once"),
    ("9112 6.1", "vertical tab before chunked", coded(b"\x0bchunked"), "reject"),
    ("9112 6.1", "form feed before chunked", coded(b"\x0cchunked"), "reject"),
    ("9110 5.5", "NUL behind chunked", coded(b"chunked\0"), "reject"),
    ("9112 7.1", "chunked twice", coded(b"chunked, chunked"), "reject"),
    ("9112 7", "parameter of chunked", coded(b"chunked;a=b"), "reject"),
    ("9112 6.1", "quoted chunked", coded(b'"chunked"'), "reject"),
    (
        "9112 6.1",
        "coding in HTTP/1.0",
        post(CHUNKED, b"e\r\n" + BODY + b"\r\n0\r\n\r\n" + SMUGGLED, b"POST /v1/translate HTTP/1.0"),
        "once",
    ),
    ("9112 6.1", "two Transfer-Encodings", post(CHUNKED + b"Transfer-Encoding: identity\r\n", b"0\r\n\r\n"), "reject"),
    # Both: the connection closes, and what follows is no request
    ("9112 6.1", "length and coding", both(), "once"),
    ("9112 6.1", "coding and length", both(flip=True), "once"),
    ("9112 6.1", "length and coding, a byte behind", both(size=b"Content-Length: 6", tail=b"X"), "once"),
    ("9112 6.1", "coding and a longer length", both(size=b"Content-Length: 30", tail=b"X", flip=True), "once"),
    ("9112 6.1", "length and coding, HEAD behind", both(tail=b"HEAD /health HTTP/1.1\r\nHost: HOST\r\n\r\n"), "once"),
    ("9112 6.1", "length with a plus and coding", both(size=b"Content-Length: +5"), "once"),
    ("9112 6.1", "length with letters and coding", both(size=b"Content-Length: 5abc"), "once"),
    ("9112 6.1", "length and coding with a space behind", both(b"Transfer-Encoding: chunked "), "once"),
    ("9112 6.1", "length and coding with a comma before", both(b"Transfer-Encoding: , chunked"), "once"),
    ("9112 6.1", "length and Chunked", both(b"Transfer-Encoding: Chunked"), "once"),
    ("9112 6.1", "length and an unknown coding", both(b"Transfer-Encoding: xchunked"), "once"),
    ("9112 6.1", "length and two codings", both(b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity"), "once"),
    (
        "9112 6.1",
        "length covers the size line of a chunk",
        post(
            b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n", b"2d\r\nGET /health HTTP/1.1\r\nHost: HOST\r\n\r\n"
        ),
        "once",
    ),
    # Chunks
    ("9112 7.1", "one chunk", body_in_chunks(), "ok"),
    ("9112 7.1", "several chunks", chunks(b"4\r\n" + BODY[:4] + b"\r\na\r\n" + BODY[4:] + b"\r\n0\r\n\r\n"), "ok"),
    ("9112 7.1", "upper-case size", body_in_chunks(b"E"), "ok"),
    ("9112 7.1", "zeros before the size", body_in_chunks(b"000e"), "ok"),
    ("9112 7.1.1", "unknown extension", body_in_chunks(extra=b";a=b"), "ok"),
    ("9112 7.1.1", "quoted extension", body_in_chunks(extra=b';a="b"'), "ok"),
    ("9112 7.1.2", "trailer", chunks(b"e\r\n" + BODY + b"\r\n0\r\nX-A: b\r\n\r\n"), "ok"),
    ("9112 7.1", "no bytes", chunks(b"0\r\n\r\n"), "400 open"),
    ("9112 7.1", "size with 0x", body_in_chunks(b"0xe"), "reject"),
    ("9112 7.1", "size with an underscore", body_in_chunks(b"0_e"), "reject"),
    ("9112 7.1", "space before the size", body_in_chunks(before=b" "), "reject"),
    ("9112 7.1", "space behind the size", body_in_chunks(b"e "), "reject"),
    ("9112 7.1", "negative size", body_in_chunks(b"-e"), "reject"),
    ("9112 7.1", "size with a plus", body_in_chunks(b"+e"), "reject"),
    ("9112 7.1", "last size +0, a byte behind", chunks(b"e\r\n" + BODY + b"\r\n+0\r\n\r\nX"), "reject"),
    ("9112 7.1", "no size", body_in_chunks(b""), "reject"),
    ("9112 7.1", "size of 17 digits", body_in_chunks(b"1000000000000000e"), "reject"),
    ("9112 7.1", "size above the limit", body_in_chunks(b"ffffffffffffffff"), "reject"),
    ("9112 7.1", "no line end behind a chunk", body_in_chunks(end=b""), "reject"),
    ("9112 7.1", "more bytes than the size", body_in_chunks(b"c"), "reject"),
    ("9112 7.1", "another end than CRLF", body_in_chunks(end=b"XX"), "reject"),
    ("9112 7.1.1", "extension without a name", body_in_chunks(extra=b";"), "in step"),
    ("9112 7.1.1", "bracket in an extension", body_in_chunks(extra=b";a[b]=c"), "in step"),
    ("9110 5.5", "NUL in an extension", body_in_chunks(extra=b";a\0b"), "in step"),
    ("9112 2.2", "bare CR in an extension", body_in_chunks(extra=b";a\rb"), "in step"),
    ("9112 2.2", "bare CR behind the size", chunks(b"e\r" + BODY + b"\r\n0\r\n\r\n"), "reject"),
    ("9112 7.1", "no last chunk", chunks(b"e\r\n" + BODY + b"\r\n"), "silent"),
    # Bodies by length
    ("9112 6.2", "body by length", length(b"14"), "ok"),
    ("9112 6.2", "length 0", length(b"0", b""), "400 open"),
    ("9112 6.3", "neither length nor coding", post(b""), "400 open"),
    ("9112 6.2", "fewer bytes than the length", length(b"99"), "silent"),
    # Meaning
    ("9110 9.3.2", "HEAD has no body", get(line=b"HEAD /health HTTP/1.1"), "head"),
    ("9110 15.5.6", "405 says what is allowed", get(line=b"DELETE /health HTTP/1.1"), "allow"),
    ("9110 6.6.1", "Date in a reply", get(), "date"),
    ("9110 6.6.1", "Date in a refusal", get(line=b"GET /nowhere HTTP/1.1"), "date"),
    (
        "9110 15.2",
        "no 1xx for HTTP/1.0",
        post(b"Expect: 100-continue\r\nContent-Length: 14\r\n", BODY, b"POST /v1/translate HTTP/1.0"),
        "no 1xx",
    ),
    ("9110 10.1.1", "100 for HTTP/1.1", post(b"Expect: 100-continue\r\nContent-Length: 14\r\n"), "continue"),
    ("9110 14.2", "Range with POST is ignored", post(b"Range: bytes=0-3\r\nContent-Length: 14\r\n", BODY), "ok"),
    (
        "9110 7.8",
        "Upgrade in HTTP/1.0 is ignored",
        get(b"Host: HOST\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n", b"GET /health HTTP/1.0"),
        "no 101",
    ),
    ("9110 7.8", "Upgrade without Connection", with_header(b"Upgrade: websocket"), "no 101"),
    ("9110 7.8", "Upgrade to an unknown protocol", with_header(b"Upgrade: x/9\r\nConnection: Upgrade"), "no 101"),
    (
        "6455 4.1",
        "Upgrade with POST",
        post(b"Upgrade: websocket\r\nConnection: Upgrade\r\nContent-Length: 14\r\n", BODY),
        "no 101",
    ),
    (
        "6455 4.4",
        "Upgrade to an unknown version",
        with_header(
            b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 99\r\n"
            b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA=="
        ),
        "no 101",
    ),
    ("9112 9.6", "Connection: close", with_header(b"Connection: close"), "close"),
    ("9112 9.6", "Connection: CLOSE, x", with_header(b"Connection: x, CLOSE"), "close"),
    ("9112 9.3", "the connection stays", get() + get(), "two"),
    ("9112 9.3.2", "pipelined replies come in order", get() + get(line=b"GET /nowhere HTTP/1.1") + get(), "order"),
]

REFUSALS = range(400, 506)


def expect(good, found):
    if not good:
        raise AssertionError(f"found {found}")


def replies_in(data):
    return data.count(b"HTTP/1.1 ") + data.count(b"HTTP/1.0 ")


def without_doubled_head(data):
    """libmicrohttpd 0.9.75 writes the head of its own refusal of a length twice, and closes: still one refusal."""
    head = data.split(b"\r\n\r\n")[0] + b"\r\n\r\n"
    return data.removeprefix(head) if data.startswith(head * 2) else data


def check(port, row):
    """Raises when the server does otherwise than the row says."""
    _, _, sent, kind = row
    with wire.Wire(port, 8) as line:
        line.send(sent.replace(b"HOST", b"127.0.0.1:%d" % port))
        if kind == "two" or kind == "order":
            found = [line.reply().status for _ in range(sent.count(b"GET "))]
            return expect(found == ([200, 200] if kind == "two" else [200, 404, 200]), found)
        if kind in ("400", "reject", "once", "silent"):
            data = without_doubled_head(line.everything(6))
            status = int(data[9:12]) if data else None
            expect(line.ended or (kind == "reject" and status is not None), f"{data[:60]!r}, and an open connection")
            expect(replies_in(data) <= 1, f"{replies_in(data)} replies")
            good = status == 400 if kind == "400" else kind == "once" or status is None or status in REFUSALS
            return expect(good, data[:60])
        if kind == "no 1xx":
            return expect(line.head().status == 200, "a 1xx reply")
        if kind == "continue":
            expect(line.head().status == 100, "no 100")
            line.send(BODY)
            return expect(line.reply().status == 200, "no 200")
        reply = line.reply(to_head=kind == "head")
        status = reply.status if reply else None
        if kind in ("400 open", "414"):
            return expect(status == int(kind[:3]), status)
        if kind == "close":
            return expect(status == 200 and line.closed(), f"{status}, or an open connection")
        if kind == "allow":
            return expect(status == 405 and "GET" in (reply.header("allow") or ""), (status, reply.headers))
        if kind == "date":
            return expect(reply.header("date") is not None, reply.headers)
        if kind == "no 101":
            return expect(status is not None and status != 101, status)
        if kind == "options":
            return expect(status in (200, 204), status)
        if kind == "in step" and status in REFUSALS:
            return expect(line.closed(), "an open connection")
        expect(status == 200, (status, reply and reply.body[:200]))
        if kind == "head":
            line.send(get().replace(b"HOST", b"127.0.0.1:%d" % port))
            return expect(line.reply().body, "a body behind HEAD")
        line.send(get().replace(b"HOST", b"127.0.0.1:%d" % port))
        return expect(line.reply().status == 200, "the connection is out of step")


def failures(port):
    """[(section, name, what is wrong)] of all rows."""

    def one(row):
        try:
            check(port, row)
        except Exception as error:
            return (row[0], row[1], f"{type(error).__name__} {error}")
        return None

    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        return [found for found in pool.map(one, ROWS) if found]
