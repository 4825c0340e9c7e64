"""Goal: nothing hostile gets through: neither what clients send nor what engines answer. The cases are
in tests/hostile; this file sends them and looks at what comes back and what reaches the other side."""

import http.client
import json
import pathlib
import socket
import sys

import pytest

from gateway_process import Gateway, wait_until

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "hostile"))

import answer_cases  # noqa: E402
import request_cases  # noqa: E402
import raw_engine  # noqa: E402
from raw_engine import RawEngine  # noqa: E402

PATIENCE = 20
SENTINEL = b'{"model":"m","messages":[{"role":"user","content":"sentinel"}]}'


class Answers:
    """The answers on one raw connection, strictly framed."""

    def __init__(self, sock):
        self.file = sock.makefile("rb")

    def next(self):
        """(status, headers, body), or None at the end of the connection."""
        try:
            line = self.file.readline(65537)
        except ConnectionResetError:
            return None
        if not line:
            return None
        version, status, _ = line.decode("latin-1").split(" ", 2)
        assert version == "HTTP/1.1" and line.endswith(b"\r\n"), line
        headers = http.client.parse_headers(self.file)
        status = int(status)
        if status == 100 or status == 204:
            return status, headers, b""
        if headers.get("transfer-encoding") == "chunked":
            body = b""
            while size := int(self.file.readline(), 16):
                body += self.file.read(size)
                assert self.file.read(2) == b"\r\n"
            assert self.file.readline() == b"\r\n"
            return status, headers, body
        assert "content-length" in headers, headers.items()
        body = self.file.read(int(headers["content-length"]))
        assert len(body) == int(headers["content-length"])
        return status, headers, body


def assert_error_form(headers, body):
    assert headers["content-type"] == "application/json"
    error = json.loads(body)["error"]
    assert set(error) == {"message", "type", "param", "code"} and error["message"], error
    return error


@pytest.fixture(scope="module")
def engine():
    with RawEngine() as e:
        yield e


@pytest.fixture(scope="module")
def gateway(engine):
    config = {"models": {"m": {"engines": [engine.url]}},
              "engines": [{"url": engine.url, "kind": "openai"}],
              "limits": {"body_size": "1MiB", "sse_line": "64KiB"},
              "upstream": {"retries": 0, "read_timeout": "5s"}}
    with Gateway(config=config, threads=1) as g:
        g.wait_model("m")
        yield g
        assert not engine.broken, engine.broken


def send_all(sock, pieces):
    """A gateway that has refused may close before everything is sent."""
    try:
        for piece in pieces:
            sock.sendall(piece)
    except (BrokenPipeError, ConnectionResetError):
        pass


def assert_goes_on(sock, answers):
    """The connection is in step: one more request has one answer, its own."""
    sock.sendall(request_cases.HEALTH)
    status, _, body = answers.next()
    assert status == 200 and json.loads(body) == {"status": "ok"}


@pytest.mark.parametrize("case", request_cases.CASES, ids=lambda c: c.name)
def test_hostile_request(gateway, engine, case):
    engine.answer = None
    engine.take_posts()
    pieces = case.raw if isinstance(case.raw, list) else [case.raw]
    with gateway.raw_connect(PATIENCE) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        answers = Answers(sock)
        waits = case.answers[:1] == (100,)
        send_all(sock, pieces[:1] if waits else pieces)
        for i, want in enumerate(case.answers):
            if i and waits:
                send_all(sock, pieces[1:])
            answer = answers.next()
            assert answer is not None, f"{case.why}: no answer {i + 1}"
            status, headers, body = answer
            allowed = want if isinstance(want, tuple) else (want,)
            assert status in allowed, f"{case.why}: {status} {body[:300]}"
            if status >= 400:
                error = assert_error_form(headers, body)
                assert case.message in error["message"]
        if case.closes:
            assert headers["connection"] == "close"
            assert answers.next() is None, f"{case.why}: another answer"
        else:
            assert_goes_on(sock, answers)
    # What the engine saw up to a request that is in order, and no more.
    assert gateway.post("/v1/chat/completions", SENTINEL, {"Content-Type": "application/json"})[0] == 200
    posts = engine.take_posts()
    assert [p.body for p in posts] == [*case.seen, SENTINEL], case.why
    for post in posts[:-1]:
        for text in case.never:
            assert text not in post.line.lower() + post.head, (text, post.head)


