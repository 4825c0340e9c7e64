"""Goal: what the gateway does to bodies, streams and headers, and what it leaves alone. Engines see
the client's bytes with only those members changed that must change; clients see the engine's events
with only the usage chunk removed that they did not ask for; nothing half looks whole."""

import json
import re
import struct

import pytest

from gateway_process import Gateway, content_of, received, wait_until
from sim_process import Sim

MODEL = "org/small-8b"
ALIAS = "gpt-4o-mini"
HELLO = [{"role": "user", "content": "Hello world"}]
LONG = [{"role": "user", "content": "[[tokens=100000 itl=1000]] go on"}]
CHAT = "/v1/chat/completions"


@pytest.fixture(scope="module")
def sim():
    with Sim([MODEL], ttft="1ms", itl="200us", max_model_len=4096) as s:
        yield s


@pytest.fixture(scope="module")
def gateway(sim):
    config = {
        "models": {MODEL: {"engines": [sim.url], "aliases": [ALIAS]}},
        "upstream": {"keepalive_comment": "100ms", "first_byte_timeout": "400ms",
                     "read_timeout": "400ms"},
        "limits": {"sse_line": "64KiB"},
    }
    with Gateway(config=config) as g:
        g.wait_model(MODEL)
        yield g


@pytest.fixture
def faulty(sim):
    yield sim
    sim.fault("")


def chat(**more):
    return {"model": MODEL, "messages": HELLO, "max_tokens": 9, **more}


def post_text(gateway, sim, body, path=CHAT):
    """Posts a body as it is; returns what the engine received."""
    status, _, answer = gateway.post(path, body.encode(), {"Content-Type": "application/json"})
    assert status == 200, answer
    return received(sim)[-1]["body"]


# ---- what the engine sees ----

ODD = ('{ "x" : [1.0, 1e-7, -0, 12345678901234567890123, 0.1E+2],\n\t"messages":[{"role":"user",'
       '"content":"\\u00e9\\/ \\ud83d\\ude00 é 😀"}] , "max_tokens":2,"seed":18446744073709551615 ,'
       '"unknown":{"a":null,"a":[{}]},"temperature":1.0,"model" : "%s"  }  \n')


def test_bytes_are_kept(gateway, sim):
    """Numbers as written, spaces, escapes, unknown members: byte for byte."""
    body = ODD % MODEL
    assert post_text(gateway, sim, body) == body


def test_only_the_name_changes(gateway, sim):
    assert post_text(gateway, sim, ODD % ALIAS) == ODD % MODEL


def test_a_stream_is_asked_for_its_usage(gateway, sim):
    """include_usage is put in for the accounts; the rest stays as it was."""
    body = '{"stream" : true, "model":"%s","max_tokens":2,"messages":[{"role":"user","content":"x"}]}' % MODEL
    seen = post_text(gateway, sim, body)
    assert seen.replace('"stream_options":{"include_usage":true},', "") == body
    assert json.loads(seen)["stream_options"] == {"include_usage": True}


def test_options_that_are_there_are_kept(gateway, sim):
    """Only include_usage changes in the client's own stream_options."""
    body = ('{"stream":true,"stream_options":{"other":[1e3],"include_usage": false},"model":"%s",'
            '"max_tokens":2,"messages":[{"role":"user","content":"x"}]}' % MODEL)
    assert post_text(gateway, sim, body) == body.replace("false", "true")


def test_no_options_without_a_stream(gateway, sim):
    """Engines refuse stream_options without stream."""
    for stream in ("", '"stream":false,', '"stream":null,'):
        body = '{%s"model":"%s","max_tokens":2,"messages":[{"role":"user","content":"x"}]}' % (stream, MODEL)
        assert post_text(gateway, sim, body) == body


def test_header_fields(gateway, sim):
    """The client's own fields arrive; those of the hop and cookies do not; there is one length."""
    gateway.post_json(CHAT, chat(), {"X-Thing": "a, b", "Authorization": "Bearer k", "Cookie": "c=1",
                                     "Connection": "x-hop", "X-Hop": "1", "TE": "trailers",
                                     "Accept-Encoding": "gzip", "Traceparent": "00-1-2-01"})
    fields = received(sim)[-1]["headers"]
    names = [name.lower() for name, _ in fields]
    got = {name.lower(): value for name, value in fields}
    assert got["x-thing"] == "a, b" and got["authorization"] == "Bearer k"
    assert got["traceparent"] == "00-1-2-01"
    assert not {"cookie", "x-hop", "te", "connection", "accept-encoding"} & set(names)
    assert names.count("content-length") == names.count("host") == 1


