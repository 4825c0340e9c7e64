"""Goal: real ZeroMQ sockets (libzmq through pyzmq) understand our publisher of KV events.

A simulated engine publishes; a SUB socket gets its batches after chat requests, a DEALER gets all
of them again from the replay address, a REQ gets the first, and neither a foreign protocol on the
port nor a restart of the engine disturbs them.
"""

import json
import os
import pathlib
import socket
import struct
import subprocess
import time
import urllib.error
import urllib.request

import pytest

zmq = pytest.importorskip("zmq", reason="pyzmq is not installed")

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUSBAR = os.environ.get("BUSBAR", str(ROOT / "build" / "busbar"))
BLOCK_SIZE = 16
END = b"\xff" * 8
WAIT_S = 20


def free_ports(count):
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [s.getsockname()[1] for s in held]
    for s in held:
        s.close()
    return ports


def until(condition, what):
    """Waits for a condition that needs a moment on another process's side."""
    deadline = time.monotonic() + WAIT_S
    while time.monotonic() < deadline:
        got = condition()
        if got:
            return got
        time.sleep(0.01)
    raise AssertionError(f"waited in vain for {what}")


class Engine:
    def __init__(self):
        self.http, self.events, self.replay = free_ports(3)
        self.process = None

    def start(self):
        self.process = subprocess.Popen(
            [BUSBAR, "sim", "serve", "--listen", f"127.0.0.1:{self.http}", "--model", "m",
             "--ttft", "1ms", "--itl", "1ms", "--block-size", str(BLOCK_SIZE),
             "--kv-events", f"tcp://127.0.0.1:{self.events}",
             "--kv-replay", f"tcp://127.0.0.1:{self.replay}"])
        until(self.is_up, "the simulated engine")

    def is_up(self):
        assert self.process.poll() is None, "the simulated engine has ended"
        try:
            return urllib.request.urlopen(f"http://127.0.0.1:{self.http}/health", timeout=1)
        except (urllib.error.URLError, ConnectionError):
            return None

    def chat(self, seed):
        text = " ".join(f"word{seed}x{i}" for i in range(200))
        body = {"model": "m", "max_tokens": 4, "messages": [{"role": "user", "content": text}]}
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.http}/v1/chat/completions", json.dumps(body).encode(),
            {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=WAIT_S) as answer:
            return json.load(answer)

    def stop(self):
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait()


@pytest.fixture
def engine():
    e = Engine()
    e.start()
    yield e
    e.stop()


@pytest.fixture
def context():
    c = zmq.Context()
    yield c
    c.destroy(linger=0)


def connect(context, kind, port, **options):
    s = context.socket(kind)
    s.setsockopt(zmq.RCVTIMEO, WAIT_S * 1000)
    s.setsockopt(zmq.RECONNECT_IVL, 20)
    for name, value in options.items():
        s.setsockopt(getattr(zmq, name), value)
    s.connect(f"tcp://127.0.0.1:{port}")
    return s


def subscribe(context, engine):
    """A SUB that is known to get what is published from now on, and the first that it got."""
    s = connect(context, zmq.SUB, engine.events, SUBSCRIBE=b"")
    for seed in range(1000, 1200):
        engine.chat(seed)
        if s.poll(100):
            return s, s.recv_multipart()
    raise AssertionError("the subscription gets nothing")


def replayed(context, engine, start):
    s = connect(context, zmq.DEALER, engine.replay)
    s.send_multipart([b"", struct.pack(">Q", start)])
    batches = []
    while True:
        frames = s.recv_multipart()
        assert len(frames) == 4 and frames[0] == b""
        if frames[2] == END:
            assert frames == [b"", b"", END, b""]
            s.close()
            return batches
        batches.append(frames[1:])


def sequence(batch):
    assert len(batch[1]) == 8
    return struct.unpack(">Q", batch[1])[0]


def msgpack(data):
    """A reader of our own, independent of the C one: as much of MessagePack as batches use."""
    at = 0

    def take(count):
        nonlocal at
        at += count
        assert at <= len(data)
        return data[at - count:at]

    def number(layout):
        return struct.unpack(">" + layout, take(struct.calcsize(layout)))[0]

    def value():
        tag = number("B")
        if tag < 0x80:
            return tag
        if tag < 0x90:
            return pairs(tag & 15)
        if tag < 0xa0:
            return [value() for _ in range(tag & 15)]
        if tag < 0xc0:
            return take(tag & 31).decode()
        if tag >= 0xe0:
            return tag - 256
        if tag in (0xc0, 0xc2, 0xc3):
            return {0xc0: None, 0xc2: False, 0xc3: True}[tag]
        if tag in NUMBERS:
            return number(NUMBERS[tag])
        if tag in STRINGS:
            return take(number(STRINGS[tag])).decode()
        if tag in (0xdc, 0xdd):
            return [value() for _ in range(number("H" if tag == 0xdc else "I"))]
        if tag in (0xde, 0xdf):
            return pairs(number("H" if tag == 0xde else "I"))
        raise AssertionError(f"tag {tag:#x}")

    def pairs(count):
        return {value(): value() for _ in range(count)}

    whole = value()
    assert at == len(data)
    return whole


