#!/usr/bin/env python3
"""index_trace.py: a public trace of requests through busbar's prefix index and through Dynamo's.

The Mooncake conversation trace: each request is looked up for all engines, sent where most of it is
held, and stored there; full engines evict. `busbar bench index --trace FILE --ops FILE` works out
once what that is, and both indexes then do the very same look-ups, stores and removals, on one
thread, in CPU time: busbar's from C, Dynamo's `RadixTree` (package ai-dynamo-runtime) from Python,
with its events encoded beforehand. What the call alone costs is measured beside it: look-ups of the
same lists in an empty tree, and events that remove nothing.

  --trace FILE     conversation_trace.jsonl or .gz (../shared/fixtures/traces/…)
  --scales A,B     blocks of the index for one of the trace, which has 512 tokens (1,8)
  --engines N      (16)
  --blocks N       of the trace that an engine holds (4096)
  --rounds N       turns of each; medians (3)
  --processes A,B  at the same time, each with an index of its own (1,2)
  --python PATH    one that has ai-dynamo-runtime; else it is installed into build/bench/dynamo-venv
"""
import argparse
import gzip
import json
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
TRACE = ROOT.parent / "shared" / "fixtures" / "traces" / "conversation_trace.jsonl.gz"
PACKAGE = "ai-dynamo-runtime==1.6.1"
MASK = (1 << 64) - 1


def mix(number):
    z = (number + 1) * 0x9E3779B97F4A7C15 & MASK
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 & MASK
    return (z ^ z >> 27) * 0x94D049BB133111EB & MASK


# ---- Dynamo's tree, in a process of its own ----

def expand(ids, scale):
    return [mix(i * scale + k) for i in ids for k in range(scale)]


def event(number, data):
    return json.dumps({"event_id": number, "dp_rank": 0, "data": data}).encode()


def read_ops(path, scale):
    """[(kind, engine, list or event)]; of stores and removals also how many blocks."""
    ops = []
    with open(path, encoding="ascii") as f:
        for number, line in enumerate(f):
            kind, engine, parent, *ids = line.split()
            hashes = expand(map(int, ids), scale)
            if kind == "f":
                ops.append((kind, int(engine), hashes, len(hashes)))
            elif kind == "s":
                above = None if parent == "-1" else mix(int(parent) * scale + scale - 1)
                data = {"stored": {"parent_hash": above, "blocks": [
                    {"block_hash": h, "tokens_hash": h} for h in hashes]}}
                ops.append((kind, int(engine), event(number, data), len(hashes)))
            else:
                ops.append((kind, int(engine), event(number, {"removed": {"block_hashes": hashes}}),
                            len(hashes)))
    return ops


def replay(tree, ops):
    """(CPU seconds, blocks found, times of look-ups)"""
    found, times = 0, []
    clock = time.perf_counter_ns
    begin = time.process_time()
    for kind, engine, what, _ in ops:
        if kind == "f":
            at = clock()
            scores = tree.find_matches(what).scores
            times.append(clock() - at)
            found += max(scores.values(), default=0)
        else:
            tree.apply_event(engine, what)
    return time.process_time() - begin, found, times


def overhead(make_tree, ops):
    """The same calls with nothing to do."""
    tree, nothing = make_tree(), event(0, {"removed": {"block_hashes": []}})
    begin = time.process_time()
    for kind, engine, what, _ in ops:
        if kind == "f":
            max(tree.find_matches(what).scores.values(), default=0)
        else:
            tree.apply_event(engine, nothing)
    return time.process_time() - begin


