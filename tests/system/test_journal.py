"""Goal: a journal holds every decision and no text: `busbar replay` makes all of them again, bit for
bit, from the beginning, from a later file alone, and from what a killed process left; a file that was
changed is refused with its place."""

import contextlib
import glob
import json
import os
import re
import signal
import subprocess
import threading

import pytest

from conversation_load import WORDS, Conversations
from gateway_process import Gateway, wait_until
from sim_process import Sim, busbar_path
from small_tokenizer import write_tokenizer

ENGINE = {"ttft": "2ms", "itl": "300us", "prefill_rate": 50000, "kv_blocks": 3500, "max_seqs": 16}
MARKER = "xylophonequark"


def replay(*args, code=0):
    done = subprocess.run([busbar_path(), "replay", *args], capture_output=True, text=True, timeout=120,
                          check=False)
    assert done.returncode == code, (done.returncode, done.stdout, done.stderr)
    return done


def result(*args, code=0):
    return json.loads(replay(*args, "--json", code=code).stdout)


def files(folder):
    return sorted(os.path.join(folder, f) for f in os.listdir(folder) if f.endswith(".journal"))


@contextlib.contextmanager
def recorded(folder, journal=None, count=3, policy="lookahead", config=None, **options):
    """Engines and a gateway that writes a journal."""
    with contextlib.ExitStack() as stack:
        sims = [stack.enter_context(Sim(["m"], **{**ENGINE, **options})) for _ in range(count)]
        yield sims, stack.enter_context(
            Gateway(sims, config={"journal": {"path": str(folder), **(journal or {})}, **(config or {})},
                    policy=policy))


def talk(gateway, count=12, turns=4, context=300):
    done = Conversations(count, turns, context=context, question=40, output=20).run(gateway.port)
    assert not done.failed()


def test_all_decisions_are_made_again(folder):
    with recorded(folder / "j") as (_, gateway):
        talk(gateway)
        gateway.post_json("/v1/chat/completions",
                          {"model": "m", "messages": [{"role": "user", "content": MARKER * 20}],
                           "max_tokens": 3, "user": MARKER})
        gateway.error("POST", "/v1/chat/completions", {"model": MARKER, "messages": []})
        metrics = gateway.metrics()
        assert metrics["busbar_journal_lost_total"] == metrics["busbar_journal_errors_total"] == 0
    r = result(str(folder / "j"), "--verify")
    assert r["decisions"]["equal"] >= 49 and r["decisions"]["different"] == 0, r
    assert r["cut_off"] == 0 and r["gaps"] == {"lost": 0, "memory": 0, "evicted": 0}
    assert "equal bit for bit, 0 different, 0 not comparable" in replay(str(folder / "j")).stdout


def test_nothing_that_was_said_is_in_it(folder):
    """No text of prompts or answers, no names that only a client knows, no keys."""
    with recorded(folder / "j") as (_, gateway):
        for path, body in (("/v1/chat/completions", {"messages": [{"role": "user", "content": MARKER * 50}],
                                                     "user": MARKER, "metadata": {"s": MARKER}}),
                           ("/v1/completions", {"prompt": MARKER * 50})):
            gateway.post_json(path, {"model": "m", "max_tokens": 3, **body},
                              {"Authorization": "Bearer " + MARKER, "x-session-id": MARKER})
        gateway.error("POST", "/v1/chat/completions",
                      {"model": MARKER, "messages": [{"role": "user", "content": MARKER}]})
    data = b"".join(open(f, "rb").read() for f in files(folder / "j"))
    assert len(data) > 200
    assert MARKER.encode() not in data and b"xylo" not in data


def test_files_follow_one_another(folder):
    """Of many files the newest are kept; all of them together and each alone are told again."""
    with recorded(folder / "j", {"size": "64KiB", "files": 3}) as (_, gateway):
        def grow():
            while len(files(folder / "j")) < 3 or files(folder / "j")[0].endswith("-000001.journal"):
                talk(gateway, 16, 5, context=2000)
        grow()
        talk(gateway)
    names = files(folder / "j")
    assert len(names) == 3
    assert not names[0].endswith("-000001.journal")
    whole = result(str(folder / "j"))
    assert whole["decisions"]["different"] == 0 and whole["decisions"]["equal"] > 100, whole
    assert whole["checkpoints"]["begun_from"] == 1 and whole["checkpoints"]["equal"] >= 2, whole
    assert whole["checkpoints"]["different"] == 0
    for name in names:
        alone = result(name)
        assert alone["decisions"]["different"] == 0 and alone["decisions"]["equal"] > 10, (name, alone)


