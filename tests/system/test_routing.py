"""Goal: requests go where they should: each policy chooses as it says, failures before the first byte
move on to another engine unseen, and engines may come, go and change at any time."""

import contextlib
import json
import socket
import threading

import pytest

from gateway_process import Gateway, received, wait_until
from sim_process import Sim

HELLO = [{"role": "user", "content": "Hello world"}]
SLOW = [{"role": "user", "content": "[[itl=20000]] go on"}]
CHAT = "/v1/chat/completions"


def chat(**more):
    return {"model": "m", "messages": HELLO, "max_tokens": 4, **more}


@contextlib.contextmanager
def fleet(count, policy=None, config=None, **options):
    """Engines that serve "m", and a gateway before them."""
    with contextlib.ExitStack() as stack:
        sims = [stack.enter_context(Sim(["m"], ttft="1ms", itl="200us", **options))
                for _ in range(count)]
        more = {"policy": policy} if policy else {}
        yield sims, stack.enter_context(Gateway(sims, config=config, **more))


def counts(sims):
    return [sum(r["path"] == CHAT for r in received(s)) for s in sims]


def burst(gateway, count, **more):
    """That many open streams; each has its head."""
    stack = contextlib.ExitStack()
    for _ in range(count):
        stream = stack.enter_context(gateway.stream(CHAT, chat(**more)))
        assert stream.status == 200
    return stack


# ---- policies ----

def test_round_robin():
    """Turn by turn, exactly."""
    with fleet(3, "round_robin") as (sims, gateway):
        for _ in range(9):
            gateway.post_json(CHAT, chat())
        assert counts(sims) == [3, 3, 3]


def test_random():
    """Everybody gets something, nobody everything."""
    with fleet(2, "random", {"seed": 7}) as (sims, gateway):
        for _ in range(40):
            gateway.post_json(CHAT, chat())
        assert sum(counts(sims)) == 40 and min(counts(sims)) >= 8


def test_least_requests():
    """One engine has a long stream: all others go to the idle one."""
    with fleet(2, "least_requests") as (sims, gateway):
        with burst(gateway, 1, messages=SLOW, max_tokens=500):
            busy = counts(sims)
            for _ in range(6):
                gateway.post_json(CHAT, chat())
            after = counts(sims)
        assert sorted(a - b for a, b in zip(after, busy)) == [0, 6]
        assert after[busy.index(1)] == 1


@pytest.mark.parametrize("policy", ["least_tokens", "least_requests"])
def test_a_burst_is_spread(policy):
    """The load is counted when it is sent, not when an engine reports it."""
    with fleet(2, policy) as (sims, gateway):
        with burst(gateway, 20, messages=SLOW, max_tokens=500):
            assert [s.state()["running"] for s in sims] == [10, 10]
            rows = gateway.status()["engines"]
            assert [r["requests_in_flight"] for r in rows] == [10, 10]
            assert all(r["tokens_in_flight"] > 0 for r in rows)
        for s in sims:
            s.wait(lambda state: state["running"] == 0)


def test_least_tokens_weighs_prompts():
    """One long prompt weighs as much as many short ones."""
    with fleet(2, "least_tokens") as (sims, gateway):
        long = [{"role": "user", "content": "[[itl=20000]] " + "word " * 4000}]
        with burst(gateway, 1, messages=long, max_tokens=100):
            with burst(gateway, 8, messages=SLOW, max_tokens=100):
                assert sorted(s.state()["running"] for s in sims) == [1, 8]


def test_unknown_policy_is_refused():
    """With the names of those that there are."""
    with pytest.raises(AssertionError, match="least_tokens|there is no such policy"):
        with Gateway(["http://127.0.0.1:1"], policy="best", wait=False):
            pass


def test_the_record_says_why():
    """Engine, policy and numbers stand in the access record."""
    with fleet(2, "least_tokens") as (sims, gateway):
        _, headers, _ = gateway.post(CHAT, chat())
        record = gateway.wait_record(headers["x-request-id"])
        assert record["engine"] in [s.url for s in sims]
        decision = record["decision"]
        assert decision["policy"] == "least_tokens" and decision["of"] == 2
        assert [c["cost"] for c in decision["candidates"]] == [0, 0]


