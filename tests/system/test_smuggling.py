"""Goal: gateway and engine never disagree about where a request ends. Each probe carries a second
request in a place where a lenient parser would see one; the engine must never get it, and what is
ambiguous is refused. What is passed on is framed anew."""

import json

import pytest

from gateway_process import Gateway, received
from scripted_engine import ScriptedEngine, answer
from sim_process import Sim

CHAT = b"POST /v1/chat/completions HTTP/1.1\r\nHost: g\r\nContent-Type: application/json\r\n"
BODY = json.dumps({"model": "m", "max_tokens": 1, "user": "honest",
                   "messages": [{"role": "user", "content": "hi"}]}).encode()
EVIL_BODY = BODY.replace(b"honest", b"smuggled")
EVIL = CHAT + b"Content-Length: %d\r\n\r\n" % len(EVIL_BODY) + EVIL_BODY
N = len(BODY)


def chunked(data):
    return b"%x\r\n%s\r\n0\r\n\r\n" % (len(data), data)


def head(fields):
    return CHAT + fields + b"\r\n\r\n"


# Refused, all of them: no answer but 400, and the connection is closed.
REFUSED = {
    # the fourteen
    "blank before the colon": head(b"Transfer-Encoding : chunked") + chunked(BODY),
    "bare line feeds": (b"POST /v1/chat/completions HTTP/1.1\nHost: g\nContent-Length: %d\n\n" % N) + BODY,
    "folded field": head(b"Transfer-Encoding:\r\n chunked") + chunked(BODY),
    "chunk extension with a bare line feed": head(b"Transfer-Encoding: chunked") +
    b"%x;x\nx\r\n%s\r\n0\r\n\r\n" % (N, BODY),
    "empty name": head(b": x\r\nContent-Length: %d" % N) + BODY,
    "length and chunks": head(b"Content-Length: 4\r\nTransfer-Encoding: chunked") + chunked(BODY),
    "two lengths": head(b"Content-Length: %d\r\nContent-Length: 0" % N) + BODY,
    "signed length": head(b"Content-Length: +%d" % N) + BODY,
    "chunked not last": head(b"Transfer-Encoding: chunked, identity") + chunked(BODY),
    "bare carriage return": (b"POST /v1/chat/completions HTTP/1.1\rHost: g\rContent-Length: %d\r\r" % N) + BODY +
    b"\r\n\r\n",
    "carriage return in a value": head(b"Transfer-Encoding: chunked\rX: y") + chunked(BODY),
    "control byte": head(b"Transfer-Encoding: chunk\x00ed") + chunked(BODY),
    "no line end behind a chunk": head(b"Transfer-Encoding: chunked") + b"%x\r\n%s0\r\n\r\n" % (N, BODY),
    "huge chunk size": head(b"Transfer-Encoding: chunked") + b"ffffffffffffffffff\r\n" + BODY,
    # further ways of the two classes
    "TE.CL": head(b"Transfer-Encoding: chunked\r\nContent-Length: 4") + chunked(BODY),
    "CL.TE": head(b"Content-Length: %d\r\nTransfer-Encoding: chunked" % (N + 20)) + b"0\r\n\r\n",
    "TE.TE": head(b"Transfer-Encoding: chunked\r\nTransfer-Encoding: x") + chunked(BODY),
    "unknown coding": head(b"Transfer-Encoding: xchunked") + chunked(BODY),
    "quoted coding": head(b'Transfer-Encoding: "chunked"') + chunked(BODY),
    "identity": head(b"Transfer-Encoding: identity\r\nContent-Length: %d" % N) + BODY,
    "list of lengths": head(b"Content-Length: %d, %d" % (N, N)) + BODY,
    "hexadecimal length": head(b"Content-Length: 0x10") + BODY,
    "length with a blank inside": head(b"Content-Length: 1 0") + BODY,
    "negative length": head(b"Content-Length: -1") + BODY,
    "empty length": head(b"Content-Length: ") + BODY,
    "length over 64 bits": head(b"Content-Length: 18446744073709551617") + BODY,
    "tab before the colon": head(b"Content-Length\t: %d" % N) + BODY,
    "form feed in a value": head(b"Transfer-Encoding: \x0cchunked") + chunked(BODY),
    "chunk size with 0x": head(b"Transfer-Encoding: chunked") + b"0x%x\r\n%s\r\n0\r\n\r\n" % (N, BODY),
    "chunk size with a sign": head(b"Transfer-Encoding: chunked") + b"+%x\r\n%s\r\n0\r\n\r\n" % (N, BODY),
    "chunk size with a blank": head(b"Transfer-Encoding: chunked") + b" %x\r\n%s\r\n0\r\n\r\n" % (N, BODY),
    "no chunk size": head(b"Transfer-Encoding: chunked") + b"\r\n" + BODY,
    "line feed behind the size": head(b"Transfer-Encoding: chunked") + b"%x\n%s\r\n0\r\n\r\n" % (N, BODY),
    "HTTP/1.2.3": CHAT.replace(b"HTTP/1.1", b"HTTP/1.1.1") + b"Content-Length: %d\r\n\r\n" % N + BODY,
    "HTTP/0.9": b"GET /v1/models\r\n\r\n",
    "a request in the target": b"POST /v1/chat/completions HTTP/1.1\r\nHost: g /x HTTP/1.1\nContent-Length: 1\r\n\r\n",
    "equal lengths": head(b"Content-Length: %d\r\nContent-Length: %d" % (N, N)) + BODY,
    "length in a trailer": head(b"Transfer-Encoding: chunked") +
    b"%x\r\n%s\r\n0\r\nContent-Length: 9\r\n\r\n" % (N, BODY),
    "blank at the start of a field": CHAT + b" Content-Length: %d\r\n\r\n" % N + BODY,
}

