"""Goal: a gateway that has 64 MiB and no byte more stays alive and answers while 1,000 streams go
through it and everything that could fill its memory is thrown at it at once: large bodies, slow ones,
deep JSON, heads without end, clients that do not read, answers that must be put together, events
of an engine that do not end. Who behaves is served or told to come back (503 or 413); nobody's stream
is cut; afterwards all is served as before and the memory is given back.

Enforced: RLIMIT_DATA of 64 MiB (the heap, anonymous memory and the stacks of threads, needs no
privilege: an allocation beyond it fails), and where a memory cgroup (v1) can be made, its limit of
64 MiB as well (what is beyond it is killed). Measured: VmHWM, the most that was ever resident."""

import contextlib
import json
import multiprocessing
import os
import pathlib
import resource
import selectors
import socket
import threading
import time

import pytest

from gateway_process import Gateway, wait_until
from scripted_engine import STREAM_HEAD, ScriptedEngine
from sim_process import Sim

pytestmark = pytest.mark.release_only

CHAT = "/v1/chat/completions"
LIMIT = 64 << 20
STACK = 256 << 10  # of a thread; the kernel counts all of it as data
STREAMS = 1000
CONFIG = {"limits": {"buffers": "16MiB", "body_size": "8MiB", "answer_size": "8MiB", "sse_line": "1MiB",
                     "body_timeout": "20s", "write_timeout": "20s", "header_timeout": "20s"},
          "upstream": {"keepalive_comment": "0"},
          "probe": {"interval": "500ms", "timeout": "20s", "metrics_interval": "1s"}}


def memory_cgroup():
    """A new group of 64 MiB, or None where that is not allowed or there is only version 2."""
    folder = pathlib.Path(f"/sys/fs/cgroup/memory/busbar-test-{os.getpid()}")
    try:
        folder.mkdir()
        (folder / "memory.limit_in_bytes").write_text(str(LIMIT))
    except OSError:
        with contextlib.suppress(OSError):
            folder.rmdir()
        return None
    return folder


class Small(Gateway):
    """A gateway that cannot have more."""

    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        self.group = memory_cgroup()
        join = f'echo $$ >"{self.group}/cgroup.procs" && ' if self.group else ""
        self.args = ["sh", "-c", f'{join}exec prlimit --stack={STACK}:{STACK} --data={LIMIT} "$@"', "sh",
                     *self.args]

    def _remove(self):
        super()._remove()
        if self.group:
            wait_until(self._leave, "the group is empty")

    def _leave(self):
        with contextlib.suppress(OSError):
            self.group.rmdir()
            return True
        return False

    def memory(self, name):
        with open(f"/proc/{self.process.pid}/status", encoding="ascii") as f:
            return next(int(line.split()[1]) << 10 for line in f if line.startswith(name + ":"))


def head(length, more=""):
    return (f"POST {CHAT} HTTP/1.1\r\nHost: g\r\nContent-Type: application/json\r\n{more}"
            f"Content-Length: {length}\r\n\r\n").encode()


def chat(content="hello", model="m", **more):
    return json.dumps({"model": model, "messages": [{"role": "user", "content": content}], **more}).encode()


class Streams:
    """Many slow streams, read by a thread of their own; `cut` has what did not end as it should."""

    def __init__(self, gateway, count):
        self.selector = selectors.DefaultSelector()
        self.cut = []
        self.tokens = {}
        self.ending = False
        body = chat("go on", stream=True, max_tokens=5000)
        for _ in range(count):
            s = socket.create_connection(("127.0.0.1", gateway.port))
            s.sendall(head(len(body)) + body)
            s.setblocking(False)
            self.tokens[s] = 0
            self.selector.register(s, selectors.EVENT_READ)
        self.thread = threading.Thread(target=self.read, daemon=True)
        self.thread.start()

    def read(self):
        while not self.ending:
            for key, _ in self.selector.select(0.1):
                try:
                    data = key.fileobj.recv(65536)
                except OSError as e:
                    data, _ = b"", self.cut.append(repr(e))
                if not data or data.startswith(b"HTTP/1.1 5") or b'"error"' in data:
                    self.cut.append(data[:300])
                    self.selector.unregister(key.fileobj)
                self.tokens[key.fileobj] += data.count(b'"content":')

    def wait_tokens(self, more):
        seen = dict(self.tokens)
        wait_until(lambda: self.cut or all(n >= seen[s] + more for s, n in self.tokens.items()),
                   "tokens of all streams", 60)
        assert not self.cut, self.cut[:3]

    def end(self):
        self.ending = True
        self.thread.join()
        for s in self.tokens:
            s.close()
        self.selector.close()


