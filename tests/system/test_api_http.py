"""Goal: the API as HTTP: who may ask what how, errors in the form that SDKs read, CORS for browsers,
old clients, pipelines, and a list of models that lasts."""

import contextlib
import http.client
import json
import socket

import pytest

from gateway_process import Gateway, UnixConnection, received
from sim_process import Sim

MODEL = "org/small-8b"
ALIAS = "gpt-4o-mini"
HELLO = [{"role": "user", "content": "Hello world"}]
CHAT = "/v1/chat/completions"
PAGE = "https://app.example"


@pytest.fixture(scope="module")
def sim():
    with Sim([MODEL], ttft="1ms", itl="200us") as s:
        yield s


@pytest.fixture(scope="module")
def gateway(sim):
    config = {"models": {MODEL: {"engines": [sim.url], "aliases": [ALIAS]}},
              "cors": {"origins": [PAGE], "max_age": "5m"}, "limits": {"body_size": "1MiB"}}
    with Gateway(config=config) as g:
        g.wait_model(MODEL)
        yield g


def chat(**more):
    return {"model": MODEL, "messages": HELLO, "max_tokens": 4, **more}


def request_bytes(body, head=b"", version=b"1.1", path=CHAT):
    body = body if isinstance(body, bytes) else json.dumps(body).encode()
    return (b"POST %s HTTP/%s\r\nHost: x\r\n%sContent-Length: %d\r\n\r\n%s"
            % (path.encode(), version, head, len(body), body))


class Responses:
    """The answers on one raw connection, one after the other."""

    def __init__(self, connection):
        self.file = connection.makefile("rb")

    def next(self, method="POST"):
        """(status, headers, body)"""
        status = int(self.file.readline().split()[1])
        headers = http.client.parse_headers(self.file)
        if method == "HEAD" or status in (100, 204, 304):
            return status, headers, b""
        if headers.get("transfer-encoding") == "chunked":
            body = b""
            while size := int(self.file.readline(), 16):
                body += self.file.read(size)
                assert self.file.read(2) == b"\r\n"
            assert self.file.readline() == b"\r\n"
            return status, headers, body
        if "content-length" in headers:
            return status, headers, self.file.read(int(headers["content-length"]))
        return status, headers, self.file.read()


# ---- errors ----

def test_unknown_model(gateway):
    """404 with the code that SDKs look for, and the names that there are."""
    status, _, error = gateway.error("POST", CHAT, chat(model="nope"))
    assert status == 404 and error["code"] == "model_not_found" and error["param"] == "model"
    assert error["type"] == "invalid_request_error"
    assert "nope" in error["message"] and MODEL in error["message"]


def test_unknown_path(gateway):
    for method in ("GET", "POST", "PUT", "DELETE"):
        status, _, error = gateway.error(method, "/v1/nothing")
        assert status == 404 and error["code"] == "unknown_url" and "/v1/nothing" in error["message"]


@pytest.mark.parametrize("method,path,allowed", [
    ("GET", CHAT, "POST"), ("PUT", CHAT, "POST"), ("DELETE", "/v1/embeddings", "POST"),
    ("POST", "/v1/models", "GET, HEAD"), ("DELETE", "/v1/models/" + ALIAS, "GET, HEAD"),
    ("POST", "/health", "GET, HEAD"),
])
def test_wrong_method(gateway, method, path, allowed):
    """405, and what would be allowed (RFC 9110 §15.5.6)."""
    status, headers, error = gateway.error(method, path)
    assert status == 405 and error["code"] == "method_not_allowed"
    assert headers["allow"] == allowed


@pytest.mark.parametrize("body,code", [
    (b"", "invalid_json"), (b"{", "invalid_json"), (b"[]", None), (b"null", None),
    (b'{"messages":[]}', "invalid_value"), (b'{"model":7}', "invalid_value"),
    (b'{"model":""}', "invalid_value"), (b'{"model":"m","stream":"yes"}', "invalid_value"),
    (b'\xff{"model":"m"}', "invalid_json"), (b'{"model":"m"} x', "invalid_json"),
    (b"[" * 5000, None),
])
def test_bodies_that_are_no_request(gateway, sim, body, code):
    """400 that says what and where; the engine is not bothered."""
    before = len(received(sim))
    status, _, error = gateway.error("POST", CHAT, body)
    assert status == 400 and error["type"] == "invalid_request_error"
    assert code is None or error["code"] == code
    assert len(received(sim)) == before