# Fine, and exactly one request: what stands behind it is the next one, on which everybody agrees.
GOOD = {
    "length": head(b"Content-Length: %d" % N) + BODY,
    "length in odd letters": head(b"cOnTeNt-LeNgTh: %d" % N) + BODY,
    "chunks": head(b"Transfer-Encoding: chunked") + chunked(BODY),
    "chunks in odd letters": head(b"Transfer-Encoding: CHUNKED") + chunked(BODY),
    "chunk extension": head(b"Transfer-Encoding: chunked") + b"%x;a=b\r\n%s\r\n0\r\n\r\n" % (N, BODY),
    "trailers": head(b"Transfer-Encoding: chunked") + b"%x\r\n%s\r\n0\r\nX: y\r\n\r\n" % (N, BODY),
    "length named by Connection": head(b"Connection: content-length\r\nContent-Length: %d" % N) + BODY,
    "coding named by Connection": head(b"Connection: transfer-encoding\r\nTransfer-Encoding: chunked") +
    chunked(BODY),
    "offer of h2c": head(b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAA\r\n"
                         b"Content-Length: %d" % N) + BODY,
    "leading zeros": head(b"Content-Length: %010d" % N) + BODY,
}


@pytest.fixture(scope="module")
def sim():
    with Sim(["m"], ttft="1ms", itl="100us") as s:
        yield s


@pytest.fixture(scope="module")
def gateway(sim):
    with Gateway([sim], config={"limits": {"header_timeout": "300ms", "body_timeout": "300ms",
                                           "keepalive": "300ms"}}, threads=1) as g:
        yield g


def seen(sim):
    """How many requests the engine has ever got, and whether one of the latest was smuggled."""
    requests = received(sim)
    return sim.state()["finished"], sum("smuggled" in r["body"] for r in requests)


@pytest.mark.parametrize("name", REFUSED)
def test_refused(gateway, sim, name):
    before = seen(sim)
    got = gateway.raw(REFUSED[name] + EVIL)
    assert got.count(b"HTTP/1.1 ") == 1, got
    assert got.startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 413 ")), got
    assert b"Connection: close\r\n" in got
    assert seen(sim) == before


@pytest.mark.parametrize("name", REFUSED)
def test_refused_byte_by_byte(gateway, sim, name):
    """However it is cut: the same."""
    before = seen(sim)
    with gateway.raw_connect() as c:
        for i in range(0, len(REFUSED[name]), 7):
            try:
                c.send(REFUSED[name][i:i + 7])
            except OSError:
                break
        got = b""
        while piece := c.recv(65536):
            got += piece
    assert got.startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 413 ")), got
    assert seen(sim) == before


@pytest.mark.parametrize("name", GOOD)
def test_good(gateway, sim, name):
    before = sim.state()["finished"]
    got = gateway.raw(GOOD[name] + GOOD["length"].replace(b"\r\nHost", b"\r\nConnection: close\r\nHost", 1))
    assert got.count(b"HTTP/1.1 200 OK") == 2, got
    assert sim.state()["finished"] == before + 2
    for r in received(sim)[-2:]:
        names = [n.lower() for n, _ in r["headers"]]
        assert r["body"] == BODY.decode()
        assert names.count("content-length") == 1 and "transfer-encoding" not in names
        assert not {"connection", "upgrade", "http2-settings", "trailer", "x"} & set(names)


def test_body_that_looks_like_a_request(gateway, sim):
    """It is a body."""
    before = seen(sim)
    text = json.loads(BODY)
    text["messages"][0]["content"] = "\r\n0\r\n\r\n" + EVIL.decode()
    body = json.dumps(text).encode()
    for framed in (head(b"Content-Length: %d" % len(body)) + body,
                   head(b"Transfer-Encoding: chunked") + chunked(body)):
        got = gateway.raw(framed.replace(b"\r\nHost", b"\r\nConnection: close\r\nHost", 1))
        assert got.count(b"HTTP/1.1 200 OK") == 1
    finished, smuggled = seen(sim)
    assert finished == before[0] + 2
    assert json.loads(received(sim)[-1]["body"]) == text


@pytest.mark.parametrize("value", [b"a\rb", b"a\nX-Evil: 1", b"a\x00b", b"a\r\n\tb"])
def test_fields_do_not_split(gateway, sim, value):
    """No byte of a value becomes a field of its own at the engine."""
    before = sim.state()["finished"]
    got = gateway.raw(head(b"X-Mine: %s\r\nContent-Length: %d" % (value, N)) + BODY)
    assert got.startswith(b"HTTP/1.1 400 "), got
    assert sim.state()["finished"] == before


@pytest.mark.parametrize("fields", [
    b"X-Split: a\rX-Evil: 1", b"X-Split: a\x00b", b"X-Evil : 1", b"X-Fold: a\r\n b",
    b"Content-Length: 2\r\nContent-Length: 3", b"Transfer-Encoding: chunked\r\nContent-Length: 2",
    b"Transfer-Encoding: x", b"Content-Length: 2x"])
def test_engines_do_not_split_answers(fields):
    """The other way round: an answer whose framing is in doubt is not passed on."""
    def script(engine, conn, request):
        conn.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n" + fields +
                     (b"" if b"ength" in fields or b"ncoding" in fields else b"\r\nContent-Length: 2") +
                     b"\r\n\r\n{}" + answer(b'{"smuggled":1}'))
        return "close"

    with ScriptedEngine(script) as e, Gateway(config=e.config(upstream={"retries": 0}), threads=1) as g:
        g.wait_model("m")
        status, headers, body = g.post("/v1/chat/completions", BODY)
        assert b"smuggled" not in body
        assert status == 502, (status, body)
        assert "x-evil" not in headers
