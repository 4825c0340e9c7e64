"""Goal: the simulated engine behaves towards HTTP clients as the engine that it stands for, and every
fault does what its description says, since the tests of the gateway rest on it."""

import base64
import http.client
import json
import os
import re
import socket
import struct
import subprocess
import tempfile
import time

import pytest

from sim_process import Sim, busbar_path, sse_events

HELLO = [{"role": "user", "content": "Hello world"}]


def chat(**more):
    return {"model": "smol", "messages": HELLO, "max_tokens": 6, **more}


@pytest.fixture(scope="module")
def sim():
    with Sim(["smol", "other"], ttft="1ms", itl="200us", max_model_len=512, lora="adapter",
             embedding_size=8, kv_blocks=1024) as s:
        yield s


@pytest.fixture
def faulty(sim):
    yield sim
    sim.fault("")


def stream(s, path, body):
    status, headers, data = s.request("POST", path, {**body, "stream": True})
    assert status == 200
    assert headers["content-type"].startswith("text/event-stream")
    return sse_events(data)


def raw_request(s, path, body):
    """Everything that comes until the end of the connection."""
    data = json.dumps(body).encode()
    with socket.create_connection(("127.0.0.1", s.port), timeout=20) as c:
        c.sendall(b"POST %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s"
                  % (path.encode(), len(data), data))
        got = b""
        try:
            while piece := c.recv(65536):
                got += piece
        except ConnectionResetError:
            pass
        return got


# ---- chat completions ----

def test_chat_whole(sim):
    status, headers, data = sim.request("POST", "/v1/chat/completions", chat(),
                                        {"x-request-id": "req-A", "endpoint-load-metrics-format": "JSON"})
    answer = json.loads(data)
    assert status == 200 and answer["id"] == "chatcmpl-req-A" and answer["object"] == "chat.completion"
    assert answer["model"] == "smol"
    assert headers["x-request-id"] == "req-A"
    kind, load = headers["endpoint-load-metrics"].split(" ", 1)
    assert kind == "JSON" and set(json.loads(load)["named_metrics"]) == {
        "num_requests_waiting", "kv_cache_usage_perc"}
    (choice,) = answer["choices"]
    assert choice["finish_reason"] == "length" and choice["message"]["role"] == "assistant"
    assert len(choice["message"]["content"].split()) == 6
    usage = answer["usage"]
    assert usage["completion_tokens"] == 6
    assert usage["total_tokens"] == usage["prompt_tokens"] + 6
    count = sim.post_json("/tokenize", {"model": "smol", "messages": HELLO})[1]
    assert count["count"] == usage["prompt_tokens"] == len(count["tokens"])
    assert count["max_model_len"] == 512


