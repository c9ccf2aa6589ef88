"""Who may ask, and what leaks: page, CORS, hosts, keys, logs, ids, metrics (HT-21 … 24, 29, 30, 33, 34)."""

import concurrent.futures
import re
import statistics
import time

import wire
from compliance import expect
from harness import eventually

ROUTES = [
    ("POST", "/v1/translate"),
    ("GET", "/v1/models"),
    ("POST", "/translate"),
    ("GET", "/languages"),
    ("GET", "/metrics"),
    ("GET", "/openapi.json"),
]
OPEN = ["/", "/page.css", "/page.js", "/icon.svg", "/health", "/ready"]


def ht_21_page_headers(context):
    port = context.server().port
    page = wire.ask(port, "GET", "/?q=<script>alert(1)</script>")
    policy = page.header("content-security-policy") or ""
    expect(page.status == 200 and "default-src 'self'" in policy and "unsafe" not in policy, policy)
    expect(
        b"<script>alert" not in page.body and b"style=" not in page.body and b"onclick" not in page.body, "inline code"
    )
    for path in OPEN + [route for _, route in ROUTES] + ["/nowhere"]:
        reply = wire.ask(port, "GET", path)
        expect(reply.header("x-content-type-options") == "nosniff", path)
        expect(b"<script>alert" not in reply.body, path)
    for method, path, body in (
        ("GET", "/<script>alert(1)</script>", None),
        ("POST", "/v1/translate", {"<script>alert(1)</script>": 1}),
        ("POST", "/translate", {"q": "a", "source": "<script>alert(1)</script>", "target": "pt"}),
    ):
        reply = wire.ask(port, method, path, body)
        expect(
            reply.status >= 400 and reply.header("content-type").startswith("application/json"),
            reply.header("content-type"),
        )
        expect(b"<script>" not in reply.body, "the input comes back")


def ht_22_origins_and_hosts(context):
    port = context.server().port
    evil = "Origin: https://evil.example"
    for reply in (
        wire.translate(port, "a", headers=[evil]),
        wire.ask(port, "OPTIONS", "/v1/translate", headers=[evil, "Access-Control-Request-Method: POST"]),
    ):
        expect(not [name for name, _ in reply.headers if name.startswith("access-control-")], reply.headers)
    for host, good in (
        ("evil.example", False),
        ("127.0.0.1.evil.example", False),
        (f"localhost:{port}", True),
        (f"127.0.0.1:{port}", True),
        (f"[::1]:{port}", True),
        ("evil.example:80", False),
        ("localhost.evil.example", False),
        ("LOCALHOST", True),
    ):
        with wire.Wire(port) as line:
            line.send(wire.request("GET", "/v1/models", host=host))
            status = line.reply().status
            expect((status == 200) == good and (good or status in (400, 403, 421)), (host, status))
    server = context.server("--cors", "https://good.example", "--host-name", "translate.example")
    reply = wire.translate(server.port, "a", headers=["Origin: https://good.example"])
    expect(reply.header("access-control-allow-origin") == "https://good.example", reply.headers)
    expect(reply.header("access-control-allow-credentials") is None, "credentials")
    expect("origin" in (reply.header("vary") or "").lower(), "no Vary: Origin")
    for origin in ("https://evil.example", "null", "https://good.example.evil.example", "http://good.example"):
        reply = wire.translate(server.port, "a", headers=[f"Origin: {origin}"])
        expect(reply.header("access-control-allow-origin") is None, origin)
    reply = wire.ask(
        server.port,
        "OPTIONS",
        "/v1/translate",
        headers=["Origin: https://good.example", "Access-Control-Request-Method: POST"],
    )
    expect(
        reply.status in (200, 204) and reply.header("access-control-allow-origin") == "https://good.example",
        reply.headers,
    )
    with wire.Wire(server.port) as line:
        line.send(wire.request("GET", "/v1/models", host="translate.example"))
        expect(line.reply().status == 200, "--host-name")


def ht_23_log_injection(context):
    for form in ("text", "json"):
        server = context.server("--log-format", form)
        wire.ask(server.port, "GET", "/health")
        eventually(lambda: server.log and b"/health" in server.log[-1])
        before = len(server.log)
        sent = [
            wire.ask(server.port, "GET", "/a%0d%0aforged%1b[31m", headers=["User-Agent: x\x1b[31m", "Referer: a\tb"]),
            wire.ask(server.port, "GET", "/%22,%22forged%22:%22", headers=['X-Request-Id: a","forged":"b']),
            wire.translate(server.port, "a\r\nforged line\x1b[31m"),
            wire.ask(server.port, "POST", "/v1/translate", {"text": "a", "forged\r\n\x1b": 1}),
            wire.ask(server.port, "GET", "/a?key=secret\x1b" + "b" * 4000),
        ]
        count = len(sent)
        eventually(lambda: len(server.log) >= before + count, 3)
        time.sleep(0.1)
        lines = server.log[before:]
        expect(len(lines) == count, f"{form}: {len(lines)} records for {count} requests: {lines}")
        for line in lines:
            expect(not re.search(rb"[\x00-\x08\x0a-\x1f\x7f]", line), line[:200])
            expect(not line.startswith(b"forged") and len(line) < 10000, line[:200])


