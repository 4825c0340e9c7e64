"""Goal: what the gateway counts is right, well formed, and under names that stay; access records have
one line for each request; SIGUSR1 opens their file anew."""

import json
import os
import re
import shutil
import signal
import subprocess

import pytest

from gateway_process import Gateway, wait_until
from sim_process import Sim

HELLO = [{"role": "user", "content": "Hello world"}]
CHAT = "/v1/chat/completions"

# Dashboards and alerts rest on these.
NAMES = """
busbar_build_info process_resident_memory_bytes process_cpu_seconds_total process_open_fds
process_max_fds process_start_time_seconds busbar_worker_busy_seconds_total
busbar_buffers_bytes busbar_log_lines_dropped_total busbar_checks_failed_total busbar_reloads_total busbar_reloads_refused_total
busbar_access_records_dropped_total busbar_requests_total busbar_prompt_tokens_total
busbar_cached_tokens_total busbar_output_tokens_total busbar_retries_total
busbar_upstream_errors_total busbar_requests_in_flight busbar_streams_in_flight busbar_connections
busbar_upstream_idle_connections busbar_refused_total busbar_stream_events_total
busbar_keepalive_comments_total busbar_received_bytes_total busbar_sent_bytes_total
busbar_engine_state busbar_engine_requests_in_flight busbar_engine_tokens_in_flight
busbar_engine_pending_prefill_tokens busbar_engine_running_requests busbar_engine_queued_requests
busbar_engine_kv_usage_ratio busbar_brain_lock_seconds busbar_decision_seconds
busbar_cache_hit_tokens_total busbar_cache_hit_possible_tokens_total busbar_cache_regret_tokens_total
busbar_decisions_total busbar_held_requests busbar_held_seconds busbar_ttft_prediction_ratio
busbar_index_bytes busbar_index_max_bytes busbar_index_blocks busbar_index_pairs
busbar_index_stores_total busbar_index_removals_total busbar_index_evictions_total
busbar_index_refused_total busbar_engine_trust busbar_engine_index_blocks busbar_engine_ttft_factor
busbar_engine_gap_factor
""".split()


@pytest.fixture(scope="module")
def sim():
    with Sim(["m"], ttft="1ms", itl="200us") as s:
        yield s


@pytest.fixture
def gateway(sim):
    with Gateway([sim], config={"models": {"m": {"engines": [sim.url], "aliases": ["alias"]}}}) as g:
        yield g


def chat(**more):
    return {"model": "m", "messages": HELLO, "max_tokens": 5, **more}


def families(text):
    return {line.split()[2]: line.split()[3] for line in text.splitlines()
            if line.startswith("# TYPE ")}


def test_requests_are_counted(gateway):
    """By model, engine, endpoint and class; tokens as the engine reports them."""
    answers = [gateway.post_json(CHAT, chat()) for _ in range(3)]
    gateway.post_json("/v1/embeddings", {"model": "alias", "input": "x"})
    gateway.post(CHAT, chat(model="nope"))
    gateway.post(CHAT, b"{")
    with gateway.stream(CHAT, chat()) as s:
        s.payloads()
    url = gateway.urls[0]

    def requests(**labels):
        return gateway.metric("busbar_requests_total", **labels)
    wait_until(lambda: requests() == 7, "seven requests")
    assert requests(api="chat", status="2xx", model="m", engine=url) == 4
    assert requests(api="embeddings", status="2xx", model="m", engine=url) == 1
    assert requests(api="chat", status="4xx") == 2
    assert gateway.metric("busbar_output_tokens_total", model="m") == 20
    prompt = answers[0]["usage"]["prompt_tokens"]
    assert gateway.metric("busbar_prompt_tokens_total", model="m") > 4 * prompt
    assert gateway.metric("busbar_cached_tokens_total", model="m") >= 0
    assert gateway.metric("busbar_stream_events_total") > 5
    assert gateway.metric("busbar_requests_in_flight") == 0
    assert gateway.metric("busbar_streams_in_flight") == 0
    assert gateway.metric("busbar_received_bytes_total") > 300
    assert gateway.metric("busbar_sent_bytes_total") > 2000


def test_what_is_under_way(gateway, sim):
    """Gauges while a stream runs, and after it was left."""
    long = chat(messages=[{"role": "user", "content": "[[itl=2000]] x"}], max_tokens=9000)
    with gateway.stream(CHAT, long) as s:
        s.first_payload()
        assert gateway.metric("busbar_requests_in_flight") == 1
        assert gateway.metric("busbar_streams_in_flight") == 1
        assert gateway.metric("busbar_engine_requests_in_flight", engine=sim.url) == 1
        assert gateway.metric("busbar_engine_tokens_in_flight", engine=sim.url) > 0
        assert gateway.metric("busbar_engine_pending_prefill_tokens", engine=sim.url) == 0
        wait_until(lambda: gateway.metric("busbar_engine_running_requests", engine=sim.url) == 1,
                   "the engine's own figure")
    wait_until(lambda: gateway.metric("busbar_requests_total", status="canceled") == 1, "canceled")
    assert gateway.metric("busbar_engine_requests_in_flight", engine=sim.url) == 0
    assert gateway.metric("busbar_engine_tokens_in_flight", engine=sim.url) == 0
    assert gateway.metric("busbar_streams_in_flight") == 0