def test_refusals_are_counted(engine):
    with Gateway([engine.url]) as g:
        for n in range(1, 4):
            g.raw(b"NO\r\n\r\n")
            wait_until(lambda: g.metric("busbar_refused_total") == n, f"{n} refusals")


# ---- hostile answers ----

class Whole:
    """What came on a connection until it was closed: head, unframed body, and whether that is all of it."""

    def __init__(self, raw):
        head, _, rest = raw.partition(b"\r\n\r\n")
        self.raw = raw
        self.status = int(head.split(b" ", 2)[1])
        lines = head.split(b"\r\n")[1:]
        self.headers = {k.lower().decode(): v.strip().decode() for k, v in (f.split(b":", 1) for f in lines)}
        self.body, self.complete = rest, True
        if self.headers.get("transfer-encoding") == "chunked":
            self.body, self.complete = b"", False
            while rest:
                size, _, rest = rest.partition(b"\r\n")
                size = int(size, 16)
                if size == 0:
                    self.complete = rest == b"\r\n"
                    break
                if rest[size:size + 2] != b"\r\n":
                    self.body += rest[:size]
                    break
                self.body, rest = self.body + rest[:size], rest[size + 2:]
        else:
            self.complete = len(rest) == int(self.headers["content-length"])

    def payloads(self):
        """The data of the events, which must all be whole."""
        text = self.body.decode().replace("\r\n", "\n").replace("\r", "\n")
        assert text.endswith("\n\n"), text[-200:]
        data = [line[5:].removeprefix(" ") for line in text.split("\n") if line.startswith("data:")]
        return [d if d == "[DONE]" else json.loads(d) for d in data]


def ask(gateway, stream=False):
    body = json.dumps({"model": "m", "messages": [{"role": "user", "content": "hello"}], "stream": stream}).encode()
    return Whole(gateway.raw(b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
                             b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body) + body, PATIENCE))


def content_of(payloads):
    return [c["delta"]["content"] for p in payloads if p != "[DONE]" for c in p.get("choices", [])
            if c["delta"].get("content")]


def assert_outcome(case, got):
    if not isinstance(case.outcome, tuple):
        assert_one_outcome(case, case.outcome, got)
    elif got.status == 502:  # which one it is depends on how the bytes came
        assert_one_outcome(case, answer_cases.REFUSED, got)
    else:
        assert_one_outcome(case, case.outcome[0], got)


def assert_one_outcome(case, outcome, got):
    if outcome == answer_cases.CUT:
        assert got.status == 200 and not got.complete, f"{case.why}: {got.raw[-300:]}"
        return
    assert got.complete, f"{case.why}: {got.raw[-300:]}"
    if outcome == answer_cases.REFUSED:
        assert got.status == 502, f"{case.why}: {got.raw[:500]}"
        error = assert_error_form(got.headers, got.body)
        assert error["code"] == "engine_failed" and error["type"] == "server_error"
    elif outcome == answer_cases.BROKEN:
        assert got.status == 200 and got.headers["content-type"].startswith("text/event-stream")
        payloads = got.payloads()
        assert content_of(payloads) == list(case.shows), case.why
        assert "error" in payloads[-1] and "[DONE]" not in payloads, payloads
    elif case.stream:
        payloads = got.payloads()
        assert content_of(payloads) == list(case.shows)
        assert payloads.count("[DONE]") <= 1
    else:
        assert got.status == case.status
        if case.status >= 400:
            assert_error_form(got.headers, got.body)
        if case.body is not None:
            assert got.body == case.body


@pytest.mark.parametrize("case", answer_cases.CASES, ids=lambda c: c.name)
def test_hostile_answer(gateway, engine, case):
    gateway.wait_ready(1)
    before = gateway.metric("busbar_upstream_errors_total")
    engine.answer, engine.closes = case.pieces, case.closes
    engine.take_posts()
    try:
        got = ask(gateway, case.stream)
    finally:
        engine.answer, engine.closes = None, False
    assert_outcome(case, got)
    if case.never:
        assert case.never not in got.raw, case.why
    connection = engine.take_posts()[-1].connection
    gateway.wait_ready(1)
    if case.outcome == answer_cases.PASSED:
        assert gateway.metric("busbar_upstream_errors_total") == before or case.status >= 500
    else:
        wait_until(lambda: gateway.metric("busbar_upstream_errors_total") > before, "it is counted")
    again = ask(gateway)
    assert again.status == 200 and again.body == raw_engine.GOOD
    (post,) = engine.take_posts()
    if case.reused is not None:
        assert (post.connection == connection) == (case.reused or case.status >= 400 and not case.closes)
