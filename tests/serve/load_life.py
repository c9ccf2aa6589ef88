"""The server's life: deadlines, clients that leave, stops, crashes, new models (LD-03, 04, 07, 08, 11, cancels)."""

import os
import pathlib
import random
import shutil
import signal
import socket
import threading
import time

import wire
from harness import eventually, machine_noise, warm
from load_plan import Load, clean, lines_of


def heavy(context, server, seconds):
    """A request of about that many seconds of work, as bytes; of less where it would be refused as too long."""
    lines = lines_of(64, 40)
    times = []
    for _ in range(3):  # the quickest: a pause of the machine would make the request a short one
        started = time.monotonic()
        assert wire.translate(server.port, lines).status == 200
        times.append(time.monotonic() - started)
    each = min(times) / len(lines)
    longest = (1 << 20) // (max(len(line) for line in lines) + 8)  # --max-body
    count = max(1, min(int(seconds / each), longest))
    return wire.request(
        "POST", "/v1/translate", {"model": context.options.name, "text": (lines * (count // 64 + 1))[:count]}
    )


def begins(server):
    return eventually(lambda: server.total("heddle_live_rows") > 0)


def free(server):
    return server.total("heddle_live_rows") == 0 and server.total("heddle_queue_tokens") == 0


def ld_03_deadline_in_the_queue(context):
    server = context.server("--queue-tokens", "1000000")
    assert eventually(lambda: free(server))
    with wire.Wire(server.port, 60) as line:
        line.send(heavy(context, server, 1.5))
        assert begins(server), "the request does not begin"
        before = server.total("heddle_target_tokens_total")
        late = [wire.translate(server.port, text, deadline_ms=1) for text in lines_of(20, 41)]
        blocker = line.reply()
    assert all(reply.status == 504 for reply in late), [reply.status for reply in late]
    assert blocker.status == 200, blocker.status
    assert eventually(lambda: free(server))
    tokens = server.total("heddle_target_tokens_total") - before
    assert tokens <= blocker.json()["usage"]["target_tokens"], "a request was computed after its deadline"


def ld_04_slots_of_clients_that_leave(context):
    server = context.server("--queue-tokens", "1000000")
    work, noise = heavy(context, server, 5), machine_noise()
    worst = 0.0
    for _ in range(5):
        assert eventually(lambda: free(server), 10)
        line = wire.Wire(server.port)
        line.send(work)
        assert begins(server), "the request does not begin"
        line.reset()
        started = time.monotonic()
        assert eventually(lambda: free(server), 5, pause=0.005), "rows are held for a client that left"
        worst = max(worst, time.monotonic() - started)
    context.bar(worst * 1000 <= 100 + 3 * noise, f"{worst * 1000:.0f} ms, an empty reply {noise:.0f} ms")
    return f"free after {worst * 1000:.0f} ms at most"


def ten_thousand_cancels(context):
    count = context.options.cancels
    server = context.server("--queue-tokens", "200000")
    load = Load(context.options, 200, 1, seed=50)
    chance = random.Random(5)
    body = wire.request("POST", "/v1/translate", {"model": context.options.name, "text": lines_of(4, 51)})

    def leave(times):
        for _ in range(times):
            line = wire.Wire(server.port)
            line.send(body[: chance.randint(len(body) // 2, len(body) - 1)] if chance.random() < 0.2 else body)
            time.sleep(chance.random() * 0.01)
            line.reset()

    def leave_all(times):
        threads = [threading.Thread(target=leave, args=(times // 8,)) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def work():
        leave_all(max(400, count // 5))
        clean(load.run(server.port, processes=1, seconds=1, connections=2))
        assert eventually(lambda: free(server), 5)

    warm(server, work)
    memory, descriptors = server.resident(), server.descriptors()
    running = load.start(server.port, processes=1, seconds=3, connections=2)
    leave_all(count)
    clean(load.gather(running))
    assert eventually(lambda: free(server), 1), "rows are still held"
    assert eventually(lambda: server.descriptors() <= descriptors + 1, 2), "descriptors are still open"
    # More clients at once than before need more buffers; what leaks with each cancel would be more than that.
    grown = server.resident() - memory
    assert grown <= 4 << 20, f"memory grew by {grown >> 10} KiB"
    return f"{count} cancels, memory {grown / memory:+.2%}"


def ld_07_stop_with_500_in_flight(context):
    noise = machine_noise()
    server = context.fresh("--queue-tokens", "4000000")
    started = time.monotonic()
    assert wire.translate(server.port, lines_of(64, 61)).status == 200
    each = (time.monotonic() - started) / 64
    load = Load(context.options, 500, max(1, min(8, int(8 / 500 / each))), seed=60)  # about 8 s of work
    probe = wire.Wire(server.port)
    lines = [wire.Wire(server.port, 60) for _ in load.batches]
    for line, batch in zip(lines, load.batches):
        line.send(wire.request("POST", "/v1/translate", {"model": load.model, "text": batch}))
    begun = lambda: server.total("heddle_open_requests") + sum(readable(line) for line in lines)
    assert eventually(lambda: begun() > len(lines), 30), "not all requests are in flight"
    server.signal(signal.SIGTERM)
    started = time.monotonic()
    status = 200
    while status == 200:
        probe.send(wire.request("GET", "/ready"))
        status = probe.reply().status
    noticed = (time.monotonic() - started) * 1000
    assert status == 503, status
    context.bar(noticed <= 100 + noise, f"/ready took {noticed:.0f} ms, an empty reply {noise:.0f} ms")
    waiting = sum(not readable(line) for line in lines)
    for line, expected in zip(lines, load.expected):
        reply = line.reply()
        assert reply is not None and reply.status == 200, f"lost: {reply and (reply.status, reply.body[:200])}"
        assert [entry["text"] for entry in reply.json()["translations"]] == expected, "a wrong reply"
        assert line.closed(5), "the connection stays"
        line.socket.close()
    assert server.wait(35) == 0, server.process.returncode
    took = time.monotonic() - started
    return (
        f"500 replies, {waiting} of them after the signal; /ready 503 after {noticed:.0f} ms; gone after {took:.1f} s"
    )


def readable(line):
    line.socket.setblocking(False)
    try:
        return bool(line.socket.recv(1, socket.MSG_PEEK))
    except BlockingIOError:
        return False
    finally:
        line.socket.settimeout(60)


def ld_07_second_signal(context):
    server = context.fresh("--queue-tokens", "4000000")
    line = wire.Wire(server.port, 30)
    line.send(heavy(context, server, 8))
    assert begins(server), "the request does not begin"
    server.signal(signal.SIGTERM)
    time.sleep(0.2)
    assert server.alive(), "did not wait for the running request"
    server.signal(signal.SIGTERM)
    started = time.monotonic()
    server.wait(5)
    took = time.monotonic() - started
    context.bar(took <= 1, f"{took:.1f} s")
    return f"gone after {took * 1000:.0f} ms"


def ld_07_refusals_while_draining(context):
    server = context.fresh("--queue-tokens", "4000000")
    idle = wire.Wire(server.port)
    idle.send(wire.request("GET", "/health"))
    assert idle.reply().status == 200
    line = wire.Wire(server.port, 60)
    line.send(heavy(context, server, 2))
    assert begins(server), "the request does not begin"
    server.signal(signal.SIGTERM)
    time.sleep(0.1)
    idle.send(wire.request("POST", "/v1/translate", {"model": context.options.name, "text": "a"}))
    reply = idle.reply()
    assert reply is None or reply.status == 503 and (reply.header("connection") or "").lower() == "close", (
        reply and reply.status
    )
    assert line.reply().status == 200, "the running request is lost"
    assert server.wait(35) == 0


def ld_08_kill_and_restart(context):
    """The port is free at once after a crash, and a client that tries again gets its answer."""
    first = context.fresh()
    expected = wire.translate(first.port, "a b c", model=context.options.name).json()["translations"]
    started = time.monotonic()
    first.stop()
    stop_time = time.monotonic() - started
    started = time.monotonic()
    second = context.fresh(port=first.port)
    load_time = time.monotonic() - started
    hung = wire.Wire(second.port)
    hung.send(wire.request("GET", "/health")[:20])
    second.signal(signal.SIGKILL)
    second.wait(5)
    started = time.monotonic()
    third = context.fresh(port=first.port, ready=False)
    try:

        def answered():
            try:
                return (
                    wire.translate(first.port, "a b c", model=context.options.name).json()["translations"] == expected
                )
            except (OSError, ValueError, KeyError, AttributeError):
                return False

        assert eventually(answered, load_time * 2 + 5)
        took = time.monotonic() - started
    finally:
        third.port = third.port or first.port
        third.stop()
    assert took <= load_time * 1.5 + 1, f"{took:.1f} s; loading takes {load_time:.1f} s"
    return f"answers {took:.1f} s after the crash; loading takes {load_time:.1f} s, an idle stop {stop_time:.1f} s"


def damage(folder):
    """Cuts the largest file of a model short."""
    largest = max(
        (file for file in pathlib.Path(folder).iterdir() if file.is_file()), key=lambda file: file.stat().st_size
    )
    data = largest.read_bytes()
    (largest.parent / "new.part").write_bytes(data[: len(data) // 2])
    os.replace(largest.parent / "new.part", largest)
    return largest, data


def ld_11_bad_model_under_load(context):
    """A damaged file, by itself and by SIGHUP, leaves the old model at work; the mended one is taken."""
    folder = f"{context.options.work}/reloaded"
    shutil.copytree(context.options.folders[context.options.name], folder)
    server = context.fresh(models=[f"{context.options.name}={folder}"])
    try:
        load = Load(context.options, 100, 2, seed=70)
        running = load.start(server.port, processes=1, seconds=9, connections=4)
        loads = lambda result: server.total("heddle_model_loads_total", result=result)
        good, bad = loads("ok"), server.total("heddle_model_loads_total") - loads("ok")
        largest, data = damage(folder)
        assert eventually(
            lambda: server.total("heddle_model_loads_total") - loads("ok") > bad, 6
        ), "the damaged file is not noticed"
        server.signal(signal.SIGHUP)
        time.sleep(0.5)
        assert wire.translate(server.port, "a").status == 200, "the old model is gone"
        largest.write_bytes(data)
        server.signal(signal.SIGHUP)
        assert eventually(lambda: loads("ok") > good, 8), "the mended model is not loaded"
        clean(load.gather(running))
        assert any(b"reload" in line.lower() or b"load" in line.lower() for line in server.log), "the log says nothing"
    finally:
        code = server.stop()
    assert code == 0, code
