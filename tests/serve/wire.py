"""HTTP over raw sockets: requests as bytes, replies parsed strictly, nothing done behind one's back."""

import json
import socket
import time


class Reply:
    def __init__(self, status, headers, body):
        self.status = status
        self.headers = headers  # [(name in lower case, value)]
        self.body = body

    def header(self, name):
        found = [value for key, value in self.headers if key == name.lower()]
        return found[0] if found else None

    def json(self):
        return json.loads(self.body)


class Wire:
    """One connection."""

    def __init__(self, port, timeout=10.0, receive_buffer=0):
        self.socket = socket.socket()
        if receive_buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.settimeout(timeout)
        self.socket.connect(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = b""
        self.ended = False

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def send(self, data):
        """Sends, and is content when the server has closed already."""
        try:
            self.socket.sendall(data)
            return True
        except (BrokenPipeError, ConnectionResetError, socket.timeout):
            return False

    def reset(self):
        """Closes with RST."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self.socket.close()

    def more(self):
        try:
            data = self.socket.recv(1 << 16)
        except ConnectionResetError:
            data = b""
        self.ended = self.ended or not data
        self.buffer += data
        return bool(data)

    def until(self, mark):
        while mark not in self.buffer:
            if not self.more():
                return None
        head, self.buffer = self.buffer.split(mark, 1)
        return head

    def take(self, count):
        while len(self.buffer) < count:
            if not self.more():
                raise ConnectionError("the body ended early")
        data, self.buffer = self.buffer[:count], self.buffer[count:]
        return data

    def head(self):
        """Status and headers of the next reply; None when the server closed without one."""
        head = self.until(b"\r\n\r\n")
        if head is None:
            if self.buffer:
                raise ConnectionError(f"half a reply: {self.buffer[:200]!r}")
            return None
        first, *lines = head.decode("latin-1").split("\r\n")
        version, status = first.split(" ")[:2]
        assert version in ("HTTP/1.1", "HTTP/1.0"), f"not a status line: {first!r}"
        headers = [(line.split(":", 1)[0].lower(), line.split(":", 1)[1].strip()) for line in lines]
        return Reply(int(status), headers, b"")

    def reply(self, to_head=False):
        """The next final reply, 1xx skipped; None when the server closed without one."""
        reply = self.head()
        while reply is not None and reply.status < 200:
            reply = self.head()
        if reply is None or to_head or reply.status in (204, 304):
            return reply
        if (reply.header("transfer-encoding") or "").lower() == "chunked":
            while True:
                size = int(self.until(b"\r\n").split(b";")[0], 16)
                reply.body += self.take(size)
                assert self.take(2) == b"\r\n"
                if size == 0:
                    return reply
        length = reply.header("content-length")
        if length is not None:
            reply.body = self.take(int(length))
        else:
            while self.more():
                pass
            reply.body, self.buffer = self.buffer, b""
        return reply

    def closed(self, seconds=3.0):
        """Whether the server closes within that time, without another byte."""
        end = time.monotonic() + seconds
        while not self.ended and time.monotonic() < end:
            self.socket.settimeout(max(0.01, end - time.monotonic()))
            try:
                self.more()
            except socket.timeout:
                return False
        return self.ended and not self.buffer

    def everything(self, seconds=3.0):
        """All bytes until the server closes or the time is over."""
        end = time.monotonic() + seconds
        while not self.ended and time.monotonic() < end:
            self.socket.settimeout(max(0.01, end - time.monotonic()))
            try:
                self.more()
            except socket.timeout:
                break
        return self.buffer


def request(method, path, body=None, headers=(), host="127.0.0.1"):
    """The bytes of one request."""
    lines = [f"{method} {path} HTTP/1.1", f"Host: {host}", *headers]
    if body is not None:
        if not isinstance(body, bytes):
            body = json.dumps(body).encode()
        lines.append(f"Content-Length: {len(body)}")
        if not any(h.lower().startswith("content-type") for h in headers):
            lines.append("Content-Type: application/json")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + (body or b"")


def ask(port, method, path, body=None, headers=(), timeout=30.0):
    """One request on a connection of its own."""
    with Wire(port, timeout) as wire:
        wire.send(request(method, path, body, ["Connection: close", *headers]))
        return wire.reply(to_head=method == "HEAD")


def translate(port, text, timeout=60.0, headers=(), **fields):
    return ask(port, "POST", "/v1/translate", {"text": text, **fields}, headers, timeout)
