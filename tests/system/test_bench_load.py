"""Goal: the load generator counts what really happened: how many requests, how they failed, how
fast they were; and it keeps to the number and the rate that it was told."""
import json
import subprocess

import pytest

from sim_process import Sim, busbar_path


def load(url, *arguments):
    """(exit code, the report)"""
    done = subprocess.run([busbar_path(), "bench", "load", "--json", "--url", url, *arguments],
                          capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, json.loads(done.stdout)


@pytest.fixture(scope="module")
def sim():
    with Sim(models=["m"], ttft="0", itl="0", stamp=True, max_seqs=1000) as one:
        yield one


def test_as_many_requests_as_told(sim):
    before = sim.state()["finished"]
    code, said = load(sim.url, "--requests", "321", "--connections", "7")
    assert code == 0
    assert said["started"] == said["ended"] == said["ok"] == 321
    assert sim.state()["finished"] - before == 321
    assert said["e2e_us"]["count"] == said["ttfb_us"]["count"] == 321
    assert not any(said["errors"].values())


def test_prompts_have_the_size_and_differ(sim):
    load(sim.url, "--requests", "5", "--size", "2k", "--prompt", "tell me", "--seed", "4")
    bodies = [r["body"] for r in sim.requests()[-5:]]
    assert {len(b) for b in bodies} == {2048}
    prompts = [json.loads(b)["messages"][0]["content"] for b in bodies]
    assert all(p[16:].startswith(" tell me") for p in prompts)
    assert len({p[:16] for p in prompts}) == 5


def test_chunks_of_streams(sim):
    code, said = load(sim.url, "--requests", "6", "--connections", "3", "--stream",
                      "--max-tokens", "40")
    assert code == 0
    assert said["ok"] == 6 and said["ttft_us"]["count"] == 6
    assert said["gap_us"]["count"] == 6 * 39 and said["hop_us"]["count"] == 6 * 40
    assert said["chunks"] >= 6 * 40


def test_times_are_those_of_the_engine(sim):
    _, said = load(sim.url, "--requests", "4", "--stream", "--max-tokens", "5", "--prompt",
                   "[[ttft=50000 itl=20000]]")
    assert 50e3 * 0.998 <= said["ttft_us"]["p50"] < 5e6
    assert said["e2e_us"]["p50"] >= 130e3 * 0.998


def test_open_loop_keeps_the_rate_and_counts_from_the_due_time(sim):
    # One connection and 100 ms an answer: 20 requests a second cannot be kept.
    _, said = load(sim.url, "--rate", "20", "--warmup", "0", "--duration", "2s", "--prompt",
                   "[[ttft=100000 itl=0]]")
    assert said["started"] <= 21 and said["unsent"] >= 10
    assert said["e2e_us"]["max"] > 700e3
    # Eight connections can; what a stall of this machine left over at the end is told.
    _, said = load(sim.url, "--rate", "20", "--warmup", "0", "--duration", "2s", "--prompt",
                   "[[ttft=100000 itl=0]]", "--connections", "8")
    assert said["started"] + said["unsent"] in (40, 41)
    assert said["started"] >= 30


@pytest.mark.parametrize("fault, stream, kind", [
    ("503", "--no-stream", "status"),
    ("refuse", "--no-stream", "cut"),
    ("garbage", "--no-stream", "malformed"),
    ("nodone", "--stream", "incomplete"),
    ("error_event:2", "--stream", "incomplete"),
    ("cut", "--stream", "cut"),
])
def test_failures_by_kind(fault, stream, kind):
    with Sim(models=["m"], ttft="0", itl="0", fault=fault) as broken:
        code, said = load(broken.url, "--requests", "10", stream, "--max-tokens", "20")
    assert said["errors"].pop(kind) == 10
    assert not any(said["errors"].values())
    assert said["ok"] == 0 and said["ended"] == 10
    if kind == "status":
        assert said["status_last"] == 503 and said["error_sample"] and code == 1


def test_nobody_is_there():
    sim = Sim().start()
    sim.stop()
    code, said = load(sim.url, "--requests", "1")
    assert code == 1 and said["errors"]["connect"] > 0 and said["started"] == 0
