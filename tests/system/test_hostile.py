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

import request_cases  # noqa: E402
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
        send_all(sock, pieces)
        for i, want in enumerate(case.answers):
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