NUMBERS = {0xca: "f", 0xcb: "d", 0xcc: "B", 0xcd: "H", 0xce: "I", 0xcf: "Q",
           0xd0: "b", 0xd1: "h", 0xd2: "i", 0xd3: "q"}
STRINGS = {0xd9: "B", 0xda: "H", 0xdb: "I"}


def check_payload(payload):
    stamp, events, rank = msgpack(payload)
    assert abs(stamp - time.time()) < 3600
    assert rank == 0
    for e in events:
        if e["type"] == "BlockStored":
            assert e["block_size"] == BLOCK_SIZE
            assert len(e["token_ids"]) == BLOCK_SIZE * len(e["block_hashes"]) > 0
            assert e["parent_block_hash"] is None or isinstance(e["parent_block_hash"], int)
        elif e["type"] == "BlockRemoved":
            assert e["block_hashes"]
        else:
            assert e == {"type": "AllBlocksCleared"}
    return events


def test_batches_reach_a_real_sub(engine, context):
    sub, last = subscribe(context, engine)
    stored = 0
    for seed in range(5):
        engine.chat(seed)
        batch = sub.recv_multipart()
        assert sequence(batch) == sequence(last) + 1
        last = batch
        while sub.poll(50):
            batch = sub.recv_multipart()
            assert sequence(batch) == sequence(last) + 1
            last = batch
        stored += sum(e["type"] == "BlockStored" for e in check_payload(last[2]))
    assert stored > 0


def test_topic_filter(engine, context):
    other = connect(context, zmq.SUB, engine.events, SUBSCRIBE=b"no-such-topic")
    subscribe(context, engine)
    assert not other.poll(100)


def test_replay_to_a_dealer(engine, context):
    sub, first = subscribe(context, engine)
    live = [first]
    for seed in range(5):
        engine.chat(seed)
    while sub.poll(200):
        live.append(sub.recv_multipart())
    batches = replayed(context, engine, 0)
    assert [sequence(b) for b in batches] == list(range(len(batches)))
    assert batches[sequence(first):] == live
    for b in batches:
        check_payload(b[2])
    assert replayed(context, engine, len(batches) - 2) == batches[-2:]
    assert replayed(context, engine, len(batches)) == []


def test_many_dealers_at_once_and_one_twice(engine, context):
    for seed in range(20):
        engine.chat(seed)
    expected = replayed(context, engine, 0)
    assert len(expected) >= 20
    dealers = [connect(context, zmq.DEALER, engine.replay) for _ in range(10)]
    for s in dealers:
        s.send_multipart([b"", struct.pack(">Q", 0)])
        s.send_multipart([b"", struct.pack(">Q", 7)])
    for s in dealers:
        for start in (0, 7):
            for batch in expected[start:]:
                assert s.recv_multipart()[1:] == batch
            assert s.recv_multipart()[2] == END


def test_replay_to_a_req(engine, context):
    engine.chat(1)
    first = until(lambda: replayed(context, engine, 0), "a first batch")[0]
    req = connect(context, zmq.REQ, engine.replay)
    req.send(struct.pack(">Q", 0))
    assert req.recv_multipart() == first


def test_foreign_protocols_do_no_harm(engine, context):
    sub, last = subscribe(context, engine)
    for port in (engine.events, engine.replay):
        for hello in (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"\xff" + b"\0" * 8 + b"\x7f\x01",
                      b"\x16\x03\x01\x02\x00" + b"\1" * 200):
            with socket.create_connection(("127.0.0.1", port), timeout=WAIT_S) as s:
                s.sendall(hello)
                try:
                    while s.recv(4096):  # the greeting, then the end
                        pass
                except ConnectionResetError:
                    pass
    engine.chat(1)
    assert sequence(sub.recv_multipart()) == sequence(last) + 1


def test_restart_begins_at_zero(engine, context):
    sub, batch = subscribe(context, engine)
    for seed in range(20):
        engine.chat(seed)
    before = replayed(context, engine, 0)
    while batch != before[-1]:  # nothing of the old engine is left on the way
        batch = sub.recv_multipart()
    engine.stop()
    engine.start()
    for seed in range(200):
        engine.chat(seed)
        if sub.poll(100):
            break
    batch = sub.recv_multipart()
    after = replayed(context, engine, 0)
    assert sequence(after[0]) == 0
    assert batch == after[sequence(batch)]
    assert batch not in before