def test_query_is_kept(gateway, sim):
    gateway.post_json(CHAT + "?api-version=1&x=%20", chat())
    assert received(sim)[-1]["path"] == CHAT + "?api-version=1&x=%20"


# ---- request ids ----

def test_request_id_is_taken_over(gateway, sim):
    _, headers, _ = gateway.post(CHAT, chat(), {"X-Request-Id": "abc-1.2:3_4"})
    assert headers["x-request-id"] == "abc-1.2:3_4"
    assert dict(received(sim)[-1]["headers"])["X-Request-Id"] == "abc-1.2:3_4"
    assert gateway.wait_record("abc-1.2:3_4")["status"] == 200


@pytest.mark.parametrize("bad", ["", "has space", 'quo"te', "a" * 129, "semi;colon", "a,b"])
def test_bad_request_ids_are_replaced(gateway, sim, bad):
    _, headers, _ = gateway.post(CHAT, chat(), {"X-Request-Id": bad})
    made = headers["x-request-id"]
    assert re.fullmatch("[0-9a-f]{24}", made)
    assert dict(received(sim)[-1]["headers"])["X-Request-Id"] == made
    assert headers.get_all("x-request-id") == [made]


def test_made_ids_differ(gateway):
    assert len({gateway.get("/v1/models")[1]["x-request-id"] for _ in range(20)}) == 20


# ---- what the client sees of a stream ----

def test_stream_is_the_engines_own(gateway, sim):
    """The events of the engine, byte for byte, but for ids and the usage chunk."""
    with gateway.stream(CHAT, chat(), {"X-Request-Id": "same-id"}) as s:
        through = [raw for _, _, raw in s.events()]
    body = chat(stream=True, stream_options={"include_usage": True})
    own = sim.request("POST", CHAT, body, {"X-Request-Id": "same-id"})[2].decode()
    own = [e + "\n\n" for e in own.split("\n\n") if e]
    own = [re.sub('"created":[0-9]+', '"created":0', e) for e in own]
    through = [re.sub('"created":[0-9]+', '"created":0', e) for e in through]
    assert '"choices":[]' in own[-2] and '"usage":{' in own[-2]
    assert through == own[:-2] + own[-1:]


def test_usage_chunk_is_passed_when_asked_for(gateway):
    with gateway.stream(CHAT, chat(stream_options={"include_usage": True})) as s:
        chunks = s.payloads()
    assert chunks[-1] == "[DONE]"
    assert chunks[-2]["choices"] == [] and chunks[-2]["usage"]["completion_tokens"] == 9


def test_stripped_usage_is_counted(gateway):
    """What the client does not see stands in the access record."""
    with gateway.stream(CHAT, chat()) as s:
        assert s.payloads()[-1] == "[DONE]"
    record = gateway.wait_record(s.headers["x-request-id"])
    assert record["output_tokens"] == 9 and record["prompt_tokens"] > 0
    assert record["stream"] and record["ttft_ms"] > 0 and record["outcome"] == "ok"


def test_head_of_a_stream(gateway):
    with gateway.stream(CHAT, chat()) as s:
        s.payloads()
    assert s.headers["content-type"].startswith("text/event-stream")
    assert s.headers["cache-control"] == "no-cache, no-transform"
    assert s.headers["x-accel-buffering"] == "no"


@pytest.mark.parametrize("path,body", [
    (CHAT, chat()),
    ("/v1/completions", {"model": MODEL, "prompt": "Hello", "max_tokens": 4}),
    ("/v1/responses", {"model": MODEL, "input": "Hello", "max_output_tokens": 4}),
    ("/v1/messages", {"model": MODEL, "messages": HELLO, "max_tokens": 4}),
])
def test_comments_while_a_prefill_is_long(gateway, path, body):
    """Load balancers close silent connections; comments come between events only, then the answer."""
    body = json.loads(json.dumps(body).replace("Hello", "[[ttft=350000]] Hello"))
    with gateway.stream(path, body) as s:
        events = list(s.events())
    comments = [raw for name, data, raw in events if data is None]
    assert len(comments) >= 2 and set(comments) == {": keep-alive\n\n"}
    assert s.status == 200
    datas = [data for _, data, _ in events if data is not None]
    assert len(datas) > 4 and '"error":{' not in datas[-1]
    if path == CHAT:
        assert content_of([json.loads(d) for d in datas[:-1]])
    assert gateway.metric("busbar_keepalive_comments_total") >= 2


