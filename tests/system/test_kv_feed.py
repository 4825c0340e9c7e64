"""Goal: what engines tell of their KV caches is followed exactly, whatever happens to it on the way:
every kind of engine, restarts, lost events with and without a replay; and an engine whose events are
mad or hostile harms neither the others nor the gateway's answers. What cannot be followed is said."""

import json
import os
import socket
import struct
import threading
import time

import pytest

from engine_process import ENGINE, TINY, Engine
from gateway_process import ROOT, Gateway, wait_until
from sim_process import Sim

zmq = pytest.importorskip("zmq", reason="pyzmq is not installed")

CHAT = "/v1/chat/completions"
QUICK = {"ttft": "1ms", "itl": "200us"}
PUBLISHES = {"kv_events": "tcp://127.0.0.1:0", "kv_replay": "tcp://127.0.0.1:0", "kv_topic": "kv@sim"}


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as s:
        return s.getsockname()[1]


def config_for(*urls, **engine):
    return {"models": {"small": {"engines": list(urls), "tokenizer": TINY}},
            "engines": [{"url": url, **engine} for url in urls] if engine else []}


def simulated(**options):
    return Sim(["small"], **{"tokenizer": TINY, **QUICK, **PUBLISHES, **options})


def ask(to, number, words=60, tokens=24):
    """One request with a prompt of its own."""
    body = {"model": "small", "prompt": " ".join(f"{number} word{i}" for i in range(words)),
            "max_tokens": tokens}
    status, _, answer = to.request("POST", "/v1/completions", body)
    assert status == 200, answer


def kv(gateway, url):
    return gateway.engine(url)["kv"]


def wait_kv(gateway, url, condition):
    return wait_until(lambda: (lambda row: row if condition(row) else None)(kv(gateway, url)),
                      lambda: f"KV state of {url}: {kv(gateway, url)}; {gateway.log()}")


def wait_equal(gateway, sim):
    """Until the gateway knows as many blocks as the engine has."""
    def equal():
        return kv(gateway, sim.url).get("blocks") == sim.state()["kv_blocks_named"] > 0
    wait_until(equal, lambda: f"equal counts: {kv(gateway, sim.url)}, {sim.state()}; {gateway.log()}")


@pytest.mark.parametrize("options", [{"kind": "vllm"}, {"kind": "vllm", "kv_form": "array"},
                                     {"kind": "sglang"}, {"kind": "vllm", "block_size": 32}],
                         ids=["map", "array", "sglang", "larger-blocks"])
def test_counts_equal_the_engines_own(options):
    """Stored and removed blocks of every form come out at what the engine holds."""
    with simulated(kv_blocks=120, max_model_len=512, **options) as sim:
        for number in range(3):  # before the gateway is there: a replay has them
            ask(sim, number, words=20)
        with Gateway(config=config_for(sim.url)) as gateway:
            gateway.wait_engine(sim.url, "ready")
            wait_equal(gateway, sim)
            for number in range(3, 30):  # more than the cache holds
                ask(gateway, number, words=20)
            wait_equal(gateway, sim)
            row = wait_kv(gateway, sim.url, lambda r: r["mode"] == "exact")
            assert row["removed"] > 0 and row["stored"] - row["removed"] == row["blocks"], row
            assert row["block_tokens"] == options.get("block_size", 16)
            assert row["gaps"] == row["lost_gaps"] == row["restarts"] == row["odd"] == 0, row
            assert row["replays"] >= 1 and row["lag_ms"] < 1000
            assert gateway.metric("busbar_engine_kv_mode", engine=sim.url, mode="exact") == 1
            assert gateway.metric("busbar_engine_kv_blocks", engine=sim.url) == row["blocks"]
            assert gateway.metric("busbar_engine_kv_events_total", engine=sim.url,
                                  kind="stored") == row["stored"]


def test_lost_events_are_replayed():
    """A third of the batches never reaches the gateway: nothing is lost in the end."""
    with simulated() as sim, Gateway(config=config_for(sim.url)) as gateway:
        gateway.wait_engine(sim.url, "ready")
        ask(gateway, 0)
        wait_equal(gateway, sim)
        sim.fault("kv_lost@0.3")
        for number in range(1, 40):
            ask(gateway, number)
        sim.fault()
        ask(gateway, 100)
        wait_equal(gateway, sim)
        row = kv(gateway, sim.url)
        assert row["gaps"] > 0 and row["lost_gaps"] == 0 and row["mode"] == "exact", row