def test_body_of_the_wrong_kind(gateway):
    status, _, error = gateway.error("POST", CHAT, b"--b--", {"Content-Type":
                                                             "multipart/form-data; boundary=b"})
    assert status == 400 and "JSON" in error["message"]
    status, _, error = gateway.error("POST", "/v1/audio/transcriptions", {"model": MODEL})
    assert status == 400 and "multipart" in error["message"]
    status, _, error = gateway.error("POST", CHAT, chat(), {"Content-Encoding": "gzip"})
    assert status == 415 and "Content-Encoding" in error["message"]


def test_body_that_is_too_large(gateway):
    """413 that a client can read although it is still sending."""
    with gateway.raw_connect() as c:
        c.sendall(b"POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: 3000000\r\n\r\n" % CHAT.encode())
        c.sendall(b"x" * 100_000)
        status, headers, body = Responses(c).next()
    assert status == 413 and headers["connection"] == "close"
    assert json.loads(body)["error"]["code"] == "limit_exceeded"


@pytest.mark.parametrize("kind,path", [("trtllm", "/v1/embeddings"), ("openai", "/tokenize"),
                                       ("llamacpp", "/v1/score")])
def test_endpoint_that_no_engine_has(kind, path):
    """Known from the engine's kind, or learned from its 404: said in the same words."""
    with Sim(["m"], kind=kind) as engine, Gateway([engine]) as g:
        body = {"model": "m", "input": "x", "query": "q", "documents": ["d"], "text_1": "a",
                "text_2": "b", "prompt": "p"}
        for _ in range(2):
            status, _, error = g.error("POST", path, body)
            assert status == 404, (kind, error)
            assert error["code"] == "endpoint_not_supported"


def test_health(gateway):
    status, headers, body = gateway.get("/health")
    assert status == 200 and json.loads(body) == {"status": "ok"}


# ---- models ----

def test_models(gateway):
    """Real names and aliases, with what a picker needs; "*" is no name."""
    answer = json.loads(gateway.get("/v1/models")[2])
    assert answer["object"] == "list"
    rows = {m["id"]: m for m in answer["data"]}
    assert set(rows) == {MODEL, ALIAS}
    for row in rows.values():
        assert row["object"] == "model" and row["owned_by"] and row["created"] > 1_700_000_000
        assert row["ready"] is True and row["max_model_len"] == 32768


@pytest.mark.parametrize("name", [MODEL, MODEL.replace("/", "%2F"), "org%2fsmall-8b", ALIAS,
                                  "gpt%2D4o-mini"])
def test_one_model(gateway, name):
    status, _, body = gateway.get("/v1/models/" + name)
    assert status == 200 and json.loads(body)["object"] == "model"


@pytest.mark.parametrize("name", ["nope", "org", "%", "%2", "%zz", "a" * 400, "%00"])
def test_no_such_model(gateway, name):
    status, headers, error = gateway.error("GET", "/v1/models/" + name)
    assert status == 404 and error["code"] == "model_not_found"
    assert gateway.wait_record(headers["x-request-id"])["status"] == 404


def test_models_outlast_their_engines():
    """An engine that is gone takes no name off the list; requests say 503 and when to try again."""
    sim = Sim(["m"], ttft="1ms").start()
    try:
        with Gateway([sim], config={"models": {"n": {"engines": [sim.url], "aliases": ["m"]}},
                                    "probe": {"interval": "50ms", "unhealthy_after": 1}}) as g:
            sim.kill()
            g.wait_engine(g.urls[0], "down")
            rows = {m["id"]: m["ready"] for m in json.loads(g.get("/v1/models")[2])["data"]}
            assert rows == {"m": False, "n": False}
            for path in (CHAT, "/v1/embeddings"):
                status, headers, error = g.error("POST", path, {"model": "n", "messages": HELLO,
                                                                "input": "x"})
                assert status == 503 and error["code"] == "no_engine_ready"
                assert int(headers["retry-after"]) in range(1, 61)
    finally:
        sim.kill()


