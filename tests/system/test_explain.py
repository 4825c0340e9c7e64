"""Goal: every decision is explained: in headers where a tenant may know, in access records, by
`busbar explain` from the running gateway and from logs, by `busbar status`, and in metrics that say
the same as the records."""

import contextlib
import json
import os
import subprocess
import threading

import pytest

from gateway_process import Gateway, wait_until
from scripted_engine import ScriptedEngine, answer
from sim_process import Sim, busbar_path

CHAT = "/v1/chat/completions"
HEADERS = ("x-busbar-engine", "x-busbar-cached-tokens", "x-busbar-reason")
LONG = "the quick brown fox jumps over the lazy dog " * 200
A, B = "key-of-the-first-tenant", "key-of-the-second-tenant"


def chat(text=LONG, **more):
    return {"model": "m", "max_tokens": 4, "messages": [{"role": "user", "content": text}], **more}


def busbar(*arguments, stdin=None):
    """(exit code, output, messages)"""
    done = subprocess.run([busbar_path(), *arguments], text=True, capture_output=True, input=stdin,
                          timeout=60, check=False)
    return done.returncode, done.stdout, done.stderr


def explain(gateway, request_id, *more):
    return busbar("explain", request_id, "--admin", gateway.admin, *more)


def explained(gateway, request_id):
    code, out, err = explain(gateway, request_id, "--json")
    assert code == 0, err
    return json.loads(out)


@contextlib.contextmanager
def fleet(count, config=None, policy="lookahead", **options):
    options = {"ttft": "2ms", "itl": "200us", **options}
    with contextlib.ExitStack() as stack:
        sims = [stack.enter_context(Sim(["m"], **options)) for _ in range(count)]
        yield sims, stack.enter_context(Gateway(sims, config=config, policy=policy))


def send(gateway, body=None, headers=None):
    """(headers of the answer, access record) of a request that goes well."""
    status, got, answer_body = gateway.post(CHAT, body or chat(), headers)
    assert status == 200, answer_body
    return got, gateway.wait_record(got["x-request-id"])


# ---- headers ----

def test_headers_without_tenants():
    """Off unless asked for; then the engine, tokens and a sentence, for streams too."""
    with fleet(2) as (sims, gateway):
        got, _ = send(gateway)
        assert not [h for h in HEADERS if h in got]
    with fleet(2, {"explain": True}) as (sims, gateway):
        got, first = send(gateway)
        assert got["x-busbar-engine"] == first["engine"] and got["x-busbar-engine"] in gateway.urls
        assert got["x-busbar-cached-tokens"] == "0"
        assert got["x-busbar-reason"].startswith("cold: no engine holds any of ")
        with gateway.stream(CHAT, chat()) as s:
            s.payloads()
            assert s.headers["x-busbar-engine"] == first["engine"]
            assert int(s.headers["x-busbar-cached-tokens"]) > 1000
            other = next(u for u in gateway.urls if u != first["engine"])
            assert s.headers["x-busbar-reason"].startswith("warm: ")
            assert f"; next best {other} would take " in s.headers["x-busbar-reason"]
        # What no engine was chosen for has none.
        status, got, _ = gateway.post(CHAT, chat(model="nobody"))
        assert status == 404 and not [h for h in HEADERS if h in got]


def test_headers_for_a_tenant():
    """Only who may know is told; the setting without tenants does not count for them."""
    config = {"explain": True, "tenants": {"first": {"key": A, "explain": True}, "second": {"key": B}}}
    with fleet(1, config) as (_, gateway):
        got, record = send(gateway, headers={"Authorization": f"Bearer {A}"})
        assert got["x-busbar-reason"] == "only: no other engine could take it"
        assert record["tenant"] == "first"
        assert explained(gateway, record["id"])["tenant"] == "first"
        got, _ = send(gateway, headers={"Authorization": f"Bearer {B}"})
        assert not [h for h in HEADERS if h in got]


def test_an_engine_cannot_say_it():
    """Fields of these names from engines, as from a gateway behind this one, stay there."""
    def script(_, conn, __):
        conn.sendall(answer(b'{"choices":[],"usage":{}}', more="X-Busbar-Engine: inside\r\n"
                            "X-Busbar-Reason: lies\r\n"))
    with ScriptedEngine(script) as engine, Gateway(config=engine.config()) as gateway:
        gateway.wait_model("m")
        got, _ = send(gateway)
        assert not [h for h in HEADERS if h in got]


