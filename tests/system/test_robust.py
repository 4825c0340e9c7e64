"""Goal: nothing that a client or an engine does to the gateway hurts anyone else. Whoever misbehaves
gets an answer that says so or a closed connection, memory stays bounded, and the next request is
served."""

import contextlib
import json
import os
import re
import signal
import socket
import struct
import threading
import time

import pytest

from gateway_process import Gateway, content_of, received, wait_until
from scripted_engine import STREAM_HEAD, ScriptedEngine, answer, chunk, event
from sim_process import Sim

CHAT = "/v1/chat/completions"
HELLO = [{"role": "user", "content": "Hello world"}]
ENDLESS = [{"role": "user", "content": "[[tokens=100000 itl=1000]] go on"}]


def chat(**more):
    return {"model": "m", "messages": HELLO, "max_tokens": 4, **more}


def rss(gateway):
    """Resident bytes of the gateway."""
    with open(f"/proc/{gateway.process.pid}/statm", encoding="ascii") as f:
        return int(f.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def is_sanitized():
    return any(v in os.environ.get("BUSBAR", "") for v in ("asan", "tsan"))


def raw_post(body, path=CHAT, more=""):
    if not isinstance(body, bytes):
        body = json.dumps(body).encode()
    return (f"POST {path} HTTP/1.1\r\nHost: g\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\n{more}\r\n").encode() + body


def read_all(conn):
    """What comes to the end of the connection; None stands for a reset behind it."""
    got = b""
    try:
        while piece := conn.recv(65536):
            got += piece
    except ConnectionResetError:
        return got, True
    return got, False


def is_calm(gateway):
    """Nothing is under way in it any more."""
    s = gateway.status()
    return s["requests_in_flight"] == 0 and s["streams_in_flight"] == 0 and \
        all(e["requests_in_flight"] == 0 for e in s["engines"])


def wait_calm(gateway):
    wait_until(lambda: is_calm(gateway), lambda: gateway.status())


def serves(gateway):
    assert gateway.post_json(CHAT, chat())["choices"]


@pytest.fixture(scope="module")
def sim():
    with Sim(["m"], ttft="1ms", itl="200us") as s:
        yield s


@pytest.fixture(scope="module")
def impatient(sim):
    """A gateway with short time-outs and small limits."""
    config = {
        "probe": {"interval": "50ms"},
        "limits": {"head_size": "4KiB", "body_size": "64KiB", "header_timeout": "300ms",
                   "body_timeout": "300ms", "keepalive": "300ms", "json_depth": 16,
                   "requests_per_connection": 3},
    }
    with Gateway([sim], config=config, threads=2) as g:
        yield g
        wait_calm(g)
        serves(g)


# ---- engines that go ----

def test_engine_is_killed_in_mid_stream():
    """The client is told so in the stream, which does not look whole; the other one is not touched."""
    body = chat(messages=[{"role": "user", "content": "[[tokens=300 itl=2000]] x"}], max_tokens=300)
    with Sim(["m"], ttft="1ms") as victim, Sim(["m"], ttft="1ms") as other:
        with Gateway([victim, other], config={"upstream": {"retries": 0}}) as g:
            with g.stream(CHAT, body) as one, g.stream(CHAT, body) as two:
                one.first_payload()
                two.first_payload()
                victim.kill()
                ends = []
                threads = [threading.Thread(target=lambda s=s: ends.append(s.payloads()[-1]))
                           for s in (one, two)]
                for t in threads:
                    t.start()
                for t in threads:
                    t.join()
            assert ends[1] == "[DONE]"
            assert ends[0] != "[DONE]" and ends[0]["error"]["code"] == "engine_failed"
            wait_calm(g)


@pytest.mark.parametrize("stream", [False, True])
def test_engine_is_killed_before_its_answer(stream):
    """Nothing was shown: another one answers, and the client does not notice."""
    with Sim(["m"], ttft="1ms") as other:
        slow = Sim(["m"], ttft="20s").start()
        with Gateway([slow, other], policy="round_robin") as g:
            answers = []
            threads = [threading.Thread(target=lambda: answers.append(g.post(CHAT, chat(stream=stream))))
                       for _ in range(6)]
            for t in threads:
                t.start()
            slow.wait(lambda s: s["running"] == 3)
            wait_until(lambda: len(answers) == 3, "the other half is answered")
            slow.kill()
            for t in threads:
                t.join()
            assert [a[0] for a in answers] == [200] * 6, answers
            assert all((b"[DONE]" in a[2]) == stream for a in answers)
            assert g.metric("busbar_retries_total") == 3
            wait_calm(g)


def test_engine_is_killed_while_connections_idle():
    """The pool notices; nobody gets an error when another one is there."""
    one, two = Sim(["m"], ttft="1ms").start(), Sim(["m"], ttft="1ms").start()
    with Gateway([one, two], policy="round_robin") as g:
        for _ in range(4):
            serves(g)
        one.kill()
        for _ in range(20):
            serves(g)
        two.kill()
        status, headers, error = g.error("POST", CHAT, chat())
        assert status in (502, 503), error
        assert headers["retry-after"] == "1"


def test_engine_comes_back_on_its_port():
    engine = Sim(["m"], ttft="1ms").start()
    with Gateway([engine]) as g:
        serves(g)
        port = engine.port
        engine.kill()
        wait_until(lambda: g.engine(engine.url)["state"] != "ready", "it is missed")
        with Sim(["m"], listen=f"127.0.0.1:{port}", ttft="1ms"):
            g.wait_engine(engine.url, "ready")
            serves(g)


def test_engine_that_does_not_read():
    """upstream.write_timeout: 504, and the connection is given up."""
    def script(engine, conn, request):
        threading.Event().wait(10)

    body = chat(messages=[{"role": "user", "content": "x" * (16 << 20)}])
    with ScriptedEngine(script, reads_body=False) as e, \
            Gateway(config=e.config(upstream={"write_timeout": "200ms", "retries": 0})) as g:
        g.wait_model("m")
        status, _, error = g.error("POST", CHAT, body)
        assert (status, error["code"]) == (504, "engine_timeout")
        wait_calm(g)


# ---- clients that stop reading ----

def slow_reader(gateway, body):
    """A client with a small window that has read the head of its stream and no more."""
    conn = socket.socket()
    conn.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    conn.settimeout(30)
    conn.connect(("127.0.0.1", gateway.port))
    conn.sendall(raw_post(body))
    assert conn.recv(100).startswith(b"HTTP/1.1 200 OK")
    return conn


FAST = [{"role": "user", "content": "[[tokens=2000000 itl=50]] go on"}]


def test_a_client_that_stops_reading_stops_its_engine():
    """Streaming is pull: what the client does not take stays at the engine, and memory is bounded.
    The comments of a stream do not keep such a client alive."""
    config = {"limits": {"write_timeout": "700ms"}, "upstream": {"keepalive_comment": "100ms"}}
    with Sim(["m"], ttft="1ms", max_model_len=3000000, kv_blocks=400000) as engine, \
            Gateway([engine], config=config, threads=1) as g:
        serves(g)
        before = rss(g)
        readers = [slow_reader(g, chat(messages=FAST, max_tokens=1900000, stream=True))
                   for _ in range(8)]
        engine.wait(lambda s: s["running"] == len(readers))
        time.sleep(0.4)  # within the time-out: this long a fast engine goes on if it is not stopped
        grown = rss(g) - before
        if not is_sanitized():
            assert grown < 8 << 20, grown
        # The gateway gives the clients up, and their engine is told.
        engine.wait(lambda s: s["aborted"] == len(readers))
        wait_calm(g)
        for r in readers:
            r.close()
        serves(g)


def test_a_slow_client_is_not_cut():
    """It takes bytes all the time, if few: that is no silence."""
    config = {"limits": {"write_timeout": "300ms"}}
    with Sim(["m"], ttft="1ms", itl="0us", max_model_len=100000) as engine, \
            Gateway([engine], config=config, threads=1) as g:
        tokens = 30000
        conn = slow_reader(g, chat(messages=[{"role": "user", "content": f"[[tokens={tokens} itl=0]] x"}],
                                   max_tokens=tokens, stream=True))
        got, began = b"", time.monotonic()
        while not got.endswith(b"0\r\n\r\n"):
            piece = conn.recv(2048 if time.monotonic() - began < 1 else 1 << 20)
            assert piece, got[-200:]
            got += piece
            if time.monotonic() - began < 1:
                time.sleep(0.002)  # a slow client is what is tested
        assert b"data: [DONE]" in got
        conn.close()


# ---- clients that vanish ----

def test_clients_that_vanish_anywhere(sim):
    """At each point of a request, politely and with a reset; nothing stays behind."""
    whole = raw_post(chat(stream=True, messages=ENDLESS, max_tokens=20000))
    head = whole.index(b"\r\n\r\n")
    with Gateway([sim], threads=2) as g:
        for hard in (False, True):
            for at in (0, 1, 10, head, head + 4, head + 10, len(whole) - 1, len(whole)):
                conns = [g.raw_connect() for _ in range(20)]
                for i, c in enumerate(conns):
                    c.sendall(whole[:at])
                    if at == len(whole) and i % 2:
                        c.recv(1)
                    if hard:
                        c.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    c.close()
        wait_until(lambda: g.status()["connections"] == 0, lambda: g.status())
        wait_calm(g)
        sim.wait(lambda s: s["running"] == 0)
        serves(g)


# ---- slow and large requests ----

def test_slow_attackers(impatient):
    """300 connections that send a head a byte at a time, and as many that stop in their bodies, each
    get 408 and are closed; meanwhile others are served."""
    g = impatient
    half = raw_post(chat())[:-3]
    heads = [g.raw_connect() for _ in range(150)]
    bodies = [g.raw_connect() for _ in range(150)]
    for c in heads:
        c.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHo")
    for c in bodies:
        c.sendall(half)
    began = time.monotonic()
    served = 0
    while time.monotonic() - began < 0.25:
        serves(g)
        served += 1
        for c in heads:
            try:
                c.send(b"s")
            except OSError:
                pass
    assert served > 3
    for c in heads + bodies:
        got, was_reset = read_all(c)
        assert b"HTTP/1.1 408 " in got, got
        assert b"request_timeout" in got
        c.close()
    assert time.monotonic() - began < 20
    serves(g)


def test_silence_is_closed(impatient):
    """A connection that never says anything, and one that has said all (limits.keepalive)."""
    with impatient.raw_connect() as silent, impatient.raw_connect() as idle:
        idle.sendall(b"GET /health HTTP/1.1\r\nHost: g\r\n\r\n")
        got, was_reset = read_all(idle)
        assert got.startswith(b"HTTP/1.1 200 OK") and not was_reset
        assert read_all(silent) == (b"", False)


def test_head_that_is_too_large(impatient):
    """limits.head_size: 431, readable although the client still sends."""
    with impatient.raw_connect() as c:
        c.sendall(b"GET /health HTTP/1.1\r\nHost: g\r\n" + b"X-Filler: %s\r\n" % (b"f" * 1000) * 60)
        got, was_reset = read_all(c)
        assert got.startswith(b"HTTP/1.1 431 "), got
        assert b"limit_exceeded" in got
        assert not was_reset


@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_body_that_is_too_large(impatient, framing):
    """limits.body_size: 413, readable before the close although the client still sends."""
    body = b'{"model":"m","messages":"' + b"x" * (4 << 20)
    with impatient.raw_connect() as c:
        c.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: g\r\n")
        c.sendall(b"Content-Length: %d\r\n\r\n" % len(body) if framing == "length"
                  else b"Transfer-Encoding: chunked\r\n\r\n%x\r\n" % len(body))
        c.sendall(body)
        got, was_reset = read_all(c)
        assert got.startswith(b"HTTP/1.1 413 "), got
        assert json.loads(got.split(b"\r\n\r\n", 1)[1])["error"]["code"] == "limit_exceeded"
        assert not was_reset


def test_nesting_that_is_too_deep(impatient):
    """limits.json_depth"""
    deep = json.dumps(chat(x=1)).replace('"x": 1', '"x": ' + "[" * 16 + "]" * 16)
    status, _, error = impatient.error("POST", CHAT, deep)
    assert status == 400
    flat = json.dumps(chat(x=1)).replace('"x": 1', '"x": ' + "[" * 14 + "]" * 14)
    assert impatient.post(CHAT, flat)[0] == 200


def test_requests_per_connection(impatient):
    with impatient.raw_connect() as c:
        c.sendall(b"GET /health HTTP/1.1\r\nHost: g\r\n\r\n" * 5)
        got, _ = read_all(c)
        assert got.count(b"HTTP/1.1 200 OK") == 3
        assert got.count(b"Connection: close") == 1


def test_connections_and_buffers_are_capped(sim):
    """limits.connections: further ones are refused at once; limits.buffers: 503 with Retry-After."""
    config = {"limits": {"connections": 10, "buffers": "4MiB", "body_size": "4MiB",
                         "answer_size": "4MiB"}}
    with Gateway([sim], config=config, threads=1) as g:
        serves(g)
        holders = [g.raw_connect() for _ in range(10)]
        for h in holders:
            h.sendall(b"GET /health HTTP/1.1\r\nHost: g\r\n\r\n")
            assert h.recv(1000).startswith(b"HTTP/1.1 200")
        with pytest.raises(OSError):
            with g.raw_connect() as c:
                c.sendall(b"GET /health HTTP/1.1\r\nHost: g\r\n\r\n")
                assert c.recv(10) != b""
                raise AssertionError("it was served")
        for h in holders[5:]:
            h.close()
        holders = holders[:5]
        half = b"POST /v1/chat/completions HTTP/1.1\r\nHost: g\r\nContent-Length: 4000000\r\n\r\n{"
        wait_until(lambda: g.status()["connections"] <= 5, "they are gone")
        refused = 0
        for h in holders:
            h.sendall(half)
            h.sendall(b" " * 3500000)
            h.settimeout(1)
            try:
                got = h.recv(4000)
                assert got.startswith(b"HTTP/1.1 503 ") and b"Retry-After: " in got, got
                refused += 1
            except TimeoutError:
                pass  # this one has its memory and waits for the rest
        assert refused >= 4
        for h in holders:
            h.close()
        wait_calm(g)
        serves(g)


def test_pipelined_with_garbage_behind(sim):
    with Gateway([sim], threads=1) as g, g.raw_connect() as c:
        c.sendall(raw_post(chat()) + b"\x00\x01garbage\r\n\r\n" + raw_post(chat()))
        got, was_reset = read_all(c)
        assert got.count(b"HTTP/1.1 ") == 2
        assert got.startswith(b"HTTP/1.1 200 OK") and b"HTTP/1.1 400 " in got
        assert not was_reset


# ---- engines that answer oddly ----

class Odd:
    """A gateway before a scripted engine."""

    def __init__(self, script, upstream=None, limits=None, **more):
        self.engine = ScriptedEngine(script, **more)
        self.upstream = {"retries": 0, **(upstream or {})}
        self.limits = limits or {}

    def __enter__(self):
        self.engine.__enter__()
        self.gateway = Gateway(config=self.engine.config(upstream=self.upstream, limits=self.limits),
                               threads=1).__enter__()
        self.gateway.wait_model("m")
        return self

    def __exit__(self, *exc):
        try:
            if exc[0] is None:
                wait_calm(self.gateway)
        finally:
            self.gateway.__exit__(*exc)
            self.engine.__exit__(*exc)


def say(*parts, close=False):
    """A script that says the same to everyone."""
    def script(engine, conn, request):
        for p in parts:
            conn.sendall(p)
        return "close" if close else None
    return script


GOOD = b'{"id":"c","object":"chat.completion","choices":[],"usage":{"prompt_tokens":1,"completion_tokens":1}}'


@pytest.mark.parametrize("name,script,code", [
    ("header flood", say(b"HTTP/1.1 200 OK\r\n" + b"X-Flood: 1\r\n" * 200 + b"Content-Length: 2\r\n\r\n{}"),
     "engine_failed"),
    ("large head", say(b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100000 + b"\r\nContent-Length: 2\r\n\r\n{}"),
     "engine_failed"),
    ("no head", say(close=True), "engine_failed"),
    ("half a head", say(b"HTTP/1.1 200 OK\r\nContent-Le", close=True), "engine_failed"),
    ("a head alone", say(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n", close=True),
     "engine_failed"),
    ("two lengths", say(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n{}"),
     "engine_failed"),
    ("length and chunks", say(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n"
                              b"2\r\n{}\r\n0\r\n\r\n"), "engine_failed"),
    ("switches protocols", say(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n"),
     "engine_failed"),
    ("not HTTP", say(b"220 mail ready\r\n"), "engine_failed"),
    ("chunks that are none", say(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"),
     "engine_failed"),
])
@pytest.mark.parametrize("stream", [False, True])
def test_answers_that_are_no_good(name, script, code, stream):
    """502 in the API's own form, and the gateway goes on."""
    with Odd(script) as odd:
        status, _, error = odd.gateway.error("POST", CHAT, chat(stream=stream))
        assert (status, error["code"]) == (502, code), (name, error)


def test_answers_that_are_cut_in_their_bodies():
    """The client sees that it is not whole: its connection is cut too."""
    for head, body in ((b"Content-Length: 100\r\n", b'{"half'),
                       (b"Transfer-Encoding: chunked\r\n", chunk(b'{"half')),
                       (b"Transfer-Encoding: chunked\r\n", b"64\r\n" + b'{"half')):
        script = say(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n" + head + b"\r\n" + body,
                     close=True)
        with Odd(script) as odd, odd.gateway.raw_connect() as c:
            c.sendall(raw_post(chat()))
            got, was_reset = read_all(c)
            assert b'{"half' in got
            assert not got.endswith(b"\r\n0\r\n\r\n")
            assert b"Content-Length: 100" in got or b"Transfer-Encoding: chunked" in got


@pytest.mark.parametrize("tail", [b"", b"5\r\ndata:", chunk(b"data: {\"ch")])
def test_streams_that_are_cut(tail):
    """An error event, and never [DONE]."""
    script = say(STREAM_HEAD + chunk(event("one") + event("two")) + tail, close=True)
    with Odd(script) as odd, odd.gateway.stream(CHAT, chat()) as s:
        payloads = s.payloads()
        assert content_of(payloads[:2]) == "onetwo"
        assert "error" in payloads[-1]
        assert "[DONE]" not in payloads


def test_endless_line():
    """limits.sse_line: an event that never ends is cut off, and memory is bounded."""
    def script(engine, conn, request):
        conn.sendall(STREAM_HEAD + chunk(event("one")))
        for _ in range(1000):
            conn.sendall(chunk(b"data: " + b"x" * 65536 if _ == 0 else b"x" * 65536))

    with Odd(script, limits={"sse_line": "256KiB"}) as odd:
        with odd.gateway.stream(CHAT, chat()) as s:
            payloads = s.payloads()
            assert content_of(payloads[:1]) == "one"
            assert "limits.sse_line" in payloads[-1]["error"]["message"]


def test_answer_that_is_too_large_to_put_together():
    """limits.answer_size: for a client that wants one piece from an engine that was asked to stream.
    The limit is ours: no other engine is asked, and none is held to have failed."""
    large = chat(messages=[{"role": "user", "content": "[[tokens=50000 itl=0]] x"}],
                 max_tokens=50000)
    with Sim(["m"], kind="llamacpp", ttft="1ms", itl="0us", max_model_len=100000) as engine, \
            Sim(["m"], kind="llamacpp", ttft="1ms", itl="0us", max_model_len=100000) as other, \
            Gateway([engine, other], config={"limits": {"answer_size": "64KiB"}}, threads=1) as g:
        for _ in range(6):
            status, headers, error = g.error("POST", CHAT, large)
            assert (status, error["code"]) == (400, "answer_too_large"), error
            assert "limits.answer_size" in error["message"] and "retry-after" not in headers
        wait_calm(g)
        assert len(received(engine)) + len(received(other)) == 6
        assert g.metric("busbar_upstream_errors_total") == 0
        assert g.metric("busbar_retries_total") == 0
        assert all(e["state"] == "ready" and e["failures"] == 0 for e in g.status()["engines"])
        with g.stream(CHAT, large) as s:
            assert s.payloads()[-1] == "[DONE]"
        serves(g)


def test_giant_answer():
    """64 MiB in one piece pass through a few hundred KiB of memory."""
    size = 64 << 20
    piece = b"y" * 65536

    def script(engine, conn, request):
        conn.sendall(f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {size}\r\n\r\n".encode())
        for _ in range(size // len(piece)):
            conn.sendall(piece)

    with Odd(script) as odd:
        before = rss(odd.gateway)
        with odd.gateway.raw_connect() as c:
            c.sendall(raw_post(chat(), more="Connection: close\r\n"))
            total = 0
            while data := c.recv(1 << 20):
                total += len(data)
        assert total > size
        if not is_sanitized():
            assert rss(odd.gateway) - before < 4 << 20


def test_interim_answers_are_swallowed():
    script = say(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" + answer(GOOD))
    with Odd(script) as odd:
        assert odd.gateway.post(CHAT, chat())[::2] == (200, GOOD)


def test_http_1_0_engine():
    """The answer ends where the connection ends."""
    script = say(b"HTTP/1.0 200 OK\r\nContent-Type: application/json\r\n\r\n" + GOOD, close=True)
    with Odd(script) as odd:
        for _ in range(3):
            assert odd.gateway.post(CHAT, chat())[::2] == (200, GOOD)
        assert odd.engine.connections == 3


def test_empty_answers():
    with Odd(say(answer(b""))) as odd:
        assert odd.gateway.post(CHAT, chat())[::2] == (200, b"")
    with Odd(say(b"HTTP/1.1 204 No Content\r\n\r\n")) as odd:
        assert odd.gateway.post(CHAT, chat())[::2] == (204, b"")


def test_engine_that_closes_between_requests():
    """It answers with keep-alive and closes all the same: no request fails, whatever the moment."""
    def script(engine, conn, request):
        conn.sendall(answer(GOOD))
        return "close"

    with Odd(script) as odd:
        for _ in range(100):
            assert odd.gateway.post(CHAT, chat())[0] == 200
        assert odd.engine.connections == 100


def test_engine_that_closes_when_it_is_asked_again():
    """The worst moment: the connection was idle, the request is sent, and it closes without a word."""
    lock, served = threading.Lock(), {}

    def script(engine, conn, request):
        with lock:
            served[conn] = served.get(conn, 0) + 1
            if served[conn] > 1:
                return "close"
        conn.sendall(answer(GOOD))

    with Odd(script) as odd:
        for _ in range(50):
            assert odd.gateway.post(CHAT, chat())[0] == 200
        # Each second request met a closed connection and was sent anew, without counting as a retry.
        assert len(odd.engine.requests) > 60
        assert odd.gateway.metric("busbar_retries_total") == 0


def test_answer_before_the_body_was_sent():
    """The engine says no after the head, and closes: its words reach the client, not a 502."""
    says = b'{"error":{"message":"too much","type":"invalid_request_error","param":null,"code":"big"}}'
    body = chat(messages=[{"role": "user", "content": "x" * (20 << 20)}])
    for close in (False, True):
        def script(engine, conn, request, close=close):
            conn.sendall(answer(says, "413 Too Large", more="Connection: close\r\n" if close else ""))
            if close:
                return "close"
            while conn.recv(1 << 20):
                pass

        with Odd(script, reads_body=False) as odd:
            status, _, got = odd.gateway.post(CHAT, body)
            assert (status, got) == (413, says)


def test_bytes_behind_an_answer_belong_to_no_one():
    """A connection with unasked bytes is not used again: they would become the next client's answer."""
    evil = answer(b'{"evil":1}')
    with Odd(say(answer(GOOD) + evil)) as odd:
        for _ in range(20):
            assert odd.gateway.post(CHAT, chat())[::2] == (200, GOOD)
        assert odd.engine.connections == 20


def test_head_requests(sim):
    with Gateway([sim], threads=1) as g, g.raw_connect() as c:
        c.sendall(b"HEAD /v1/models HTTP/1.1\r\nHost: g\r\n\r\nHEAD /health HTTP/1.1\r\nHost: g\r\n\r\n"
                  b"HEAD /nowhere HTTP/1.1\r\nHost: g\r\nConnection: close\r\n\r\n")
        got, _ = read_all(c)
        heads = got.split(b"\r\n\r\n")
        assert len(heads) == 4 and heads[3] == b"", got
        assert [h.split(b" ")[1] for h in heads[:3]] == [b"200", b"200", b"404"]
        assert all(re.search(rb"Content-Length: [1-9]", h) for h in heads[:3])


# ---- every key of upstream ----

def test_connect_timeout():
    """A port that drops connections: its backlog is full and nobody accepts."""
    with Sim(["m"], ttft="1ms") as engine:
        port = engine.port
        with Gateway([engine], config={"upstream": {"connect_timeout": "100ms", "retries": 0},
                                       "probe": {"interval": "1h", "timeout": "10m"}}) as g:
            serves(g)
            engine.kill()
            with socket.socket() as full:
                full.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                full.bind(("127.0.0.1", port))
                full.listen(0)
                fillers = []
                for _ in range(4):
                    f = socket.socket()
                    f.setblocking(False)
                    f.connect_ex(("127.0.0.1", port))
                    fillers.append(f)
                began = time.monotonic()
                status, _, error = g.error("POST", CHAT, chat())
                assert status in (502, 503), error
                assert time.monotonic() - began < 5
                for f in fillers:
                    f.close()


def test_first_byte_and_read_timeout():
    def script(engine, conn, request):
        if b"stall" in request.body:
            conn.sendall(STREAM_HEAD + chunk(event("one")))
        conn.recv(1)  # until the gateway goes away

    with Odd(script, upstream={"first_byte_timeout": "150ms", "read_timeout": "150ms"}) as odd:
        assert odd.gateway.error("POST", CHAT, chat())[0] == 504
        with odd.gateway.stream(CHAT, chat(user="stall")) as s:
            payloads = s.payloads()
            assert payloads[-1]["error"]["code"] == "engine_timeout"
            assert "[DONE]" not in payloads


def test_idle_connections_and_idle_timeout():
    """None are kept when none shall be; else they are closed after their time."""
    def script(engine, conn, request):
        conn.sendall(answer(GOOD))

    with Odd(script, upstream={"idle_connections": 0}) as odd:
        for _ in range(5):
            assert odd.gateway.post(CHAT, chat())[0] == 200
        assert odd.engine.connections == 5
    with Odd(script, upstream={"idle_timeout": "100ms"}) as odd:
        assert odd.gateway.post(CHAT, chat())[0] == 200
        assert odd.gateway.post(CHAT, chat())[0] == 200
        assert odd.engine.connections == 1
        wait_until(lambda: odd.engine.posting() == 0, "it is closed")


def test_keepalive_comment():
    release = threading.Event()

    def script(engine, conn, request):
        release.wait(20)
        conn.sendall(STREAM_HEAD + chunk(event("late", '"stop"') + b"data: [DONE]\n\n") + b"0\r\n\r\n")

    with Odd(script, upstream={"keepalive_comment": "100ms"}) as odd:
        with odd.gateway.stream(CHAT, chat()) as s:
            for _ in range(3):
                assert s.event()[2].startswith(":")
            release.set()
            assert content_of(s.payloads()) == "late"


def test_engine_dies_under_comments():
    """The head of the stream is out already: the error comes as an event, not as a cut."""
    go = threading.Event()

    def script(engine, conn, request):
        go.wait(20)
        return "close"

    with Odd(script, upstream={"keepalive_comment": "100ms"}) as odd:
        with odd.gateway.stream(CHAT, chat()) as s:
            assert s.event()[2].startswith(":")
            go.set()
            payloads = s.payloads()
            assert payloads[-1]["error"]["code"] == "engine_failed"


def test_probe_timeout():
    """An engine whose health check hangs is given up after probe.timeout, and found again."""
    with Sim(["m"], ttft="1ms") as deaf, Sim(["m"], ttft="1ms") as other:
        config = {"probe": {"interval": "50ms", "timeout": "100ms", "unhealthy_after": 2}}
        with Gateway([deaf, other], config=config) as g:
            deaf.fault("deaf")
            began = time.monotonic()
            g.wait_engine(deaf.url, "down")
            assert time.monotonic() - began > 0.1
            for _ in range(4):
                serves(g)
            deaf.fault("")
            g.wait_engine(deaf.url, "ready")


# ---- reload, rotation, shutdown ----

def test_reload_a_hundred_times_under_streams(sim):
    """Engines come and go with each reload; no stream is cut and no request fails."""
    with Sim(["m"], ttft="1ms", itl="200us") as two, Sim(["m"], ttft="1ms", itl="200us") as three:
        def config(i):
            return {"probe": {"interval": "50ms"},
                    "engines": [sim.url, (two if i % 2 else three).url],
                    "upstream": {"idle_connections": i % 3}, "limits": {"sse_line": f"{64 + i}KiB"}}

        with Gateway(config=config(0), threads=2) as g:
            g.wait_ready(2)
            stop, failures, served = threading.Event(), [], [0]

            def client(number):
                while not stop.is_set():
                    try:
                        if number % 2:
                            with g.stream(CHAT, chat(max_tokens=200, messages=[
                                    {"role": "user", "content": "[[tokens=200 itl=500]] x"}])) as s:
                                payloads = s.payloads()
                                assert payloads[-1] == "[DONE]", payloads[-1]
                        else:
                            serves(g)
                        served[0] += 1
                    except Exception as e:  # pylint: disable=broad-except
                        failures.append(repr(e))

            threads = [threading.Thread(target=client, args=(i,)) for i in range(8)]
            for t in threads:
                t.start()
            for i in range(1, 101):
                g.write_config(config(i))
                code, report = g.reload()
                assert code == 200, report
            wait_until(lambda: served[0] > 100 or failures, lambda: str(served))
            stop.set()
            for t in threads:
                t.join()
            assert failures == []
            assert g.status()["reloads"] == 100
            wait_calm(g)


def test_sigterm_lets_streams_end(sim):
    """Twenty streams end whole; new connections are refused meanwhile."""
    with Gateway([sim], threads=2) as g:
        body = chat(max_tokens=150, messages=[{"role": "user", "content": "[[tokens=150 itl=3000]] x"}])
        results = []

        def client():
            with g.stream(CHAT, body) as s:
                started.append(1)
                results.append(s.payloads())

        started = []
        threads = [threading.Thread(target=client) for _ in range(20)]
        for t in threads:
            t.start()
        wait_until(lambda: len(started) == 20, "all streams have begun")
        g.signal(signal.SIGTERM)

        def refused():
            try:
                g.raw_connect().close()
                return False
            except OSError:
                return True

        wait_until(refused, "new connections are refused")
        for t in threads:
            t.join()
        assert all(r[-1] == "[DONE]" for r in results) and len(results) == 20
        assert g.wait_end() == 0


def test_two_signals_under_streams(sim):
    """The second one ends at once; clients see a cut, not a whole answer."""
    with Gateway([sim], threads=2) as g:
        with g.raw_connect() as c:
            c.sendall(raw_post(chat(messages=ENDLESS, max_tokens=20000, stream=True)))
            assert c.recv(100).startswith(b"HTTP/1.1 200 OK")
            g.signal(signal.SIGTERM)
            g.wait_log("draining")
            g.signal(signal.SIGTERM)
            began = time.monotonic()
            assert g.wait_end() == 0
            assert time.monotonic() - began < 5
            got, _ = read_all(c)
            assert b"[DONE]" not in got and not got.endswith(b"0\r\n\r\n")
    sim.wait(lambda s: s["running"] == 0)


def test_log_rotation(sim):
    """SIGUSR1: the old file keeps what it has, the new one gets what comes; no record is lost."""
    with Gateway([sim], threads=2) as g:
        total = 0
        for round_ in range(5):
            for _ in range(10):
                serves(g)
                total += 1
            old = f"{g.access_path}.{round_}"
            os.rename(g.access_path, old)
            g.signal(signal.SIGUSR1)
            wait_until(lambda: os.path.exists(g.access_path), "the file is made anew")
        serves(g)
        total += 1

        def records():
            count = 0
            for name in os.listdir(g.folder):
                if name.startswith("access.log"):
                    with open(os.path.join(g.folder, name), encoding="utf-8") as f:
                        count += sum(1 for line in f if json.loads(line))
            return count

        wait_until(lambda: records() == total, lambda: f"{records()} of {total}")


def test_access_log_that_cannot_be_written(sim):
    """A full disk costs records, not requests."""
    with Gateway([sim], threads=1) as g:
        pass
    with Gateway([sim], threads=1, access_log="/dev/full") as g:
        for _ in range(20):
            serves(g)
        g.wait_log("access records cannot be written")
        serves(g)


class Unheard(Gateway):
    """Its standard error is a pipe that nobody reads while `deaf` is set."""

    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        self.deaf = threading.Event()
        self.hearing = threading.Event()
        self.hearing.set()

    def _read(self):
        for line in self.process.stderr:
            self.lines.append(line.rstrip("\n"))
            if self.deaf.is_set():
                self.hearing.wait()

    def fill(self):
        """More log lines than the pipe and the queue hold: mistakes of refused reloads."""
        self.hearing.clear()
        self.deaf.set()
        self.write_config("".join(f"mistake{i:0100}: 1\n" for i in range(100)))
        wait_until(lambda: self.reload()[0] != 200 and self.metric("busbar_log_lines_dropped_total") > 100,
                   "lines are dropped")

    def hear(self):
        self.deaf.clear()
        self.hearing.set()


def test_standard_error_that_nobody_reads(sim):
    """It holds up nobody: requests and reloads go on, lines are dropped and counted, and that is said
    when somebody reads again."""
    with Unheard([sim], threads=1) as g:
        g.fill()
        for _ in range(20):
            serves(g)
        dropped = g.metric("busbar_log_lines_dropped_total")
        g.hear()
        line = g.wait_log("log lines were dropped")
        assert int(re.search(r"(\d+) log lines were dropped", line)[1]) >= dropped
        serves(g)


def test_the_end_does_not_wait_for_standard_error(sim):
    g = Unheard([sim], threads=1)
    with contextlib.ExitStack() as stack:
        stack.callback(g._remove)
        g.start()
        g.fill()
        g.signal(signal.SIGTERM)
        assert g.process.wait(20) == 0
        g.hear()


def test_access_records_that_nobody_reads(sim):
    """Standard output is such a pipe: records are dropped and counted, that is said, and the end
    does not wait for it."""
    g = Gateway([sim], threads=1, config={"limits": {"body_size": "1MiB"}})
    g.args[g.args.index("--access-log") + 1] = "-"
    pipe = os.path.join(g.folder, "stdout")
    os.mkfifo(pipe)
    g.args = ["sh", "-c", f'exec "$@" >"{pipe}"', "sh", *g.args]
    with contextlib.ExitStack() as stack:
        stack.callback(os.close, os.open(pipe, os.O_RDWR))
        stack.callback(g._remove)
        g.start()
        with contextlib.closing(g.connect()) as connection:
            def many():
                for _ in range(500):
                    connection.request("GET", "/v1/models/" + "m" * 1000)
                    connection.getresponse().read()
                return g.metric("busbar_access_records_dropped_total") > 10
            wait_until(many, "records are dropped", 60)
        serves(g)
        g.signal(signal.SIGTERM)
        assert g.process.wait(20) == 0
