#!/usr/bin/env python3
"""One client process of the load test: reads a plan as JSON from stdin, writes what came back as JSON.

plan: port, seconds, rate (requests a second at fixed times; 0: as many as `connections` allow), connections,
batches [[line, …], …] and expected [[line, …], …], start (first batch), step, leave (share of requests that the
client walks away from), once (stop after the last batch instead of after `seconds`).
"""

import asyncio
import json
import random
import sys
import time


class Client:
    def __init__(self, plan):
        self.plan = plan
        self.idle = []
        self.out = {
            "good": 0,
            "lines": 0,
            "wrong": 0,
            "lost": 0,
            "refused": 0,
            "left": 0,
            "no_retry_after": 0,
            "other": {},
            "good_times": [],
            "refused_times": [],
            "examples": [],
        }
        self.random = random.Random(plan["start"])
        self.bodies = [json.dumps({"model": plan["model"], "text": lines}).encode() for lines in plan["batches"]]

    async def connection(self):
        while self.idle:
            reader, writer = self.idle.pop()
            if not reader.at_eof() and not writer.is_closing():
                return reader, writer
            writer.close()
        return await asyncio.open_connection("127.0.0.1", self.plan["port"])

    async def ask(self, number):
        """One request; returns (status, headers, body)."""
        body = self.bodies[number]
        reader, writer = await self.connection()
        try:
            writer.write(
                b"POST /v1/translate HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                b"Content-Length: %d\r\n\r\n" % len(body) + body
            )
            if self.plan["leave"] and self.random.random() < self.plan["leave"]:
                await asyncio.sleep(self.random.random() * 0.02)
                writer.transport.abort()
                return None
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
            length = int(head.split("content-length:")[1].split("\r\n")[0])
            data = await reader.readexactly(length)
            if reader._buffer:
                self.out["wrong"] += 1  # a reply that nobody asked for
            if "connection: close" in head:
                writer.close()
            else:
                self.idle.append((reader, writer))
            return int(head[9:12]), head, data
        except BaseException:
            writer.transport.abort()
            raise

    async def one(self, number):
        out, started = self.out, time.monotonic()
        try:
            reply = await asyncio.wait_for(self.ask(number), 120)
        except (OSError, asyncio.IncompleteReadError, asyncio.TimeoutError) as error:
            out["lost"] += 1
            out["examples"] = out["examples"][:3] + [f"{type(error).__name__} {error}"]
            return
        took = time.monotonic() - started
        if reply is None:
            out["left"] += 1
            return
        status, head, data = reply
        if status == 200:
            found = [entry["text"] for entry in json.loads(data)["translations"]]
            if found == self.plan["expected"][number]:
                out["good"] += 1
                out["lines"] += len(found)
                out["good_times"].append(took)
            else:
                out["wrong"] += 1
                pairs = zip(self.plan["batches"][number], found, self.plan["expected"][number])
                out["examples"] = out["examples"][:3] + [str(next((p for p in pairs if p[1] != p[2]), "another count"))]
        elif status in (429, 503):
            out["refused"] += 1
            out["refused_times"].append(took)
            out["no_retry_after"] += "retry-after:" not in head
        else:
            out["other"][str(status)] = out["other"].get(str(status), 0) + 1

    def numbers(self):
        plan, number = self.plan, self.plan["start"]
        while not plan["once"] or number < len(self.bodies):
            yield number % len(self.bodies)
            number += plan["step"]

    async def closed_loop(self, numbers, end):
        for number in numbers:
            if time.monotonic() > end:
                return
            await self.one(number)

    async def open_loop(self, numbers, end):
        tasks, due = set(), time.monotonic()
        while due < end:
            await asyncio.sleep(max(0, due - time.monotonic()))
            task = asyncio.create_task(self.one(next(numbers)))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
            due += 1 / self.plan["rate"]
        await asyncio.gather(*tasks)

    async def run(self):
        started = time.monotonic()
        end = started + self.plan["seconds"]
        if self.plan["rate"]:
            await self.open_loop(self.numbers(), end)
        else:
            numbers = self.numbers()
            await asyncio.gather(*(self.closed_loop(numbers, end) for _ in range(self.plan["connections"])))
        self.out["seconds"] = time.monotonic() - started
        for _, writer in self.idle:
            writer.close()
        return self.out


if __name__ == "__main__":
    print(json.dumps(asyncio.run(Client(json.load(sys.stdin)).run())))
