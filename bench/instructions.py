#!/usr/bin/env python3
"""Instructions that a gateway spends on a request and on a streamed chunk.

    python3 bench/instructions.py                     measures build/busbar
    python3 bench/instructions.py --check             and fails when a budget is exceeded
    python3 bench/instructions.py --write             and sets the budgets 10 % above
    python3 bench/instructions.py --gateway haproxy   for comparison
    python3 bench/instructions.py --gateway busbar_journal   with a journal of decisions
    python3 bench/instructions.py --tls --gateway nginx

The gateway runs under callgrind, which counts instructions in user space: the same on a busy
machine as on a quiet one. Each work is measured in two runs that differ only in the number of
requests (or chunks) and last equally long; the difference of the counts over the difference of
the numbers is the cost of one. So the start, the end and what runs by the clock cancel out.
"""
import argparse
import glob
import json
import os
import re
import shutil
import subprocess
import sys
import time

import gateways
from processes import split_cores

ROOT = os.path.dirname(gateways.HERE)
BUDGETS = os.path.join(gateways.HERE, "budgets.json")
MARGIN = 1.10
CHUNK_PACE = "[[ttft=0 itl=3000]]"  # µs: slow enough that chunks come one by one under callgrind


def whole(size, few, many):
    base = ["--size", size, "--connections", "1"]
    return {"per": "request", "few": base + ["--requests", str(few)],
            "many": base + ["--requests", str(many)], "key": "ended"}


def streams(few_tokens, many_tokens):
    base = ["--size", "1k", "--stream", "--prompt", CHUNK_PACE, "--connections", "1",
            "--requests", "2"]
    return {"per": "chunk", "few": base + ["--max-tokens", str(few_tokens)],
            "many": base + ["--max-tokens", str(many_tokens)], "key": "chunks_all"}


def inside(function, per, arguments, number):
    """A function of `busbar bench index`, which needs no gateway; `number` says how often from its JSON."""
    base = ["--engines", "50", "--blocks", "2000", "--depth", "1000", "--matches", "100", "--events", "6400"]
    return {"function": function, "per": per, "arguments": base + arguments, "number": number}


WORKS = {
    "request_1k": whole("1k", 100, 1100),
    "request_32k": whole("32k", 50, 350),
    "request_256k": whole("256k", 20, 100),
    "chunk": streams(20, 1020),
    "index_match": inside("index_match", "prompt of 1,000 blocks, 50 engines", [], lambda said: 110),
    "index_store": inside("index_store", "block", [], lambda said: said["stored"]),
    "mirror": inside("kv_mirror_apply", "block of 16 tokens, without the index and with it",
                     ["--engines", "1"], lambda said: 2 * said["mirror"]["blocks"]),
}


def counted(pattern):
    """The sum of the totals that callgrind wrote, one file a process."""
    total = 0
    for path in glob.glob(pattern):
        with open(path, encoding="utf-8", errors="replace") as f:
            for line in f:
                if line.startswith("totals:"):
                    total += int(line.split()[1])
    return total


def one_run(settings, gateway, backend, arguments, lasts_s):
    """(instructions, what the load generator says, seconds it lasted)"""
    base = os.path.join(settings.work, f"callgrind-{gateway.name}")
    for path in glob.glob(base + ".*"):
        os.remove(path)
    cores = split_cores()
    gateway.start(cores[0], backend, ["valgrind", "-q", "--tool=callgrind", "--trace-children=yes",
                                      f"--callgrind-out-file={base}.%p"])
    try:
        begin = time.monotonic()
        done = subprocess.run(
            [settings.busbar, "bench", "load", "--json", "--seed", "1", "--duration", "120s", "--url",
             f"http://127.0.0.1:{gateway.load_port}/v1/chat/completions", *arguments],
            capture_output=True, text=True, check=True,
            preexec_fn=lambda: os.sched_setaffinity(0, cores[2]))
        said = json.loads(done.stdout)
        time.sleep(max(0.0, begin + lasts_s - time.monotonic()))
        lasted_s = time.monotonic() - begin
    finally:
        gateway.stop()
    if any(said["errors"].values()):
        raise SystemExit(f"{gateway.name}: the load failed: {said['errors']} "
                         f"{said['error_sample']}")
    return counted(base + ".*"), said, lasted_s