# ---- another engine before the first byte ----

@pytest.mark.parametrize("fault,stream", [
    *((fault, stream) for fault in ("503", "refuse", "garbage", "longhead", "hang")
      for stream in (False, True)),
    ("cut:0", False),  # a chat stream begins with the role, before its first token
])
def test_retry(fault, stream):
    """One of two engines fails before its answer begins: nobody notices, and it is counted."""
    with fleet(2, "round_robin", {"upstream": {"first_byte_timeout": "300ms",
                                               "keepalive_comment": "100ms"}}) as (sims, gateway):
        sims[0].fault(fault)
        for _ in range(4):
            if stream:
                with gateway.stream(CHAT, chat()) as s:
                    payloads = s.payloads()
                assert s.status == 200 and payloads[-1] == "[DONE]"
                assert payloads[-2]["choices"][0]["finish_reason"]
                headers = s.headers
            else:
                status, headers, body = gateway.post(CHAT, chat())
                assert status == 200 and json.loads(body)["usage"]["completion_tokens"] == 4
            assert len(headers.get_all("x-request-id")) == 1
            record = gateway.wait_record(headers["x-request-id"])
            assert record["engine"] == sims[1].url and record["outcome"] == "ok"
        retries = gateway.metric("busbar_retries_total", engine=sims[0].url)
        assert retries == gateway.metric("busbar_upstream_errors_total", engine=sims[0].url) >= 1
        assert gateway.metric("busbar_requests_total", status="2xx") == 4


def test_a_completion_that_is_cut_before_its_first_token_moves_on():
    """Completions have no opening event: a cut before the first token is unseen in a stream, too."""
    with fleet(2, "round_robin") as (sims, gateway):
        sims[0].fault("cut:0")
        for _ in range(4):
            with gateway.stream("/v1/completions", {"model": "m", "prompt": "x",
                                                    "max_tokens": 4}) as s:
                assert s.payloads()[-1] == "[DONE]"
        assert gateway.metric("busbar_retries_total") >= 2


def test_an_answer_that_has_begun_is_not_tried_again():
    """What the client has seen cannot be unseen."""
    with fleet(2, "round_robin") as (sims, gateway):
        sims[0].fault("cut:2")
        sims[1].fault("cut:2")
        with gateway.stream(CHAT, chat(max_tokens=9)) as s:
            payloads = s.payloads()
        assert "error" in payloads[-1]
        assert sum(counts(sims)) == 1 and gateway.metric("busbar_retries_total") == 0


def test_all_engines_fail():
    """Each is tried once; the client gets the last failure."""
    with fleet(3, "round_robin") as (sims, gateway):
        for s in sims:
            s.fault("garbage")
        status, _, error = gateway.error("POST", CHAT, chat())
        assert status == 502 and error["code"] == "engine_failed"
        assert counts(sims) == [1, 1, 1]
        _, headers, _ = gateway.post(CHAT, chat())
        assert gateway.wait_record(headers["x-request-id"])["attempts"] == 3


def test_retries_are_bounded():
    """upstream.retries: 1."""
    with fleet(3, "round_robin", {"upstream": {"retries": 1}}) as (sims, gateway):
        for s in sims:
            s.fault("garbage")
        assert gateway.error("POST", CHAT, chat())[0] == 502
        assert sum(counts(sims)) == 2


def test_no_retries():
    with fleet(2, "round_robin", {"upstream": {"retries": 0}}) as (sims, gateway):
        for s in sims:
            s.fault("503")
        status, headers, _ = gateway.post(CHAT, chat())
        assert status == 503 and headers["retry-after"] == "1" and sum(counts(sims)) == 1


def test_what_an_engine_refuses_is_not_tried_elsewhere():
    """A 400 is the client's."""
    with fleet(2, "round_robin", max_model_len=64) as (sims, gateway):
        status, _, _ = gateway.post(CHAT, chat(messages=[{"role": "user", "content": "w " * 900}]))
        assert status == 400 and sum(counts(sims)) == 1


# ---- engines that come, go and change ----

