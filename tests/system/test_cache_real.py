"""Goal: real and simulated engines of one model together, all with KV events: conversations stay where
their cache is, a shared system prompt is held by all, and what engines report as cached is what the
index has predicted. With BUSBAR_MODEL (a small instruct model)."""

import os

import pytest

from conversation_load import Conversations
from engine_process import ENGINE, Engine
from gateway_process import Gateway, wait_until
from sim_process import Sim

REAL = os.environ.get("BUSBAR_MODEL")

pytestmark = [
    pytest.mark.release_only,
    pytest.mark.skipif(not REAL, reason="BUSBAR_MODEL is not set"),
    pytest.mark.skipif(not os.access(ENGINE, os.X_OK), reason=f"{ENGINE} is not built (make engine)"),
]

EVENTS = ["--kv-events", "tcp://127.0.0.1:0", "--kv-replay", "tcp://127.0.0.1:0"]


def cached(gateway):
    """Of each engine: cached tokens, as the index has predicted and as the engine has reported."""
    return {e["url"]: (e["cache"]["predicted_tokens"], e["cache"]["reported_tokens"])
            for e in gateway.status()["engines"]}


def test_conversations_over_real_and_simulated_engines():
    real = [Engine("--name", "m", "--ctx", "4096", "--parallel", "2", "--threads", "1", *EVENTS, model=REAL)
            for _ in range(2)]
    # As slow as the real ones, or everything would rather go there.
    sims = [Sim(["m"], tokenizer=REAL, kv_events="tcp://127.0.0.1:0", kv_replay="tcp://127.0.0.1:0",
                ttft="30ms", itl="25ms", prefill_rate=120, max_seqs=2).start() for _ in range(2)]
    try:
        urls = [f"http://127.0.0.1:{e.ready().port}" for e in real] + [s.url for s in sims]
        config = {"models": {"m": {"engines": urls, "tokenizer": REAL}}}
        with Gateway(config=config) as gateway:
            gateway.wait_ready()
            wait_until(lambda: all(e["tokens"] == "exact" for e in gateway.status()["engines"]),
                       lambda: gateway.status()["engines"])
            # Events are believed from the first one on: each engine has something to tell first.
            Conversations(8, 1, context=60, output=4, seed=99).run(gateway.port)
            wait_until(lambda: all(e["kv"]["mode"] == "exact" for e in gateway.status()["engines"]),
                       lambda: [e["kv"] for e in gateway.status()["engines"]])
            before = cached(gateway)
            talk = Conversations(6, 4, context=60, question=25, output=8, shared=90, think=0.1)
            talk.run(gateway.port)
            assert not talk.failed(), [t.answer for t in talk.failed()]
            after = cached(gateway)
    finally:
        codes = [e.stop() for e in real]
        for s in sims:
            s.stop()
    assert codes == [0, 0]
    assert talk.reuse() >= 0.7, talk.reuse()  # some move: four slow engines are busy at times
    told = [tuple(a - b for a, b in zip(after[url], before[url])) for url in urls]
    assert sum(predicted > 0 for predicted, _ in told) >= 3, "the shared beginning spreads"
    predicted, reported = (sum(column) for column in zip(*told))
    assert abs(predicted - reported) <= 0.01 * reported, told
