#!/usr/bin/env python3
"""Measures gateways side by side: same backend, same load, same cores, interleaved.

    python3 bench/run.py                         direct, busbar, nginx, haproxy
    python3 bench/run.py --peers all             and smg
    python3 bench/run.py --gateways direct,nginx --steps chunks --rounds 1
    python3 bench/run.py --tls                   busbar, nginx, haproxy with TLS towards the client
    python3 bench/run.py --gateways direct,busbar,busbar_keys,nginx,haproxy    and busbar with API keys

All gateways are up at the same time, idle but for the one under load, and each step goes through
all of them before the next step begins: what disturbs the machine for a while disturbs all alike.
Python 3.9 or newer, standard library only. Linux.
"""
import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import threading
import time

import gateways
import steps
import tables
from processes import (ended_children_s, machine_busy_s, processor_name, split_cores)

ROOT = os.path.dirname(gateways.HERE)
DISTURBED = 0.1  # cores: with more than this in use by others, p99 says more about them


def read_arguments():
    parser = argparse.ArgumentParser(description="Measures gateways side by side.")
    parser.add_argument("--gateways", help="comma-separated: " + ", ".join(gateways.GATEWAYS))
    parser.add_argument("--peers", choices=["default", "all"], default="default")
    parser.add_argument("--steps", help="comma-separated: " + ", ".join(steps.STEPS))
    parser.add_argument("--tls", action="store_true",
                        help="the gateways speak TLS: 1.3, AES-256-GCM, one P-256 certificate")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--tries", type=int, default=2,
                        help="how often a step is done that other programs disturb")
    parser.add_argument("--busbar", default=os.path.join(ROOT, "build", "busbar"))
    parser.add_argument("--work", default=os.path.join(ROOT, "build", "bench"),
                        help="where logs and results go")
    settings = parser.parse_args()
    settings.busbar = os.path.abspath(settings.busbar)
    settings.work = os.path.abspath(settings.work)
    wanted = gateways.PEERS if settings.peers == "all" else gateways.DEFAULT
    if settings.tls:
        wanted = [name for name in gateways.DEFAULT if name != "direct"]
    settings.names = settings.gateways.split(",") if settings.gateways else wanted
    settings.chosen = settings.steps.split(",") if settings.steps else \
        steps.TLS_STEPS if settings.tls else list(steps.STEPS)
    for name in settings.names:
        if name not in gateways.GATEWAYS:
            parser.error(f"unknown gateway: {name}")
    for name in settings.chosen:
        if name not in steps.STEPS:
            parser.error(f"unknown step: {name}")
    if not os.path.exists(settings.busbar):
        parser.error(f"{settings.busbar} is missing: run make")
    return settings


def seconds(text):
    return float(text[:-2]) / 1000 if text.endswith("ms") else float(text[:-1])


def memory_during(process, delay_s, room):
    """Reads the memory while the load is on, in the middle of the measured window."""
    def read():
        time.sleep(delay_s)
        room.update(process.usage())
    thread = threading.Thread(target=read)
    thread.start()
    return thread


def cpu_of(processes):
    return [p.usage()["cpu_s"] for p in processes]


def run_step(settings, step, gateway, others, cores):
    """One step through one gateway; the load generator's JSON with the gateway's own figures."""
    arguments = steps.STEPS[step]
    option = dict(zip(arguments, arguments[1:]))
    process, memory = gateway.process, {}
    before, others_before = process.usage(), cpu_of(others)
    busy, ended, begin = machine_busy_s(), ended_children_s(), time.monotonic()
    watcher = memory_during(
        process, seconds(option["--warmup"]) + seconds(option["--duration"]) / 2, memory)
    done = subprocess.run(
        [settings.busbar, "bench", "load", "--json", "--url",
         f"http://127.0.0.1:{gateway.load_port}/v1/chat/completions", "--header",
         f"Authorization: Bearer {gateways.KEY}", *arguments],
        capture_output=True, text=True, check=False,
        preexec_fn=lambda: os.sched_setaffinity(0, cores))
    elapsed = time.monotonic() - begin
    watcher.join()
    after, others_after = process.usage(), cpu_of(others)
    try:
        result = json.loads(done.stdout)
    except ValueError:
        print(f"  {gateway.name}: the load generator failed: {done.stderr.strip()}")
        return None
    own = after["cpu_s"] - before["cpu_s"] + ended_children_s() - ended
    own += sum(now - before_it for other, now, before_it in zip(others, others_after, others_before)
               if other is not process)
    result["gateway_cpu_s"] = after["cpu_s"] - before["cpu_s"]
    result["other_cpu"] = max(0.0, (machine_busy_s() - busy - own) / elapsed)
    result["memory"] = memory
    return result


