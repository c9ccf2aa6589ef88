"""Clients that are slow, go away, or come in thousands (HT-01 … 03, 25, 26)."""

import resource
import socket
import threading
import time

import wire
from compliance import expect
from harness import eventually, percentile

HASTE = ("--header-seconds", "1.5", "--body-seconds", "1.5", "--write-seconds", "1.5", "--idle-seconds", "3")


def health_times(port, stop, times):
    while not stop.is_set():
        started = time.monotonic()
        expect(wire.ask(port, "GET", "/health").status == 200, "not healthy")
        times.append(time.monotonic() - started)
        time.sleep(0.01)


def allow_descriptors(count):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < count:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(count, hard), hard))
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def trickle(lines, pause, seconds):
    """Sends a byte on each connection now and then; returns how long the last one lived."""
    started = last = time.monotonic()
    open_lines = list(lines)
    while open_lines and time.monotonic() - started < seconds:
        still = []
        for line in open_lines:
            line.socket.setblocking(False)
            try:
                line.socket.send(b"a")
                try:
                    if line.socket.recv(4096):
                        still.append(line)
                except BlockingIOError:
                    still.append(line)
            except (BlockingIOError, ConnectionError):
                pass
            last = time.monotonic()
        open_lines = still
        time.sleep(pause)
    return len(open_lines), last - started


def ht_01_slowloris(context):
    server = context.server(*HASTE)
    allow_descriptors(4000)
    lines = []
    for _ in range(1000):
        line = wire.Wire(server.port)
        line.send(b"GET /health HTTP/1.1\r\nHost: localhost\r\nX-A: ")
        lines.append(line)
    stop, times = threading.Event(), []
    probe = threading.Thread(target=health_times, args=(server.port, stop, times))
    probe.start()
    left, lasted = trickle(lines, 0.2, 8)
    stop.set()
    probe.join()
    for line in lines:
        line.socket.close()
    expect(left == 0, f"{left} of 1000 connections still open after {lasted:.1f} s")
    p99 = percentile(times, 0.99) * 1000
    context.bar(p99 < 50, f"/health took {p99:.0f} ms (99 %)")
    return f"all closed after {lasted:.1f} s, deadline 1.5 s; /health 99 %: {p99:.1f} ms"


def ht_02_slow_body(context):
    server = context.server(*HASTE)
    with wire.Wire(server.port) as line:
        line.send(
            wire.request("POST", "/v1/translate", headers=["Content-Type: application/json", "Content-Length: 100"])
        )
        started = time.monotonic()
        line.socket.settimeout(0.1)
        while time.monotonic() - started < 6 and not line.buffer and not line.ended:
            line.send(b" ")
            try:
                line.more()
            except socket.timeout:
                pass
        lasted = time.monotonic() - started
        line.socket.settimeout(5)
        reply = line.reply()
        expect(reply is not None and reply.status == 408, reply and reply.status)
        expect(line.closed(), "an open connection")
        expect(1 < lasted < 3.5, f"{lasted:.1f} s")
    return f"408 after {lasted:.1f} s, deadline 1.5 s"


def ht_03_slow_reader(context):
    server = context.server(*HASTE)
    before = server.total("heddle_connections")
    with wire.Wire(server.port, receive_buffer=4096) as line:
        line.socket.settimeout(1)
        started = time.monotonic()
        many = wire.request("GET", "/page.js") * 100
        while time.monotonic() - started < 2 and line.send(many):
            pass
        gone = eventually(lambda: server.total("heddle_connections") <= before, 6)
        expect(gone, "the connection is still open")
    with wire.Wire(server.port, receive_buffer=4096) as line:
        line.send(wire.request("POST", "/v1/translate", {"text": "a b c\n" * 300, "stream": True}))
        free = eventually(
            lambda: server.total("heddle_live_rows") == 0 and server.total("heddle_queue_tokens") == 0, 10
        )
        expect(free, "a reader that sleeps holds its rows")


def ht_25_clients_that_leave(context):
    server = context.server()
    wire.ask(server.port, "GET", "/health")
    before = server.descriptors()
    with wire.Wire(server.port, 20) as line:
        threading.Thread(target=line.send, args=(wire.request("GET", "/health") * 1000,)).start()
        expect(all(line.reply().status == 200 for _ in range(1000)), "a pipelined reply is missing")
    with wire.Wire(server.port) as line:
        line.send(wire.request("POST", "/v1/translate", {"text": "a b"}))
        line.socket.shutdown(socket.SHUT_WR)
        reply = line.reply()
        expect(reply is None or reply.status == 200, "a half-close gets neither a reply nor a close")
    for count in range(200):
        line = wire.Wire(server.port)
        whole = wire.request("POST", "/v1/translate", {"text": "a b c d\n" * 20, "stream": count % 3 == 0})
        line.send(whole[:-10] if count % 2 else whole)
        if count % 4 == 0:
            line.socket.settimeout(0.01)
            try:
                line.more()
            except socket.timeout:
                pass
        line.reset()
    free = eventually(lambda: server.descriptors() <= before + 1, 3)
    expect(free, f"{server.descriptors()} descriptors, {before} before")
    rows = eventually(lambda: server.total("heddle_live_rows") == 0 and server.total("heddle_queue_tokens") == 0, 3)
    expect(rows, "rows or tokens are still held")


def ht_26_idle_connections(context):
    wanted = context.options.idle_connections
    allowed = allow_descriptors(wanted + 200)
    count = min(wanted, allowed - 200)
    server = context.fresh("--connections", "500", *HASTE)
    try:
        lines = []
        for _ in range(count):
            try:
                lines.append(wire.Wire(server.port, 5))
            except OSError:
                time.sleep(0.01)
        spent = server.processor_seconds()
        time.sleep(1)
        spent = server.processor_seconds() - spent
        expect(spent < 0.5, f"{spent:.2f} processor seconds in a second of idleness")
        expect(server.descriptors() < 600, f"{server.descriptors()} descriptors")
        for line in lines:
            line.socket.close()
        well = eventually(lambda: wire.ask(server.port, "GET", "/health").status == 200, 5)
        expect(well, "does not recover")
        expect(eventually(lambda: server.descriptors() < 60, 5), f"{server.descriptors()} descriptors afterwards")
    finally:
        code = server.stop()
    expect(code == 0, f"exit {code}")
    return f"{len(lines)} connections"