def test_names(gateway):
    """All families that are promised are there from the first scrape, with a type."""
    gateway.post_json(CHAT, chat())
    types = families(gateway.metrics_text())
    assert not [name for name in NAMES if name not in types]
    for name, kind in types.items():
        assert (kind == "counter") == name.endswith("_total"), name


def test_histograms(gateway):
    """Buckets grow, the last one is the count, and the time to the first token is plausible."""
    for _ in range(3):
        with gateway.stream(CHAT, chat()) as s:
            s.payloads()
    wait_until(lambda: gateway.metric("busbar_requests_total") == 3, "three requests")
    text = gateway.metrics_text()
    for name in [n for n, kind in families(text).items() if kind == "histogram"]:
        series = {}
        for line in text.splitlines():
            if line.startswith(name + "_bucket{"):
                labels, value = line.rsplit(" ", 1)
                series.setdefault(re.sub(r'le="[^"]*"', "", labels), []).append(float(value))
        assert series, name
        for counts in series.values():
            assert counts == sorted(counts), name
    ttft = next(n for n in families(text) if "first_token" in n or "ttft" in n)
    assert gateway.metric(ttft + "_count") == 3
    assert 0.003 <= gateway.metric(ttft + "_sum") < 3


def test_odd_names_in_labels():
    """Names with quotes, backslashes and other alphabets do not break the text."""
    odd = "modèle: x'y/ü"
    with Sim([odd], ttft="1ms") as engine, Gateway([engine]) as g:
        g.post_json(CHAT, chat(model=odd))
        wait_until(lambda: g.metric("busbar_requests_total", model=odd) == 1, "the odd name")


@pytest.mark.skipif(not shutil.which("promtool"), reason="promtool is not installed")
def test_promtool(gateway):
    """Prometheus' own linter has nothing to say."""
    gateway.post_json(CHAT, chat())
    with gateway.stream(CHAT, chat()) as s:
        s.payloads()
    done = subprocess.run(["promtool", "check", "metrics"], input=gateway.metrics_text(), text=True,
                          capture_output=True, timeout=30, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout + done.stderr == ""


def test_head_and_wrong_paths(gateway):
    assert gateway.admin_request("HEAD", "/metrics")[2] == b""
    assert gateway.admin_request("POST", "/metrics")[0] == 405
    assert gateway.admin_request("GET", "/admin/reload")[0] == 405
    assert gateway.admin_request("GET", "/v1/models")[0] == 404
    # and the API does not serve what is the operator's
    for path in ("/metrics", "/admin/status", "/readyz"):
        assert gateway.get(path)[0] == 404


def test_access_records(gateway):
    """One line for each request, of JSON, without anything that was said."""
    secret = "the secret word is swordfish"
    gateway.post(CHAT, chat(messages=[{"role": "user", "content": secret}]),
                 {"X-Request-Id": "one", "Authorization": "Bearer sk-secret"})
    gateway.post(CHAT, chat(model="nope"), {"X-Request-Id": "two"})
    gateway.get("/v1/models", {"X-Request-Id": "three"})
    gateway.get("/nothing", {"X-Request-Id": "four"})
    for name in ("one", "two", "three", "four"):
        gateway.wait_record(name)
    with open(gateway.access_path, encoding="utf-8") as f:
        text = f.read()
    assert "swordfish" not in text and "sk-secret" not in text
    records = {r["id"]: r for r in gateway.access_records()}
    assert len(gateway.access_records()) == 4
    one = records["one"]
    assert one["status"] == 200 and one["outcome"] == "ok" and one["model"] == "m"
    assert one["engine"] == gateway.urls[0] and one["duration_ms"] > 0
    assert one["prompt_tokens"] > 0 and one["output_tokens"] == 5
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", one["time"])
    assert one["client"].startswith("127.0.0.1:")
    assert (records["two"]["status"], records["two"]["error"]) == (404, "model_not_found")
    assert records["two"]["outcome"] == "client_error"
    assert records["three"]["status"] == 200 and records["four"]["status"] == 404


def test_alias_in_the_record(gateway):
    """The name that was asked for and the name that it stands for."""
    _, headers, _ = gateway.post(CHAT, chat(model="alias"))
    record = gateway.wait_record(headers["x-request-id"])
    assert (record["model"], record["model_name"]) == ("alias", "m")


def test_rotation(gateway):
    """mv and SIGUSR1: lines go to the new file, none is lost."""
    gateway.get("/v1/models", {"X-Request-Id": "before"})
    gateway.wait_record("before")
    os.rename(gateway.access_path, gateway.access_path + ".1")
    gateway.signal(signal.SIGUSR1)
    wait_until(lambda: os.path.exists(gateway.access_path), "the new file")
    gateway.get("/v1/models", {"X-Request-Id": "after"})
    gateway.wait_record("after")
    with open(gateway.access_path + ".1", encoding="utf-8") as f:
        assert [json.loads(line)["id"] for line in f] == ["before"]
    assert [r["id"] for r in gateway.access_records()] == ["after"]