def test_what_a_killed_process_left(folder):
    with recorded(folder / "j") as (sims, gateway):
        stop = threading.Event()

        def load():
            with contextlib.suppress(Exception):
                while not stop.is_set():
                    gateway.post("/v1/chat/completions", {
                        "model": "m", "messages": [{"role": "user", "content": "go on " * 300}],
                        "max_tokens": 20})
        threads = [threading.Thread(target=load, daemon=True) for _ in range(8)]
        for thread in threads:
            thread.start()
        wait_until(lambda: sum(os.path.getsize(f) for f in files(folder / "j")) > 20000,
                   lambda: files(folder / "j"))
        gateway.signal(signal.SIGKILL)
        stop.set()
        gateway.process.wait()
        gateway.process = None
        for thread in threads:
            thread.join(60)
    r = result(str(folder / "j"))
    assert r["decisions"]["different"] == 0 and r["decisions"]["equal"] > 20, r
    assert r["decisions"]["blind"] == 0
    # The next process writes files of its own behind them.
    with recorded(folder / "j") as (_, gateway):
        talk(gateway, 4, 2)
    both = result(str(folder / "j"), "--verify")
    assert both["files"] == r["files"] + 1
    assert both["decisions"]["equal"] >= r["decisions"]["equal"] + 8


def test_a_file_that_ends_anywhere_or_was_changed(folder):
    with recorded(folder / "j") as (_, gateway):
        talk(gateway, 4, 3)
    data = open(files(folder / "j")[0], "rb").read()
    part = folder / "part.journal"
    ends = [8]  # of frames
    while ends[-1] < len(data):
        ends.append(ends[-1] + 16 + int.from_bytes(data[ends[-1]:ends[-1] + 4], "little"))
    for cut in range(40, len(data), len(data) // 23):
        part.write_bytes(data[:cut])
        done = subprocess.run([busbar_path(), "replay", str(part)], capture_output=True, text=True,
                              timeout=60, check=False)
        if cut < 200:
            continue  # it may end within its head
        assert done.returncode == 0, (cut, done)
        assert ("ends within a frame, at byte" in done.stdout) == (cut not in ends), (cut, done)
    middle = len(data) * 2 // 3
    part.write_bytes(data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1:])
    error = replay(str(part), code=1).stderr
    assert re.search(r"part\.journal: at byte \d+: a frame", error), error
    part.write_bytes(b"something else")
    assert "this is no journal of busbar" in replay(str(part), code=1).stderr
    assert "cannot be read" in replay(str(folder / "none"), code=1).stderr
    assert "there is no journal in" in replay(str(folder), code=1).stderr if not part.unlink() else True


def test_what_others_would_have_chosen(folder):
    """The policy in force differs from itself nowhere; one that looks at no cache finds less of it."""
    with recorded(folder / "j") as (_, gateway):
        talk(gateway, 16, 6, context=600)
    r = result(str(folder / "j"), "--policy", "lookahead,round_robin,least_tokens")
    rows = {p["policy"]: p for p in r["policies"]}
    assert set(rows) == {None, "lookahead", "round_robin", "least_tokens"}
    assert rows[None]["decisions"] >= 96 and rows[None]["differs"] == 0
    assert rows["lookahead"]["differs"] <= 16, rows  # ties: the beginning of each conversation
    assert rows["round_robin"]["differs"] > 0.3 * rows[None]["decisions"]
    assert rows["round_robin"]["cached_tokens"] < 0.8 * rows[None]["cached_tokens"]
    assert rows["round_robin"]["ttft_ms"] > rows[None]["ttft_ms"]
    text = replay(str(folder / "j"), "--policy", "random").stdout
    assert "POLICY" in text and "random" in text and "open loop" in text
    assert "there is no policy 'best'" in replay(str(folder / "j"), "--policy", "best", code=2).stderr