# ---- records, and the command ----

def test_a_record_says_why():
    with fleet(3, policy="lookahead") as (_, gateway):
        send(gateway)
        _, record = send(gateway)
        d = record["decision"]
        assert d["policy"] == "lookahead" and d["reason"] == "warm"
        assert d["hashed"] == "text" and d["exact"] is False and d["blocks"] > 5
        assert d["prompt"] >= d["cached"] == d["possible"] > 1000
        assert d["reported"] == record["cached_tokens"]
        assert d["of"] == d["engines"] == len(d["candidates"]) == 3
        best = d["candidates"]
        assert best[0]["engine"] == record["engine"] and best[0]["cached"] == d["cached"]
        assert {c["engine"] for c in best} == set(gateway.urls)
        for c in best:
            parts = c["wait_ms"] + c["prefill_ms"] + c["limit_ms"]
            assert abs(parts - c["ttft_ms"]) < 0.3
            assert best[0]["ttft_ms"] <= c["ttft_ms"]
        assert d["ttft_ms"] == best[0]["ttft_ms"]
        assert "left_out" not in d and "failed" not in d and "held_ms" not in d
        with gateway.stream(CHAT, chat()) as s:
            s.payloads()
        d = gateway.wait_record(s.headers["x-request-id"])["decision"]
        assert 1 < d["actual_ttft_ms"] < 5000
        # A policy that predicts nothing says its costs.
    with fleet(2, policy="least_requests") as (_, gateway):
        _, record = send(gateway)
        assert record["decision"]["reason"] == "policy"
        assert [c["cost"] for c in record["decision"]["candidates"]] == [0, 0]


def test_a_refused_one_says_who_was_left_out():
    with fleet(2) as (sims, gateway):
        for sim in sims:
            sim.fault("unhealthy")
        for sim in sims:
            gateway.wait_engine(sim.url, "down")
        status, got, _ = gateway.post(CHAT, chat())
        assert status == 503
        d = gateway.wait_record(got["x-request-id"])["decision"]
        assert d["reason"] == "none" and d["candidates"] == []
        assert {x["engine"] for x in d["left_out"]} == set(gateway.urls)
        assert {x["why"] for x in d["left_out"]} == {"not ready"}
        code, out, _ = explain(gateway, got["x-request-id"])
        assert code == 0 and "no engine was chosen" in out and "not ready" in out


def test_explain_from_the_gateway_and_from_logs():
    """The same from the ring, the log, what it was rotated to, and standard input."""
    with fleet(2) as (_, gateway):
        send(gateway)
        got, record = send(gateway)
        rid = got["x-request-id"]
        said = explained(gateway, rid)
        assert said["state"] == "over" and said["decision"] == record["decision"]
        for key in ("id", "api", "model", "engine", "status", "outcome", "prompt_tokens",
                    "cached_tokens", "output_tokens"):
            assert said[key] == record[key], key
        code, table, _ = explain(gateway, rid)
        assert code == 0
        for text in (rid, "warm: ", "lookahead: 2 of 2", f"=> {record['engine']}", "estimated",
                     f"expected {record['decision']['cached']}"):
            assert text in table, (text, table)
        code, out, err = busbar("explain", rid, "--log", gateway.access_path, "--json")
        assert code == 0 and json.loads(out) == record, err
        code, from_log, _ = busbar("explain", rid, "--log", gateway.access_path)
        rest = [line for line in table.splitlines() if not line.startswith(("at ", "then "))]
        assert code == 0 and set(rest) <= set(from_log.splitlines())
        os.rename(gateway.access_path, gateway.access_path + ".1")
        with open(gateway.access_path, "w", encoding="utf-8") as f:
            f.write('{"id":"half a rec')
        assert busbar("explain", rid, "--log", gateway.access_path, "--json")[1] == out
        with open(gateway.access_path + ".1", encoding="utf-8") as f:
            text = f.read()
        assert busbar("explain", rid, "--log", "-", "--json", stdin=text)[1] == out


