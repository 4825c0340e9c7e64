"""Goal: many threads of the gateway at work at once (streams, plain requests, clients that leave, an
engine that dies, reloads, scrapes) lose no request and no count. It also runs with
ThreadSanitizer, whose report the gateway's end would show."""

import http.client
import json
import random
import threading
import time

import pytest

from gateway_process import Gateway, wait_until
from sim_process import Sim

MODEL = "m"
CLIENTS = 8
ROUNDS = 60

pytestmark = pytest.mark.tsan


class Client(threading.Thread):
    """Asks ROUNDS times in one of four ways, on connections that are kept where that is possible."""

    def __init__(self, gateway, number):
        super().__init__()
        self.gateway = gateway
        self.random = random.Random(number)
        self.answered = self.left = self.failed = 0
        self.error = None

    def run(self):
        connection = self.gateway.connect()
        try:
            for _ in range(ROUNDS):
                way = self.random.choice(("plain", "stream", "leave", "unknown"))
                if not getattr(self, way)(connection):
                    connection.close()
                    connection = self.gateway.connect()
        except (OSError, http.client.HTTPException, AssertionError) as e:
            self.error = e
        finally:
            connection.close()

    def ask(self, connection, stream, model=MODEL):
        body = {"model": model, "stream": stream, "max_tokens": 8,
                "messages": [{"role": "user", "content": "x" * self.random.randrange(1, 4000)}]}
        connection.request("POST", "/v1/chat/completions", json.dumps(body),
                           {"Content-Type": "application/json"})
        return connection.getresponse()

    def plain(self, connection):
        response = self.ask(connection, False)
        answer = json.loads(response.read())
        self.count(response.status, answer)
        return True

    def stream(self, connection):
        response = self.ask(connection, True)
        text = response.read()
        self.count(response.status, text)
        if response.status == 200:
            assert b"[DONE]" in text or b'"error"' in text, text
        return True

    def leave(self, connection):
        self.ask(connection, True).read(10)
        self.left += 1
        return False

    def unknown(self, connection):
        response = self.ask(connection, False, model="nobody")
        response.read()
        assert response.status in (404, 503), response.status
        return True

    def count(self, status, answer):
        if status == 200:
            self.answered += 1
        else:
            assert status in (500, 502, 503), (status, answer)
            self.failed += 1


def meanwhile(gateway, doomed, stop):
    """Reloads, scrapes and looks at the status until it is told to stop; one engine is killed."""
    turn = 0
    while not stop.is_set():
        gateway.metrics_text()
        gateway.status()
        if turn % 5 == 0:
            assert gateway.reload()[0] == 200
        if turn == 8:
            doomed.kill()
        turn += 1
        stop.wait(0.01)


def test_everything_at_once():
    with Sim([MODEL], ttft="1ms", itl="200us") as one, Sim([MODEL], ttft="1ms", itl="200us") as two, \
            Sim([MODEL], ttft="1ms", itl="200us") as doomed, \
            Gateway([one, two, doomed], threads=4) as gateway:
        clients = [Client(gateway, n) for n in range(CLIENTS)]
        stop = threading.Event()
        errors = []

        def guard():
            try:
                meanwhile(gateway, doomed, stop)
            except Exception as e:  # pylint: disable=broad-except
                errors.append(e)

        disturber = threading.Thread(target=guard)
        for t in [*clients, disturber]:
            t.start()
        for t in clients:
            t.join()
        stop.set()
        disturber.join()
        assert not errors, errors
        assert not [c.error for c in clients if c.error]
        # One engine of three died; only what it was in the middle of may have failed.
        answered, failed = sum(c.answered for c in clients), sum(c.failed for c in clients)
        assert answered > 10 * max(failed, 1), (answered, failed)
        wait_until(lambda: all(e["requests_in_flight"] == 0 for e in gateway.status()["engines"]),
                   "nothing is in flight")
        wait_until(lambda: len(gateway.access_records()) >= CLIENTS * ROUNDS, "all access records")
        assert len(gateway.access_records()) == CLIENTS * ROUNDS
        for sim in (one, two):
            sim.wait(lambda s: s["running"] == 0 and s["waiting"] == 0)


def test_streams_while_it_drains():
    """SIGTERM amid streams: each ends whole, and the process ends with 0."""
    with Sim([MODEL], ttft="1ms", itl="5ms", output_tokens=40) as sim:
        gateway = Gateway([sim], threads=3)
        with gateway:
            answers = []

            def read():
                with gateway.stream("/v1/chat/completions",
                                    {"model": MODEL, "max_tokens": 40,
                                     "messages": [{"role": "user", "content": "x"}]}) as stream:
                    answers.append(stream.payloads()[-1])

            readers = [threading.Thread(target=read) for _ in range(12)]
            for t in readers:
                t.start()
            sim.wait(lambda s: s["running"] == 12)
            begin = time.monotonic()
            gateway.stop()
            assert time.monotonic() - begin < 25
            for t in readers:
                t.join()
            assert answers == ["[DONE]"] * 12