def test_one_request_and_a_time(folder):
    with recorded(folder / "j") as (sims, gateway):
        talk(gateway, 4, 3)
    text = replay(str(folder / "j"), "--request", "5").stdout
    assert "request 5, 20" in text and "sent to an engine" in text and sims[0].url in text
    assert result(str(folder / "j"), "--from", "2999")["decisions"]["equal"] == 0
    assert result(str(folder / "j"), "--to", "2999", "--from", "20")["decisions"]["equal"] >= 12
    assert result(str(folder / "j"), "--from", "2999", "--verify", code=1)
    assert "usage:" in replay(code=2).stderr
    assert "usage:" in replay("--help").stdout


def commit(program):
    said = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=20, check=False)
    return re.search(r"\((\w+),", said.stdout)[1]


def other_builds():
    found = glob.glob(os.path.join(os.path.dirname(os.path.abspath(busbar_path())), "*", "busbar"))
    return [p for p in found if os.access(p, os.X_OK) and commit(p) == commit(busbar_path())]


def test_another_build_decides_the_same(folder):
    """Another compiler, other options, another processor's instructions: the same bits."""
    if not other_builds():
        pytest.skip("no other build of this commit (make B=asan, make CC=clang-14 O=build/clang)")
    with recorded(folder / "j", {"size": "64KiB", "files": 50}) as (_, gateway):
        talk(gateway, 24, 6, context=900)
    equal = result(str(folder / "j"), "--verify")["decisions"]["equal"]
    for program in other_builds():
        done = subprocess.run([program, "replay", "--verify", "--json", str(folder / "j")],
                              capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, (program, done)
        assert json.loads(done.stdout)["decisions"]["equal"] == equal, program


@pytest.mark.parametrize("policy", ["pending", "random", "dynamo_cost", "session"])
def test_other_policies(folder, policy):
    with recorded(folder / "j", policy=policy) as (_, gateway):
        talk(gateway)
    assert result(str(folder / "j"), "--verify")["decisions"]["equal"] >= 48


def test_with_events_of_the_engines(folder):
    """Exact mode: what engines tell of their caches is in it, and tokens' hashes."""
    tokenizer = write_tokenizer(folder, WORDS)
    with contextlib.ExitStack() as stack:
        sims = [stack.enter_context(Sim(["m"], tokenizer=tokenizer, kv_events="tcp://127.0.0.1:0",
                                        kv_replay="tcp://127.0.0.1:0", **ENGINE)) for _ in range(3)]
        gateway = stack.enter_context(Gateway(config={
            "journal": {"path": str(folder / "j"), "size": "64KiB", "files": 4},
            "models": {"m": {"engines": [s.url for s in sims], "tokenizer": tokenizer}}}))
        gateway.wait_ready()
        wait_until(lambda: all(e.get("kv", {}).get("replays") for e in gateway.status()["engines"]),
                   lambda: [e.get("kv") for e in gateway.status()["engines"]])
        while len(files(folder / "j")) < 3:
            talk(gateway, 16, 6, context=2500)
    r = result(str(folder / "j"), "--verify")
    assert r["decisions"]["different"] == 0 and r["checkpoints"]["equal"] >= 2, r
    for name in files(folder / "j"):
        assert result(name)["decisions"]["different"] == 0


def test_a_folder_that_cannot_be(folder):
    """It is said at the start, not found out later."""
    config = folder / "c.yaml"
    (folder / "file").write_text("")
    config.write_text(json.dumps({"listen": ["127.0.0.1:0"], "admin": "off",
                                  "journal": {"path": str(folder / "file")}}))
    done = subprocess.run([busbar_path(), "serve", "-c", str(config)], capture_output=True, text=True,
                          timeout=30, check=False)
    assert done.returncode == 1 and "no journal can be written to" in done.stderr, done
    config.write_text(json.dumps({"journal": {"path": "x", "size": "1KiB", "files": 1}}))
    done = subprocess.run([busbar_path(), "check", str(config)], capture_output=True, text=True,
                          timeout=30, check=False)
    assert done.returncode == 2 and "journal.size" in done.stderr and "journal.files" in done.stderr, done