def test_what_is_not_known():
    with fleet(1, {"limits": {"explain": 3}}) as (_, gateway):
        ids = [send(gateway)[0]["x-request-id"] for _ in range(80)]
        code, out, err = explain(gateway, ids[0])
        assert code == 1 and out == "" and "limits.explain" in err and "--log FILE" in err
        assert explain(gateway, ids[-1])[0] == 0
        code, out, err = busbar("explain", ids[0], "--log", gateway.access_path)
        assert code == 0 and not err
        open(gateway.access_path + ".2.gz", "wb").close()
        code, out, err = busbar("explain", "nobody", "--log", gateway.access_path)
        assert code == 1 and "no record" in err and "zcat" in err
        code, out, err = busbar("explain", "x", "--log", gateway.folder + "/none")
        assert code == 1 and "No such file" in err
    with fleet(1, {"limits": {"explain": 0}}) as (_, gateway):
        got, record = send(gateway)
        assert record["decision"]["reason"] == "only"
        assert explain(gateway, got["x-request-id"])[0] == 1
    for wrong in (["explain"], ["explain", "a", "b"], ["explain", "a b"], ["explain", "../status"],
                  ["explain", ""], ["explain", "x" * 129], ["explain", "x", "--nonsense"]):
        assert busbar(*wrong)[0] == 2, wrong
    assert busbar("explain", "x", "--admin", "127.0.0.1:1")[0] == 1
    assert "--log FILE" in busbar("explain", "--help")[1]


def test_an_id_that_is_used_twice():
    """The latest of them; ids that clients make up are found as well."""
    with fleet(1) as (_, gateway):
        for text in ("one", "two two two " * 20):
            send(gateway, chat(text), {"x-request-id": "mine:1"})
        wait_until(lambda: len(gateway.access_records()) == 2, "both records")
        last = gateway.access_records()[-1]
        assert explained(gateway, "mine:1")["decision"]["prompt"] == last["decision"]["prompt"] > 30
        code, out, err = busbar("explain", "mine:1", "--log", gateway.access_path, "--json")
        assert code == 0 and json.loads(out) == last and "2 requests have this id" in err


def test_one_that_was_held():
    """While it waits, while it is at its engine, and afterwards."""
    with fleet(1, prefill_rate=18000) as (_, gateway):
        # Some 18,000 tokens each: one that waits behind the other keeps their engine closed.
        slow = [chat(f"{n} " + LONG * 9, max_tokens=2) for n in range(2)]
        threads = [threading.Thread(target=gateway.post, args=(CHAT, body)) for body in slow]
        for thread in threads:
            thread.start()
        wait_until(lambda: gateway.metric("busbar_engine_pending_prefill_tokens") > 20000, "two prefills")
        held = threading.Thread(target=gateway.post, args=(CHAT, chat("hello"), {"x-request-id": "h"}))
        held.start()
        wait_until(lambda: gateway.metric("busbar_held_requests") == 1, "one that waits")
        said = explained(gateway, "h")
        assert said["state"] == "held" and said["age_ms"] >= 0
        assert "waits for an engine that is open" in explain(gateway, "h")[1]
        code, out, _ = busbar("status", "--admin", gateway.admin, "--index")
        assert code == 0 and "1 requests wait" in out
        for thread in [*threads, held]:
            thread.join()
        record = gateway.wait_record("h")
        assert record["decision"]["held_ms"] > 50 and record["status"] == 200
        code, out, _ = explain(gateway, "h")
        assert code == 0 and "ms in the gateway, until an engine was open" in out
        assert gateway.metric("busbar_held_seconds_count") == 1
        assert gateway.metric("busbar_held_seconds_sum") > 0.05
        assert gateway.metric("busbar_held_requests") == 0


def test_one_that_was_retried():
    """Who failed and how, and that the second choice left it out."""
    with fleet(2, {"explain": True, "probe": {"interval": "60s"}}, policy="round_robin") as (
            sims, gateway):
        sims[0].fault("refuse")
        records = [send(gateway) for _ in range(2)]
        got, record = next(r for r in records if "attempts" in r[1])
        d = record["decision"]
        assert record["attempts"] == 2 and record["engine"] == sims[1].url == got["x-busbar-engine"]
        assert d["failed"] == [{"engine": sims[0].url, "why": "cut"}]
        assert d["left_out"] == [{"engine": sims[0].url, "why": "failed this request"}]
        assert d["reason"] == "only"
        code, out, _ = explain(gateway, record["id"])
        assert code == 0 and "in 2 attempts" in out and f"{sims[0].url}: cut" in out