def ht_24_request_ids(context):
    port = context.server().port
    for good in ("abc", "a" * 64, "A.b_c-9"):
        expect(wire.ask(port, "GET", "/health", headers=[f"X-Request-Id: {good}"]).header("x-request-id") == good, good)
    seen = set()
    for bad in ("a b", "a" * 65, "a%0d%0aSet-Cookie: x", "\xe9", '"', "a;b", "<b>"):
        found = wire.ask(port, "GET", "/health", headers=[f"X-Request-Id: {bad}"]).header("x-request-id")
        expect(found and found != bad and re.fullmatch(r"[A-Za-z0-9._-]{1,64}", found), (bad, found))
        seen.add(found)
    expect(len(seen) == 7, "new ids repeat")


def ht_29_keys(context):
    server = context.server("--api-key-file", context.file("keys", "first-key\nsecond-key\n"))
    port = server.port
    target = context.options.name.split("-")[-1]
    for path in OPEN:
        expect(wire.ask(port, "GET", path).status == 200, path)
    for method, path in ROUTES + [("GET", "/nowhere"), ("GET", "/v1/"), ("POST", "/health/x")]:
        for headers in (
            [],
            ["Authorization: Bearer wrong"],
            ["Authorization: Bearer"],
            ["Authorization: Basic first-key"],
            ["Authorization: Bearer first-ke"],
            ["Authorization: Bearer first-keyy"],
            ["Authorization: first-key"],
            ["Authorization: Bearer first-key\t."],
            ["X-Api-Key: first-key"],
        ):
            body = (
                {"text": "a"}
                if path == "/v1/translate"
                else {"q": "a", "source": "en", "target": target} if method == "POST" else None
            )
            reply = wire.ask(port, method, path, body, headers)
            expect(reply.status == 401, (method, path, headers, reply.status))
        expect(reply.header("www-authenticate"), "401 without WWW-Authenticate")
    for key in ("first-key", "second-key"):
        expect(wire.translate(port, "a", headers=[f"Authorization: Bearer {key}"]).status == 200, key)
        expect(
            wire.ask(port, "POST", "/translate", {"q": "a", "source": "en", "target": target, "api_key": key}).status
            == 200,
            key,
        )
    expect(
        wire.ask(port, "POST", "/translate", {"q": "a", "source": "en", "target": target, "api_key": "no"}).status == 401,
        "a wrong api_key",
    )
    expect(not any(b"first-key" in line for line in server.log), "a key in the log")


def ht_30_key_in_query_and_timing(context):
    key = "k" * 64
    port = context.server("--api-key-file", context.file("long_key", key + "\n")).port
    for query in (f"api_key={key}", f"key={key}", f"access_token={key}", f"authorization=Bearer%20{key}"):
        expect(wire.ask(port, "GET", f"/v1/models?{query}").status in (400, 401), query)
        expect(
            wire.ask(port, "POST", f"/translate?{query}", {"q": "a", "source": "en", "target": "pt"}).status
            in (400, 401),
            query,
        )
    times = {"k" * 63 + "x": [], "x" * 64: []}
    with wire.Wire(port) as line:
        for _ in range(500):
            for wrong, found in times.items():
                started = time.perf_counter()
                line.send(wire.request("GET", "/v1/models", headers=[f"Authorization: Bearer {wrong}"]))
                expect(line.reply().status == 401, "a wrong key")
                found.append(time.perf_counter() - started)
    near, far = (statistics.median(found) * 1e6 for found in times.values())
    context.bar(abs(near - far) < 0.2 * far + 5, f"{near:.0f} and {far:.0f} µs")
    return f"63 right characters: {near:.0f} µs; none: {far:.0f} µs"


def ht_33_same_request_id(context):
    port = context.server().port
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        replies = list(
            pool.map(lambda i: wire.translate(port, "abc" * (i + 1), headers=["X-Request-Id: same"]), range(8))
        )
    alone = [wire.translate(port, "abc" * (i + 1)).json()["translations"] for i in range(8)]
    expect([reply.json()["translations"] for reply in replies] == alone, "replies with one id are mixed up")
    reply = wire.ask(port, "DELETE", "/v1/translate/unknown")
    expect(reply.status in (404, 405, 501), reply.status)


def ht_34_metric_labels(context):
    server = context.server()
    for method, path in ROUTES:
        wire.ask(server.port, method, path)
    wire.ask(server.port, "POST", "/v1/translate", {"text": "a", "model": "nomodel"})
    wire.ask(server.port, "GET", "/nowhere")
    before = len(server.metrics())
    with wire.Wire(server.port) as line:
        for count in range(3000):
            if count % 3 == 0:
                line.send(wire.request("GET", f"/path{count}?q={count}"))
            elif count % 3 == 1:
                line.send(wire.request("POST", "/v1/translate", {"text": "a", "model": f"model{count}"}))
            else:
                line.send(
                    wire.request("GET", "/health", headers=[f"X-Request-Id: id{count}", f"User-Agent: agent{count}"])
                )
            expect(line.reply().status in (200, 404), "a reply")
    after = len(server.metrics())
    expect(after - before < 60, f"{after - before} new label sets")
    return f"{before} series before, {after} after"