def test_star_catches_every_name(sim):
    """An alias "*" for applications whose model names are fixed."""
    models = {MODEL: {"engines": [sim.url], "aliases": ["*"]}}
    with Gateway(config={"models": models}) as g:
        g.wait_model(MODEL)
        answer = g.post_json(CHAT, chat(model="claude-3-5-sonnet-20241022"))
        assert answer["model"] == MODEL
        assert [m["id"] for m in json.loads(g.get("/v1/models")[2])["data"]] == [MODEL]


# ---- CORS ----

def test_preflight(gateway):
    status, headers, body = gateway.request("OPTIONS", CHAT, None, {
        "Origin": PAGE, "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization, content-type"})
    assert status == 204 and body == b""
    assert headers["access-control-allow-origin"] == PAGE
    assert "POST" in headers["access-control-allow-methods"]
    assert "authorization" in headers["access-control-allow-headers"]
    assert headers["access-control-max-age"] == "300" and headers["vary"] == "Origin"
    assert "content-length" not in headers


def test_answers_to_a_page(gateway):
    """Every kind of answer: whole, stream, list, error. Pages that are not allowed get no field."""
    for allowed in (True, False):
        origin = {"Origin": PAGE if allowed else "https://other.example"}
        answers = [gateway.post(CHAT, chat(), origin), gateway.post(CHAT, chat(stream=True), origin),
                   gateway.get("/v1/models", origin), gateway.post(CHAT, b"{", origin),
                   gateway.post(CHAT, chat(model="nope"), origin),
                   gateway.get("/v1/nothing", origin)]
        for _, headers, _ in answers:
            assert headers.get_all("access-control-allow-origin") == ([PAGE] if allowed else None)
            assert headers.get_all("vary") == ["Origin"]
            if allowed:
                assert "x-request-id" in headers["access-control-expose-headers"]


def test_no_cors_by_default(sim):
    with Gateway([sim]) as g:
        status, headers, _ = g.request("OPTIONS", CHAT, None, {"Origin": PAGE})
        assert status == 405 and "access-control-allow-origin" not in headers
        _, headers, _ = g.post(CHAT, chat(), {"Origin": PAGE})
        assert "access-control-allow-origin" not in headers and "vary" not in headers


# ---- HTTP itself ----

def test_head(gateway):
    """As GET, without the body, and the connection goes on."""
    with gateway.raw_connect() as c:
        responses = Responses(c)
        c.sendall(b"HEAD /v1/models HTTP/1.1\r\nHost: x\r\n\r\nGET /v1/models HTTP/1.1\r\nHost: x\r\n\r\n")
        status, headers, _ = responses.next("HEAD")
        assert status == 200 and int(headers["content-length"]) > 0
        status, got, body = responses.next("GET")
        assert status == 200 and got["content-length"] == headers["content-length"]
        assert json.loads(body)["object"] == "list"


@pytest.mark.parametrize("stream", [False, True])
def test_http_1_0(gateway, stream):
    """No chunks for those who do not know them: the connection's end is the end."""
    answer = gateway.raw(request_bytes(chat(stream=stream), version=b"1.0"))
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 ") and b"chunked" not in head.lower()
    assert b"connection: close" in head.lower()
    if stream:
        assert body.endswith(b"data: [DONE]\n\n") and body.startswith(b"data: {")
    else:
        assert json.loads(body)["choices"]


def test_http_1_0_keep_alive(gateway):
    with gateway.raw_connect() as c:
        responses = Responses(c)
        for _ in range(2):
            c.sendall(request_bytes(chat(), b"Connection: keep-alive\r\n", b"1.0"))
            status, headers, body = responses.next()
            assert status == 200 and headers["connection"] == "keep-alive"
            assert json.loads(body)["choices"]


def test_one_connection_serves_many(gateway):
    """Whole answers, streams and errors, one after the other."""
    with gateway.raw_connect() as c:
        responses = Responses(c)
        for body, expected in [(chat(), 200), (chat(stream=True), 200), (chat(model="nope"), 404),
                               (b"{", 400), (chat(), 200)] * 5:
            c.sendall(request_bytes(body))
            status, headers, answer = responses.next()
            assert status == expected and "connection" not in headers
            assert answer


