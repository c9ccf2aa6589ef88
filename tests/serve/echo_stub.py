"""A stand-in for the server that gives the page what a test wants: hostile translations, refusals."""

import http.server
import json
import pathlib
import socket
import threading

PAGE = pathlib.Path(__file__).resolve().parents[2] / "src" / "serve" / "page"
FILES = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/page.css": ("page.css", "text/css"),
    "/page.js": ("page.js", "text/javascript"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
}
MODELS = [
    {"name": a + "-" + b, "source": a, "target": b, "parameters": 1, "bytes": 1}
    for a, b in (("en", "pt"), ("pt", "en"))
]


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def send(self, status, kind, body, headers=()):
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Content-Security-Policy", "default-src 'self'")
        for name, value in headers:
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def send_json(self, status, value, headers=()):
        self.send(status, "application/json", json.dumps(value).encode(), headers)

    def refused(self):
        """Answers as the next planned refusal says; False when none is planned."""
        plan = self.server.stub.refusals
        if not plan:
            return False
        status, message, headers = plan.pop(0)
        self.send_json(status, {"error": {"code": "planned", "message": message}}, headers)
        return True

    def do_GET(self):
        path = self.path.split("?")[0]
        if path in FILES:
            name, kind = FILES[path]
            self.send(200, kind, (PAGE / name).read_bytes())
        elif path == "/v1/models":
            if not self.refused():
                self.send_json(200, {"models": self.server.stub.models})
        else:
            self.send_json(404, {"error": {"code": "not_found", "message": "no such route"}})

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        stub = self.server.stub
        stub.requests.append((dict(self.headers), body))
        if self.refused():
            return
        texts = body["text"] if isinstance(body["text"], list) else [body["text"]]
        words = sum(len(text.split()) for text in texts)
        tail = {
            "usage": {"source_words": words, "source_tokens": words, "target_tokens": words},
            "milliseconds": {"queue": 0, "total": 1},
        }
        if not body.get("stream"):
            found = [{"text": "\n".join(stub.reply(line) for line in text.split("\n"))} for text in texts]
            self.send_json(200, {"model": body["model"], "translations": found, **tail})
            return
        out = []
        lines = texts[0].split("\n")
        for i, line in enumerate(lines):
            out.append(("translation", {"index": 0, "line": i, "text": stub.reply(line)}))
            out.append(("progress", {"done": i + 1, "total": len(lines)}))
        out.append(("done", tail))
        text = "".join(f"event: {name}\ndata: {json.dumps(data)}\n\n" for name, data in out)
        self.send(200, "text/event-stream", text.encode())


class StubServer(http.server.ThreadingHTTPServer):
    """Remembers its connections, so that it can go away as a killed process does."""

    def __init__(self, *arguments):
        self.sockets = []
        super().__init__(*arguments)

    def process_request(self, request, address):
        self.sockets.append(request)
        super().process_request(request, address)

    def handle_error(self, request, address):
        pass  # a browser that leaves is no error


class EchoStub:
    """`reply(line)` is the translation of a line; `refusals` a list of (status, message, headers)."""

    def __init__(self, reply=lambda line: line, port=0):
        self.reply = reply
        self.refusals = []
        self.requests = []
        self.models = MODELS
        self.server = StubServer(("127.0.0.1", port), Handler)
        self.server.stub = self
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self):
        self.server.shutdown()
        for connection in self.server.sockets:
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass  # closed already
        self.server.server_close()