def worker(path, scale, rounds):
    from dynamo._core import RadixTree  # pylint: disable=import-error,import-outside-toplevel
    ops = read_ops(path, scale)
    blocks = sum(op[3] for op in ops)
    requests = sum(op[0] == "f" for op in ops)
    turns = [replay(RadixTree(), ops) for _ in range(rounds)]
    seconds = statistics.median(t[0] for t in turns)
    empty = statistics.median(overhead(RadixTree, ops) for _ in range(rounds))
    times = sorted(turns[0][2])
    print(json.dumps({
        "requests_per_s": requests / seconds, "blocks_per_s": blocks / seconds, "found": turns[0][1],
        "call_share": empty / seconds, "blocks_per_s_less_calls": blocks / max(seconds - empty, 1e-9),
        "find_ns": {"p50": times[len(times) // 2], "p99": times[len(times) * 99 // 100],
                    "p999": times[len(times) * 999 // 1000]}}))


# ---- side by side ----

def together(command, count):
    """So many processes at once: their figures."""
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(count)]
    outs = [p.communicate()[0] for p in running]
    if any(p.returncode for p in running):
        raise SystemExit(f"{command[0]} failed")
    return [json.loads(out) for out in outs]


def total(figures, key):
    return sum(f[key] for f in figures)


def find_python(given):
    if given:
        return given
    folder = ROOT / "build" / "bench" / "dynamo-venv"
    python = folder / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    if subprocess.run([str(python), "-c", "import dynamo._core"], capture_output=True,
                      check=False).returncode:
        done = subprocess.run([str(python), "-m", "pip", "install", "-q", PACKAGE], check=False)
        if done.returncode:
            return None
    return str(python)


def measure(options, trace, python, ops, scale, count):
    busbar = [str(ROOT / "build" / "busbar"), "bench", "index", "--trace", trace, "--engines",
              str(options.engines), "--blocks", str(options.blocks), "--scale", str(scale),
              "--rounds", str(options.rounds), "--json"]
    ours, theirs = together(busbar, count), None
    if python:
        theirs = together([python, __file__, "--worker", ops, "--scales", str(scale), "--rounds",
                           str(options.rounds)], count)
        if theirs[0]["found"] != ours[0]["found"]:
            raise SystemExit(f"they differ: {ours[0]['found']} and {theirs[0]['found']} blocks found")
    return ours, theirs


def row(name, figures):
    find = figures[0]["find_ns"]
    return (f"{name} | {total(figures, 'requests_per_s'):,.0f} | {total(figures, 'blocks_per_s') / 1e6:.2f} | "
            f"{find['p50'] / 1e3:.2f} | {find['p99'] / 1e3:.2f} | {find['p999'] / 1e3:.2f}")


def report(scale, count, ours, theirs):
    head = f"| {scale} | {count} | "
    print(head + row("busbar", ours) + " | |")
    if not theirs:
        return
    ratio = total(ours, "blocks_per_s") / total(theirs, "blocks_per_s")
    less = total(ours, "blocks_per_s") / total(theirs, "blocks_per_s_less_calls")
    print(head + row("Dynamo RadixTree", theirs) + f" | {ratio:.1f} ({less:.1f} without its calls, "
          f"which are {theirs[0]['call_share']:.0%}) |", flush=True)


def read_options():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trace", default=str(TRACE))
    parser.add_argument("--scales", default="1,8")
    parser.add_argument("--engines", type=int, default=16)
    parser.add_argument("--blocks", type=int, default=4096)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--processes", default="1,2")
    parser.add_argument("--python")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    return parser.parse_args()


def main():
    options = read_options()
    if options.worker:
        worker(options.worker, int(options.scales), options.rounds)
        return 0
    if not pathlib.Path(options.trace).exists():
        print(f"skipped: no trace at {options.trace} (conversation_trace of kvcache-ai/Mooncake)")
        return 0
    python = find_python(options.python)
    if not python:
        print(f"{PACKAGE} cannot be installed: without it")
    with tempfile.TemporaryDirectory() as folder:
        trace, ops = f"{folder}/trace.jsonl", f"{folder}/ops"
        opener = gzip.open if options.trace.endswith(".gz") else open
        with opener(options.trace, "rb") as source, open(trace, "wb") as target:
            target.write(source.read())
        subprocess.run([str(ROOT / "build" / "busbar"), "bench", "index", "--trace", trace, "--engines",
                        str(options.engines), "--blocks", str(options.blocks), "--rounds", "1", "--ops",
                        ops], check=True, capture_output=True)
        print("| scale | processes | index | requests/s | million block operations/s | look-up p50 (µs) "
              "| p99 | p99.9 | busbar ÷ Dynamo, block operations |\n|---|---|---|---|---|---|---|---|---|")
        for scale in map(int, options.scales.split(",")):
            for count in map(int, options.processes.split(",")):
                report(scale, count, *measure(options, trace, python, ops, scale, count))
    return 0


if __name__ == "__main__":
    sys.exit(main())