def test_expect_continue(gateway):
    """100 comes before the body is sent, the answer behind it."""
    body = json.dumps(chat()).encode()
    with gateway.raw_connect() as c:
        responses = Responses(c)
        c.sendall(request_bytes(b"", b"Expect: 100-continue\r\n")[:-len("0\r\n\r\n")]
                  + b"%d\r\n\r\n" % len(body))
        assert responses.next()[0] == 100
        c.sendall(body)
        assert responses.next()[0] == 200


def test_chunked_body(gateway, sim):
    """A body in chunks arrives whole and with a length."""
    body = json.dumps(chat()).encode()
    pieces = [body[:1], body[1:10], body[10:]]
    data = (b"POST %s HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
            % CHAT.encode())
    data += b"".join(b"%x;ext=1\r\n%s\r\n" % (len(p), p) for p in pieces) + b"0\r\nX-T: 1\r\n\r\n"
    assert gateway.raw(data).startswith(b"HTTP/1.1 200 ")
    seen = received(sim)[-1]
    assert seen["body"].encode() == body
    fields = {n.lower(): v for n, v in seen["headers"]}
    assert fields["content-length"] == str(len(body)) and "transfer-encoding" not in fields


def test_byte_by_byte(gateway):
    """A request that comes in single bytes."""
    data = request_bytes(chat(max_tokens=1), b"Connection: close\r\n")
    with gateway.raw_connect() as c:
        c.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for i in range(len(data)):
            c.sendall(data[i:i + 1])
        assert Responses(c).next()[0] == 200


def test_pipeline(gateway):
    """Requests sent without waiting are answered in order, though the first is the slowest."""
    slow = chat(messages=[{"role": "user", "content": "[[ttft=100000]] slow"}])
    data = (request_bytes(slow, b"X-Request-Id: 1\r\n")
            + b"GET /v1/models HTTP/1.1\r\nHost: x\r\nX-Request-Id: 2\r\n\r\n"
            + request_bytes(chat(stream=True), b"X-Request-Id: 3\r\n")
            + request_bytes(b"{", b"X-Request-Id: 4\r\n")
            + request_bytes(chat(), b"X-Request-Id: 5\r\n"))
    with gateway.raw_connect() as c:
        responses = Responses(c)
        c.sendall(data)
        answers = [responses.next() for _ in range(5)]
    assert [h["x-request-id"] for _, h, _ in answers] == ["1", "2", "3", "4", "5"]
    assert [s for s, _, _ in answers] == [200, 200, 200, 400, 200]
    assert answers[2][2].endswith(b"data: [DONE]\n\n")


def test_ipv6_and_unix_listeners(sim, folder):
    """All three kinds at once, admin on a unix socket."""
    api, admin = f"unix:{folder}/api.sock", f"unix:{folder}/admin.sock"
    with contextlib.closing(socket.socket(socket.AF_INET6)) as probe:
        try:
            probe.bind(("::1", 0))
        except OSError:
            pytest.skip("this machine has no IPv6 loopback")
    with Gateway([sim], listen=["127.0.0.1:0", "[::1]:0", api], admin=admin) as g:
        assert len(g.api) == 3 and g.api[1].startswith("[::1]:") and g.api[2] == api
        port6 = int(g.api[1].rsplit(":", 1)[1])
        for connection in (g.connect(), http.client.HTTPConnection("::1", port6, timeout=20),
                           UnixConnection(api[5:])):
            with contextlib.closing(connection):
                connection.request("POST", CHAT, json.dumps(chat()))
                response = connection.getresponse()
                assert response.status == 200 and json.loads(response.read())["choices"]
        assert g.status()["engines"][0]["requests"] == 3


def test_engine_on_a_unix_socket(folder):
    """unix:PATH as an engine."""
    with Sim(["m"], listen=f"unix:{folder}/e.sock", ttft="1ms") as engine:
        with Gateway([f"unix:{folder}/e.sock"]) as g:
            with g.stream(CHAT, {**chat(), "model": "m"}) as s:
                assert s.payloads()[-1] == "[DONE]"
        assert engine.stop() == 0
