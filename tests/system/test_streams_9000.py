"""Goal: nine thousand streams are open at once in one process, each goes on getting its tokens, what a
stream costs at rest is a few KiB, and all of it is given back."""

import json
import os
import resource
import selectors
import socket
import time

import pytest

from gateway_process import Gateway, wait_until
from sim_process import Sim

pytestmark = pytest.mark.release_only

STREAMS = 9000
DESCRIPTORS = 2 * STREAMS + 200  # the gateway has two for each stream
MEMORY_MAX = 8 << 10             # bytes a stream
ITL_MS = 2000


def rss(gateway):
    with open(f"/proc/{gateway.process.pid}/statm", encoding="ascii") as f:
        return int(f.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def descriptors(gateway):
    return len(os.listdir(f"/proc/{gateway.process.pid}/fd"))


class Client:
    """Many streams, one selector."""

    def __init__(self, port, body):
        body = json.dumps(body).encode()
        self.address = ("127.0.0.1", port)
        self.request = (b"POST /v1/chat/completions HTTP/1.1\r\nHost: g\r\nContent-Length: %d\r\n\r\n"
                        % len(body)) + body
        self.selector = selectors.DefaultSelector()
        self.events = {}  # of each open stream
        self.ended = 0
        self.bad = []

    def open(self, count):
        for _ in range(count):
            s = socket.create_connection(self.address)
            s.sendall(self.request)
            s.setblocking(False)
            self.events[s] = 0
            self.selector.register(s, selectors.EVENT_READ)

    def read(self):
        for key, _ in self.selector.select(0.05):
            s = key.fileobj
            try:
                data = s.recv(65536)
            except OSError as e:
                data = repr(e).encode()
                self.bad.append(data)
            if not self.events[s] and not data.startswith(b"HTTP/1.1 200 "):
                self.bad.append(data[:200])
            self.events[s] += data.count(b'"content":')
            if not data:
                self.bad.append(b"closed")
            if not data or data.endswith(b"0\r\n\r\n"):
                self.close(s)
                self.ended += 1

    def close(self, s):
        self.selector.unregister(s)
        del self.events[s]
        s.close()

    def read_until(self, condition, what):
        deadline = time.monotonic() + 90
        while not condition():
            assert not self.bad, self.bad[:3]
            assert time.monotonic() < deadline, what
            self.read()


def test_nine_thousand_streams(capsys):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < DESCRIPTORS:
        pytest.skip(f"{DESCRIPTORS} descriptors are needed, and the limit is {hard}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    body = {"model": "m", "stream": True, "max_tokens": 5000,
            "messages": [{"role": "user", "content": "go on"}]}
    try:
        with Sim(["m"], ttft="1ms", itl=f"{ITL_MS}ms", max_seqs=STREAMS, output_tokens=5000,
                 kv_blocks=STREAMS * 20) as sim, \
                Gateway([sim], config={"probe": {"timeout": "30s"}}, threads=2) as g:
            client = Client(g.port, body)
            client.open(200)  # what is there once and for all is not counted
            client.read_until(lambda: all(client.events.values()), "first tokens")
            before, count = rss(g), len(client.events)
            while len(client.events) < STREAMS:
                client.open(100)
                client.read()
            client.read_until(lambda: all(client.events.values()), "first tokens of all")
            # Each of them goes on: two more tokens.
            seen = dict(client.events)
            began = time.monotonic()
            client.read_until(lambda: all(n >= seen[s] + 2 for s, n in client.events.items()),
                              "two more tokens of all")
            took = time.monotonic() - began
            a_stream = (rss(g) - before) / (len(client.events) - count)
            with capsys.disabled():
                print(f"\n{len(client.events)} streams: {a_stream:.0f} bytes each, "
                      f"{descriptors(g)} descriptors, two tokens of all in {took:.1f} s")
            assert a_stream <= MEMORY_MAX
            assert g.metric("busbar_streams_in_flight") == STREAMS
            assert g.status()["streams_in_flight"] == STREAMS
            # Half of them leave; the others do not notice.
            for s in list(client.events)[: STREAMS // 2]:
                client.close(s)
            sim.wait(lambda s: s["aborted"] == STREAMS // 2, timeout=60)
            seen = dict(client.events)
            client.read_until(lambda: all(n > seen[s] for s, n in client.events.items()),
                              "one more token of the others")
            for s in list(client.events):
                client.close(s)
            wait_until(lambda: g.status()["streams_in_flight"] == 0 and g.status()["connections"] == 0,
                       lambda: g.status())
            sim.wait(lambda s: s["running"] == 0, timeout=60)
            wait_until(lambda: descriptors(g) < 100, lambda: f"{descriptors(g)} descriptors")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
