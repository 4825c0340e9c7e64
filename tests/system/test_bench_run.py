"""Goal: workloads are written as they are, and played to real servers as clients would: at their times,
next turns with the real answers, each failure under its name; the results are what happened, also on
a page that needs nothing else. With BUSBAR_MODEL also before a small instruct model."""
import html.parser
import json
import os
import subprocess

import pytest

from engine_process import Engine
from gateway_process import Gateway
from sim_process import Sim, busbar_path

ROWS = ["timestamp", "input_length", "output_length", "hash_ids"]


def call(*arguments, code=0):
    done = subprocess.run([busbar_path(), *map(str, arguments)], capture_output=True, text=True,
                          timeout=120, check=False)
    assert done.returncode == code, (arguments, done.returncode, done.stdout, done.stderr)
    return done.stdout if code != 2 else done.stderr


def play(url, workload, *arguments, code=0, model="m"):
    """The results of each server that was played to."""
    urls = [url] if isinstance(url, str) else url
    said = call("bench", "run", *[x for u in urls for x in ("--url", u)], "--workload", workload,
                "--model", model, "--json", *arguments, code=code)
    rows = json.loads(said)["policies"]
    return rows[0] if isinstance(url, str) else rows


def trace(tmp_path, rows):
    path = tmp_path / "trace.jsonl"
    path.write_text("".join(json.dumps(r) + "\n" for r in rows))
    return path


def request(at, length=40, output=4, **more):
    return {"timestamp": at, "input_length": length, "output_length": output, **more}


@pytest.fixture(scope="module")
def sim():
    with Sim(models=["m", "other"], ttft="2ms", itl="1ms", kv_blocks=100000,
             max_model_len=200000, max_seqs=1000) as one:
        yield one


# ---- busbar sim workload ----