# ---- engines that fail ----

@pytest.mark.parametrize("fault", ["cut:3", "nodone", "error_event:3", "badjson", "endless", "stall:3"])
def test_failure_in_a_stream(gateway, faulty, fault):
    """Some content, then an error object, and never [DONE]; the chunked body itself ends properly."""
    faulty.fault(fault)
    with gateway.stream(CHAT, chat()) as s:
        events = list(s.events())
    payloads = [json.loads(d) for _, d, _ in events if d is not None]
    assert s.status == 200 and content_of(payloads[:-1])
    assert set(payloads[-1]) == {"error"}
    assert payloads[-1]["error"]["message"]
    if fault == "error_event:3":  # the engine's own words
        assert payloads[-1]["error"]["type"] == "InternalServerError"
    else:
        assert payloads[-1]["error"]["type"] == "server_error"
        assert payloads[-1]["error"]["code"] in ("engine_failed", "engine_timeout")
    record = gateway.wait_record(s.headers["x-request-id"])
    assert record["outcome"] == "error" and record["error"]


@pytest.mark.parametrize("fault", ["cut:3", "nodone", "stall:2"])
def test_failure_in_a_responses_stream(gateway, faulty, fault):
    """response.failed, the Responses API's own way."""
    faulty.fault(fault)
    body = {"model": MODEL, "input": "Hello", "max_output_tokens": 9}
    with gateway.stream("/v1/responses", body) as s:
        events = list(s.events())
    name, data, _ = events[-1]
    assert name == "response.failed"
    failed = json.loads(data)
    assert failed["type"] == "response.failed" and failed["response"]["status"] == "failed"
    assert failed["response"]["error"]["message"]
    assert not any(n == "response.completed" for n, _, _ in events)


@pytest.mark.parametrize("fault,status,code", [
    ("refuse", 502, "engine_failed"),
    ("garbage", 502, "engine_failed"), ("longhead", 502, "engine_failed"),
    ("hang", 504, "engine_timeout"),
])
@pytest.mark.parametrize("stream", [False, True])
def test_failure_before_the_answer(gateway, faulty, fault, status, code, stream):
    """An error status and object; in a stream that comments have opened already, an error event."""
    faulty.fault(fault)
    if stream and fault == "hang":
        with gateway.stream(CHAT, chat()) as s:
            last = [d for _, d, _ in s.events() if d is not None]
        assert len(last) == 1 and json.loads(last[0])["error"]["code"] == code
        return
    got, headers, error = gateway.error("POST", CHAT, chat(stream=stream))
    assert (got, error["code"]) == (status, code)
    assert headers["retry-after"] == "1"


def test_an_answer_that_is_cut(gateway, faulty):
    """In one piece: no byte of it was sent to the client, so it is an error."""
    faulty.fault("cut:3")
    status, _, error = gateway.error("POST", CHAT, chat())
    assert (status, error["code"]) == (502, "engine_failed")
    assert "closed the connection" in error["message"]


def test_an_early_error_event(gateway, faulty):
    """An error object before any content is an answer with an error status, in a stream, too."""
    faulty.fault("error_event:0")
    with gateway.stream("/v1/completions", {"model": MODEL, "prompt": "x", "max_tokens": 5}) as s:
        body = s.response.read()
    assert s.status == 500 and s.headers["content-type"] == "application/json"
    assert json.loads(body)["error"]["type"] == "InternalServerError"


def test_busy(gateway, faulty):
    """503 with the engine's words and Retry-After."""
    faulty.fault("503")
    for stream in (False, True):
        status, headers, body = gateway.post(CHAT, chat(stream=stream))
        assert status == 503 and headers["retry-after"] == "1"
        assert json.loads(body)["error"]["message"]


def test_internal_error(gateway, faulty):
    """The engine's own 500 and its own object."""
    faulty.fault("500")
    own = faulty.request("POST", CHAT, chat())
    status, _, body = gateway.post(CHAT, chat())
    assert status == own[0] == 500
    assert json.loads(body) == json.loads(own[2])


