"""Goal: streams arrive as engines wrote them, whatever is in them and however they were cut into
pieces: a recorded stream of vLLM, tool calls, several choices, log probabilities, refusals, odd but
legal framing. And an answer put together from such a stream has all of it."""

import json
import pathlib

import pytest

from gateway_process import Gateway
from recorded_engine import RecordedEngine

DATA = pathlib.Path(__file__).resolve().parents[1] / "data" / "vllm-http"
CHAT = "/v1/chat/completions"


def ask(**more):
    return {"model": "smol", "messages": [{"role": "user", "content": "x"}], **more}


def vllm_stream():
    """The body of a stream that vLLM 0.32 sent; the file's first line are its header fields."""
    return (DATA / "stream_full.txt").read_bytes().split(b"\n", 1)[1]


def event(**members):
    head = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 5, "model": "smol"}
    return b"data: " + json.dumps({**head, **members}).encode() + b"\n\n"


def choice(index=0, finish=None, **delta):
    return {"index": index, "delta": delta, "finish_reason": finish}


TOOLS = b"".join([
    event(choices=[choice(role="assistant", content=None)]),
    event(choices=[choice(tool_calls=[{"index": 0, "id": "call_a", "type": "function",
                                       "function": {"name": "weather", "arguments": ""}}])]),
    event(choices=[choice(tool_calls=[{"index": 0, "function": {"arguments": '{"city": '}}])]),
    event(choices=[choice(tool_calls=[{"index": 1, "id": "call_b", "type": "function",
                                       "function": {"name": "time", "arguments": "{}"}}])]),
    event(choices=[choice(tool_calls=[{"index": 0, "function": {"arguments": '"Paris \\u00e9"}'}}])]),
    event(choices=[choice(finish="tool_calls")]),
    event(choices=[], usage={"prompt_tokens": 9, "completion_tokens": 7, "total_tokens": 16}),
    b"data: [DONE]\n\n",
])