class Attack:
    """Attackers, each with connections of its own; `answers` has the status of all that were answered."""

    def __init__(self, port):
        self.port = port
        self.open = []
        self.answers = {}
        self.faults = []
        self.lock = threading.Lock()
        self.ending = False
        self.threads = []

    def connect(self, small=False):
        s = socket.socket()
        if small:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        s.settimeout(30)
        s.connect(("127.0.0.1", self.port))
        with self.lock:
            self.open.append(s)
        return s

    def note(self, kind, answer):
        """An answer to an attack must be whole HTTP, and a 503 must say when to come back."""
        with self.lock:
            if not answer:
                status = "closed"
            else:
                status = int(answer[9:12])
                if status == 503 and b"\r\nRetry-After: " not in answer:
                    self.faults.append((kind, answer[:300]))
                if status in (500, 501, 505):
                    self.faults.append((kind, answer[:300]))
            self.answers.setdefault(kind, {}).setdefault(status, 0)
            self.answers[kind][status] += 1

    def attack(self, kind, count, run):
        def loop():
            while not self.ending:
                try:
                    answer = run(self)
                except OSError:
                    answer = b""  # it closed on us, as it may
                self.note(kind, answer)
                time.sleep(0.05)  # what is tested is the gateway and not Python

        for _ in range(count):
            self.threads.append(threading.Thread(target=loop, daemon=True))
            self.threads[-1].start()

    def end(self):
        self.ending = True
        with self.lock:
            for s in self.open:
                with contextlib.suppress(OSError):
                    s.shutdown(socket.SHUT_RDWR)
        for t in self.threads:
            t.join(40)
            assert not t.is_alive()


def attack(port, stop, result):
    """Runs in a process of its own until it is told to stop."""
    a = Attack(port)
    for run, count in ATTACKS:
        a.attack(run.__name__, count, run)
    stop.wait()
    a.end()
    result.put((a.answers, a.faults))


def hear(s):
    """The answer's head and what came with it."""
    got = b""
    while b"\r\n\r\n" not in got:
        data = s.recv(65536)
        if not data:
            break
        got += data
    return got


def ask(a, data):
    with a.connect() as s:
        with contextlib.suppress(OSError):
            s.sendall(data)
        return hear(s)


LARGE = chat("x" * (7 << 20))


def large_body(a):
    return ask(a, head(len(LARGE)) + LARGE)


def held_body(a):
    """All but the last byte, and then nothing for a while."""
    with a.connect() as s:
        s.sendall(head(len(LARGE)) + LARGE[:-1])
        s.settimeout(3)
        try:
            return hear(s)
        except TimeoutError:
            s.sendall(LARGE[-1:])
            s.settimeout(30)
            return hear(s)


def slow_body(a):
    """512 bytes at a time."""
    with a.connect() as s:
        s.sendall(head(1 << 20))
        for _ in range(40):
            s.sendall(b" " * 512)
            time.sleep(0.05)
            if a.ending:
                break
    return b""


def chunked_body(a):
    """No length is told; it comes to the limit of a body."""
    with a.connect() as s:
        s.sendall(b"POST " + CHAT.encode() + b" HTTP/1.1\r\nHost: g\r\nTransfer-Encoding: chunked\r\n\r\n")
        piece = b"10000\r\n" + b" " * 65536 + b"\r\n"
        with contextlib.suppress(OSError):
            for _ in range(140):
                s.sendall(piece)
        return hear(s)


def deep_json(a):
    body = b'{"model":"m","messages":' + b"[" * 2000000
    return ask(a, head(len(body)) + body)


def many_members(a):
    body = b'{"model":"m","messages":[' + b",".join([b'{"role":"user","content":""}'] * 100000) + b"]}"
    return ask(a, head(len(body)) + body)


def big_head(a):
    """A head that does not end, a KiB at a time."""
    with a.connect() as s:
        s.sendall(b"POST " + CHAT.encode() + b" HTTP/1.1\r\nHost: g\r\n")
        for i in range(40):
            s.sendall(b"X-%04d: " % i + b"h" * 1000 + b"\r\n")
            time.sleep(0.02)
        return hear(s)