@pytest.mark.parametrize("fault, replay", [("kv_gone", True), ("kv_lost", False)])
def test_lost_for_good(fault, replay):
    """What no replay has is given up, counted, and learned anew; more than there is is never believed."""
    options = {} if replay else {"kv_replay": []}
    with simulated(**options) as sim, Gateway(config=config_for(sim.url)) as gateway:
        gateway.wait_engine(sim.url, "ready")
        sim.wait(lambda s: s["kv_subscribers"] >= 1)  # nobody would repeat what came before
        ask(gateway, 0)
        wait_equal(gateway, sim)
        sim.fault(fault)
        ask(gateway, 1)
        sim.fault()
        ask(gateway, 2)
        row = wait_kv(gateway, sim.url, lambda r: r["lost_gaps"] >= 1)
        assert row["gaps"] >= 1
        assert kv(gateway, sim.url)["blocks"] < sim.state()["kv_blocks_named"]
        assert row["mode"] == "exact", row
        assert "events were lost for good" in gateway.log()


def test_events_begin_anew():
    """The publisher restarts under the same connection's address: what was known is forgotten."""
    with simulated() as sim, Gateway(config=config_for(sim.url)) as gateway:
        gateway.wait_engine(sim.url, "ready")
        for number in range(5):
            ask(gateway, number)
        wait_equal(gateway, sim)
        status, _, body = sim.request("POST", "/sim/kv_restart")
        assert status == 200, body
        ask(gateway, 50)
        wait_kv(gateway, sim.url, lambda r: r["restarts"] >= 1)
        wait_equal(gateway, sim)
        assert kv(gateway, sim.url)["mode"] == "exact"


def test_engine_killed_and_back():
    """Another process at the same address: its events, and nothing of the old one's."""
    ports = [free_port() for _ in range(3)]
    options = {"listen": f"127.0.0.1:{ports[0]}", "kv_events": f"tcp://127.0.0.1:{ports[1]}",
               "kv_replay": f"tcp://127.0.0.1:{ports[2]}"}
    sim = simulated(**options).start()
    with Gateway(config=config_for(sim.url)) as gateway:
        gateway.wait_engine(sim.url, "ready")
        for number in range(8):
            ask(gateway, number)
        wait_equal(gateway, sim)
        sim.kill()
        gateway.wait_engine(sim.url, "down")
        assert kv(gateway, sim.url)["mode"] == "approximate"
        with simulated(**options) as second:
            gateway.wait_engine(second.url, "ready")
            ask(gateway, 1000)
            wait_equal(gateway, second)
            wait_kv(gateway, second.url, lambda r: r["mode"] == "exact")


def test_said_where_it_cannot_be(folder):
    """Off, no events, no tokenizer, another kind of engine, blocks that do not fit: each has its
    reason in status."""
    with simulated() as off, Sim(["small"], tokenizer=TINY, **QUICK) as silent, \
            Sim(["plain"], **QUICK, **PUBLISHES) as unknown, \
            Sim(["small"], tokenizer=TINY, kind="trtllm", **QUICK) as trtllm, \
            simulated(block_size=24) as odd:
        config = config_for(off.url, silent.url, trtllm.url, odd.url)
        config["engines"] = [{"url": off.url, "kv_events": "off"}, {"url": unknown.url}]
        with Gateway(config=config) as gateway:
            for sim in (off, silent, unknown, trtllm, odd):
                gateway.wait_engine(sim.url, "ready")
            ask(odd, 1)
            for sim, why in ((off, "kv_events is off"), (silent, "publishes no KV events"),
                             (unknown, "no tokenizer"),
                             (odd, "neither a multiple nor a divisor")):
                row = wait_kv(gateway, sim.url, lambda r: why in r["why"])
                assert row["mode"] == "approximate"
            # trtllm-serve does not tokenize: nobody knows whether its tokens are ours
            assert kv(gateway, trtllm.url)["mode"] == "approximate"
            assert kv(gateway, trtllm.url)["why"]
            assert "what its KV cache holds is assumed: kv_events is off" in gateway.log()


def test_polled():
    """TensorRT-LLM's events are taken where the configuration says so, and only there."""
    with Sim(["small"], tokenizer=TINY, kind="trtllm", **QUICK) as sim:
        ask(sim, 1)
        with Gateway(config=config_for(sim.url)) as gateway:
            gateway.wait_engine(sim.url, "ready")
            ask(gateway, 2)
            assert not any(r["path"] == "/kv_cache_events" for r in sim.requests())
        with Gateway(config=config_for(sim.url, kind="trtllm", kv_events="poll")) as gateway:
            gateway.wait_engine(sim.url, "ready")
            ask(gateway, 3)
            wait_until(lambda: kv(gateway, sim.url).get("blocks") == sim.state()["kv_blocks_named"] > 0,
                       lambda: f"{kv(gateway, sim.url)} {sim.state()} {gateway.log()}")


