#!/usr/bin/env python3
"""What routing by exact tokens and KV events adds to a request: long conversations through the gateway.

    python3 bench/conversations.py                    warm: 8k tokens, 200 requests/s; cold: 64k tokens
    python3 bench/conversations.py --tokenizer DIR    with this model's tokenizer (and chat template)

Two simulated engines tokenize as the gateway does and tell their KV events. Warm: one conversation
whose last message is new each time, in an open loop, beside the same load straight to an engine; what
the gateway adds is the difference of the percentiles. Cold: prompts that nobody has seen, one after the
other; CPU time of the gateway. The gateway has one thread and a core of its own.
"""
import argparse
import http.client
import json
import os
import random
import shutil
import sys
import tempfile
import time

import gateways
from processes import Process, split_cores

ROOT = os.path.dirname(gateways.HERE)
sys.path.insert(0, os.path.join(ROOT, "tests", "system"))
from conversation_load import WORDS, text           # noqa: E402
from small_tokenizer import write_tokenizer         # noqa: E402

GATEWAY, ADMIN, ENGINE = 27300, 27301, 27310


def get(port, path):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("GET", path)
    body = connection.getresponse().read()
    connection.close()
    return body


def wait_for(condition, what):
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            if condition():
                return
        except OSError:
            pass
        time.sleep(0.05)
    sys.exit(f"bench: not within 20 s: {what}")


def chat(words, seed, nonce=""):
    rng = random.Random(seed)
    turns = [{"role": "system", "content": text(rng, 200)}]
    while words > 0:
        turns.append({"role": "user", "content": text(rng, 200)})
        turns.append({"role": "assistant", "content": text(rng, 200)})
        words -= 400
    turns.append({"role": "user", "content": nonce + " " + text(rng, 40)})
    return {"model": "m", "messages": turns, "max_tokens": 4, "stream": True}


def ask(port, body):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("POST", "/v1/chat/completions", json.dumps(body),
                       {"Content-Type": "application/json"})
    answer = connection.getresponse()
    assert answer.status == 200, answer.read()
    answer.read()
    connection.close()


def load(settings, port, body_path):
    """Percentiles in µs of the first token, in an open loop."""
    command = [settings.busbar, "bench", "load", "--url", f"http://127.0.0.1:{port}", "--body", body_path,
               "--rate", str(settings.rate), "--connections", "16", "--warmup", "2s",
               "--duration", f"{settings.seconds}s", "--json"]
    log = os.path.join(settings.work, f"load-{port}.json")
    generator = Process(command, settings.other_cores, log)
    generator.process.wait()
    found = json.loads(open(log, encoding="utf-8").read().splitlines()[-1])
    if found["unsent"] or sum(found["errors"].values()):
        sys.exit(f"bench: requests failed: {found}")
    return found["ttft_us"]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--busbar", default=os.path.join(ROOT, "build", "busbar"))
    parser.add_argument("--tokenizer", help="folder of a published model (a small one, made on the spot)")
    parser.add_argument("--rate", type=int, default=200)
    parser.add_argument("--seconds", type=int, default=10)
    parser.add_argument("--warm-words", type=int, default=8000)
    parser.add_argument("--cold-words", type=int, default=64000)
    parser.add_argument("--json", action="store_true")
    settings = parser.parse_args()
    settings.work = tempfile.mkdtemp(prefix="busbar-bench-")
    gateway_cores, settings.other_cores, *_ = split_cores()
    tokenizer = settings.tokenizer or write_tokenizer(settings.work, WORDS)
    running = []
    try:
        for i in range(2):
            running.append(Process(
                [settings.busbar, "sim", "serve", "--model", "m", "--listen", f"127.0.0.1:{ENGINE + 3 * i}",
                 "--ttft", "0ms", "--itl", "0ms", "--kv-blocks", "100000", "--max-model-len", "200000",
                 "--tokenizer", tokenizer,
                 "--kv-events", f"tcp://127.0.0.1:{ENGINE + 3 * i + 1}",
                 "--kv-replay", f"tcp://127.0.0.1:{ENGINE + 3 * i + 2}"],
                settings.other_cores, os.path.join(settings.work, f"engine-{i}.log")))
        config = os.path.join(settings.work, "busbar.yaml")
        with open(config, "w", encoding="utf-8") as f:
            json.dump({"models": {"m": {"engines": [f"http://127.0.0.1:{ENGINE + 3 * i}" for i in range(2)],
                                        "tokenizer": tokenizer}}}, f)
        gateway = Process([settings.busbar, "serve", "-c", config, "--threads", "1",
                           "--listen", f"127.0.0.1:{GATEWAY}", "--admin", f"127.0.0.1:{ADMIN}"],
                          gateway_cores, os.path.join(settings.work, "gateway.log"))
        running.append(gateway)
        engines = lambda: json.loads(get(ADMIN, "/admin/status"))["engines"]   # noqa: E731
        wait_for(lambda: all(e["state"] == "ready" and e["tokens"] == "exact" for e in engines()),
                 f"exact tokens; see {settings.work}")
        for seed in range(8):
            ask(GATEWAY, chat(100, seed))
        wait_for(lambda: all(e["kv"]["mode"] == "exact" for e in engines()), "exact KV events")
        body_path = os.path.join(settings.work, "body.json")
        with open(body_path, "w", encoding="utf-8") as f:
            json.dump(chat(settings.warm_words, 77, "@" * 16), f)
        direct = load(settings, ENGINE, body_path)
        before = gateway.usage()["cpu_s"]
        through = load(settings, GATEWAY, body_path)
        warm_cpu_s = gateway.usage()["cpu_s"] - before
        colds = []
        for seed in range(100, 110):
            body = chat(settings.cold_words, seed)
            before = gateway.usage()["cpu_s"]
            ask(GATEWAY, body)
            colds.append(gateway.usage()["cpu_s"] - before)
        status = engines()
    finally:
        for p in reversed(running):
            p.stop()
    found = {
        "warm_added_us": {p: round(through[p] - direct[p], 1) for p in ("p50", "p90", "p99")},
        "warm_through_us": {p: through[p] for p in ("p50", "p90", "p99")},
        "warm_direct_us": {p: direct[p] for p in ("p50", "p90", "p99")},
        "warm_cpu_us": round(1e6 * warm_cpu_s / (settings.rate * (settings.seconds + 2)), 1),
        "cold_cpu_ms": round(1000 * sum(colds) / len(colds), 2),
        "predicted_tokens": sum(e["cache"]["predicted_tokens"] for e in status),
        "reported_tokens": sum(e["cache"]["reported_tokens"] for e in status),
    }
    if settings.json:
        print(json.dumps(found))
    else:
        print(f"warm, about {settings.warm_words} tokens, {settings.rate} requests/s:")
        for p in ("p50", "p90", "p99"):
            print(f"  first token {p}: {direct[p]:8.1f} µs direct, {through[p]:8.1f} µs through the gateway:"
                  f" {through[p] - direct[p]:8.1f} µs added")
        print(f"  CPU of the gateway: {found['warm_cpu_us']} µs a request")
        print(f"cold, about {settings.cold_words} tokens: {found['cold_cpu_ms']} ms of CPU in the gateway")
        print(f"cached tokens: {found['predicted_tokens']} predicted, {found['reported_tokens']} reported")
    shutil.rmtree(settings.work, ignore_errors=True)


if __name__ == "__main__":
    main()
