"""Goal: `busbar bench index` gives its figures under the names that others read, for a made-up load and for
a trace; what it says of a trace agrees with a count by hand; wrong usage is said."""
import json
import subprocess

from sim_process import busbar_path

import pytest

pytestmark = pytest.mark.release_only

BUSBAR = busbar_path()
SMALL = ["--engines", "20", "--blocks", "500", "--depth", "200", "--matches", "50", "--events", "640"]


def run(*arguments):
    return subprocess.run([BUSBAR, "bench", "index", *arguments], capture_output=True, text=True, timeout=120,
                          check=False)


def figures(*arguments):
    done = run(*arguments, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_figures_have_their_names():
    said = figures(*SMALL)
    assert 0 < said["match_ns"]["p50"] <= said["match_ns"]["p99"]
    for key in ("store_per_s", "remove_per_s", "bytes_per_entry", "blocks", "bytes"):
        assert said[key] > 0, key
    assert said["pairs"] == 20 * 500
    assert said["bytes_per_shared_entry"] >= 0 and said["clear_ns"] >= 0
    assert said["mirror"]["blocks"] == 640
    assert said["mirror"]["store_per_s"] > 0 and said["mirror"]["bytes_per_block"] > 40


def test_the_same_seed_finds_the_same():
    assert figures(*SMALL)["held_mean"] == figures(*SMALL)["held_mean"]


def test_without_json_it_is_a_table():
    done = run(*SMALL)
    assert done.returncode == 0 and "match" in done.stdout and "mirror" in done.stdout


def test_a_trace_is_replayed(tmp_path):
    trace = tmp_path / "trace.jsonl"
    requests = [[0, 1, 2], [0, 1, 2, 3], [7, 8], [0, 1, 2, 3, 4], [7, 8, 9]]
    trace.write_text("".join(json.dumps({"timestamp": 0, "hash_ids": ids}) + "\n" for ids in requests))
    said = figures("--trace", str(trace), "--engines", "2", "--blocks", "100", "--rounds", "1", "--ops",
                   str(tmp_path / "ops"))
    assert said["requests"] == 5 and said["asked"] == 17
    assert said["found"] == 0 + 3 + 0 + 4 + 2
    assert said["stored"] == 3 + 1 + 2 + 1 + 1 and said["removed"] == 0
    assert (tmp_path / "ops").read_text().splitlines()[:4] == ["f 0 -1 0 1 2", "s 0 -1 0 1 2", "f 0 -1 0 1 2 3",
                                                               "s 0 2 3"]
    assert figures("--trace", str(trace), "--engines", "2", "--scale", "4")["found"] == 4 * said["found"]


def test_full_engines_evict(tmp_path):
    trace = tmp_path / "trace.jsonl"
    trace.write_text("".join(json.dumps({"hash_ids": [n * 10, n * 10 + 1]}) + "\n" for n in range(20)))
    said = figures("--trace", str(trace), "--engines", "1", "--blocks", "6")
    assert said["stored"] == 40 and said["removed"] == 34 and said["blocks"] == 6


def test_wrong_usage_is_said(tmp_path):
    for wrong in (["--engines", "0"], ["--shared", "2"], ["--memory", "1KiB"], ["--depth", "x"], ["more"],
                  ["--nothing"]):
        assert run(*wrong).returncode == 2, wrong
    assert run("--trace", str(tmp_path / "absent")).returncode == 1
    bad = tmp_path / "bad"
    bad.write_text('{"hash_ids":[1]}\n{"hash_ids":["x"]}\n')
    done = run("--trace", str(bad))
    assert done.returncode == 1 and str(bad) in done.stderr