def test_mooncake_lines():
    rows = [json.loads(line) for line in
            call("sim", "workload", "b2b", "--requests", 50, "--seed", 4).splitlines()]
    assert len(rows) == 50 and all(set(ROWS) <= set(r) for r in rows)
    assert all(len(r["hash_ids"]) == -(-r["input_length"] // 512) for r in rows)
    assert [r["timestamp"] for r in rows] == sorted(r["timestamp"] for r in rows)
    assert call("sim", "workload", "b2b", "--requests", 50, "--seed", 4).splitlines()[3] == \
        call("sim", "workload", "gen:b2b", "--requests", 4, "--seed", 4).splitlines()[3]


def test_openai_lines_and_files(tmp_path):
    call("sim", "workload", "chat", "--requests", 30, "--out", tmp_path / "a.jsonl")
    said = call("sim", "workload", tmp_path / "a.jsonl", "--format", "openai", "--model", "x")
    rows = [json.loads(line) for line in said.splitlines()]
    assert len(rows) == 30 and {r["body"]["model"] for r in rows} == {"x"}
    follower = next(r for r in rows if "after" in r)
    assert follower["after"] < 30 and follower["delay_ms"] >= 1000
    packed = tmp_path / "a.jsonl.gz"
    packed.write_bytes(subprocess.run(["gzip", "-c", tmp_path / "a.jsonl"], capture_output=True,
                                      check=True).stdout)
    assert call("sim", "workload", packed) == call("sim", "workload", tmp_path / "a.jsonl")


def test_what_is_wrong_is_said(tmp_path):
    assert "did you mean the generator chat" in call("sim", "workload", "chaat", code=2)
    assert "which workload?" in call("sim", "workload", code=2)
    assert "out of range" in call("sim", "workload", "chat", "--rate", "-3", code=2)
    bad = trace(tmp_path, [request(0), {"timestamp": 3}])
    assert f"{bad}: line 2: input_length is missing" in call("sim", "workload", bad, code=2)
    assert "for generators" in call("sim", "workload", trace(tmp_path, [request(0)]), "--clients",
                                    "3", code=2)
    call("sim", "workload", "chat", "--out", tmp_path / "no" / "file", code=1)
    for missing in (["--url", "http://127.0.0.1:1"], ["--workload", "chat"],
                    ["--url", "ftp://x", "--workload", "chat"]):
        call("bench", "run", *missing, code=2)


# ---- busbar bench run ----

def test_next_turns_hold_the_real_answers(sim):
    said = play(sim.url, "chat", "--requests", 40, "--think", 0, "--speed", 1000)
    assert said["requests"] == 40 and said["failed"] == 0 and said["skipped"] == 0
    bodies = [json.loads(r["body"]) for r in sim.requests()[-40:]]
    longest = max(bodies, key=lambda b: len(b["messages"]))
    roles = [m["role"] for m in longest["messages"]]
    assert len(roles) >= 5 and roles == (["user", "assistant"] * 40)[:len(roles)]
    before = next(b for b in bodies if b["messages"] == longest["messages"][:-2])
    # The engine gives the same answer again: it is the one that stands in the next turn.
    _, answer = sim.post_json("/v1/chat/completions", {**before, "stream": False,
                                                       "stream_options": None})
    assert answer["choices"][0]["message"]["content"] == longest["messages"][-2]["content"]
    assert said["cache_hit"] > 0.9 * said["cache_hit_possible"] > 0.3
    assert said["prompt_error"] < 0.05


def test_another_seed_is_other_text(sim, tmp_path):
    rows = trace(tmp_path, [request(0, 600, hash_ids=[1, 2]), request(9, 600, hash_ids=[1, 3])])
    first, again, other = (play(sim.url, rows, "--seed", seed, "--words", 1)["cache_hit"]
                           for seed in (77, 77, 78))
    assert 0.3 < first < 0.5 and again > 0.9 and 0.3 < other < 0.5


def test_times_count_from_when_a_request_was_due(sim, tmp_path):
    rows = trace(tmp_path, [request(0, output=50) for _ in range(6)])
    said = play(sim.url, rows, "--connections", 1)
    assert said["in_flight_max"] == 1
    assert said["e2e_ms"]["max"] >= 6 * 50 * 0.99 and said["ttft_ms"]["max"] >= 5 * 50 * 0.99
    assert 0.9 <= said["itl_ms"]["p50"] < 20


def test_closed_loop(sim):
    said = play(sim.url, "decode", "--requests", 30, "--clients", 4)
    assert said["failed"] == 0 and said["in_flight_max"] <= 4


def test_open_loop_keeps_its_rate(sim, tmp_path):
    said = play(sim.url, trace(tmp_path, [request(20 * i) for i in range(50)]), "--rate", 100)
    assert said["failed"] == 0 and 30 < said["requests_per_s"] < 101


@pytest.mark.parametrize("fault, kind", [("503", "status"), ("cut:2", "cut"), ("garbage", "malformed"),
                                         ("nodone", "incomplete"), ("hang", "timeout")])
def test_failures_have_names(tmp_path, fault, kind):
    rows = [request(0, session_id="a"), request(0, session_id="b")]
    with Sim(models=["m"], ttft="0", itl="0") as own:
        own.fault(fault)
        said = play(own.url, trace(tmp_path, rows), "--words", 1, "--timeout", "300ms", code=1)
    assert said["failed"] == 2 and said["errors"][kind] == 2
    assert sum(said["errors"].values()) == 2 and said["ttft_ms"] is None


def test_nobody_there(tmp_path):
    said = play("http://127.0.0.1:1", "chat", "--requests", 20, "--think", 0, "--speed", 1000,
                "--words", 1, code=1)
    assert said["failed"] == 20 and said["skipped"] > 0
    assert said["errors"]["connect"] + said["skipped"] == 20


def test_clients_go_on_after_failures(tmp_path):
    with Sim(models=["m"], ttft="0", itl="0") as own:
        own.fault("500@0.5")
        said = play(own.url, "decode", "--requests", 40, "--clients", 2, "--words", 1, code=1)
    assert said["skipped"] == 0 and 5 < said["errors"]["status"] < 35


def test_keys_headers_and_models(sim):
    play(sim.url, "hot", "--requests", 40, "--speed", 100, "--tenants", 3, "--key", "k1", "--key",
         "k2", "--header", "x-more: 1", "--adapters", 1, "--words", 1, "--model", "other",
         "--may-stop")
    seen = sim.requests()[-40:]
    heads = [{k.lower(): v for k, v in r["headers"]} for r in seen]
    assert {h["authorization"] for h in heads} == {"Bearer k1", "Bearer k2"}
    assert all(h["x-more"] == "1" for h in heads)
    bodies = [json.loads(r["body"]) for r in seen]
    assert {b["model"] for b in bodies} == {"m", "other"}
    assert all("ignore_eos" not in b for b in bodies)


class Page(html.parser.HTMLParser):
    """Which elements there are; each that must be closed is."""
    VOID = {"meta"}

    def __init__(self, text):
        super().__init__()
        self.open, self.seen, self.attributes, self.words = [], [], [], ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.seen.append(tag)
        self.attributes += attrs
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_startendtag(self, tag, attrs):
        self.seen.append(tag)
        self.attributes += attrs

    def handle_data(self, data):
        self.words += data


def test_two_servers_and_a_page(sim, tmp_path):
    path = tmp_path / "report.html"
    rows = play([f"<one>={sim.url}", f"two={sim.url}"], "cold", "--requests", 60, "--speed", 50,
                "--report", path)
    assert [r["policy"] for r in rows] == ["<one>", "two"]
    page = Page(path.read_text(encoding="utf-8"))
    assert page.seen.count("svg") >= 2 and "script" not in page.seen
    assert not [a for a in page.attributes if a[0] in ("src", "href", "onload")]
    assert "<one>" in page.words and f"{rows[1]['ttft_ms']['mean']:.0f} ms" in page.words
    assert "url(" not in page.words and "@import" not in page.words
    call("bench", "run", "--url", sim.url, "--workload", "cold", "--requests", 1, "--model", "m",
         "--report", tmp_path / "no" / "file", code=1)


def test_table_and_short_form(sim):
    said = call("bench", sim.url, "--workload", "hot", "--requests", 20, "--speed", 50, "--model",
                "m")
    assert "20 requests, 0 failed" in said and "TTFT" in said and "goodput" in said


def test_through_a_gateway(sim):
    with Sim(models=["m"], ttft="2ms", itl="1ms", kv_blocks=100000) as other:
        with Gateway([sim, other]) as gateway:
            said = play(gateway.url, "agent", "--requests", 60, "--think", 0, "--speed", 1000)
    assert said["failed"] == 0 and said["skipped"] == 0
    assert said["cache_hit"] > 0.5 and said["prompt_error"] < 0.05


def test_prompts_of_a_real_model_have_their_length(tmp_path):
    rows = [request(0, 200, 4, session_id="a"), request(1, 100, 4, session_id="b"),
            request(2, 150, 4)]
    model = os.environ.get("BUSBAR_MODEL")
    if not model:
        pytest.skip("BUSBAR_MODEL is not set")
    with Engine("--ctx", "2048", "--name", "m", model=model) as engine:
        said = play(f"http://127.0.0.1:{engine.port}", trace(tmp_path, rows))
    assert said["failed"] == 0 and said["prompt_error"] < 0.05 and said["tokens_per_s"] > 0