CHOICES = b"".join([
    event(choices=[choice(0, role="assistant", content="")]),
    event(choices=[choice(1, role="assistant", content="")]),
    event(choices=[{**choice(1, content="B"), "logprobs": {"content": [
        {"token": "B", "logprob": -1e-7, "bytes": [66], "top_logprobs": []}]}}]),
    event(choices=[choice(0, content="A \U0001f600"), choice(1, content="b")]),
    event(choices=[choice(1, finish="stop")]),
    event(choices=[choice(0, refusal="no")]),
    event(choices=[choice(0, finish="content_filter")]),
    event(choices=[], usage={"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}),
    b"data: [DONE]\n\n",
])

# Legal by the standard of server-sent events, though no engine of today writes so.
ODD = (b": a comment\n\n"
       b"id: 1\nretry: 10\ndata:{\"choices\":[{\"index\":0,\"delta\":{\"content\":\"a\"},\ndata: "
       b"\"finish_reason\":null}]}\n\n"
       b"event: message\r\ndata: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}"
       b"\r\n\r\ndata: [DONE]\n\n")


def without_usage(stream):
    return b"".join(e + b"\n\n" for e in stream.split(b"\n\n") if e and b'"choices": []' not in e
                    and b'"choices":[]' not in e)


def through(engine, **more):
    """The bytes of a stream as a client gets them."""
    with Gateway([engine.url]) as g, g.stream(CHAT, ask(**more)) as s:
        assert s.status == 200
        return s.response.read()


@pytest.mark.parametrize("piece", [None, 1000, 37])
@pytest.mark.parametrize("stream", [vllm_stream(), TOOLS, CHOICES], ids=["vllm", "tools", "choices"])
def test_bytes_are_kept(stream, piece):
    """With the usage chunk for those who asked, without for others, the rest untouched."""
    with RecordedEngine(stream, piece) as engine:
        assert through(engine, stream_options={"include_usage": True}) == stream
        assert through(engine) == without_usage(stream)


@pytest.mark.parametrize("piece", [None, 1, 2, 7])
def test_odd_framing(piece):
    """Comments, other fields, several data lines, CRLF; byte by byte."""
    with RecordedEngine(ODD, piece) as engine:
        assert through(engine) == ODD


def test_no_final_blank_line():
    """An engine that ends behind its finish_reason without [DONE]: what it said is passed on, nothing
    is made up."""
    stream = event(choices=[choice(content="a")]) + event(choices=[choice(finish="stop")])
    with RecordedEngine(stream) as engine:
        assert through(engine) == stream


def test_done_without_an_end_is_no_end():
    """[DONE] although no finish_reason came: half an answer."""
    stream = event(choices=[choice(content="a")])
    with RecordedEngine(stream + b"data: [DONE]\n\n") as engine:
        got = through(engine)
    assert got.startswith(stream) and b"[DONE]" not in got
    assert json.loads(got[len(stream):].removeprefix(b"data: "))["error"]["code"] == "engine_failed"


@pytest.mark.parametrize("path,name", [(CHAT, None), ("/v1/messages", "error")])
def test_an_error_behind_comments(path, name):
    """Comments have opened the stream; the engine's error object comes as the last event, under the
    name that the protocol's SDK waits for."""
    error = {"error": {"message": "out of memory", "type": "InternalServerError", "code": 500}}
    stream = b"data: " + json.dumps(error).encode() + b"\n\ndata: [DONE]\n\n"
    with RecordedEngine(stream, prefill=0.25) as engine, \
            Gateway([engine.url], {"upstream": {"keepalive_comment": "100ms"}}) as g:
        with g.stream(path, ask(max_tokens=5)) as s:
            events = list(s.events())
    assert s.status == 200 and events[0][2] == ": keep-alive\n\n"
    (last,) = [e for e in events if e[1] is not None]
    assert last[0] == name and json.loads(last[1]) == error


def test_no_stream_behind_comments():
    """An engine that answers in one piece although a stream was asked for: an error event by then."""
    with RecordedEngine(b'{"choices":[]}', content_type="application/json", prefill=0.25) as engine, \
            Gateway([engine.url], {"upstream": {"keepalive_comment": "100ms"}}) as g:
        with g.stream(CHAT, ask()) as s:
            events = [d for _, d, _ in s.events() if d is not None]
    assert [json.loads(d)["error"]["code"] for d in events] == ["engine_failed"]


def test_fields_of_the_answer():
    """The engine's own header fields are passed on; those of its hop, cookies and CORS are not."""
    fields = [("X-Engine-Thing", "yes"), ("Cache-Control", "no-store"), ("Set-Cookie", "a=b"),
              ("Keep-Alive", "timeout=5"), ("Access-Control-Allow-Origin", "*"),
              ("X-Request-Id", "the-engines-own")]
    with RecordedEngine(TOOLS, headers=fields) as engine, Gateway([engine.url]) as g:
        with g.stream(CHAT, ask(), {"X-Request-Id": "mine"}) as s:
            s.response.read()
        assert s.headers["x-engine-thing"] == "yes"
        assert s.headers.get_all("cache-control") == ["no-store"]
        assert s.headers.get_all("x-request-id") == ["mine"]
        for name in ("set-cookie", "keep-alive", "access-control-allow-origin"):
            assert name not in s.headers


def assembled(stream):
    """The answer in one piece that the gateway makes of a stream."""
    with RecordedEngine(stream, 100) as engine:
        config = {"engines": [{"url": engine.url, "kind": "llamacpp"}]}
        with Gateway(config=config) as g:
            g.wait_model("smol")
            return g.post_json(CHAT, ask())


def test_tool_calls_put_together():
    answer = assembled(TOOLS)
    (only,) = answer["choices"]
    assert only["finish_reason"] == "tool_calls"
    first, second = only["message"]["tool_calls"]
    assert first["id"] == "call_a" and first["function"]["name"] == "weather"
    assert json.loads(first["function"]["arguments"]) == {"city": "Paris é"}
    assert second["id"] == "call_b" and second["function"]["arguments"] == "{}"
    assert answer["usage"]["completion_tokens"] == 7 and answer["object"] == "chat.completion"


def test_choices_put_together():
    answer = assembled(CHOICES)
    first, second = sorted(answer["choices"], key=lambda c: c["index"])
    assert first["message"]["content"] == "A \U0001f600" and first["message"]["refusal"] == "no"
    assert first["finish_reason"] == "content_filter" and second["finish_reason"] == "stop"
    assert second["message"]["content"] == "Bb"
    assert second["logprobs"]["content"][0]["token"] == "B"


def test_an_answer_in_one_piece_is_kept():
    """Byte for byte, whatever is in it."""
    body = b'{ "choices":[{"x":1.0,"y":1e-7}],\n "usage":{"prompt_tokens":3,"completion_tokens":2} }\n'
    with RecordedEngine(body, 10, "application/json") as engine, Gateway([engine.url]) as g:
        status, headers, got = g.post(CHAT, ask())
        assert status == 200 and got == body
        record = g.wait_record(headers["x-request-id"])
        assert (record["prompt_tokens"], record["output_tokens"]) == (3, 2)


def test_speech():
    """Sound is neither looked at nor changed."""
    sound = bytes(range(256)) * 400
    with RecordedEngine(sound, 3000, "audio/mpeg") as engine, \
            Gateway(config={"engines": [{"url": engine.url, "kind": "openai"}]}) as g:
        g.wait_model("smol")
        status, headers, got = g.post("/v1/audio/speech", {"model": "smol", "input": "x"})
        assert status == 200 and headers["content-type"] == "audio/mpeg" and got == sound
