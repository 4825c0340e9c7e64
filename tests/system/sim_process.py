"""Starts and stops simulated engines (`busbar sim serve`) for system tests.

    with Sim(models=["chat"], ttft="1ms") as sim:
        sim.fault("cut:3")
        ...
        sim.wait(lambda s: s["running"] == 0)

The program is $BUSBAR, or build/busbar. Ports come from the kernel.
"""

import http.client
import json
import os
import pathlib
import queue
import signal
import subprocess
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]


def busbar_path():
    return os.environ.get("BUSBAR") or str(ROOT / "build" / "busbar")


class Sim:
    def __init__(self, models=("sim",), listen="127.0.0.1:0", **options):
        """Options are those of the command: itl="1ms", max_seqs=2, fault=["cut", "slow:2"], stamp=True."""
        self.models = list(models)
        self.args = [busbar_path(), "sim", "serve", "--listen", listen]
        for model in self.models:
            self.args += ["--model", model]
        for name, value in options.items():
            flag = "--" + name.replace("_", "-")
            if value is True:
                self.args.append(flag)
                continue
            for one in value if isinstance(value, (list, tuple)) else [value]:
                self.args += [flag, str(one)]
        self.process = None
        self.port = None
        self.url = None

    def start(self):
        self.process = subprocess.Popen(self.args, stdout=subprocess.PIPE, text=True)
        lines = queue.Queue()
        threading.Thread(target=lambda: lines.put(self.process.stdout.readline()), daemon=True).start()
        line = lines.get(timeout=20)
        if not line.startswith("listening on "):
            self.kill()
            raise RuntimeError("the simulated engine did not start: %r" % line)
        self.url = line.split()[-1]
        if self.url.startswith("http://"):
            self.port = int(self.url.rsplit(":", 1)[1])
        return self

    def stop(self):
        """SIGTERM; returns the exit code."""
        if self.process is None:
            return None
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            code = self.process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self.kill()
            raise
        self.process.stdout.close()
        self.process = None
        return code

    def kill(self):
        """SIGKILL: as when the machine is gone."""
        if self.process is None:
            return
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()
        self.process = None

    def __enter__(self):
        return self.start()

    def __exit__(self, *exc):
        self.stop() if exc[0] is None else self.kill()

    def connect(self, timeout=20):
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)

    def request(self, method, path, body=None, headers=None, timeout=20):
        """One request on a connection of its own: (status, headers, bytes). A body that is no bytes goes as JSON."""
        connection = self.connect(timeout)
        try:
            if body is not None and not isinstance(body, (bytes, str)):
                body = json.dumps(body)
            connection.request(method, path, body, headers or {})
            response = connection.getresponse()
            return response.status, response.headers, response.read()
        finally:
            connection.close()

    def get_json(self, path):
        status, _, body = self.request("GET", path)
        assert status == 200, (path, status, body)
        return json.loads(body)

    def post_json(self, path, body, headers=None):
        status, _, answer = self.request("POST", path, body, headers)
        return status, json.loads(answer)

    def state(self):
        return self.get_json("/sim/state")

    def requests(self):
        """The last 64 requests: method, path, headers (a list of pairs), body (text)."""
        return self.get_json("/sim/requests")

    def fault(self, spec=""):
        """From now on; the empty text means none."""
        status, _, body = self.request("POST", "/sim/fault", spec)
        assert status == 200, body

    def wait(self, condition, timeout=20):
        """Until the state fulfils the condition; returns the state."""
        deadline = time.monotonic() + timeout
        while True:
            state = self.state()
            if condition(state):
                return state
            assert time.monotonic() < deadline, state
            time.sleep(0.002)


def sse_events(data):
    """The payloads of a stream's `data:` lines, parsed where they are JSON."""
    events = []
    for block in data.decode().split("\n\n"):
        for line in block.split("\n"):
            if line.startswith("data: "):
                text = line[6:]
                events.append(text if text == "[DONE]" else json.loads(text))
    return events
