"""Goal: requests that wait in the gateway for an open engine: `queue.wait` and `queue.max` refuse with
503, Retry-After and words that say what was; a client that leaves leaves the queue; the rest is answered."""

import contextlib
import json
import threading

from gateway_process import Gateway, wait_until
from sim_process import Sim

CHAT = "/v1/chat/completions"
# Some 200,000 tokens: one that waits behind another keeps their engine closed.
LONG = [{"model": "m", "max_tokens": 1, "messages": [{"role": "user", "content": f"{n} " + "word " * 160000}]} for n in range(2)]
SHORT = {"model": "m", "max_tokens": 1, "messages": [{"role": "user", "content": "hello"}]}


@contextlib.contextmanager
def closed_engine(queue, seconds):
    """One engine that computes two long prompts for so many seconds, one after the other."""
    options = {"kv_blocks": 100000, "max_model_len": 400000, "prefill_rate": 400000 / seconds}
    with Sim(["m"], **options) as sim, Gateway([sim], config={"queue": queue}) as gateway:
        answers = []
        threads = [threading.Thread(target=lambda body=body: answers.append(gateway.post(CHAT, body))) for body in LONG]
        for thread in threads:
            thread.start()
        wait_until(lambda: gateway.metric("busbar_engine_pending_prefill_tokens") > 300000, "two prefills")
        yield gateway
        for thread in threads:
            thread.join()
        assert [answer[0] for answer in answers] == [200, 200], answers


def test_nobody_waits_for_longer_than_said():
    with closed_engine({"wait": "300ms"}, 4) as gateway:
        status, headers, body = gateway.post(CHAT, SHORT, {"x-request-id": "late"})
        assert status == 503 and int(headers["retry-after"]) >= 1
        error = json.loads(body)["error"]
        assert error["code"] == "overloaded" and "every engine of the model `m` is busy; the request waited 0." in error["message"]
        assert gateway.wait_record("late")["duration_ms"] >= 300
        assert gateway.metric("busbar_held_requests") == 0


def test_the_queue_has_an_end():
    with closed_engine({"max": 1}, 3) as gateway:
        answers = []
        waits = threading.Thread(target=lambda: answers.append(gateway.post(CHAT, SHORT)))
        waits.start()
        wait_until(lambda: gateway.metric("busbar_held_requests") == 1, "one that waits")
        status, headers, _ = gateway.post(CHAT, SHORT)
        assert status == 503 and "retry-after" in headers
        waits.join()
        assert answers[0][0] == 200


def test_who_leaves_leaves_the_queue():
    with closed_engine({}, 3) as gateway:
        client = gateway.connect()
        client.request("POST", CHAT, json.dumps(SHORT), {"x-request-id": "gone"})
        wait_until(lambda: gateway.metric("busbar_held_requests") == 1, "one that waits")
        client.close()
        wait_until(lambda: gateway.metric("busbar_held_requests") == 0, "its end")
        assert gateway.wait_record("gone")["outcome"] == "canceled"