def test_a_dead_engine_is_left_out():
    """Killed without a word: not one request fails, and the probes see it."""
    with fleet(2, "round_robin", {"probe": {"interval": "50ms", "unhealthy_after": 1}}) as \
            (sims, gateway):
        sims[0].kill()
        for _ in range(8):
            gateway.post_json(CHAT, chat())
        gateway.wait_engine(gateway.urls[0], "down")
        assert gateway.metric("busbar_engine_state", engine=gateway.urls[0], state="down") == 1


def test_an_unhealthy_engine_is_left_out():
    """Its health says no although it answers."""
    with fleet(2, "round_robin", {"probe": {"interval": "50ms", "unhealthy_after": 2}}) as \
            (sims, gateway):
        sims[0].fault("unhealthy")
        gateway.wait_engine(sims[0].url, "down")
        before = counts(sims)
        for _ in range(4):
            gateway.post_json(CHAT, chat())
        assert counts(sims) == [before[0], before[1] + 4]
        sims[0].fault("")
        gateway.wait_engine(sims[0].url, "ready")


def free_port():
    with contextlib.closing(socket.socket()) as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def test_an_engine_that_appears_later():
    """The gateway may start first; requests are told to come back, then work."""
    address = f"127.0.0.1:{free_port()}"
    with Gateway([f"http://{address}"], wait=False) as gateway:
        assert gateway.admin_request("GET", "/readyz")[0] == 503
        assert gateway.admin_request("GET", "/healthz")[0] == 200
        status, headers, error = gateway.error("POST", CHAT, chat())
        assert status == 503 and error["code"] == "no_engine_ready" and headers["retry-after"]
        with Sim(["m"], listen=address, ttft="1ms") as _:
            gateway.wait_ready()
            gateway.post_json(CHAT, chat())
            assert gateway.admin_request("GET", "/readyz")[0] == 200


def test_an_engine_that_comes_back_with_another_model():
    """The new name works; the old one is refused in OpenAI's form."""
    first = Sim(["m"], ttft="1ms").start()
    address = f"127.0.0.1:{first.port}"
    config = {"probe": {"interval": "50ms", "unhealthy_after": 1}}
    with Gateway([first], config=config) as gateway:
        gateway.post_json(CHAT, chat())
        first.kill()
        gateway.wait_engine(gateway.urls[0], "down")
        with Sim(["other"], listen=address, ttft="1ms") as _:
            gateway.wait_model("other")
            assert gateway.post_json(CHAT, chat(model="other"))["model"] == "other"
            status, _, error = gateway.error("POST", CHAT, chat())
            assert (status, error["code"]) == (404, "model_not_found")
            assert "other" in error["message"]
            names = [m["id"] for m in json.loads(gateway.get("/v1/models")[2])["data"]]
            assert names == ["other"]


def test_a_model_that_an_engine_loads_later():
    """Replaced under load: with two engines no request fails while one restarts."""
    with fleet(2, None, {"probe": {"interval": "50ms", "unhealthy_after": 1}}) as (sims, gateway):
        failures, done = [], threading.Event()

        def ask():
            while not done.is_set():
                status, _, body = gateway.post(CHAT, chat())
                if status != 200:
                    failures.append(body)

        asking = threading.Thread(target=ask)
        asking.start()
        try:
            port = sims[0].port
            sims[0].stop()
            gateway.wait_engine(gateway.urls[0], "down")
            with Sim(["m"], listen=f"127.0.0.1:{port}", ttft="1ms") as again:
                gateway.wait_engine(gateway.urls[0], "ready")
                wait_until(lambda: counts([again])[0] > 3, "requests at the engine that is back")
        finally:
            done.set()
            asking.join()
        assert not failures


def test_names_on_engines_may_differ():
    """One model, two engines that call it differently: each is asked under its own name."""
    with Sim(["a/llama"], ttft="1ms") as one, Sim(["llama.gguf"], ttft="1ms") as two:
        config = {"models": {"llama": {"engines": [one.url, two.url]}}, "policy": "round_robin"}
        with Gateway(config=config) as gateway:
            wait_until(lambda: gateway.status()["models"][0]["engines_ready"] == 2, "two engines")
            models = {gateway.post_json(CHAT, chat(model="llama"))["model"] for _ in range(4)}
            assert models == {"a/llama", "llama.gguf"}