def measure(settings, gateway, backend, work):
    many, many_said, lasted_s = one_run(settings, gateway, backend, work["many"], 0)
    few, few_said, _ = one_run(settings, gateway, backend, work["few"], lasted_s)
    number = many_said[work["key"]] - few_said[work["key"]]
    if number <= 0 or many <= few:
        raise SystemExit(f"{gateway.name}: nothing was counted; is valgrind working?")
    return round((many - few) / number)


def measure_inside(settings, work):
    pattern = os.path.join(settings.work, "callgrind-inside")
    for path in glob.glob(pattern + ".*"):
        os.remove(path)
    done = subprocess.run(
        ["valgrind", "-q", "--tool=callgrind", f"--toggle-collect={work['function']}",
         f"--callgrind-out-file={pattern}.%p", settings.busbar, "bench", "index", "--json",
         *work["arguments"]], capture_output=True, text=True, check=True)
    return round(counted(pattern + ".*") / work["number"](json.loads(done.stdout)))


def compiler_of(program):
    """What built it, as far as a budget depends on it: "GCC 12", "clang 14"."""
    said = subprocess.run(["readelf", "-p", ".comment", program], capture_output=True, text=True,
                          check=False).stdout
    for name, pattern in (("clang", r"clang version (\d+)"), ("GCC", r"GCC: \([^)]*\) (\d+)")):
        match = re.search(pattern, said)
        if match:
            return f"{name} {match[1]}"
    return "unknown"


def read_budgets():
    with open(BUDGETS, encoding="utf-8") as f:
        return json.load(f)


def write_budgets(found, compiler):
    budgets = {"compiler": compiler,
               "instructions": {name: round(count * MARGIN) for name, count in found.items()}}
    with open(BUDGETS, "w", encoding="utf-8") as f:
        f.write(json.dumps(budgets, indent=1) + "\n")


def read_arguments():
    parser = argparse.ArgumentParser(description="Counts instructions per request and chunk.")
    parser.add_argument("--gateway", default="busbar", choices=["busbar", "busbar_journal", "nginx", "haproxy"])
    parser.add_argument("--tls", action="store_true", help="it speaks TLS, as in run.py --tls")
    parser.add_argument("--works", default=",".join(WORKS))
    parser.add_argument("--busbar", default=os.path.join(ROOT, "build", "busbar"))
    parser.add_argument("--work", default=os.path.join(ROOT, "build", "bench"))
    parser.add_argument("--check", action="store_true", help="fail when a budget is exceeded")
    parser.add_argument("--write", action="store_true", help="set the budgets anew")
    settings = parser.parse_args()
    settings.busbar = os.path.abspath(settings.busbar)
    settings.work = os.path.abspath(settings.work)
    if settings.tls and (settings.check or settings.write):
        parser.error("budgets are without TLS")
    if not shutil.which("valgrind"):
        parser.error("valgrind is not installed (apt-get install valgrind)")
    if not os.path.exists(settings.busbar):
        parser.error(f"{settings.busbar} is missing: run make")
    return settings


def main():
    settings = read_arguments()
    settings.busbar = gateways.own_copy(settings.busbar, settings.work)
    budgets = read_budgets()["instructions"] if settings.check else {}
    backend = gateways.Backend(settings.busbar, split_cores()[1], settings.work)
    found, over, others = {}, [], [backend.process]
    try:
        gateway = gateways.Gateway(settings.gateway, settings)
        if settings.tls:
            gateways.make_certificate(settings.work)
            others.append(gateways.TlsClient(settings, split_cores()[2], [gateway]).process)
        for name in settings.works.split(","):
            if "function" not in WORKS[name]:
                found[name] = measure(settings, gateway, backend, WORKS[name])
            elif settings.gateway == "busbar":
                found[name] = measure_inside(settings, WORKS[name])
            else:
                continue
            budget = budgets.get(name)
            print(f"{settings.gateway:8} {name:14} {found[name]:9,} instructions per "
                  f"{WORKS[name]['per']}" + (f", budget {budget:,}" if budget else ""), flush=True)
            if budget and found[name] > budget:
                over.append(name)
    finally:
        for process in others:
            process.stop()
    if settings.write:
        write_budgets(found, compiler_of(settings.busbar))
    if over:
        print(f"over budget: {', '.join(over)}")
    return 1 if over else 0


if __name__ == "__main__":
    sys.exit(main())