def test_configured_endpoints():
    """An engine that does not say where its events are can be helped."""
    live, replay = free_port(), free_port()
    with simulated(kind="openai", kv_events=f"tcp://127.0.0.1:{live}",
                   kv_replay=f"tcp://127.0.0.1:{replay}") as sim:
        ask(sim, 1)
        config = config_for(sim.url, kv_events=f"tcp://*:{live}", kv_replay=f"tcp://*:{replay}",
                            kv_topic="kv@")
        with Gateway(config=config) as gateway:
            gateway.wait_engine(sim.url, "ready")
            ask(gateway, 2)
            wait_equal(gateway, sim)
            # Switched off by a reload: nothing is known any more.
            config["engines"][0] = {"url": sim.url, "kv_events": "off"}
            gateway.write_config({"probe": {"interval": "50ms", "metrics_interval": "100ms"}, **config})
            assert gateway.reload()[0] == 200
            wait_kv(gateway, sim.url, lambda r: r["mode"] == "approximate" and "blocks" not in r)


def test_load_is_pushed():
    """SGLang's load comes by itself, and metrics are read the less often."""
    with Sim(["small"], kind="sglang", load_push="tcp://127.0.0.1:0", max_seqs=1, ttft="300ms") as sim, \
            Gateway([sim], policy="least_tokens") as gateway:  # one that lets engines queue
        threads = [threading.Thread(target=ask, args=(gateway, n)) for n in range(3)]
        for t in threads:
            t.start()
        wait_until(lambda: gateway.engine(sim.url).get("reported", {}).get("waiting", 0) >= 1,
                   "a queue as the engine tells it")
        for t in threads:
            t.join()
        wait_until(lambda: gateway.engine(sim.url)["reported"] ==
                   {"running": 0, "waiting": 0, "kv_usage": 0.0}, "an idle engine")
        before = sum(r["path"] == "/metrics" for r in sim.requests())
        begin = time.monotonic()
        wait_until(lambda: time.monotonic() - begin > 1.5, "some time")
        assert sum(r["path"] == "/metrics" for r in sim.requests()) - before <= 2


def test_load_in_answers():
    """vLLM is asked to tell its load in its answers; clients see nothing of it."""
    with Sim(["small"], max_seqs=1, **QUICK) as sim, Gateway([sim]) as gateway:
        status, headers, _ = gateway.post("/v1/completions", {"model": "small", "prompt": "a b c"},
                                          {"endpoint-load-metrics-format": "TEXT"})
        assert status == 200 and "endpoint-load-metrics" not in headers
        asked = [dict((k.lower(), v) for k, v in r["headers"]) for r in sim.requests()
                 if r["path"] == "/v1/completions"]
        assert [h.get("endpoint-load-metrics-format") for h in asked] == ["JSON"]


# ---- what a real vLLM sent ----

def serve_replay(router, frames, is_over):
    """Answers replay requests as vLLM's publisher does, out of its own captured frames."""
    while not is_over.is_set():
        if not router.poll(50):
            continue
        client, _, start = router.recv_multipart()
        for f in frames[:-1]:
            if f[2] >= start:
                router.send_multipart([client, *f])
        router.send_multipart([client, *frames[-1]])


def test_captured_events_of_vllm():
    """The batches that vLLM 0.32 published, through libzmq: half by replay, half live, one lost."""
    lines = (ROOT / "tests/data/vllm-kv-events/frames.jsonl").read_text().splitlines()
    frames = [[bytes.fromhex(part) for part in json.loads(line)["frames_hex"]] for line in lines]
    context, is_over = zmq.Context(), threading.Event()
    pub, router = context.socket(zmq.PUB), context.socket(zmq.ROUTER)
    ports = [s.bind_to_random_port("tcp://127.0.0.1") for s in (pub, router)]
    half = frames[:20] + frames[-1:]
    thread = threading.Thread(target=serve_replay, args=(router, half, is_over))
    with Sim(["small"], tokenizer=TINY, **QUICK) as sim:
        config = config_for(sim.url, kv_events=f"tcp://*:{ports[0]}", kv_replay=f"tcp://*:{ports[1]}",
                            kv_topic="kv@test-pod")
        with Gateway(config=config) as gateway:
            thread.start()
            wait_kv(gateway, sim.url, lambda r: r.get("batches") == 20)
            half[:] = frames
            for number, f in enumerate(frames[20:-1]):
                if number != 7:  # a gap, filled from the ROUTER
                    pub.send_multipart(f[1:])
            row = wait_kv(gateway, sim.url, lambda r: r["batches"] == len(frames) - 1)
            assert row["removed"] == 67 and row["stored"] - row["removed"] == row["blocks"] > 0, row
            assert row["block_tokens"] == 32 and row["mode"] == "exact", row
            assert row["gaps"] >= 1 and row["lost_gaps"] == row["restarts"] == row["odd"] == 0, row
    is_over.set()
    thread.join()
    for s in (pub, router):
        s.close(0)
    context.term()


