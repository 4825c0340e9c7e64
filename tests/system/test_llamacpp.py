"""Goal: llama.cpp's server, a real engine of others, works behind the gateway: it is recognised, its
answers come through, answers in one piece can be cancelled although it does not do that itself, and
its death is an error and not half an answer. The model is tiny and random: what it says is noise."""

import json
import struct

import pytest

from gateway_process import Gateway, content_of, wait_until
from llama_server import LlamaServer, is_installed

pytestmark = pytest.mark.skipif(not is_installed(), reason="the package xllamacpp is not installed")

CHAT = "/v1/chat/completions"
# The same words each time: no sampling, no end, nothing from the cache.
SETTINGS = {"temperature": 0, "seed": 1, "ignore_eos": True, "cache_prompt": False}


@pytest.fixture(scope="module")
def server():
    with LlamaServer() as s:
        yield s


@pytest.fixture(scope="module")
def gateway(server):
    with Gateway([server.url]) as g:
        yield g


@pytest.fixture(scope="module")
def model(gateway):
    return gateway.status()["models"][0]["name"]


def chat(model, **more):
    return {"model": model, "messages": [{"role": "user", "content": "Hello"}], **SETTINGS, **more}


def test_found(gateway, server):
    """Kind, slots and context are found out from the URL alone."""
    row = gateway.engine(server.url)
    assert row["kind"] == "llamacpp" and row["sequences_max"] == 2
    wait_until(lambda: "reported" in gateway.engine(server.url), "its own figures")
    assert gateway.status()["models"][0]["context_tokens"] > 0


def test_chat_in_one_piece(gateway, server, model):
    """Put together from a stream, and the same as asked directly."""
    own = server.request("POST", CHAT, chat(model, max_tokens=20))[1]
    through = gateway.post_json(CHAT, chat(model, max_tokens=20))
    assert through["object"] == "chat.completion"
    assert through["choices"][0]["message"] == own["choices"][0]["message"]
    assert through["choices"][0]["finish_reason"] == own["choices"][0]["finish_reason"] == "length"
    assert through["usage"] == own["usage"]
    assert through["model"] == own["model"] and "timings" in through


def test_chat_as_a_stream(gateway, model):
    whole = gateway.post_json(CHAT, chat(model, max_tokens=20))
    with gateway.stream(CHAT, chat(model, max_tokens=20)) as s:
        payloads = s.payloads()
    assert payloads[-1] == "[DONE]"
    assert content_of(payloads[:-1]) == whole["choices"][0]["message"]["content"]
    assert all(p["choices"] for p in payloads[:-1])  # the usage chunk was ours


def test_completions(gateway, server, model):
    body = {"model": model, "prompt": "Hello", "max_tokens": 12, **SETTINGS}
    own = server.request("POST", "/v1/completions", body)[1]
    through = gateway.post_json("/v1/completions", body)
    assert through["choices"][0]["text"] == own["choices"][0]["text"]
    assert through["usage"] == own["usage"]


def test_alias(server):
    config = {"models": {"chat": {"engines": [server.url], "aliases": ["gpt-4o-mini"]}}}
    with Gateway(config=config) as g:
        g.wait_model("chat")
        assert g.post_json(CHAT, chat("gpt-4o-mini", max_tokens=3))["usage"]["completion_tokens"] == 3


def test_tokenize(gateway, server, model):
    own = server.request("POST", "/tokenize", {"content": "Hello world"})[1]
    assert gateway.post_json("/tokenize", {"model": model, "content": "Hello world"}) == own


def test_too_long(gateway, model):
    """Its 400 with its own figures, in one piece and as a stream."""
    long = chat(model, messages=[{"role": "user", "content": "word " * 40000}])
    for stream in (False, True):
        status, _, body = gateway.post(CHAT, {**long, "stream": stream})
        assert status == 400, body
        assert json.loads(body)["error"]["type"] == "exceed_context_size_error"


def test_endpoint_that_is_switched_off(gateway, model):
    """Embeddings need an option of the server: an error in OpenAI's form."""
    status, _, error = gateway.error("POST", "/v1/embeddings", {"model": model, "input": "x"})
    assert status in (404, 501) and error["message"]


@pytest.mark.parametrize("stream", [False, True])
def test_leaving_frees_the_slot(gateway, server, model, stream):
    """Long before the answer would have been finished."""
    body = json.dumps(chat(model, max_tokens=1900, stream=stream)).encode()
    with gateway.raw_connect() as c:
        c.sendall(b"POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s"
                  % (CHAT.encode(), len(body), body))
        count, written = wait_until(lambda: (b := server.busy())[1] > 5 and b, "a busy slot")
        c.setsockopt(1, 13, struct.pack("ii", 1, 0))  # SOL_SOCKET, SO_LINGER: leave with a reset
    assert count == 1 and written < 6000
    before = written
    while (busy := server.busy())[0]:
        before = busy[1]
        assert before < 6900, "it went on to the end"


def test_death_in_a_stream():
    """Killed: an error event, and the engine is down."""
    with LlamaServer() as server, Gateway([server.url]) as g:
        name = g.status()["models"][0]["name"]
        with g.stream(CHAT, chat(name, max_tokens=1900)) as s:
            s.first_payload()
            server.kill()
            payloads = s.payloads()
        assert "error" in payloads[-1] and "[DONE]" not in payloads
        g.wait_engine(server.url, "down")


def test_two_servers(server):
    """Requests go round, and one that dies is not noticed."""
    with LlamaServer() as other, Gateway([server.url, other.url], policy="round_robin") as g:
        name = g.status()["models"][0]["name"]
        for _ in range(4):
            g.post_json(CHAT, chat(name, max_tokens=3))
        assert [e["requests"] for e in g.status()["engines"]] == [2, 2]
        other.kill()
        for _ in range(4):
            g.post_json(CHAT, chat(name, max_tokens=3))
