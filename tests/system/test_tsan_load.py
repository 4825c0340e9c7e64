"""Goal: no data race. Everything that threads share is used at once: requests of all kinds on four
threads, clients that leave, reloads, scrapes of metrics and status, probes, log rotation, and in the
end a shutdown with streams under way. Runs with any build; says the most with ThreadSanitizer
(`make B=tsan busbar; BUSBAR=build/tsan/busbar`), whose reports fail it, as those of the other
sanitizers do."""

import json
import os
import random
import signal
import threading

import pytest

from gateway_process import Gateway, wait_until
from sim_process import Sim

pytestmark = pytest.mark.tsan

CHAT = "/v1/chat/completions"
ROUNDS = 150  # of each client
SCRAPES = 150
RELOADS = 60


def words(tokens, itl):
    return [{"role": "user", "content": f"[[tokens={tokens} itl={itl}]] tell {random.random()}"}]


def chat(**more):
    return {"model": "m", "messages": words(20, 200), "max_tokens": 20, **more}


def plain(g):
    g.post_json(CHAT, chat())


def streamed(g):
    with g.stream(CHAT, chat()) as s:
        assert s.payloads()[-1] == "[DONE]"


def left_early(g):
    with g.stream(CHAT, chat(messages=words(5000, 1000), max_tokens=5000)) as s:
        s.event()


def left_at_once(g):
    body = json.dumps(chat(stream=True)).encode()
    with g.raw_connect() as c:
        c.sendall(b"POST %s HTTP/1.1\r\nHost: g\r\nContent-Length: %d\r\n\r\n" % (CHAT.encode(), len(body)))
        c.sendall(body[:random.randrange(len(body) + 1)])


def others(g):
    assert g.get("/v1/models")[0] == 200
    assert g.post("/v1/embeddings", {"model": "m", "input": "x"})[0] == 200
    assert g.post(CHAT, chat(model="nobody"))[0] == 404
    assert g.post(CHAT, "{bad")[0] == 400


def test_everything_at_once():
    with Sim(["m"], ttft="1ms", itl="200us", fault=["cut:5@0.05", "503@0.05"]) as one, \
            Sim(["m"], ttft="1ms", itl="200us") as two, Sim(["m"], ttft="1ms", itl="200us") as three:
        urls = [one.url, two.url, three.url]

        def config(i):
            # The faulty one and a changing one may fail, so that each request has somewhere to go.
            return {"probe": {"interval": "50ms", "metrics_interval": "50ms"},
                    "log": {"level": "error"}, "upstream": {"idle_connections": 2 + i % 5, "retries": 4},
                    "engines": [urls[1], urls[0], *([urls[2]] if i % 2 else [])]}

        with Gateway(config=config(1), threads=4, log_level="info") as g:
            g.wait_ready(3)
            failures, done = [], []

            def run(kind, rounds, *arguments):
                for _ in range(rounds):
                    try:
                        kind(*arguments)
                        done.append(kind)
                    except Exception as e:  # pylint: disable=broad-except
                        failures.append(f"{getattr(kind, '__name__', kind)}: {e!r}")

            def scrape():
                assert "busbar_" in g.metrics_text()
                assert len(g.status()["engines"]) >= 2

            def reload():
                reload.count += 1
                g.write_config(config(reload.count))
                assert g.reload()[0] == 200

            def rotate():
                if os.path.exists(g.access_path):
                    os.replace(g.access_path, g.access_path + ".old")
                g.signal(signal.SIGUSR1)
                wait_until(lambda: os.path.exists(g.access_path), "the log is opened anew")

            reload.count = 1
            jobs = [(kind, ROUNDS, g) for kind in (plain, streamed, left_early, left_at_once, others)
                    for _ in range(2)]
            jobs += [(scrape, SCRAPES), (reload, RELOADS), (rotate, RELOADS)]
            threads = [threading.Thread(target=run, args=j) for j in jobs]
            for t in threads:
                t.start()
            for t in threads:
                t.join()
            # A stream that the faulty engine cut after its first token may fail; nothing else may.
            unexpected = [f for f in failures if not f.startswith(("streamed", "plain"))]
            assert not unexpected, unexpected[:5]
            assert len(failures) < ROUNDS * 4 * 0.2, failures[:5]
            assert len(done) > ROUNDS * 8
            # And the end, with streams under way.
            with g.stream(CHAT, chat(messages=words(300, 1000), max_tokens=300)) as s:
                s.event()
                g.signal(signal.SIGTERM)
                s.payloads()
            assert g.wait_end() == 0, g.log()
            assert "ThreadSanitizer" not in g.log()
