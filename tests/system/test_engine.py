"""
busbar-engine end to end: the real program with a real (tiny, random) model.

Goal: that clients of vLLM's API get what they expect from it: exact usage, finish reasons, streams,
errors; that the KV cache is shared, bounded and told about; that nothing is lost on cancellation,
overload and shutdown. Texts of a random model mean nothing, so tests look at counts and structure.
"""
import base64
import json
import math
import os
import signal
import socket
import struct
import subprocess
import threading

import pytest

from engine_process import ENGINE, TINY, Engine, read_events, unpack, wait_until

BLOCK = 16
CHAT = "/v1/chat/completions"
TEXT = "/v1/completions"

pytestmark = pytest.mark.skipif(not os.path.exists(ENGINE), reason=f"{ENGINE} is not built")


@pytest.fixture(scope="module")
def engine():
    with Engine("--ctx", "1024", "--parallel", "4", "--threads", "1") as e:
        yield e


@pytest.fixture(scope="module")
def large():
    """A context so long that an answer takes seconds: for what must happen in its middle."""
    with Engine("--ctx", "65536", "--parallel", "1", "--queue", "1", "--threads", "1") as e:
        yield e


def ids(count, first=3):
    """A prompt of `count` tokens that begins like no other with another `first`."""
    return [3 + (first * 7919 + i * i + i * first) % 250 for i in range(count)]


def user(text):
    return [{"role": "user", "content": text}]


# ---- the plain API ----

def test_models_version_health(engine):
    status, headers, body = engine.request("GET", "/health", headers={"x-request-id": "probe-1"})
    assert (status, body) == (200, "")
    assert headers["x-request-id"] == "probe-1"
    model = json.loads(engine.request("GET", "/v1/models")[2])["data"][0]
    assert model["id"] == "tiny" and model["owned_by"] == "busbar"
    assert model["max_model_len"] == 1024
    assert "version" in json.loads(engine.request("GET", "/version")[2])
    assert engine.request("GET", "/kv_event_sources")[2] == "{}"


def test_chat_usage_and_length(engine):
    answer = engine.post(CHAT, {"model": "tiny", "messages": user("Hello"), "max_tokens": 12,
                                "ignore_eos": True}, {"x-request-id": "req-A"})
    assert answer["id"] == "chatcmpl-req-A"
    assert answer["object"] == "chat.completion"
    choice = answer["choices"][0]
    assert choice["finish_reason"] == "length"
    assert choice["message"]["role"] == "assistant"
    prompt = engine.post("/tokenize", {"messages": user("Hello")})["count"]
    assert answer["usage"]["prompt_tokens"] == prompt
    assert answer["usage"]["completion_tokens"] == 12
    assert answer["usage"]["total_tokens"] == prompt + 12