def test_chat_stream(sim):
    whole = sim.post_json("/v1/chat/completions", chat())[1]
    events = stream(sim, "/v1/chat/completions", chat(stream_options={"include_usage": True}))
    assert events[-1] == "[DONE]"
    assert events[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    tokens = events[1:-2]
    assert len(tokens) == 6
    assert all(e["object"] == "chat.completion.chunk" and e["id"] == events[0]["id"] for e in tokens)
    assert "".join(e["choices"][0]["delta"]["content"] for e in tokens) == \
        whole["choices"][0]["message"]["content"]
    assert [e["choices"][0]["finish_reason"] for e in tokens] == [None] * 5 + ["length"]
    assert events[-2]["choices"] == [] and events[-2]["usage"]["completion_tokens"] == 6
    # Not asked for: no usage.
    events = stream(sim, "/v1/chat/completions", chat())
    assert len(events) == 8 and all("usage" not in e for e in events[:-1])


def test_stop_and_default_length(sim):
    answer = sim.post_json("/v1/chat/completions", {"model": "smol", "messages": HELLO})[1]
    assert answer["usage"]["completion_tokens"] == 16
    assert answer["choices"][0]["finish_reason"] == "stop"
    hinted = [{"role": "user", "content": "[[tokens=3]] hi"}]
    answer = sim.post_json("/v1/chat/completions", chat(messages=hinted))[1]
    assert answer["usage"]["completion_tokens"] == 3
    assert answer["choices"][0]["finish_reason"] == "stop"
    answer = sim.post_json("/v1/chat/completions", chat(messages=hinted, max_tokens=2))[1]
    assert answer["usage"]["completion_tokens"] == 2
    assert answer["choices"][0]["finish_reason"] == "length"


def test_choices(sim):
    answer = sim.post_json("/v1/chat/completions", chat(n=3))[1]
    texts = [c["message"]["content"] for c in answer["choices"]]
    assert [c["index"] for c in answer["choices"]] == [0, 1, 2] and len(set(texts)) == 3
    assert answer["usage"]["completion_tokens"] == 18
    events = stream(sim, "/v1/chat/completions", chat(n=3))
    for index in range(3):
        parts = [e["choices"][0] for e in events[:-1] if e["choices"][0]["index"] == index]
        assert "".join(p["delta"].get("content", "") for p in parts) == texts[index]
        assert [p["finish_reason"] for p in parts][-1] == "length"


def test_continuation_says_the_rest(sim):
    full = sim.post_json("/v1/chat/completions", chat(max_tokens=12))[1]["choices"][0]["message"]["content"]
    half = "".join(" " + w for w in full.split()[:5])
    rest = sim.post_json("/v1/chat/completions", chat(
        messages=HELLO + [{"role": "assistant", "content": half}], max_tokens=7,
        continue_final_message=True, add_generation_prompt=False))[1]
    assert half + rest["choices"][0]["message"]["content"] == full
    # A natural end counts what was said already: also where the prompt is plain text.
    whole = sim.post_json("/v1/completions", {"model": "smol", "prompt": "[[tokens=9]] Tell me"})[1]
    text = whole["choices"][0]["text"]
    assert whole["usage"]["completion_tokens"] == 9
    half = "".join(" " + w for w in text.split()[:4])
    rest = sim.post_json("/v1/completions", {"model": "smol", "prompt": "[[tokens=9]] Tell me" + half,
                                             "max_tokens": 100})[1]
    assert half + rest["choices"][0]["text"] == text
    assert rest["choices"][0]["finish_reason"] == "stop"


def test_parts_tools_and_empty_contents(sim):
    messages = [
        {"role": "system", "content": "Be short."},
        {"role": "user", "content": [{"type": "text", "text": "Look: "},
                                     {"type": "image_url", "image_url": {"url": "data:,x"}}]},
        {"role": "assistant", "content": None, "tool_calls": [{"id": "1", "function": {"name": "f"}}]},
        {"role": "tool", "content": "42"},
    ]
    one = sim.post_json("/v1/chat/completions", chat(messages=messages))[1]
    other = sim.post_json("/v1/chat/completions", chat(messages=messages, tools=[{"type": "function"}]))[1]
    assert one["usage"]["prompt_tokens"] < other["usage"]["prompt_tokens"]


# ---- the other protocols ----

def test_completions(sim):
    body = {"model": "smol", "prompt": ["One", "Two"], "max_tokens": 4}
    answer = sim.post_json("/v1/completions", body)[1]
    assert answer["object"] == "text_completion" and answer["id"].startswith("cmpl-")
    assert len(answer["choices"]) == 2 and answer["usage"]["completion_tokens"] == 8
    events = stream(sim, "/v1/completions", {**body, "prompt": "One"})
    assert "".join(e["choices"][0]["text"] for e in events[:-1]) == answer["choices"][0]["text"]
    ids = sim.post_json("/tokenize", {"model": "smol", "prompt": "One"})[1]["tokens"]
    by_ids = sim.post_json("/v1/completions", {**body, "prompt": ids})[1]
    assert by_ids["choices"][0]["text"] == answer["choices"][0]["text"]


def test_messages(sim):
    body = {"model": "smol", "max_tokens": 4, "system": "Be short.", "messages": HELLO}
    status, answer = sim.post_json("/v1/messages", body)
    assert status == 200 and answer["type"] == "message" and answer["stop_reason"] == "max_tokens"
    text = answer["content"][0]["text"]
    status, _, data = sim.request("POST", "/v1/messages", {**body, "stream": True})
    names = re.findall(r"^event: (\S+)$", data.decode(), re.M)
    assert names == ["message_start", "content_block_start"] + ["content_block_delta"] * 4 + [
        "content_block_stop", "message_delta", "message_stop"]
    events = sse_events(data)
    assert [e["type"] for e in events] == names
    assert "".join(e["delta"]["text"] for e in events if e["type"] == "content_block_delta") == text
    assert events[-2]["usage"]["output_tokens"] == 4
    counted = sim.post_json("/v1/messages/count_tokens", body)[1]["input_tokens"]
    usage = answer["usage"]
    assert counted == usage["input_tokens"] + usage["cache_read_input_tokens"]
    status, error = sim.post_json("/v1/messages", {**body, "model": "nope"})
    assert status == 404 and error["type"] == "error" and error["error"]["type"] == "NotFoundError"


def test_responses(sim):
    body = {"model": "smol", "input": "Hello world", "max_output_tokens": 4}
    answer = sim.post_json("/v1/responses", body)[1]
    assert answer["object"] == "response" and answer["status"] == "incomplete"
    text = answer["output"][0]["content"][0]["text"]
    status, _, data = sim.request("POST", "/v1/responses", {**body, "stream": True})
    events = sse_events(data)
    assert [e["sequence_number"] for e in events] == list(range(len(events)))
    assert events[0]["type"] == "response.created" and events[-1]["type"] == "response.incomplete"
    assert "".join(e["delta"] for e in events if e["type"] == "response.output_text.delta") == text
    assert events[-1]["response"]["output"][0]["content"][0]["text"] == text
    assert events[-1]["response"]["usage"]["output_tokens"] == 4
    done = sim.post_json("/v1/responses", {"model": "smol", "input": [{"role": "user", "content": [
        {"type": "input_text", "text": "Hello world"}]}]})[1]
    assert done["status"] == "completed" and done["usage"]["output_tokens"] == 16


def test_embeddings(sim):
    body = {"model": "smol", "input": ["One", "Two", "One"]}
    answer = sim.post_json("/v1/embeddings", body)[1]
    vectors = [d["embedding"] for d in answer["data"]]
    assert vectors[0] == vectors[2] != vectors[1]
    assert len(vectors[0]) == 8 and abs(sum(v * v for v in vectors[0]) - 1) < 1e-5
    packed = sim.post_json("/v1/embeddings", {**body, "encoding_format": "base64"})[1]
    raw = base64.b64decode(packed["data"][1]["embedding"])
    assert struct.unpack("<8f", raw) == pytest.approx(vectors[1], rel=1e-6)
    assert len(sim.post_json("/v1/embeddings", {**body, "dimensions": 3})[1]["data"][0]["embedding"]) == 3


def test_rerank_and_score(sim):
    body = {"model": "smol", "query": "q", "documents": ["a", {"text": "b"}, "c"]}
    results = sim.post_json("/v1/rerank", body)[1]["results"]
    scores = [r["relevance_score"] for r in results]
    assert scores == sorted(scores, reverse=True) and {r["index"] for r in results} == {0, 1, 2}
    assert all(r["document"]["text"] == "abc"[r["index"]] for r in results)
    assert sim.post_json("/rerank", {**body, "top_n": 1})[1]["results"] == results[:1]
    pairs = sim.post_json("/v1/score", {"model": "smol", "text_1": "q", "text_2": ["a", "b", "c"]})[1]
    assert {d["index"]: d["score"] for d in pairs["data"]} == {r["index"]: r["relevance_score"] for r in results}


def test_audio_and_images(sim):
    form = (b"--X\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nsmol\r\n"
            b"--X\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.wav\"\r\n\r\n\x00\xff\x01\r\n--X--\r\n")
    status, _, data = sim.request("POST", "/v1/audio/transcriptions", form,
                                  {"content-type": "multipart/form-data; boundary=X"})
    answer = json.loads(data)
    assert status == 200 and answer["model"] == "smol" and answer["text"] == "heard %d bytes" % len(form)
    assert sim.requests()[-1]["body"] is None and sim.requests()[-1]["body_len"] == len(form)
    answer = sim.post_json("/v1/images/generations", {"model": "smol", "prompt": "a cat", "n": 2})[1]
    assert len(answer["data"]) == 2
    assert base64.b64decode(answer["data"][0]["b64_json"]).startswith(b"\x89PNG")


def test_tokenize_and_back(sim):
    text = "Hello wörld, 123 — \"quoted\"\n"
    answer = sim.post_json("/tokenize", {"model": "smol", "prompt": text, "return_token_strs": True})[1]
    assert "".join(answer["token_strs"]) == text and len(answer["token_strs"]) == answer["count"]
    assert sim.post_json("/detokenize", {"model": "smol", "tokens": answer["tokens"]})[1]["prompt"] == text


# ---- errors ----

def test_errors(sim):
    status, answer = sim.post_json("/v1/completions", {"model": "nope", "prompt": "x"})
    assert (status, answer) == (404, {"error": {
        "message": "The model `nope` does not exist. Valid aliases: smol.", "type": "NotFoundError",
        "param": "model", "code": 404}})
    status, answer = sim.post_json("/v1/completions", {"model": "smol", "prompt": list(range(600))})
    assert status == 400 and answer["error"]["message"] == (
        "This model's maximum context length is 512 tokens. However, your prompt contains 600 input tokens, "
        "which exceeds this limit even without any output tokens. Please reduce the length of the input "
        "prompt. (parameter=input_tokens, value=600)")
    assert answer["error"]["param"] == "input_tokens"
    status, answer = sim.post_json("/v1/completions", {"model": "smol", "prompt": "x", "max_tokens": 5000})
    assert status == 400 and answer["error"]["message"] == (
        "max_tokens=5000 cannot be greater than max_model_len=512. Please request fewer output tokens. "
        "(parameter=max_tokens, value=5000)")
    status, answer = sim.post_json("/v1/completions", {"model": "smol", "prompt": [1] * 500, "max_tokens": 50})
    assert status == 400 and answer["error"]["param"] == "input_tokens"
    assert sim.request("POST", "/v1/nowhere", {})[0::2] == (404, b'{"detail":"Not Found"}')
    assert sim.request("GET", "/v1/completions")[0::2] == (405, b'{"detail":"Method Not Allowed"}')
    for body in (b"", b"{", b"[]", b'{"messages":[]}', b'{"messages":[{"content":"x"}]}',
                 b'{"messages":[{"role":"user","content":"x"}],"n":0}',
                 b'{"messages":[{"role":"user","content":"x"}],"max_tokens":-1}',
                 b'{"messages":[{"role":"user","content":"x"}],"n":100000}'):
        status, _, data = sim.request("POST", "/v1/chat/completions", body)
        assert status == 400, body
        assert json.loads(data)["error"]["code"] == 400


# ---- timing, queue and cache ----

def test_hints_set_the_timing(sim):
    begin = time.monotonic()
    sim.post_json("/v1/chat/completions", chat(messages=[{"role": "user", "content": "[[ttft=50000 itl=10000]]"}]))
    assert time.monotonic() - begin >= 0.1


def test_queue_and_prefix_cache():
    with Sim(["smol"], ttft="20s", max_seqs=1, block_size=16) as s:
        quick = "[[ttft=0 itl=0]] "
        long = quick + "The quick brown fox jumps over the lazy dog. " * 10
        first = s.post_json("/v1/completions", {"model": "smol", "prompt": long})[1]["usage"]
        assert first["prompt_tokens_details"]["cached_tokens"] == 0
        again = s.post_json("/v1/completions", {"model": "smol", "prompt": long + "More."})[1]["usage"]
        assert again["prompt_tokens_details"]["cached_tokens"] == first["prompt_tokens"] // 16 * 16
        salted = s.post_json("/v1/completions", {"model": "smol", "prompt": long, "cache_salt": "t1"})[1]["usage"]
        assert salted["prompt_tokens_details"]["cached_tokens"] == 0
        # One runs, two wait; those that leave make room.
        waiting = []
        for _ in range(3):
            c = s.connect()
            c.request("POST", "/v1/completions", json.dumps({"model": "smol", "prompt": "x"}))
            waiting.append(c)
        s.wait(lambda state: (state["running"], state["waiting"]) == (1, 2))
        metrics = s.request("GET", "/metrics")[2].decode()
        assert 'vllm:num_requests_waiting{engine="0",model_name="smol"} 2' in metrics
        assert 'vllm:num_requests_running{engine="0",model_name="smol"} 1' in metrics
        assert s.get_json("/load") == {"server_load": 3}
        waiting[0].close()
        s.wait(lambda state: (state["running"], state["waiting"]) == (1, 1))
        for c in waiting[1:]:
            c.close()
        state = s.wait(lambda state: state["running"] + state["waiting"] == 0)
        assert state["aborted"] == 3 and state["kv_blocks_held"] == 0
        assert s.request("POST", "/reset_prefix_cache")[0] == 200
        cold = s.post_json("/v1/completions", {"model": "smol", "prompt": long})[1]["usage"]
        assert cold["prompt_tokens_details"]["cached_tokens"] == 0


def test_client_that_leaves_a_stream(sim):
    before = sim.state()["aborted"]
    c = sim.connect()
    c.request("POST", "/v1/completions", json.dumps(
        {"model": "smol", "prompt": "[[itl=10000]]", "max_tokens": 400, "stream": True}))
    c.getresponse().read(100)
    c.sock.close()
    c.close()
    sim.wait(lambda state: state["aborted"] == before + 1 and state["running"] == 0)


def test_slow_reader_gets_everything():
    with Sim(["smol"], ttft="0", itl="0", max_model_len=200000) as s:
        body = {"model": "smol", "prompt": "x", "max_tokens": 50000, "stream": True}
        c = s.connect()
        c.request("POST", "/v1/completions", json.dumps(body))
        response = c.getresponse()
        s.wait(lambda state: state["generated"] == 50000)
        time.sleep(0.05)
        assert s.state()["tokens"] < 50000  # it has more than the sockets take, and waits
        events = sse_events(response.read())
        assert len(events) == 50001 and events[-1] == "[DONE]"
        whole = s.post_json("/v1/completions", {**body, "stream": False})[1]
        assert "".join(e["choices"][0]["text"] for e in events[:-1]) == whole["choices"][0]["text"]


def test_same_seed_same_answers():
    def answer(**options):
        with Sim(["smol"], ttft="0", itl="0", **options) as s:
            return s.post_json("/v1/chat/completions", chat())[1]["choices"][0]["message"]["content"]
    assert answer(seed=1) == answer(seed=1) != answer(seed=2)


def test_stamps(sim):
    with Sim(["smol"], ttft="1ms", itl="1ms", stamp=True) as s:
        before = time.monotonic_ns()
        events = stream(s, "/v1/chat/completions", chat())
        after = time.monotonic_ns()
    texts = [e["choices"][0]["delta"]["content"] for e in events[1:-1]]
    stamps = [int(re.fullmatch(r" \w+ t([0-9a-f]{16})", t).group(1), 16) for t in texts]
    assert stamps == sorted(stamps) and before < stamps[0] < stamps[-1] < after


# ---- faults ----

def test_refuse_and_garbage(faulty):
    faulty.fault("refuse")
    with pytest.raises((http.client.RemoteDisconnected, ConnectionResetError)):
        faulty.request("POST", "/v1/chat/completions", chat())
    assert faulty.request("GET", "/health")[0] == 200
    faulty.fault("garbage")
    with pytest.raises(http.client.BadStatusLine):
        faulty.request("POST", "/v1/chat/completions", chat())


def test_hang_and_deaf(faulty):
    faulty.fault("hang")
    with pytest.raises(TimeoutError):
        faulty.request("POST", "/v1/chat/completions", chat(), timeout=0.1)
    assert faulty.request("GET", "/health")[0] == 200
    faulty.fault("deaf")
    with pytest.raises(TimeoutError):
        faulty.request("GET", "/health", timeout=0.1)
    faulty.fault("down")
    with pytest.raises((http.client.RemoteDisconnected, ConnectionResetError)):
        faulty.request("GET", "/v1/models")
    faulty.fault("unhealthy")
    assert faulty.request("GET", "/health")[0] == 503
    assert faulty.request("POST", "/v1/chat/completions", chat())[0] == 200


def test_busy_and_error(faulty):
    faulty.fault("503")
    status, headers, data = faulty.request("POST", "/v1/chat/completions", chat())
    assert status == 503 and headers["retry-after"] == "1" and b"currently busy" in data
    faulty.fault("500")
    assert faulty.request("POST", "/v1/embeddings", {"model": "smol", "input": "x"})[0] == 500
    faulty.fault("503@0")
    assert faulty.request("POST", "/v1/chat/completions", chat())[0] == 200
    assert faulty.request("POST", "/sim/fault", "nonsense")[0] == 400


def test_cut(faulty):
    faulty.fault("cut:3")
    got = raw_request(faulty, "/v1/chat/completions", chat(stream=True))
    assert got.count(b'"content":" ') == 3 and b"[DONE]" not in got and not got.endswith(b"0\r\n\r\n")
    with pytest.raises((http.client.RemoteDisconnected, ConnectionResetError)):
        faulty.request("POST", "/v1/chat/completions", chat())
    faulty.fault("cut")
    got = raw_request(faulty, "/v1/chat/completions", chat(stream=True))
    assert got.count(b'"content":" ') < 6 and b"finish_reason\":\"" not in got


def test_error_event_nodone_badjson(faulty):
    faulty.fault("error_event:2")
    events = stream(faulty, "/v1/chat/completions", chat())
    assert len(events) == 5 and events[-1] == "[DONE]"
    assert events[-2]["error"]["type"] == "InternalServerError"
    assert faulty.request("POST", "/v1/chat/completions", chat())[0] == 500
    faulty.fault("nodone")
    events = stream(faulty, "/v1/chat/completions", chat())
    assert len(events) == 7 and all(e["choices"][0]["finish_reason"] is None for e in events)
    faulty.fault("badjson")
    data = faulty.request("POST", "/v1/chat/completions", chat(stream=True))[2]
    with pytest.raises(json.JSONDecodeError):
        sse_events(data)
    assert data.endswith(b"data: [DONE]\n\n")
    with pytest.raises(json.JSONDecodeError):
        faulty.post_json("/v1/chat/completions", chat())


def test_stall_endless_longhead(faulty):
    faulty.fault("stall:2")
    c = faulty.connect(timeout=0.2)
    c.request("POST", "/v1/chat/completions", json.dumps(chat(stream=True)))
    response = c.getresponse()
    got = b""
    with pytest.raises(TimeoutError):
        while piece := response.read1():
            got += piece
    assert got.count(b'"content":" ') == 2
    c.close()
    faulty.fault("endless")
    c = faulty.connect()
    c.request("POST", "/v1/chat/completions", json.dumps(chat(stream=True)))
    data = c.getresponse().read(1 << 20)
    assert len(data) == 1 << 20 and data.endswith(b"a" * 1000000)
    c.close()
    faulty.fault("longhead")
    assert len(raw_request(faulty, "/v1/chat/completions", chat()).split(b"\r\n\r\n")[0]) > 90000
    faulty.wait(lambda s: s["running"] == 0)


def test_slow(faulty):
    faulty.fault("slow:200")
    begin = time.monotonic()
    assert faulty.request("POST", "/v1/chat/completions", chat(max_tokens=1))[0] == 200
    assert time.monotonic() - begin >= 0.2


def test_die():
    s = Sim(["smol"], ttft="1ms", itl="1ms", fault="die:2").start()
    got = raw_request(s, "/v1/chat/completions", chat(stream=True))
    assert got.count(b'"content":" ') == 2 and b"[DONE]" not in got
    assert s.process.wait(timeout=20) == 70
    s.stop()


# ---- what discovery looks at ----

def test_vllm_probes(sim):
    assert sim.request("GET", "/health")[0::2] == (200, b"")
    assert sim.get_json("/version") == {"version": "0.32.0"}
    models = sim.get_json("/v1/models")["data"]
    assert [(m["id"], m["parent"], m["max_model_len"]) for m in models] == [
        ("smol", None, 512), ("other", None, 512), ("adapter", "smol", None)]
    assert sim.get_json("/kv_event_sources") == {}
    assert "/v1/chat/completions" in sim.get_json("/openapi.json")["paths"]
    metrics = sim.request("GET", "/metrics")[2].decode()
    assert re.search(r'vllm:cache_config_info\{[^}]*block_size="16"[^}]*num_gpu_blocks="1024"[^}]*\} 1', metrics)
    count = int(float(re.search(r"vllm:time_to_first_token_seconds_count\{[^}]*\} (\S+)", metrics).group(1)))
    assert count > 0
    assert re.search(r'time_to_first_token_seconds_bucket\{[^}]*le="\+Inf"\} %d\b' % count, metrics)
    assert re.search(r'request_success_total\{[^}]*finished_reason="length"[^}]*\} [1-9]', metrics)


def test_adapter_has_its_own_cache(sim):
    body = {"prompt": "Words that nobody else has used in this module so far, ever. " * 5}
    usages = [sim.post_json("/v1/completions", {"model": m, **body})[1]["usage"]["prompt_tokens_details"]
              for m in ("smol", "adapter", "smol", "adapter")]
    assert [u["cached_tokens"] > 0 for u in usages] == [False, False, True, True]


def test_llamacpp():
    with Sim(["smol"], kind="llamacpp", ttft="1ms", itl="1ms", max_seqs=2, max_model_len=512) as s:
        assert s.get_json("/health") == {"status": "ok"}
        assert s.get_json("/props")["total_slots"] == 2
        assert [slot["is_processing"] for slot in s.get_json("/slots")] == [False, False]
        assert s.request("GET", "/version")[0] == 404
        assert json.loads(s.request("GET", "/nowhere")[2])["error"]["type"] == "not_found_error"
        answer = s.post_json("/v1/chat/completions", chat(model="whatever"))[1]
        assert answer["timings"]["predicted_n"] == 6
        assert answer["timings"]["prompt_n"] + answer["timings"]["cache_n"] == answer["usage"]["prompt_tokens"]
        events = stream(s, "/v1/chat/completions", chat())
        assert events[-2]["choices"][0] == {"index": 0, "delta": {}, "logprobs": None, "finish_reason": "length"}
        assert events[-2]["timings"]["predicted_n"] == 6
        status, answer = s.post_json("/v1/completions", {"prompt": list(range(600))})
        assert status == 400 and answer["error"]["type"] == "exceed_context_size_error"
        assert answer["error"]["n_ctx"] == 512
        assert b"llamacpp:requests_processing 0" in s.request("GET", "/metrics")[2]
        # A client that leaves ends a stream, but not an answer in one piece.
        for is_stream, aborted in ((True, 1), (False, 2)):
            before = s.state()["generated"]
            c = s.connect()
            c.request("POST", "/v1/completions", json.dumps(
                {"prompt": "[[itl=2000]]", "max_tokens": 200, "stream": is_stream}))
            s.wait(lambda state: state["generated"] > before)
            c.close()
            state = s.wait(lambda state: state["aborted"] == aborted)
            assert state["running"] == (0 if is_stream else 1)
            if not is_stream:
                s.wait(lambda state: state["running"] == 0 and state["generated"] == before + 200)


def test_sglang_trtllm_openai():
    with Sim(["smol"], kind="sglang", kv_blocks=101, kv_events="tcp://127.0.0.1:0", ttft="1ms") as s:
        info = s.get_json("/server_info")
        assert info["max_total_num_tokens"] == 1600 and info["kv_events"]["block_size"] == 16
        assert s.get_json("/get_model_info")["is_generation"] is True
        assert b"sglang:num_running_reqs{" in s.request("GET", "/metrics")[2]
        assert s.post_json("/v1/completions", {"model": "nope", "prompt": "x"})[1]["object"] == "error"
    with Sim(["smol"], kind="trtllm", kv_blocks=101) as s:
        assert s.get_json("/metrics")[0]["kvCacheStats"]["maxNumBlocks"] == 100
        assert s.get_json("/version")["version"]
    with Sim(["smol"], kind="openai", ttft="1ms") as s:
        assert s.request("GET", "/health")[0] == 404 and s.request("GET", "/metrics")[0] == 404
        assert s.request("POST", "/tokenize", {"prompt": "x"})[0] == 404
        assert [m["id"] for m in s.get_json("/v1/models")["data"]] == ["smol"]
        assert s.post_json("/v1/chat/completions", chat())[0] == 200


# ---- the program ----

def test_what_was_sent(sim):
    sim.request("POST", "/v1/chat/completions?a=b", chat(user="ünique"), {"X-Test": "1", "x-test": "2"})
    seen = sim.requests()[-1]
    assert seen["method"] == "POST" and seen["path"] == "/v1/chat/completions?a=b"
    assert json.loads(seen["body"]) == chat(user="ünique")
    assert [v for n, v in seen["headers"] if n.lower() == "x-test"] == ["1", "2"]
    for _ in range(100):
        sim.request("GET", "/health")
    assert len(sim.requests()) == 64


def test_unix_socket_and_exit_code():
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "sim.sock")
        s = Sim(["smol"], listen="unix:" + path, ttft="1ms").start()
        assert s.url == "unix:" + path
        with socket.socket(socket.AF_UNIX) as c:
            c.connect(path)
            c.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            assert c.recv(100).startswith(b"HTTP/1.1 200")
        assert s.stop() == 0


def test_exit_in_the_middle_of_streams():
    s = Sim(["smol"], ttft="1ms", itl="1ms", max_model_len=100000).start()
    c = s.connect()
    c.request("POST", "/v1/completions", json.dumps(
        {"model": "smol", "prompt": "x", "max_tokens": 50000, "stream": True}))
    c.getresponse().read(1000)
    assert s.stop() == 0
    c.close()


@pytest.mark.parametrize("args", [
    [], ["serve"], ["serve", "--model"], ["serve", "--model", 'a"b'], ["serve", "--model", "m", "--ttft", "5"],
    ["serve", "--model", "m", "--fault", "x"], ["serve", "--model", "m", "--kind", "x"],
    ["serve", "--model", "m", "--max-seqs", "0"], ["serve", "--model", "m", "--nothing"],
    ["serve", "--model", "m", "--listen", "nowhere"],
    ["serve", "--model", "m", "--kv-blocks", "3", "--max-model-len", "1000"],
    ["serve", "--model", "m", "--kv-events", "http://x"],
])
def test_wrong_usage(args):
    done = subprocess.run([busbar_path(), "sim", *args], capture_output=True, timeout=20)
    assert done.returncode == 2 and b"sim" in done.stderr