def test_what_the_engine_refuses(gateway, sim):
    """4xx with the engine's own body, and it does not count against the engine."""
    failures = gateway.engine(sim.url)["failures"]
    body = chat(messages=[{"role": "user", "content": "word " * 9000}])
    own = sim.request("POST", CHAT, body)
    for stream in (False, True):
        status, _, answer = gateway.post(CHAT, {**body, "stream": stream})
        assert status == own[0] == 400
        assert json.loads(answer) == json.loads(own[2])
    assert gateway.engine(sim.url)["failures"] == failures


def test_an_engine_process_that_dies(gateway):
    """Killed in the middle of a stream: an error event, as when its connection breaks."""
    with Sim(["mortal"], ttft="1ms", itl="1ms") as mortal:
        with Gateway([mortal]) as g:
            with g.stream(CHAT, {**chat(messages=LONG), "model": "mortal", "max_tokens": None}) as s:
                s.first_payload()
                mortal.kill()
                payloads = s.payloads()
            assert "error" in payloads[-1] and "[DONE]" not in payloads
            wait_until(lambda: g.engine(mortal_url(g))["state"] == "down", "the engine is down")


def mortal_url(g):
    return g.urls[0]


# ---- clients that leave ----

@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("kind", ["vllm", "sglang", "llamacpp", "openai"])
def test_leaving_cancels_at_the_engine(kind, stream):
    """Also without a stream, and at engines that would finish such an answer for nobody."""
    with Sim(["m"], kind=kind, ttft="1ms", itl="1ms") as engine, Gateway([engine]) as g:
        body = json.dumps({"model": "m", "messages": LONG, "stream": stream}).encode()
        with g.raw_connect() as c:
            c.sendall(b"POST %s HTTP/1.1\r\nHost: x\r\nX-Request-Id: left\r\n"
                      b"Content-Length: %d\r\n\r\n%s" % (CHAT.encode(), len(body), body))
            engine.wait(lambda s: s["running"] == 1)
            if stream:
                assert c.recv(1000).startswith(b"HTTP/1.1 200 ")
        engine.wait(lambda s: s["running"] == 0 and s["aborted"] == 1)
        record = g.wait_record("left")
        assert record["outcome"] == "canceled"
        wait_until(lambda: g.engine(engine.url)["requests_in_flight"] == 0, "none in flight")
        assert g.engine(engine.url)["failures"] == 0


def test_leaving_before_the_first_token(gateway, sim):
    """While the prefill runs, too."""
    before = sim.state()["aborted"]
    body = json.dumps(chat(messages=[{"role": "user", "content": "[[ttft=30000000]] hi"}],
                           stream=True)).encode()
    with gateway.raw_connect() as c:
        c.sendall(b"POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s"
                  % (CHAT.encode(), len(body), body))
        sim.wait(lambda s: s["running"] == 1)
    sim.wait(lambda s: s["running"] == 0 and s["aborted"] == before + 1)


def test_reset_cancels_as_well(gateway, sim):
    """A client that ends with a reset instead of a close."""
    before = sim.state()["aborted"]
    body = json.dumps(chat(messages=LONG, stream=True, max_tokens=3000)).encode()
    c = gateway.raw_connect()
    c.sendall(b"POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s"
              % (CHAT.encode(), len(body), body))
    assert c.recv(100)
    c.setsockopt(1, 13, struct.pack("ii", 1, 0))  # SOL_SOCKET, SO_LINGER: close sends RST
    c.close()
    sim.wait(lambda s: s["running"] == 0 and s["aborted"] == before + 1)


# ---- answers put together ----