def test_one_that_runs():
    with fleet(2) as (_, gateway):
        with gateway.stream(CHAT, chat("[[itl=100000]] x", max_tokens=900)) as s:
            s.first_payload()
            rid = s.headers["x-request-id"]
            assert explained(gateway, rid)["state"] == "sent"
            assert "now       it is at http" in explain(gateway, rid)[1]
        record = gateway.wait_record(rid)
        assert record["outcome"] == "canceled"
        assert explained(gateway, rid)["outcome"] == "canceled"


# ---- status and metrics ----

def test_status_of_the_index():
    with fleet(2, {"shadow": ["round_robin", "least_tokens"]}) as (sims, gateway):
        for _ in range(6):
            send(gateway)
        code, out, err = busbar("status", "--admin", gateway.admin, "--index")
        assert code == 0 and err == ""
        for text in ("prefix index", "pairs of block and engine", sims[0].url,
                     sims[1].url, "approximate", "assumed: ", "MS/1K TOKENS", "SHADOW",
                     "round_robin"):
            assert text in out, (text, out)
        status = gateway.status()
        assert status["index"]["pairs"] == sum(e["cache"]["blocks"] for e in status["engines"]) > 0
        assert status["kinds"][0]["lanes"] == 2
        code, out, _ = busbar("status", "--admin", gateway.admin)
        assert code == 0 and "ENGINE" in out and "SHADOW" in out and "prefix index" not in out


def total(gateway, name):
    return gateway.metric("busbar_" + name)


def test_metrics_say_what_the_records_say():
    with fleet(3) as (_, gateway):
        for n in range(24):
            with gateway.stream(CHAT, chat(f"{n % 4} " + LONG)) as s:
                s.payloads()
        records = wait_until(lambda: len(gateway.access_records()) == 24 and gateway.access_records(),
                             "all records")
        decisions = [r["decision"] for r in records]
        hit = sum(d.get("reported", d["cached"]) for d in decisions)
        assert total(gateway, "cache_hit_tokens_total") == hit > 0
        possible = sum(max(d["possible"], d.get("reported", d["cached"])) for d in decisions)
        assert total(gateway, "cache_hit_possible_tokens_total") == possible
        regret = sum(d["possible"] - d["cached"] for d in decisions)
        assert total(gateway, "cache_regret_tokens_total") == regret
        for reason in ("warm", "cold", "load", "only", "policy"):
            assert gateway.metric("busbar_decisions_total", policy="lookahead", reason=reason) == \
                sum(d["reason"] == reason for d in decisions), reason
        assert total(gateway, "decision_seconds_count") == 24
        assert total(gateway, "ttft_prediction_ratio_count") == 24
        ratio = sum(d["actual_ttft_ms"] / d["ttft_ms"] for d in decisions)
        assert total(gateway, "ttft_prediction_ratio_sum") == pytest.approx(ratio, rel=0.1)
        assert total(gateway, "engine_trust") > 0 and total(gateway, "index_pairs") > 0


def test_shadows_are_counted_and_reloaded():
    with fleet(2, {"shadow": ["lookahead", "random"]}, policy="round_robin") as (_, gateway):
        for _ in range(20):
            send(gateway)
        for name in ("lookahead", "random"):
            counts = [gateway.metric("busbar_shadow_decisions_total", policy=name, agrees=a)
                      for a in ("true", "false")]
            assert sum(counts) == 20, (name, counts)
        # Half of the time round_robin leaves the engine that holds the prompt.
        assert gateway.metric("busbar_shadow_decisions_total", policy="lookahead", agrees="false") > 0
        config = {"probe": {"interval": "50ms"}, "shadow": ["lookahead", "least_tokens"]}
        gateway.write_config(config)
        assert gateway.reload()[0] == 200
        names = [s["policy"] for s in gateway.status()["shadows"]]
        assert names == ["lookahead", "least_tokens"]
        assert gateway.metric("busbar_shadow_decisions_total", policy="lookahead") == 20
        gateway.write_config({"shadow": ["looahead"]})
        code, report = gateway.reload()
        assert code == 422 and "did you mean 'lookahead'" in report