def least_disturbed(settings, step, gateway, others, cores):
    """Does the step again when other programs took part of the machine; the quietest one counts."""
    best = None
    for _ in range(settings.tries):
        result = run_step(settings, step, gateway, others, cores)
        time.sleep(1 if step in steps.HOLDS else 0.1)  # connections are taken down
        if result is None:
            break
        if best is None or result["other_cpu"] < best["other_cpu"]:
            best = result
        if best["other_cpu"] < DISTURBED:
            break
    return best


def tell(step, name, result):
    if result is None:
        return
    text = [f"  {step:10} {name:8} {result['requests_per_s']:9.0f} req/s "
            f"{result['chunks_per_s']:8.0f} chunks/s"]
    for key in ("e2e", "ttft", "hop"):
        found = result.get(f"{key}_us")
        if found:
            text.append(f"{key} {found['p50']:.0f}/{found['p99']:.0f} µs")
    text.append(f"cpu {result['gateway_cpu_s']:.2f} s")
    text.append(f"rss {result['memory'].get('rss_kib', 0) / 1024:.0f} MiB")
    failed = {k: v for k, v in result["errors"].items() if v}
    if failed:
        text.append(f"ERRORS {failed} {result['error_sample'][:80]}")
    if result["other_cpu"] > DISTURBED:
        text.append(f"other programs {result['other_cpu']:.2f} cores")
    print(", ".join(text), flush=True)


def prepare_gateways(settings):
    found = []
    for name in settings.names:
        try:
            found.append(gateways.Gateway(name, settings))
        except gateways.Missing as why:
            print(f"{name}: skipped: {why}", flush=True)
    return found


def start_gateways(prepared, backend, core_sets):
    """Those that can be started here, with what their start took."""
    started, results = [], {}
    for gateway in prepared:
        try:
            first_answer_s = gateway.start(core_sets[0], backend)
        except gateways.Missing as why:
            print(f"{gateway.name}: skipped: {why}", flush=True)
            continue
        started.append(gateway)
        results[gateway.name] = {"start": {"first_answer_s": first_answer_s}}
    time.sleep(1)  # what they still do after their first answer is not idle
    for gateway in started:
        results[gateway.name]["start"]["memory"] = gateway.process.usage()
    return started, results


def run_round(settings, number, core_sets):
    backend = gateways.Backend(settings.busbar, core_sets[1], settings.work)
    others, started = [backend.process], []
    try:
        prepared = prepare_gateways(settings)
        if settings.tls:
            others.append(gateways.TlsClient(settings, core_sets[2], prepared).process)
        started, results = start_gateways(prepared, backend, core_sets)
        for index, step in enumerate(settings.chosen):
            # Nobody is always first: the order turns with each step and round.
            turn = (index + number) % max(1, len(started))
            for gateway in started[turn:] + started[:turn]:
                if step in gateway.spec.get("skip", []):
                    continue
                result = least_disturbed(settings, step, gateway, others, core_sets[2])
                tell(step, gateway.name, result)
                if result is not None:
                    results[gateway.name][step] = result
        return results
    finally:
        for gateway in started:
            gateway.stop()
        for process in others:
            process.stop()


def about(settings, names):
    versions = {}
    for name in names:
        try:
            versions[name] = gateways.Gateway(name, settings).version()
        except gateways.Missing:
            continue
    return {"date": time.strftime("%Y-%m-%d", time.gmtime()), "processor": processor_name(),
            "cores": len(os.sched_getaffinity(0)), "versions": versions,
            "system": f"{platform.system()} {platform.release()}"}


def main():
    settings = read_arguments()
    settings.busbar = gateways.own_copy(settings.busbar, settings.work)
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    core_sets = split_cores()
    if settings.tls:
        gateways.make_certificate(settings.work)
    results = {"rounds": []}
    for number in range(settings.rounds):
        print(f"round {number + 1} of {settings.rounds}", flush=True)
        results["rounds"].append(run_round(settings, number, core_sets))
    names = [n for n in settings.names if any(n in r for r in results["rounds"])]
    results["gateways"], results["about"] = names, about(settings, names)
    name = "results-tls" if settings.tls else "results"
    with open(os.path.join(settings.work, f"{name}.json"), "w", encoding="utf-8") as f:
        json.dump(results, f, indent=1)
    table = tables.markdown(results)
    with open(os.path.join(settings.work, f"{name}.md"), "w", encoding="utf-8") as f:
        f.write(table)
    print("\n" + table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
