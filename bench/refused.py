#!/usr/bin/env python3
"""What a refused request costs, beside a served one: an attacker must not get more for less.

    python3 bench/refused.py                  CPU time of the gateway, and the ratio to a served request
    python3 bench/refused.py --instructions   instructions in user space instead (valgrind)
    python3 bench/refused.py --check          and fails when a refusal costs more than a served request

One client, one request after the other, written as bytes. A refusal after which the gateway closes
the connection (413: nobody reads what comes) is compared with a served request that has a connection
of its own as well.
"""
import argparse
import glob
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time

import gateways
from instructions import counted
from processes import Process, split_cores

ROOT = os.path.dirname(gateways.HERE)
KEY, POOR_KEY = "key-of-the-bench-0123456789abcdef", "key-of-the-poor-0123456789abcdef"
CHAT = json.dumps({"model": "m", "max_tokens": 1,
                   "messages": [{"role": "user", "content": "word " * 200}]})


def request(body, key=KEY, length=None, close=False):
    return (f"POST /v1/chat/completions HTTP/1.1\r\nHost: b\r\nAuthorization: Bearer {key}\r\n"
            f"Content-Type: application/json\r\n{'Connection: close' + chr(13) + chr(10) if close else ''}"
            f"Content-Length: {length or len(body)}\r\n\r\n{body}").encode()


# name: (status, bytes, whether the connection ends with it, what it is compared with)
KINDS = {
    "served": (200, request(CHAT), False, "served"),
    "served, own connection": (200, request(CHAT, close=True), True, "served, own connection"),
    "401 wrong key": (401, request(CHAT, "wrong-key-0123456789abcdef0123456"), False, "served"),
    "400 bad JSON": (400, request(CHAT[:-1]), False, "served"),
    "429 over its limit": (429, request(CHAT, POOR_KEY), False, "served"),
    "413 by its length": (413, request("", length=1 << 40), True, "served, own connection"),
}


def answer_of(connection):
    """The status of one answer, read to its end."""
    got = b""
    while b"\r\n\r\n" not in got:
        got += connection.recv(65536)
    head, body = got.split(b"\r\n\r\n", 1)
    length = int(re.search(rb"(?i)content-length: (\d+)", head)[1])
    while len(body) < length:
        body += connection.recv(65536)
    return int(got[9:12])


def ask(port, kind, count):
    """Asks that often, one after the other."""
    status, data, ends, _ = KINDS[kind]
    connection = None
    for _ in range(count):
        if connection is None:
            connection = socket.create_connection(("127.0.0.1", port), timeout=60)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.sendall(data)
        got = answer_of(connection)
        if got != status:
            raise SystemExit(f"{kind}: the answer was {got}")
        if ends:
            connection.close()
            connection = None
    if connection:
        connection.close()


class Gateway:
    """busbar with two tenants, one of which has used its limit up."""

    def __init__(self, program, engine_url, folder, cores, prefix=()):
        self.log = os.path.join(folder, "gateway.log")
        config = os.path.join(folder, "busbar.yaml")
        with open(config, "w", encoding="utf-8") as f:
            json.dump({"listen": "127.0.0.1:0", "admin": "off", "threads": 1, "engines": [engine_url],
                       "access_log": {"path": os.path.join(folder, "access.log")},
                       "tenants": {"rich": {"key": KEY},
                                   "poor": {"key": POOR_KEY, "budget": "1 tokens/month"}}}, f)
        if os.path.exists(self.log):
            os.remove(self.log)
        options = ["--no-sandbox"] if prefix else []  # valgrind's calls are not those of the gateway
        self.process = Process([*prefix, program, "serve", "-c", config, *options], cores, self.log)
        self.port = int(self.said(r"API on http://127\.0\.0\.1:(\d+)"))
        self.said(r"is ready")

    def said(self, pattern):
        until = time.monotonic() + 20
        while time.monotonic() < until:
            with open(self.log, encoding="utf-8", errors="replace") as f:
                found = re.search(pattern, f.read())
            if found:
                return found[found.lastindex or 0]
            time.sleep(0.01)
        with open(self.log, encoding="utf-8", errors="replace") as f:
            raise SystemExit(f"the gateway did not say {pattern!r}: {f.read()}")


def cpu_us(settings, engine_url, cores):
    """{kind: microseconds of CPU for one}"""
    gateway = Gateway(settings.busbar, engine_url, settings.folder, cores)
    found = {}
    try:
        for kind in KINDS:
            ask(gateway.port, kind, 100)
            best = None
            for _ in range(settings.tries):
                before = gateway.process.usage()["cpu_s"]
                ask(gateway.port, kind, settings.count)
                cost = (gateway.process.usage()["cpu_s"] - before) / settings.count * 1e6
                best = cost if best is None else min(best, cost)
            found[kind] = best
    finally:
        gateway.process.stop()
    return found


def one_count(settings, engine_url, cores, kind, count, lasts_s):
    base = os.path.join(settings.folder, "callgrind")
    for path in glob.glob(base + ".*"):
        os.remove(path)
    gateway = Gateway(settings.busbar, engine_url, settings.folder, cores,
                      ["valgrind", "-q", "--tool=callgrind", f"--callgrind-out-file={base}.%p"])
    try:
        begin = time.monotonic()
        ask(gateway.port, kind, count)
        time.sleep(max(0.0, begin + lasts_s - time.monotonic()))
        lasted_s = time.monotonic() - begin
    finally:
        gateway.process.stop()
    return counted(base + ".*"), lasted_s


def instructions(settings, engine_url, cores):
    """{kind: instructions for one}, by the difference of two runs that last equally long"""
    found = {}
    for kind in KINDS:
        many, lasted_s = one_count(settings, engine_url, cores, kind, 600, 0)
        few, _ = one_count(settings, engine_url, cores, kind, 100, lasted_s)
        found[kind] = (many - few) / 500
    return found


def main():
    parser = argparse.ArgumentParser(description="What refused requests cost.")
    parser.add_argument("--instructions", action="store_true")
    parser.add_argument("--check", action="store_true", help="fail when a refusal costs more than serving")
    parser.add_argument("--busbar", default=os.path.join(ROOT, "build", "busbar"))
    parser.add_argument("--count", type=int, default=5000)
    parser.add_argument("--tries", type=int, default=3, help="the cheapest of so many counts")
    settings = parser.parse_args()
    if settings.instructions and not shutil.which("valgrind"):
        parser.error("valgrind is not installed")
    cores = split_cores()
    over = []
    with tempfile.TemporaryDirectory() as settings.folder:
        settings.busbar = gateways.own_copy(os.path.abspath(settings.busbar), settings.folder)
        engine = subprocess.Popen([settings.busbar, "sim", "serve", "--model", "m", "--ttft", "0us"],
                                  stdout=subprocess.PIPE, text=True)
        try:
            url = engine.stdout.readline().split()[-1]
            found = (instructions if settings.instructions else cpu_us)(settings, url, cores[0])
        finally:
            engine.terminate()
            engine.wait()
    unit = "instructions" if settings.instructions else "µs of CPU"
    for kind, cost in found.items():
        ratio = cost / found[KINDS[kind][3]]
        print(f"{kind:<24} {cost:>10.1f} {unit}   {ratio:>5.2f} of {KINDS[kind][3]}")
        if not kind.startswith("served") and ratio >= 1:
            over.append(kind)
    if settings.check and over:
        print(f"these cost more than a served request: {', '.join(over)}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
