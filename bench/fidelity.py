#!/usr/bin/env python3
"""fidelity.py: the simulator against reality: fit one engine's timing, then predict what it was not fitted on.

    bench/fidelity.py --model FILE.gguf [--threads N] [--parallel N] [--out profile.json]

1. busbar-engine is started with the model, and measured with `busbar bench run`: prompts of several lengths
   alone, and several streams at once, with short and with long contexts (workload A).
2. The medians become a profile as docs/simulator.md describes it.
3. Workloads B, which mix lengths and come at random, are played to the engine and, with the profile, to one
   simulated engine: `busbar replay --engines 1 --profile`.
4. Printed: TTFT, ITL, end to end and tokens a second of both, and how far the prediction is off.

The engine is a program on this machine's cores: what else runs on them is in the figures. Prompts of A and B
differ in all words, and nothing of one is in the other's cache.
"""
import argparse
import json
import pathlib
import random
import re
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[1]
BUSBAR, ENGINE = ROOT / "build" / "busbar", ROOT / "build" / "busbar-engine"
# A step takes whole prompts: the cost of a prompt's later parts, which attend to more, is in its table.
STEP_TOKENS, KV_TOKENS = 1024, 8192
LENGTHS = (40, 80, 160, 320, 640)


class Engine:
    def __init__(self, a, folder):
        log = pathlib.Path(folder) / "engine.log"
        with open(log, "w", encoding="utf-8") as out:
            self.process = subprocess.Popen(
                [ENGINE, a.model, "--name", "m", "--listen", "127.0.0.1:0", "--ctx", str(KV_TOKENS),
                 "--parallel", str(a.parallel), "--threads", str(a.threads), "--batch", str(STEP_TOKENS)],
                stderr=out, stdout=subprocess.DEVNULL)
        self.url = None
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline and self.process.poll() is None:
            found = re.search(r"listening on (http://[0-9.:]+)", log.read_text(encoding="utf-8"))
            try:
                if found and urllib.request.urlopen(found.group(1) + "/health", timeout=5).status == 200:
                    self.url = found.group(1)
                    return
            except OSError:
                pass
            time.sleep(0.2)
        self.stop()
        sys.exit("fidelity: the engine did not start")

    def stop(self):
        self.process.terminate()
        self.process.wait()


class Player:
    """Plays rows of a trace to the engine. Every call has words of its own."""

    def __init__(self, engine, folder):
        self.engine, self.folder, self.calls = engine, pathlib.Path(folder), 0

    def write(self, rows):
        self.calls += 1
        path = self.folder / f"trace{self.calls}.jsonl"
        path.write_text("".join(json.dumps(r) + "\n" for r in rows))
        return path

    def play(self, rows, *more):
        said = subprocess.run([BUSBAR, "bench", "run", "--url", self.engine.url, "--model", "m", "--json", "--seed",
                               str(self.calls + 1), "--workload", self.write(rows), *more],
                              capture_output=True, text=True, check=False)
        if said.returncode:
            sys.exit(f"fidelity: {said.stderr or said.stdout}")
        return json.loads(said.stdout)["policies"][0]


def row(at_ms, prompt, output):
    return {"timestamp": at_ms, "input_length": prompt, "output_length": output}


def in_turn(count, prompt, output):
    """One after the other: each waits for the answer before."""
    return [row(0, prompt, output)] + [{"after": i, "delay": 50, "input_length": prompt, "output_length": output}
                                       for i in range(count - 1)]


def measure(player, parallel):
    prompts = [[n, player.play(in_turn(3, n, 1))["ttft_ms"]["p50"]] for n in LENGTHS]
    counts = [n for n in (1, 2, 4, 8, 16) if n <= parallel]
    short = {n: player.play([row(0, 40, 24)] * n)["itl_ms"]["p50"] for n in counts}
    # What a context adds is taken from one stream, whose gaps hold nobody's prompt.
    alone = player.play(in_turn(2, 500, 24))["itl_ms"]["p50"]
    per_token = max(0.0, (alone - short[1]) / 460)
    return {"base": "8b", "block_tokens": 16, "kv_tokens": KV_TOKENS, "sequences_max": parallel,
            "step_tokens": STEP_TOKENS, "prompt": prompts,
            "stream": {"streams": counts, "kv_tokens": [0, KV_TOKENS],
                       "ms": [[short[n], short[n] + per_token * KV_TOKENS] for n in counts]}}


def mixed(seed, count, rate):
    """Arrivals at random, prompts of 50 to 600 tokens, answers of 4 to 40."""
    draw, at, rows = random.Random(seed), 0.0, []
    for _ in range(count):
        at += draw.expovariate(rate) * 1000
        rows.append(row(int(at), draw.randint(50, 600), draw.randint(4, 40)))
    return rows


def predict(rows, profile, folder):
    path, table = pathlib.Path(folder) / "b.jsonl", pathlib.Path(folder) / "profile.json"
    path.write_text("".join(json.dumps(r) + "\n" for r in rows))
    table.write_text(json.dumps(profile))
    said = subprocess.run([BUSBAR, "replay", "--engines", "1", "--profile", table, "--policy", "round_robin@once",
                           "--skip", "0", "--json", path], capture_output=True, text=True, check=False)
    if said.returncode:
        sys.exit(f"fidelity: {said.stderr}")
    return json.loads(said.stdout)["policies"][0]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", required=True)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--parallel", type=int, default=8)
    parser.add_argument("--requests", type=int, default=40)
    parser.add_argument("--load", type=float, nargs="*", default=[0.4, 0.8])
    parser.add_argument("--out")
    a = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        engine = Engine(a, folder)
        try:
            player = Player(engine, folder)
            profile = measure(player, a.parallel)
            if a.out:
                pathlib.Path(a.out).write_text(json.dumps(profile, indent=1) + "\n")
            print("prompt, tokens: ms ", {n: round(ms, 1) for n, ms in profile["prompt"]})
            print("streams: ms        ", {n: round(row[0], 1) for n, row in
                                          zip(profile["stream"]["streams"], profile["stream"]["ms"])})
            # A request's own work: its prompt alone, its tokens at half of all places.
            prompt_ms = 325 * profile["prompt"][-1][1] / LENGTHS[-1]
            token_ms = profile["stream"]["ms"][-1][0] / profile["stream"]["streams"][-1]
            off = []
            for load in a.load:
                rows = mixed(int(load * 100), a.requests, load * 1000 / (prompt_ms + 22 * token_ms))
                real, said = player.play(rows), predict(rows, profile, folder)
                print(f"\nload {load}: measured, predicted, off by")
                for name, x, y in [(f"{key} {q}", real[key + "_ms"][q], said[key + "_ms"][q])
                                   for key in ("ttft", "itl", "e2e") for q in ("mean", "p50", "p90")] + \
                        [("tokens/s", real["tokens_per_s"], said["tokens_per_s"])]:
                    print(f"  {name:<10} {x:10.1f} {y:10.1f} {100 * (y / x - 1):+7.1f} %")
                    off.append(abs(y / x - 1))
            print(f"\nmedian of all: {100 * statistics.median(off):.1f} %")
        finally:
            engine.stop()


if __name__ == "__main__":
    main()
