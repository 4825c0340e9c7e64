#!/usr/bin/env python3
"""Goal: a gateway under load for a long time neither grows nor loses descriptors.

    python3 tests/soak/soak.py [--minutes 30] [--busbar build/busbar]

Two simulated engines, one of which fails now and then; `busbar bench load` with plain requests and
with streams; clients that leave in the middle; a reload and a log rotation every few seconds. After a
warm-up of a fifth of the time, memory is sampled: its slope by least squares must stay below 1 MiB an
hour, or below 2 MiB over the whole run where that is more (short runs cannot tell finer). In the end
everything is idle, and descriptors and open connections are as many as at the start.
"""

import argparse
import json
import os
import pathlib
import random
import subprocess
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "system"))

MIB = 1 << 20


def slope(samples):
    """Bytes a second, by least squares over (seconds, bytes)."""
    n = len(samples)
    mean_t = sum(t for t, _ in samples) / n
    mean_b = sum(b for _, b in samples) / n
    spread = sum((t - mean_t) ** 2 for t, _ in samples)
    return sum((t - mean_t) * (b - mean_b) for t, b in samples) / spread


def rss(pid):
    with open(f"/proc/{pid}/statm", encoding="ascii") as f:
        return int(f.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def descriptors(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))


class Work:
    """What goes on until `stop` is set; errors that must not be are collected."""

    def __init__(self, gateway, program):
        self.gateway = gateway
        self.program = program
        self.stop = threading.Event()
        self.errors = []
        self.counts = {"load": 0, "left": 0, "reloads": 0}
        self.threads = [threading.Thread(target=self._guard, args=(work,))
                        for work in (self.load_plain, self.load_streams, self.leave, self.reload)]

    def _guard(self, work):
        while not self.stop.is_set():
            try:
                work()
            except Exception as e:  # pylint: disable=broad-except
                self.errors.append(f"{work.__name__}: {e!r}")
                self.stop.set()

    def _load(self, *options):
        done = subprocess.run(
            [self.program, "bench", "load", "--url", self.gateway.url, "--json", "--connections", "16",
             "--rate", "150", "--warmup", "0s", "--duration", "10s", *options],
            capture_output=True, text=True, timeout=120, check=True)
        json.loads(done.stdout)
        self.counts["load"] += 1

    def load_plain(self):
        self._load("--size", random.choice(["300", "1k", "32k"]), "--max-tokens", "8")

    def load_streams(self):
        self._load("--stream", "--max-tokens", "32", "--prompt", "[[itl=2000]] on")

    def leave(self):
        with self.gateway.stream("/v1/chat/completions",
                                 {"model": "m", "max_tokens": 5000, "messages": [
                                     {"role": "user", "content": "[[tokens=5000 itl=1000]] on"}]}) as s:
            for _ in range(random.randrange(20)):
                s.event()
        self.counts["left"] += 1

    def reload(self):
        code, report = self.gateway.reload()
        assert code == 200, report
        old = self.gateway.access_path + ".old"
        os.replace(self.gateway.access_path, old)
        self.gateway.signal(10)  # SIGUSR1
        self.counts["reloads"] += 1
        self.stop.wait(5)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--busbar", default=None, help="the program (build/busbar)")
    options = parser.parse_args()
    if options.busbar:
        os.environ["BUSBAR"] = options.busbar
    from gateway_process import Gateway, wait_until  # pylint: disable=import-outside-toplevel
    from sim_process import Sim, busbar_path  # pylint: disable=import-outside-toplevel

    seconds = options.minutes * 60
    with Sim(["m"], ttft="2ms", itl="500us") as good, \
            Sim(["m"], ttft="2ms", itl="500us", fault=["503@0.02", "cut:5@0.01", "refuse@0.01"]) as bad, \
            Gateway([good, bad], threads=2) as g:
        pid = g.process.pid
        g.post_json("/v1/chat/completions", {"model": "m", "messages": [{"role": "user", "content": "x"}]})
        fds = descriptors(pid)
        work = Work(g, busbar_path())
        began = time.monotonic()
        for t in work.threads:
            t.start()
        samples = []
        while time.monotonic() - began < seconds and not work.stop.wait(min(5, seconds / 60)):
            samples.append((time.monotonic() - began, rss(pid)))
        work.stop.set()
        for t in work.threads:
            t.join()
        warm = [s for s in samples if s[0] > seconds / 5]
        assert not work.errors, work.errors
        assert len(warm) >= 10, "too short to tell anything"
        wait_until(lambda: g.status()["connections"] == 0 and g.status()["streams_in_flight"] == 0,
                   lambda: g.status())
        wait_until(lambda: descriptors(pid) <= fds + 2,
                   lambda: f"{descriptors(pid)} descriptors, {fds} at the start")
        growth, run = slope(warm), warm[-1][0] - warm[0][0]
        print(f"soak: {options.minutes:g} min, {work.counts}, memory {warm[0][1] / MIB:.1f} to "
              f"{warm[-1][1] / MIB:.1f} MiB, slope {growth * 3600 / MIB:+.2f} MiB an hour, "
              f"{descriptors(pid)} descriptors")
        assert growth * run < max(2 * MIB, MIB * run / 3600), "memory grows"
    print("soak: ok")


if __name__ == "__main__":
    main()