def stalled_reader(a):
    """Asks for as much as there is and reads nothing of it."""
    body = chat("[[tokens=20000 itl=0]] go", model="fast", stream=True, max_tokens=20000)
    with a.connect(small=True) as s:
        s.sendall(head(len(body)) + body)
        for _ in range(30):
            time.sleep(0.1)
            if a.ending:
                break
    return b""


def large_answer(a):
    """Must be put together, and is large."""
    body = chat("[[tokens=60000 itl=0]] go", model="fast", max_tokens=60000)
    return ask(a, head(len(body)) + body)


def endless_event(a):
    """Its engine sends most of an event and then nothing."""
    body = chat("go", model="odd", stream=True)
    with a.connect() as s:
        s.sendall(head(len(body)) + body)
        s.settimeout(5)
        with contextlib.suppress(TimeoutError):
            return hear(s)
    return b""


def script_endless_event(engine, conn, request):
    size = 1000000
    conn.sendall(STREAM_HEAD + b"%x\r\n" % size + b"data: " + b"e" * (size - 6) + b"\r\n")
    conn.settimeout(20)
    with contextlib.suppress(OSError):
        conn.recv(1)
    return "close"


ATTACKS = [(large_body, 6), (held_body, 8), (slow_body, 20), (chunked_body, 4), (deep_json, 2),
           (many_members, 2), (big_head, 20), (stalled_reader, 30), (large_answer, 6),
           (endless_event, 30)]


def behave(gateway, counts):
    """A small request of somebody who means well."""
    status, headers, body = gateway.post(CHAT, chat("well", max_tokens=1), {"Content-Type": "application/json"})
    counts[status] = counts.get(status, 0) + 1
    if status == 200:
        assert json.loads(body)["usage"]["completion_tokens"] == 1
    else:
        assert status in (503, 413), (status, body)
        assert json.loads(body)["error"]["message"]
        assert status == 413 or int(headers["retry-after"]) >= 1


def test_64_mib_under_attack(capsys):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < 4 * STREAMS:
        pytest.skip(f"{4 * STREAMS} descriptors are needed, and the limit is {hard}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    counts = {}
    try:
        with Sim(["m"], ttft="1ms", itl="500ms", max_seqs=2 * STREAMS, output_tokens=5000,
                 kv_blocks=STREAMS * 20) as sim, \
                Sim(["fast"], kind="llamacpp", ttft="1ms", itl="0us", max_seqs=200, kv_blocks=2000000,
                    max_model_len=200000) as fast, \
                ScriptedEngine(script_endless_event) as odd, \
                Small([sim, fast], threads=2, config={**CONFIG, "models": {
                    "odd": {"engines": [odd.url], "served_name": "m"},
                    "m": {"engines": [sim.url]}, "fast": {"engines": [fast.url]}}}) as g:
            g.wait_model("odd")
            behave(g, counts)
            streams = Streams(g, STREAMS)
            streams.wait_tokens(1)
            calm = g.memory("VmRSS")
            forks = multiprocessing.get_context("fork")
            stop, result = forks.Event(), forks.Queue()
            attacker = forks.Process(target=attack, args=(g.port, stop, result), daemon=True)
            attacker.start()
            began = time.monotonic()
            while time.monotonic() < began + 15:
                behave(g, counts)
            streams.wait_tokens(2)
            stop.set()
            answers, faults = result.get(timeout=60)
            attacker.join()
            peak = g.memory("VmHWM")
            assert not faults, faults[:3]
            # Afterwards everything is as before, and the streams have gone on.
            streams.wait_tokens(2)
            wait_until(lambda: g.status()["connections"] <= STREAMS + 1, lambda: g.status())
            after = {}
            for _ in range(50):
                behave(g, after)
            assert after == {200: 50}
            wait_until(lambda: g.memory("VmRSS") < calm + (16 << 20), "memory is given back")
            rest = g.memory("VmRSS")
            assert g.metric("busbar_buffers_bytes") < 1 << 20
            streams.end()
            with capsys.disabled():
                print(f"\n{STREAMS} streams under attack: {peak / 2**20:.1f} MiB at most, {calm / 2**20:.1f} before "
                      f"and {rest / 2**20:.1f} after; cgroup: {'yes' if g.group else 'no'}; well-behaved {counts}")
                for kind, statuses in sorted(answers.items()):
                    print(f"  {kind}: {statuses}")
            assert peak < LIMIT
            assert counts[200] >= 5
            for run, _ in ATTACKS:  # each did what it is there for
                assert sum(answers[run.__name__].values()) > 0
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
