"""Goal: the whole product, real engines included: two busbar-engines behind the gateway answer, share
the load, cancel, and one may die without a failed request. With BUSBAR_MODEL (a small instruct model
as GGUF) what they say makes sense; without, the model is tiny and random."""

import concurrent.futures
import contextlib
import json
import os

import pytest

from engine_process import ENGINE, Engine
from gateway_process import Gateway, content_of, wait_until

REAL = os.environ.get("BUSBAR_MODEL")
CHAT = "/v1/chat/completions"
SETTINGS = {"temperature": 0, "seed": 1, "ignore_eos": True}

pytestmark = pytest.mark.skipif(not os.access(ENGINE, os.X_OK),
                                reason=f"{ENGINE} is not built (make engine)")


@contextlib.contextmanager
def fleet(count, *arguments, policy="least_tokens"):
    """Engines, the gateway, and the model's name."""
    more = {"model": REAL} if REAL else {}
    with contextlib.ExitStack() as stack:
        engines = [Engine("--name", "small", "--ctx", "4096", "--parallel", "4", "--threads", "1",
                          *arguments, **more) for _ in range(count)]
        for e in engines:
            stack.callback(end, e)
            e.ready()
        gateway = Gateway([f"http://127.0.0.1:{e.port}" for e in engines], policy=policy)
        yield engines, stack.enter_context(gateway)


def end(engine):
    if engine.process.poll() is None:
        assert engine.stop() == 0, engine.log()


@pytest.fixture(scope="module")
def two():
    with fleet(2, policy="round_robin") as (engines, gateway):
        yield engines, gateway


def chat(text="Hello", **more):
    return {"model": "small", "messages": [{"role": "user", "content": text}], "max_tokens": 16,
            **SETTINGS, **more}


def test_found(two):
    """Kind, capacity and context are found out from the URLs alone."""
    _, gateway = two
    for row in gateway.status()["engines"]:
        assert row["kind"] == "busbar" and row["state"] == "ready"
        assert row["kv_tokens_max"] >= 4096
    model = gateway.status()["models"][0]
    assert model["name"] == "small" and model["engines_ready"] == 2


def test_both_say_the_same(two):
    """In one piece and streamed, from either engine, the counts too."""
    engines, gateway = two
    own = engines[0].post(CHAT, chat())
    texts = {own["choices"][0]["message"]["content"]}
    for _ in range(4):
        answer = gateway.post_json(CHAT, chat())
        texts.add(answer["choices"][0]["message"]["content"])
        assert answer["usage"]["completion_tokens"] == 16
        with gateway.stream(CHAT, chat()) as s:
            payloads = s.payloads()
        assert payloads[-1] == "[DONE]"
        texts.add(content_of(payloads[:-1]))
    assert len(texts) == 1


def test_cached_tokens_are_counted(two):
    """What an engine took from its prefix cache stands in metrics and records."""
    _, gateway = two
    for _ in range(4):
        _, headers, _ = gateway.post(CHAT, chat("the same long beginning " * 20))
    record = gateway.wait_record(headers["x-request-id"])
    assert record["cached_tokens"] > 0
    wait_until(lambda: gateway.metric("busbar_cached_tokens_total") > 0, "cached tokens")


def test_leaving_frees_the_engine(two):
    engines, gateway = two
    for stream in (True, False):
        body = json.dumps(chat(max_tokens=3500, stream=stream)).encode()
        with gateway.raw_connect() as c:
            c.sendall(b"POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s"
                      % (CHAT.encode(), len(body), body))
            wait_until(lambda: sum(e.metrics()["num_requests_running"] for e in engines) == 1,
                       "a running request")
        for e in engines:
            e.wait_metric("num_requests_running", 0)
        assert sum(e["requests_in_flight"] for e in gateway.status()["engines"]) == 0


def test_many_at_once(two):
    """24 at once, more than run at once: all are answered, and both engines worked."""
    engines, gateway = two
    before = [e["requests"] for e in gateway.status()["engines"]]
    with concurrent.futures.ThreadPoolExecutor(24) as pool:
        answers = list(pool.map(lambda i: gateway.post_json(CHAT, chat(f"number {i}")), range(24)))
    assert all(a["usage"]["completion_tokens"] == 16 for a in answers)
    after = [e["requests"] for e in gateway.status()["engines"]]
    assert [b - a for a, b in zip(before, after)] == [12, 12]


def test_tokenize_and_completions(two):
    _, gateway = two
    tokens = gateway.post_json("/tokenize", {"model": "small", "prompt": "Hello world"})["tokens"]
    text = gateway.post_json("/detokenize", {"model": "small", "tokens": tokens})
    assert "Hello world" in json.dumps(text)
    answer = gateway.post_json("/v1/completions", {"model": "small", "prompt": "Hello",
                                                   "max_tokens": 5, **SETTINGS})
    assert answer["usage"]["completion_tokens"] == 5


def test_too_long(two):
    """The engine's own 400."""
    _, gateway = two
    status, _, body = gateway.post(CHAT, chat("word " * 30000))
    assert status == 400 and json.loads(body)["error"]["message"]


def test_endpoint_that_it_does_not_have(two):
    status, _, error = two[1].error("POST", "/v1/rerank", {"model": "small", "query": "q",
                                                           "documents": ["d"]})
    assert status == 404 and error["code"] == "endpoint_not_supported"


def test_one_dies():
    """Killed in a stream: that stream ends with an error event, everything else goes on."""
    with fleet(2) as (engines, gateway):
        with gateway.stream(CHAT, chat(max_tokens=3500)) as s:
            s.first_payload()
            victim = next(e for e in engines if e.metrics()["num_requests_running"])
            victim.process.kill()
            payloads = s.payloads()
        assert "error" in payloads[-1] and "[DONE]" not in payloads
        for _ in range(4):
            gateway.post_json(CHAT, chat())
        gateway.wait_engine(f"http://127.0.0.1:{victim.port}", "down")


@pytest.mark.skipif(not REAL, reason="BUSBAR_MODEL is not set")
def test_it_makes_sense(two):
    """The capital of France is Paris."""
    _, gateway = two
    question = {"model": "small", "max_tokens": 24, "temperature": 0,
                "messages": [{"role": "user", "content": "Tell me the capital of France."}]}
    for _ in range(2):
        answer = gateway.post_json(CHAT, question)["choices"][0]
        assert "Paris" in answer["message"]["content"]
    with gateway.stream(CHAT, question) as s:
        assert "Paris" in content_of(s.payloads()[:-1])