def test_chat_stream(engine):
    events = engine.stream(CHAT, {"messages": user("Hi"), "max_tokens": 9, "ignore_eos": True,
                                  "stream_options": {"include_usage": True}})
    assert events[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert len({event["id"] for event in events}) == 1
    assert [e["choices"][0]["finish_reason"] for e in events[:-2]] == [None] * (len(events) - 2)
    assert events[-2]["choices"][0]["finish_reason"] == "length"
    assert events[-1]["choices"] == [] and events[-1]["usage"]["completion_tokens"] == 9
    without = engine.stream(CHAT, {"messages": user("Hi"), "max_tokens": 2})
    assert all(event["choices"] for event in without)


def test_stream_is_the_same_text(engine):
    """A seed gives the same answer, streamed or not, and no character is cut in two."""
    request = {"prompt": ids(10, 4), "max_tokens": 120, "seed": 7, "ignore_eos": True}
    whole = engine.post(TEXT, request)["choices"][0]["text"]
    events = engine.stream(TEXT, request)
    assert "".join(e["choices"][0]["text"] for e in events) == whole
    assert engine.post(TEXT, request)["choices"][0]["text"] == whole
    assert engine.post(TEXT, {**request, "seed": 8})["choices"][0]["text"] != whole


def test_greedy_is_repeatable(engine):
    request = {"prompt": ids(9, 5), "max_tokens": 30, "temperature": 0, "ignore_eos": True}
    assert engine.post(TEXT, request)["choices"] == engine.post(TEXT, request)["choices"]


def test_choices(engine):
    request = {"prompt": ids(12, 6), "max_tokens": 15, "n": 3, "seed": 1, "ignore_eos": True}
    answer = engine.post(TEXT, request)
    texts = [choice["text"] for choice in answer["choices"]]
    assert [choice["index"] for choice in answer["choices"]] == [0, 1, 2]
    assert len(set(texts)) == 3
    assert answer["usage"]["prompt_tokens"] == 12
    assert answer["usage"]["completion_tokens"] == 45
    streamed = ["", "", ""]
    for event in engine.stream(TEXT, request):
        streamed[event["choices"][0]["index"]] += event["choices"][0]["text"]
    assert all(streamed)


def test_several_prompts(engine):
    answer = engine.post(TEXT, {"prompt": ["the cat", "a dog in", "on"], "max_tokens": 3,
                                "ignore_eos": True})
    counts = [engine.post("/tokenize", {"prompt": p})["count"] for p in ("the cat", "a dog in", "on")]
    assert len(answer["choices"]) == 3
    assert answer["usage"]["prompt_tokens"] == sum(counts)
    assert answer["usage"]["completion_tokens"] == 9


def stop_example(engine, first):
    """A request and a text of several tokens in the middle of its answer."""
    for seed in range(50):
        request = {"prompt": ids(8, first), "max_tokens": 80, "seed": seed, "ignore_eos": True,
                   "return_token_ids": True}
        choice = engine.post(TEXT, request)["choices"][0]
        text = choice["text"]
        for at in range(20, len(text) - 3):
            stop = text[at:at + 3]
            if stop.isascii() and stop.isprintable() and text.find(stop) == at:
                return request, text, stop
    raise AssertionError("no text can serve as a stop string")


def test_stop_string_over_tokens(engine):
    """It ends the answer, is named, and no part of it is ever seen."""
    request, text, stop = stop_example(engine, 11)
    before = text[:text.find(stop)]
    for stops in (stop, ["not to be found", stop]):
        choice = engine.post(TEXT, {**request, "stop": stops})["choices"][0]
        assert choice["text"] == before
        assert choice["finish_reason"] == "stop" and choice["stop_reason"] == stop
    assert len(choice["token_ids"]) >= 3  # it was spread over tokens: the model's are 1 or 2 bytes
    events = engine.stream(TEXT, {**request, "stop": stop})
    assert "".join(e["choices"][0]["text"] for e in events) == before
    assert events[-1]["choices"][0]["finish_reason"] == "stop"
    shown = engine.post(TEXT, {**request, "stop": stop, "include_stop_str_in_output": True})
    assert shown["choices"][0]["text"] == before + stop


def test_held_back_text_comes_at_the_end(engine):
    """What looked like a stop string and was none is not lost."""
    request, text, stop = stop_example(engine, 12)
    choice = engine.post(TEXT, {**request, "stop": stop + "\x00never"})["choices"][0]
    assert choice["text"] == text and choice["finish_reason"] == "length"


def test_stop_tokens_and_min_tokens(engine):
    request = {"prompt": ids(8, 13), "max_tokens": 40, "seed": 3, "return_token_ids": True,
               "ignore_eos": True}
    tokens = engine.post(TEXT, request)["choices"][0]["token_ids"]
    assert len(tokens) == 40
    stop = tokens[10]
    answer = engine.post(TEXT, {**request, "stop_token_ids": [stop]})
    assert answer["choices"][0]["token_ids"] == tokens[:tokens.index(stop) + 1]
    assert answer["choices"][0]["stop_reason"] == stop
    answer = engine.post(TEXT, {**request, "stop_token_ids": [stop], "min_tokens": 30})
    assert answer["usage"]["completion_tokens"] > 30


def test_end_of_text_token(engine):
    """Without ignore_eos an answer ends with 'stop' where the model says so."""
    reasons = set()
    for seed in range(40):
        choice = engine.post(TEXT, {"prompt": ids(6, 14), "max_tokens": 400, "seed": seed,
                                    "temperature": 1.3})["choices"][0]
        reasons.add(choice["finish_reason"])
        if reasons == {"stop"}:
            assert choice["stop_reason"] is None
    assert "stop" in reasons


def test_sampling_members(engine):
    request = {"prompt": ids(8, 15), "max_tokens": 60, "seed": 5, "ignore_eos": True,
               "return_token_ids": True}

    def tokens(**more):
        return engine.post(TEXT, {**request, **more})["choices"][0]["token_ids"]

    greedy = tokens(temperature=0)
    assert tokens(top_k=1) == greedy
    assert tokens(top_p=0.000001) == greedy
    assert tokens(min_p=1) == greedy
    assert len(set(tokens(temperature=0, presence_penalty=2, frequency_penalty=2))) > len(set(greedy)) \
        or len(set(greedy)) == 60
    prompt = set(request["prompt"])
    assert not prompt & set(tokens(temperature=0, repetition_penalty=100)[:1])


def test_logprobs(engine):
    choice = engine.post(CHAT, {"messages": user("a"), "max_tokens": 5, "logprobs": True,
                                "top_logprobs": 4, "temperature": 0, "ignore_eos": True})["choices"][0]
    content = choice["logprobs"]["content"]
    assert len(content) == 5
    for entry in content:
        top = [t["logprob"] for t in entry["top_logprobs"]]
        assert len(top) == 4 and top == sorted(top, reverse=True)
        assert entry["logprob"] == top[0] < 0  # greedy: the best one was taken
        assert isinstance(entry["bytes"], list)
    old = engine.post(TEXT, {"prompt": ids(5), "max_tokens": 4, "logprobs": 2, "ignore_eos": True})
    logprobs = old["choices"][0]["logprobs"]
    assert [len(logprobs[k]) for k in ("tokens", "token_logprobs", "top_logprobs", "text_offset")] \
        == [4, 4, 4, 4]


def test_tokenize_round_trip(engine):
    for text in ("the cat is on the mat", "Grüße, 世界! 🚀", "<|im_start|>user\nx<|im_end|>"):
        answer = engine.post("/tokenize", {"prompt": text, "return_token_strs": True})
        assert answer["count"] == len(answer["tokens"]) == len(answer["token_strs"])
        assert answer["max_model_len"] == 1024
        assert engine.post("/detokenize", {"tokens": answer["tokens"]})["prompt"] == text
    assert engine.post("/tokenize", {"prompt": "x"})["token_strs"] is None


def test_chat_template(engine):
    answer = engine.post("/tokenize", {"messages": [
        {"role": "system", "content": "be"},
        {"role": "user", "content": [{"type": "text", "text": "x"}, {"type": "text", "text": "y"}]}]})
    text = engine.post("/detokenize", {"tokens": answer["tokens"]})["prompt"]
    assert text == ("<|im_start|>system\nbe<|im_end|>\n<|im_start|>user\nx\ny<|im_end|>\n"
                    "<|im_start|>assistant\n")
    answer = engine.post("/tokenize", {"messages": user("q") + [
        {"role": "assistant", "content": "so far"}], "continue_final_message": True,
        "add_generation_prompt": False})
    text = engine.post("/detokenize", {"tokens": answer["tokens"]})["prompt"]
    assert text.endswith("<|im_start|>assistant\nso far")


# ---- refusals ----

def test_errors(engine):
    error, _ = engine.refused(TEXT, {"model": "nope", "prompt": "x"}, 404)
    assert error["type"] == "NotFoundError" and error["param"] == "model"
    for body, param in (({"prompt": "x", "temperature": -1}, "temperature"),
                        ({"prompt": "x", "max_tokens": 0}, "max_tokens"),
                        ({"prompt": "x", "n": 9}, "n"),
                        ({"prompt": "x", "stop": [1]}, "stop"),
                        ({"prompt": "x", "echo": True}, "echo"),
                        ({"prompt": "x", "stop_token_ids": [320]}, "stop_token_ids"),
                        ({"prompt": [320]}, "prompt"), ({"prompt": []}, "prompt"),
                        ({"prompt": ["x", ""]}, "prompt"), ({}, "prompt"),
                        ({"prompt": "x", "stream": "yes"}, "stream"),
                        ({"prompt": "x", "logit_bias": {"5": 1}}, "logit_bias")):
        error, _ = engine.refused(TEXT, body, 400)
        assert error["param"] == param and error["type"] == "BadRequestError"
        assert error["code"] == 400
    for body in ({"messages": []}, {"messages": "x"}, {"messages": [{"content": "x"}]},
                 {"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}):
        assert engine.refused(CHAT, body, 400)[0]["param"] == "messages"
    for body in ("{", "[]", '{"prompt":"x"} x', ""):
        engine.refused(TEXT, body, 400)
    assert "Embeddings" in engine.refused("/v1/embeddings", {"input": "x"}, 400)[0]["message"]
    assert engine.request("GET", "/nothing")[0] == 404
    assert engine.request("GET", TEXT)[0] == 405


def test_context_length(engine):
    error, _ = engine.refused(TEXT, {"prompt": ids(1100), "max_tokens": 5}, 400)
    assert error["code"] == "context_length_exceeded" and error["param"] == "input_tokens"
    assert error["message"].startswith(
        "This model's maximum context length is 1024 tokens. However, your prompt contains 1100 "
        "input tokens, which exceeds this limit even without any output tokens.")
    error, _ = engine.refused(TEXT, {"prompt": ids(100), "max_tokens": 5000}, 400)
    assert error["message"] == (
        "max_tokens=5000 cannot be greater than max_model_len=1024. Please request fewer output "
        "tokens. (parameter=max_tokens, value=5000)")
    error, _ = engine.refused(TEXT, {"prompt": ids(1000), "max_tokens": 25}, 400)
    assert "for a total of 1025 tokens" in error["message"]
    answer = engine.post(TEXT, {"prompt": ids(1000), "max_tokens": 24, "ignore_eos": True})
    assert answer["usage"]["total_tokens"] == 1024


# ---- the KV cache ----

def cached(answer):
    return answer["usage"]["prompt_tokens_details"]["cached_tokens"]


def test_cached_tokens_are_exact(engine):
    """Full blocks, of the prompt and of the answer, but never the whole prompt."""
    prompt = ids(50, 21)
    before = engine.metrics()
    first = engine.post(TEXT, {"prompt": prompt, "max_tokens": 30, "ignore_eos": True,
                               "return_token_ids": True, "seed": 2})
    assert cached(first) == 0
    assert cached(engine.post(TEXT, {"prompt": prompt, "max_tokens": 1})) == 48
    assert cached(engine.post(TEXT, {"prompt": prompt[:48], "max_tokens": 1})) == 32
    assert cached(engine.post(TEXT, {"prompt": prompt[:49], "max_tokens": 1})) == 48
    assert cached(engine.post(TEXT, {"prompt": prompt[:20] + [5] + prompt[21:], "max_tokens": 1})) == 16
    # The last token of an answer is drawn but not computed: 79 are in the cache.
    longer = prompt + first["choices"][0]["token_ids"] + [9, 9]
    assert cached(engine.post(TEXT, {"prompt": longer, "max_tokens": 1})) == 79 // BLOCK * BLOCK
    after = engine.metrics()
    assert after["prefix_cache_hits_total"] - before["prefix_cache_hits_total"] == 208
    assert after["prompt_tokens_cached_total"] - before["prompt_tokens_cached_total"] == 208


def test_shared_prefix_gives_the_same_answer(engine):
    """Reused KV must be the right KV: the most likely tokens do not change."""
    prompt = ids(70, 22)
    request = {"prompt": prompt, "max_tokens": 8, "temperature": 0, "return_token_ids": True,
               "ignore_eos": True}
    fresh = engine.post(TEXT, {**request, "cache_salt": "nobody else's"})
    engine.post(TEXT, {**request, "prompt": prompt[:40] + ids(20, 23)})
    shared = engine.post(TEXT, request)
    assert cached(shared) == 32 and cached(fresh) == 0
    assert shared["choices"][0]["token_ids"] == fresh["choices"][0]["token_ids"]


def test_salt_keeps_tenants_apart(engine):
    request = {"prompt": ids(40, 24), "max_tokens": 1}
    assert cached(engine.post(TEXT, {**request, "cache_salt": "a"})) == 0
    assert cached(engine.post(TEXT, request)) == 0
    assert cached(engine.post(TEXT, {**request, "cache_salt": "b"})) == 0
    assert cached(engine.post(TEXT, {**request, "cache_salt": "a"})) == 32


def test_prompt_of_several_choices_is_computed_once(engine):
    before = engine.metrics()
    engine.post(TEXT, {"prompt": ids(100, 25), "max_tokens": 2, "n": 4})
    after = engine.metrics()
    assert after["prefix_cache_hits_total"] - before["prefix_cache_hits_total"] == 3 * 96


def test_reset_prefix_cache(engine):
    request = {"prompt": ids(40, 26), "max_tokens": 1}
    engine.post(TEXT, request)
    assert cached(engine.post(TEXT, request)) == 32
    assert engine.request("POST", "/reset_prefix_cache")[0] == 200
    assert cached(engine.post(TEXT, request)) == 0


def run_all(function, arguments):
    """Each call in a thread of its own; the results in order; the first error is raised."""
    results = [None] * len(arguments)

    def run(i):
        try:
            results[i] = function(arguments[i])
        except BaseException as error:  # handed to the main thread
            results[i] = error

    threads = [threading.Thread(target=run, args=(i,)) for i in range(len(arguments))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return results


def test_sixteen_streams(engine):
    def one(i):
        events = engine.stream(TEXT, {"prompt": ids(20 + i, 30 + i), "max_tokens": 50, "seed": i,
                                      "ignore_eos": True,
                                      "stream_options": {"include_usage": True}})
        return events[-1]["usage"], events[-2]["choices"][0]["finish_reason"]

    for i, (usage, finish) in enumerate(run_all(one, list(range(16)))):
        assert finish == "length"
        assert usage["prompt_tokens"] == 20 + i and usage["completion_tokens"] == 50
    engine.wait_metric("num_requests_running", 0)
    assert engine.metrics()["kv_cache_usage_perc"] == 0


def test_full_cache_queues_and_nothing_is_lost():
    """Promised room: more than the cache can hold waits; answers are complete."""
    with Engine("--ctx", "256", "--parallel", "4", "--threads", "1") as e:
        def one(i):
            return e.post(TEXT, {"prompt": ids(60, i), "max_tokens": 60, "ignore_eos": True})
        for answer in run_all(one, list(range(12))):
            assert answer["usage"]["completion_tokens"] == 60
        assert e.metrics()["num_preemptions_total"] == 0
        assert e.metrics()['request_success_total{finished_reason="length"}'] == 12


def test_growing_answers_are_put_back_and_finish():
    """Without max_tokens answers grow until the context ends; together they do not fit."""
    with Engine("--ctx", "512", "--parallel", "3", "--threads", "1") as e:
        def one(i):
            return e.post(TEXT, {"prompt": ids(40, i), "ignore_eos": True, "seed": i})
        for answer in run_all(one, list(range(3))):
            assert answer["usage"]["total_tokens"] == 512
            assert answer["choices"][0]["finish_reason"] == "length"
        assert e.metrics()["num_preemptions_total"] > 0
        assert e.metrics()["kv_cache_usage_perc"] == 0


# ---- leaving, overload, shutdown ----

LONG = {"max_tokens": 60000, "ignore_eos": True}


def test_client_leaves_a_stream(large):
    before = large.metrics()
    connection, answer = large.open_stream(TEXT, {"prompt": ids(20, 40), **LONG})
    next(read_events(answer))
    assert large.metrics()["num_requests_running"] == 1
    assert large.metrics()["kv_cache_usage_perc"] > 0
    answer.close()
    connection.close()
    large.wait_metric("num_requests_running", 0)
    after = large.metrics()
    assert after["kv_cache_usage_perc"] == 0
    assert after['request_success_total{finished_reason="length"}'] == \
        before['request_success_total{finished_reason="length"}']


def open_and_send(engine, body):
    """A request whose answer nobody reads yet."""
    text = json.dumps(body)
    s = socket.create_connection(("127.0.0.1", engine.port))
    s.sendall(f"POST {TEXT} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(text)}\r\n\r\n{text}".encode())
    return s


def test_client_leaves_without_stream(large):
    s = open_and_send(large, {"prompt": ids(20, 41), **LONG})
    large.wait_metric("num_requests_running", 1)
    s.close()
    large.wait_metric("num_requests_running", 0)


def test_full_queue(large):
    """One runs, one waits, the third is told to come back; when the first leaves, the second runs."""
    first = open_and_send(large, {"prompt": ids(20, 42), **LONG})
    large.wait_metric("num_requests_running", 1)
    second = open_and_send(large, {"prompt": ids(20, 43), "max_tokens": 5})
    large.wait_metric("num_requests_waiting", 1)
    error, headers = large.refused(TEXT, {"prompt": "x", "max_tokens": 1}, 503)
    assert error["type"] == "ServiceUnavailableError" and int(headers["Retry-After"]) >= 1
    first.close()
    assert second.recv(64).startswith(b"HTTP/1.1 200")
    second.close()
    large.wait_metric("num_requests_waiting", 0)


def test_client_leaves_the_queue(large):
    first = open_and_send(large, {"prompt": ids(20, 44), **LONG})
    large.wait_metric("num_requests_running", 1)
    second = open_and_send(large, {"prompt": ids(20, 45), **LONG})
    large.wait_metric("num_requests_waiting", 1)
    second.close()
    large.wait_metric("num_requests_waiting", 0)
    assert large.metrics()["num_requests_running"] == 1
    first.close()
    large.wait_metric("num_requests_running", 0)


def test_slow_reader_gets_everything(large):
    """A stream that nobody reads for a while is kept, not cut, and then complete."""
    connection, answer = large.open_stream(CHAT, {
        "messages": user("x"), "max_tokens": 4000, "ignore_eos": True, "seed": 1,
        "logprobs": True, "top_logprobs": 20,  # for size: more than the kernel's buffers take
        "stream_options": {"include_usage": True}}, receive_buffer=4096)
    wait_until(lambda: large.metrics()["num_requests_running"] == 0, "the answer to be computed")
    events = list(read_events(answer))
    connection.close()
    assert events[-1] == "[DONE]"
    assert json.loads(events[-2])["usage"]["completion_tokens"] == 4000
    texts = [json.loads(event)["choices"][0]["delta"]["content"] for event in events[:-2]]
    assert max(len(text) for text in texts) > 50  # what had to wait came in one piece


def test_terminate_lets_requests_finish():
    e = Engine("--ctx", "4096", "--threads", "1").ready()
    connection, answer = e.open_stream(TEXT, {"prompt": ids(20, 50), "max_tokens": 1500,
                                              "ignore_eos": True})
    events = read_events(answer)
    next(events)
    e.process.send_signal(signal.SIGTERM)
    e.wait_line("drain: signal 15")
    with pytest.raises(OSError):
        socket.create_connection(("127.0.0.1", e.port), timeout=5)
    rest = list(events)
    assert rest[-1] == "[DONE]"
    connection.close()
    assert e.stop() == 0


def test_terminate_cuts_what_takes_too_long():
    """After five seconds: an error event, no [DONE], exit code 0."""
    e = Engine("--ctx", "1048576", "--parallel", "1", "--threads", "1").ready()
    connection, answer = e.open_stream(TEXT, {"prompt": ids(20, 51), "max_tokens": 1000000,
                                              "ignore_eos": True})
    events = read_events(answer)
    next(events)
    assert e.stop() == 0
    last = list(events)[-1]
    assert "shutting down" in json.loads(last)["error"]["message"]
    connection.close()


# ---- KV events ----

@pytest.fixture
def zmq_context():
    zmq = pytest.importorskip("zmq")
    context = zmq.Context()
    yield context
    context.destroy(linger=0)


def test_kv_events(zmq_context):
    """What a router learns equals what is in the cache; replay tells the same again."""
    import zmq
    with Engine("--ctx", "256", "--parallel", "2", "--threads", "1", "--kv-topic", "kv@tiny",
                "--kv-events", "tcp://127.0.0.1:0", "--kv-replay", "tcp://127.0.0.1:0") as e:
        source = json.loads(e.request("GET", "/kv_event_sources")[2])["0"]
        assert source["enable_kv_cache_events"] and source["topic"] == "kv@tiny"
        sub = zmq_context.socket(zmq.SUB)
        sub.connect(source["endpoint"])
        sub.setsockopt(zmq.SUBSCRIBE, b"kv@")
        sub.setsockopt(zmq.RCVTIMEO, 30000)
        # A subscription is known to the publisher some time after it is made: until then events
        # pass by, so the first message tells when to begin.
        seen = {}

        def subscribed():
            e.post(TEXT, {"prompt": ids(17, len(seen) + int(e.metrics()["prompt_tokens_total"])),
                          "max_tokens": 1})
            return sub.poll(50)
        wait_until(subscribed, "an event")
        prompt = ids(50, 61)
        first = e.post(TEXT, {"prompt": prompt, "max_tokens": 20, "ignore_eos": True, "seed": 1,
                              "return_token_ids": True})
        e.post(TEXT, {"prompt": prompt, "max_tokens": 1, "cache_salt": "tenant-42"})
        for i in range(8):  # more than the cache holds: blocks are evicted
            e.post(TEXT, {"prompt": ids(100, 70 + i), "max_tokens": 10})
        e.request("POST", "/reset_prefix_cache")
        last = e.metrics()
        live = []
        while not live or not any(event["type"] == "AllBlocksCleared" for event in live[-1][1]):
            topic, sequence, payload = sub.recv_multipart()
            assert topic == b"kv@tiny"
            batch = unpack(payload)
            assert len(batch) == 3 and batch[2] == 0
            live.append((struct.unpack(">Q", sequence)[0], batch[1], payload))
        assert last["kv_cache_usage_perc"] == 0
        assert [s for s, _, _ in live] == list(range(live[0][0], live[0][0] + len(live)))

        replayed = replay(zmq, zmq_context, source["replay_endpoint"])
        assert [s for s, _ in replayed] == list(range(len(replayed)))
        assert [p for _, p in replayed[live[0][0]:]] == [p for _, _, p in live]

        check_events([unpack(p)[1] for _, p in replayed], prompt, first)


def replay(zmq, context, endpoint):
    dealer = context.socket(zmq.DEALER)
    dealer.setsockopt(zmq.RCVTIMEO, 30000)
    dealer.connect(endpoint)
    dealer.send_multipart([b"", struct.pack(">Q", 0)])
    batches = []
    while True:
        empty, _, sequence, payload = dealer.recv_multipart()
        assert empty == b""
        if sequence == b"\xff" * 8:
            dealer.close()
            return batches
        batches.append((struct.unpack(">Q", sequence)[0], payload))


def check_events(batches, prompt, first):
    blocks = {}  # hash -> (parent, tokens)
    removed = 0
    most = 0
    for event in (event for batch in batches for event in batch):
        if event["type"] == "AllBlocksCleared":
            blocks.clear()
        elif event["type"] == "BlockRemoved":
            for h in event["block_hashes"]:
                del blocks[h]  # KeyError: it was never stored
                removed += 1
        else:
            assert event["type"] == "BlockStored" and event["block_size"] == BLOCK
            parent = event["parent_block_hash"]
            assert parent is None or parent in blocks
            assert len(event["token_ids"]) == BLOCK * len(event["block_hashes"])
            for i, h in enumerate(event["block_hashes"]):
                assert h not in blocks
                blocks[h] = (parent, event["token_ids"][i * BLOCK:(i + 1) * BLOCK])
                parent = h
        most = max(most, len(blocks))
    assert removed > 0 and not blocks
    assert most <= 256 // BLOCK
    stored = [event for batch in batches for event in batch if event["type"] == "BlockStored"]
    tokens = prompt + first["choices"][0]["token_ids"]
    mine = [e for e in stored if e["token_ids"] == tokens[:48] and e["parent_block_hash"] is None]
    assert len(mine) == 2  # once for everybody, once for the tenant with the salt
    assert ["tenant-42" in json.dumps(e.get("extra_keys")) for e in mine] == [False, True]
    assert not set(mine[0]["block_hashes"]) & set(mine[1]["block_hashes"])
    # 69 of the 70 tokens are in the cache: the block that the answer filled follows the prompt's.
    grown = [e for e in stored if e["parent_block_hash"] == mine[0]["block_hashes"][-1]]
    assert grown[0]["token_ids"] == tokens[48:64]


# ---- embeddings ----

def test_embeddings():
    with Engine("--ctx", "256", "--pooling", "mean", "--threads", "1") as e:
        answer = e.post("/v1/embeddings", {"input": ["the cat", "a dog", "the cat"]})
        vectors = [item["embedding"] for item in answer["data"]]
        assert [item["index"] for item in answer["data"]] == [0, 1, 2]
        assert len(vectors[0]) == 64
        assert abs(math.fsum(x * x for x in vectors[0]) - 1) < 1e-5
        same = math.fsum(a * b for a, b in zip(vectors[0], vectors[2]))
        other = math.fsum(a * b for a, b in zip(vectors[0], vectors[1]))
        assert same > 0.9999 > other
        count = sum(e.post("/tokenize", {"prompt": p})["count"] for p in ("the cat", "a dog", "the cat"))
        assert answer["usage"]["prompt_tokens"] == count
        one = e.post("/v1/embeddings", {"input": ids(30), "encoding_format": "float"})
        packed = e.post("/v1/embeddings", {"input": ids(30), "encoding_format": "base64"})
        floats = struct.unpack("<64f", base64.b64decode(packed["data"][0]["embedding"]))
        assert all(abs(a - b) < 1e-6 for a, b in zip(floats, one["data"][0]["embedding"]))
        assert "embeddings" in e.refused(TEXT, {"prompt": "x"}, 400)[0]["message"]
        error, _ = e.refused("/v1/embeddings", {"input": ids(257)}, 400)
        assert error["code"] == "context_length_exceeded"
        e.refused("/v1/embeddings", {"input": "x", "dimensions": 3}, 400)

        def many(i):
            return e.post("/v1/embeddings", {"input": [ids(50, i), ids(60, i)]})
        assert all(len(a["data"]) == 2 for a in run_all(many, list(range(12))))


# ---- starting ----

@pytest.mark.parametrize("arguments, code, text", [
    (["/nowhere/model.gguf"], 1, "No such file"),
    ([__file__], 1, "not a GGUF file"),
    ([os.path.dirname(__file__)], 1, "cannot be read"),
    ([TINY, "--ctx", "1073741824"], 1, "memory is free"),
    ([TINY, "--listen", "nonsense"], 2, "--listen nonsense"),
    ([TINY, "--ctx", "x"], 2, "--ctx x: must be a number"),
    ([TINY, "--kv-replay", "tcp://127.0.0.1:0"], 2, "needs --kv-events"),
    ([TINY, "--wrong"], 2, "--help"),
    ([], 2, "which model?"),
])
def test_start_errors(arguments, code, text):
    listen = [] if "--listen" in arguments else ["--listen", "127.0.0.1:0"]
    result = subprocess.run([ENGINE, *arguments, *listen], capture_output=True, text=True, timeout=60)
    assert result.returncode == code, result.stderr
    assert text in result.stderr


def test_broken_model(tmp_path):
    """A file that begins well and is cut: told with libllama's reason, exit code 1."""
    path = tmp_path / "cut.gguf"
    with open(TINY, "rb") as f:
        path.write_bytes(f.read(20000))
    result = subprocess.run([ENGINE, str(path), "--listen", "127.0.0.1:0"], capture_output=True,
                            text=True, timeout=60)
    assert result.returncode == 1
    assert "libllama cannot load it" in result.stderr


def test_help_and_version():
    text = subprocess.run([ENGINE, "--help"], capture_output=True, text=True, check=True).stdout
    assert "--kv-events" in text
    text = subprocess.run([ENGINE, "--version"], capture_output=True, text=True, check=True).stdout
    assert text.startswith("busbar-engine ")


# ---- a real model ----

@pytest.mark.skipif("BUSBAR_MODEL" not in os.environ, reason="BUSBAR_MODEL names no real model")
def test_real_model():
    """SmolLM2-135M-Instruct, for example: an answer that makes sense, and the next turn is cached."""
    with Engine("--ctx", "2048", model=os.environ["BUSBAR_MODEL"]) as e:
        messages = user("What is the capital of France? Answer in one short sentence.")
        answer = e.post(CHAT, {"messages": messages, "temperature": 0, "max_tokens": 40})
        text = answer["choices"][0]["message"]["content"]
        assert "Paris" in text and answer["choices"][0]["finish_reason"] == "stop"
        messages += [{"role": "assistant", "content": text}] + user("And of Italy?")
        second = e.post(CHAT, {"messages": messages, "temperature": 0, "max_tokens": 20})
        total = answer["usage"]["total_tokens"]
        assert cached(second) >= (total - BLOCK) // BLOCK * BLOCK - BLOCK
        streamed = e.stream(CHAT, {"messages": messages, "temperature": 0, "max_tokens": 20})
        joined = "".join(event["choices"][0]["delta"].get("content", "") for event in streamed)
        assert joined == second["choices"][0]["message"]["content"]