# ---- hostile events ----

class Hostile:
    """A PUB socket that sends what `make` gives, without end."""

    def __init__(self, make):
        self.context = zmq.Context()
        self.socket = self.context.socket(zmq.PUB)
        self.socket.setsockopt(zmq.SNDHWM, 1000)
        self.port = self.socket.bind_to_random_port("tcp://127.0.0.1")
        self.make, self.is_over = make, False
        self.thread = threading.Thread(target=self.run, daemon=True)

    def run(self):
        number = 0
        while not self.is_over:
            self.socket.send_multipart(self.make(number))
            number += 1
            if number % 200 == 0:
                time.sleep(0.001)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *exc):
        self.is_over = True
        self.thread.join()
        self.socket.close(0)
        self.context.term()


def batch(payload, number):
    return [b"kv@x", struct.pack(">Q", number), payload]


HOSTILE = {
    "garbage": lambda n: batch(os.urandom(64), n),
    "no-batches": lambda n: [b"kv@x", b"whatever"],
    "huge": lambda n: batch(b"\x93\xcb" + bytes(9 << 20), n),
    "mad-numbers": lambda n: batch(b"\x93\xcb\x41\xda\x00\x00\x00\x00\x00\x00\x90\x00",
                                   (n * 7919) % 1000),
    "restarts": lambda n: batch(b"\x93\xcb\x41\xda\x00\x00\x00\x00\x00\x00\x90\x00", 0 if n % 2 else n),
    "claims": lambda n: batch(b"\x93\xcb\x41\xda\x00\x00\x00\x00\x00\x00\xdd\xff\xff\xff\xff", n),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_hostile_events_harm_only_their_engine(what):
    """Beside a flood of them the other engine's events are followed and answers go on."""
    with simulated() as good, Sim(["small"], tokenizer=TINY, **QUICK) as bad, \
            Hostile(HOSTILE[what]) as hostile:
        config = config_for(good.url, bad.url)
        config["engines"] = [{"url": bad.url, "kv_events": f"tcp://127.0.0.1:{hostile.port}"}]
        config["policy"] = "round_robin"
        with Gateway(config=config, threads=1) as gateway:
            gateway.wait_engine(good.url, "ready")
            gateway.wait_engine(bad.url, "ready")
            wait_kv(gateway, bad.url, lambda r: r.get("odd") or r.get("restarts") or r.get("gaps"))
            for number in range(30):
                ask(gateway, number)
            wait_equal(gateway, good)
            wait_kv(gateway, good.url, lambda r: r["mode"] == "exact")
            row = kv(gateway, bad.url)
            assert row["mode"] == "approximate" and row["blocks"] == 0, row
            assert all(e["state"] == "ready" for e in gateway.status()["engines"])
            # Said, and not for each of them.
            assert sum("kv_events" in line and bad.url in line for line in gateway.lines) < 20


@pytest.mark.skipif(not os.access(ENGINE, os.X_OK), reason=f"{ENGINE} is not built (make engine)")
def test_the_real_engine():
    """busbar-engine with a real tokenizer: exact, and its blocks come and go."""
    engine = Engine("--name", "small", "--ctx", "512", "--parallel", "2", "--threads", "1",
                    "--kv-events", "tcp://127.0.0.1:0", "--kv-replay", "tcp://127.0.0.1:0")
    engine.ready()
    url = f"http://127.0.0.1:{engine.port}"
    with Gateway(config=config_for(url)) as gateway:
        gateway.wait_engine(url, "ready")
        for number in range(12):
            gateway.post_json(CHAT, {"model": "small", "max_tokens": 8, "messages": [
                {"role": "user", "content": f"Question {number}: " + "why? " * 20}]})
        row = wait_kv(gateway, url, lambda r: r["mode"] == "exact" and r.get("removed", 0) > 0)
        assert row["stored"] - row["removed"] == row["blocks"] > 0, row
        assert row["gaps"] == row["lost_gaps"] == row["odd"] == 0, row
    assert engine.stop() == 0, engine.log()