@pytest.mark.parametrize("path,body", [
    (CHAT, {"messages": HELLO, "max_tokens": 7}),
    (CHAT, {"messages": HELLO, "max_tokens": 7, "n": 3}),
    (CHAT, {"messages": HELLO}),
    ("/v1/completions", {"prompt": "Hello", "max_tokens": 7}),
])
def test_assembled_answers(path, body):
    """An engine that does not stop for a client that leaves is asked for a stream; the client gets
    what it would have got in one piece."""
    with Sim(["m"], kind="llamacpp", ttft="1ms", itl="200us") as engine, Gateway([engine]) as g:
        body = {"model": "m", **body}
        for _ in range(2):  # the second time from its cache, as the third
            own = json.loads(engine.request("POST", path, body)[2])
        status, headers, answer = g.post(path, body)
        assert status == 200 and headers["content-type"] == "application/json"
        seen = json.loads(received(engine)[-1]["body"])
        assert seen["stream"] is True and seen["stream_options"] == {"include_usage": True}
        through = json.loads(answer)
        assert through["object"] == own["object"] and through["model"] == own["model"]
        assert through["usage"] == own["usage"]
        assert len(through["choices"]) == len(own["choices"])
        for a, b in zip(through["choices"], own["choices"]):
            assert a["index"] == b["index"] and a["finish_reason"] == b["finish_reason"]
            if path == CHAT:
                assert a["message"]["content"] == b["message"]["content"]
                assert a["message"]["role"] == "assistant"
            else:
                assert a["text"] == b["text"]


@pytest.mark.parametrize("fault,status", [("cut:3", 502), ("nodone", 502), ("error_event:3", 500),
                                          ("badjson", 502), ("500", 500), ("503", 503)])
def test_assembled_answers_that_fail(fault, status):
    """A client that asked for one piece gets an error status, not half an answer."""
    with Sim(["m"], kind="llamacpp", ttft="1ms", itl="200us", fault=fault) as engine, \
            Gateway([engine]) as g:
        got, _, answer = g.post(CHAT, {"model": "m", "messages": HELLO, "max_tokens": 9})
        assert got == status, answer
        assert json.loads(answer)["error"]["message"]


# ---- the other endpoints ----

def test_embeddings_rerank_score(gateway, sim):
    for path, body, member in [
        ("/v1/embeddings", {"input": ["a", "b"]}, "data"),
        ("/v1/rerank", {"query": "q", "documents": ["a", "b"]}, "results"),
        ("/v2/rerank", {"query": "q", "documents": ["a", "b"]}, "results"),
        ("/rerank", {"query": "q", "documents": ["a", "b"]}, "results"),
        ("/v1/score", {"text_1": "a", "text_2": ["b", "c"]}, "data"),
        ("/score", {"text_1": "a", "text_2": ["b", "c"]}, "data"),
    ]:
        answer = gateway.post_json(path, {"model": ALIAS, **body})
        assert len(answer[member]) == 2, path
        assert json.loads(received(sim)[-1]["body"])["model"] == MODEL


def test_tokenize(gateway):
    for prefix in ("", "/v1"):
        tokens = gateway.post_json(prefix + "/tokenize", {"model": ALIAS, "prompt": "Hello world"})
        assert tokens["count"] == len(tokens["tokens"]) > 1
        text = gateway.post_json(prefix + "/detokenize", {"model": MODEL,
                                                          "tokens": tokens["tokens"]})
        assert text["prompt"] == "Hello world"


def test_images(gateway):
    assert len(gateway.post_json("/v1/images/generations",
                                 {"model": MODEL, "prompt": "a cat", "n": 2})["data"]) == 2


def test_audio(gateway, sim):
    """A form with sound: the alias in it becomes the engine's name, the other bytes stay."""
    sound = bytes(range(256)) * 300
    def form(name):
        return (b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n'
                b"Content-Type: audio/wav\r\n\r\n" + sound + b'\r\n--b\r\nContent-Disposition: '
                b'form-data; name="model"\r\n\r\n' + name.encode() + b"\r\n--b--\r\n")
    status, _, answer = gateway.post("/v1/audio/transcriptions", form(ALIAS),
                                     {"Content-Type": "multipart/form-data; boundary=b"})
    assert status == 200, answer
    assert json.loads(answer)["model"] == MODEL
    assert received(sim)[-1]["body_len"] == len(form(MODEL))
    assert json.loads(answer)["text"] == f"heard {len(form(MODEL))} bytes"


def test_responses_in_one_piece(gateway):
    answer = gateway.post_json("/v1/responses", {"model": ALIAS, "input": "Hello",
                                                 "max_output_tokens": 5})
    assert answer["object"] == "response" and answer["usage"]["output_tokens"] == 5


def test_a_large_body(gateway, sim):
    """More than one read and one write."""
    picture = "data:image/png;base64," + "A" * 300_000
    body = {"model": ALIAS, "input": "Hello", "metadata": {"x": picture}}
    gateway.post_json("/v1/embeddings", body)
    assert json.loads(received(sim)[-1]["body"]) == {**body, "model": MODEL}
