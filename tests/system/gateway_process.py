"""Starts and stops `busbar serve` for system tests, and talks to it.

    with Sim(["chat"]) as sim, Gateway([sim]) as gateway:
        status, headers, body = gateway.post("/v1/chat/completions", {...})

The program is $BUSBAR, or build/busbar. Ports come from the kernel and are read from the log. On
leaving, the gateway must end with 0 and without a report of a sanitizer.
"""

import contextlib
import http.client
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time

from sim_process import busbar_path

ROOT = pathlib.Path(__file__).resolve().parents[2]
PATIENCE = 30  # seconds until a test gives up; never waited for when all is well
SANITIZER = re.compile(r"AddressSanitizer|LeakSanitizer|ThreadSanitizer|runtime error:|assert")

# Probes that are quick enough for tests; what a test does not set itself comes from here.
QUICK_PROBE = {"interval": "50ms", "timeout": "2s", "metrics_interval": "100ms"}


def wait_until(condition, what, patience=PATIENCE):
    """The first true value of the condition. `what` is a text, or a function that makes one."""
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        value = condition()
        if value:
            return value
        time.sleep(0.003)
    raise AssertionError(f"not within {patience} s: {what() if callable(what) else what}")


class UnixConnection(http.client.HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, path, timeout=PATIENCE):
        super().__init__("localhost", timeout=timeout)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


class Gateway:
    def __init__(self, engines=(), config=None, listen=("127.0.0.1:0",), admin="127.0.0.1:0",
                 wait=True, **options):
        """Engines: Sim objects or URLs. `config` is a dict (JSON is YAML) or the file's text. Options
        are those of the command: policy="random", threads=2."""
        self.folder = tempfile.mkdtemp(prefix="busbar-")
        self.config_path = os.path.join(self.folder, "busbar.yaml")
        self.access_path = os.path.join(self.folder, "access.log")
        self.urls = [e if isinstance(e, str) else e.url for e in engines]
        self.wait = wait
        self.process = None
        self.api = []           # addresses as the log tells them
        self.admin = None
        self.port = self.admin_port = None
        self.lines = []
        self.args = [busbar_path(), "serve", "--access-log", self.access_path, "--admin", admin]
        if isinstance(config, str):
            self.write_config(config)
        else:
            self.write_config({"probe": QUICK_PROBE, **(config or {})})
        self.args += ["-c", self.config_path]
        for address in listen:
            self.args += ["--listen", address]
        for url in self.urls:
            self.args += ["--engine", url]
        for name, value in options.items():
            self.args += ["--" + name.replace("_", "-"), str(value)]

    def write_config(self, config):
        text = config if isinstance(config, str) else json.dumps(config, indent=1)
        with open(self.config_path, "w", encoding="utf-8") as f:
            f.write(text)

    # ---- life ----

    def start(self):
        self.process = subprocess.Popen(self.args, stderr=subprocess.PIPE,
                                        stdout=subprocess.DEVNULL, text=True)
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()
        self.wait_log("metrics, health and status on ")
        self.api = [m.group(1) for m in (re.search(r"API on (?:http://)?([^\"]+)", line)
                                         for line in list(self.lines)) if m]
        self.admin = re.search(r"status on (?:http://)?([^\"]+)",
                               self.wait_log("metrics, health and status on ")).group(1)
        if not self.api[0].startswith("unix:"):
            self.port = int(self.api[0].rsplit(":", 1)[1])
            self.url = "http://" + self.api[0]
        if not self.admin.startswith("unix:"):
            self.admin_port = int(self.admin.rsplit(":", 1)[1])
        if self.wait and self.urls:
            self.wait_ready()
        return self

    def _read(self):
        for line in self.process.stderr:
            self.lines.append(line.rstrip("\n"))

    def log(self):
        return "\n".join(self.lines)

    def wait_log(self, text):
        """The first log line that holds the text; the line as it is, JSON or not."""
        def found():
            for line in list(self.lines):
                if text in line:
                    return line
            if self.process.poll() is not None:
                self.reader.join()
                if not any(text in line for line in self.lines):
                    raise AssertionError(f"the gateway ended without {text!r}: {self.log()}")
            return None
        return wait_until(found, lambda: f"log line {text!r} in {self.log()}")

    def signal(self, number):
        self.process.send_signal(number)

    def wait_end(self):
        """The exit code; no sanitizer may have said anything."""
        try:
            code = self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise AssertionError(f"the gateway does not end: {self.log()}") from None
        self.reader.join()
        self.process.stderr.close()
        self.process = None
        assert not SANITIZER.search(self.log()), self.log()
        return code

    def stop(self):
        """SIGTERM; it must end with 0."""
        if self.process is None:
            return
        self.signal(signal.SIGTERM)
        code = self.wait_end()
        assert code == 0, (code, self.log())

    def __enter__(self):
        try:
            return self.start()
        except BaseException:
            self._remove()
            raise

    def __exit__(self, *exc):
        try:
            if exc[0] is None:
                self.stop()
        finally:
            self._remove()

    def _remove(self):
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None
        shutil.rmtree(self.folder, ignore_errors=True)

    # ---- the API ----

    def connect(self, timeout=PATIENCE):
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)

    def request(self, method, path, body=None, headers=None):
        """One request on a connection of its own: (status, headers, bytes). A body that is neither
        bytes nor text goes as JSON."""
        headers = dict(headers or {})
        if body is not None and not isinstance(body, (bytes, str)):
            body = json.dumps(body)
            headers.setdefault("Content-Type", "application/json")
        with contextlib.closing(self.connect()) as connection:
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            return response.status, response.headers, response.read()

    def get(self, path, headers=None):
        return self.request("GET", path, None, headers)

    def post(self, path, body, headers=None):
        return self.request("POST", path, body, headers)

    def post_json(self, path, body, headers=None):
        """The JSON of an answer that must be 200."""
        status, _, answer = self.post(path, body, headers)
        assert status == 200, (status, answer)
        return json.loads(answer)

    def error(self, method, path, body=None, headers=None):
        """(status, headers, error object) of an answer in OpenAI's error form."""
        status, got, answer = self.request(method, path, body, headers)
        assert status >= 400, (status, answer)
        assert got["content-type"] == "application/json"
        error = json.loads(answer)["error"]
        assert set(error) == {"message", "type", "param", "code"}, error
        assert error["message"]
        return status, got, error

    @contextlib.contextmanager
    def stream(self, path, body, headers=None):
        """A stream that is being read: see Stream."""
        connection = self.connect()
        try:
            connection.request("POST", path, json.dumps({**body, "stream": True}),
                               {"Content-Type": "application/json", **(headers or {})})
            yield Stream(connection, connection.getresponse())
        finally:
            connection.close()

    def raw(self, data, patience=PATIENCE):
        """Sends bytes and returns everything that comes until the gateway closes."""
        with self.raw_connect(patience) as c:
            c.sendall(data)
            got = b""
            while piece := c.recv(65536):
                got += piece
            return got

    def raw_connect(self, patience=PATIENCE):
        return socket.create_connection(("127.0.0.1", self.port), timeout=patience)

    # ---- the admin API ----

    def admin_request(self, method, path, body=None):
        if self.admin.startswith("unix:"):
            connection = UnixConnection(self.admin[5:])
        else:
            host, port = self.admin.rsplit(":", 1)
            connection = http.client.HTTPConnection(host.strip("[]"), int(port), timeout=PATIENCE)
        with contextlib.closing(connection):
            connection.request(method, path, body)
            response = connection.getresponse()
            return response.status, response.headers, response.read()

    def status(self):
        code, _, body = self.admin_request("GET", "/admin/status")
        assert code == 200, body
        return json.loads(body)

    def engine(self, url):
        """An engine's row of the status."""
        return next(e for e in self.status()["engines"] if e["url"] == url)

    def wait_engine(self, url, state):
        wait_until(lambda: self.engine(url)["state"] == state, f"{url} is {state}")

    def wait_ready(self, engines=None):
        """Until that many engines are ready (all of those given at the start)."""
        wanted = len(self.urls) if engines is None else engines
        wait_until(lambda: sum(e["state"] == "ready" for e in self.status()["engines"]) >= wanted,
                   lambda: f"{wanted} engines ready; {self.log()}")

    def wait_model(self, name):
        wait_until(lambda: any(m["name"] == name and m["engines_ready"]
                               for m in self.status()["models"]), f"the model {name}")

    def metrics_text(self):
        code, headers, body = self.admin_request("GET", "/metrics")
        assert code == 200
        assert headers["content-type"].startswith("text/plain; version=0.0.4")
        return body.decode()

    def metrics(self):
        """{"name" or 'name{labels}': value}"""
        values = {}
        for line in self.metrics_text().splitlines():
            if line and not line.startswith("#"):
                name, value = line.rsplit(" ", 1)
                values[name] = float(value)
        return values

    def metric(self, name, **labels):
        """Sum over all series of that name that have these labels."""
        total = 0.0
        for series, value in self.metrics().items():
            base, _, rest = series.partition("{")
            if base == name and all(f'{k}="{v}"' in rest for k, v in labels.items()):
                total += value
        return total

    def reload(self):
        """(status, report)"""
        code, _, body = self.admin_request("POST", "/admin/reload")
        answer = json.loads(body)
        assert answer["ok"] == (code == 200)
        return code, answer["report"]

    # ---- access records ----

    def access_records(self):
        with open(self.access_path, encoding="utf-8") as f:
            return [json.loads(line) for line in f if line.endswith("\n")]

    def wait_record(self, request_id):
        """The access record of a request, by its x-request-id."""
        return wait_until(lambda: next((r for r in self.access_records() if r["id"] == request_id),
                                       None), f"the access record of {request_id}")


class Stream:
    """An answer that comes as server-sent events."""

    def __init__(self, connection, response):
        self.connection = connection
        self.response = response
        self.status = response.status
        self.headers = response.headers

    def event(self):
        """The next event as (name or None, data or None, raw text); None at the end of the stream."""
        raw, name, data = b"", None, None
        while True:
            line = self.response.readline()
            if not line:
                assert raw == b"", raw  # a stream must not end inside of an event
                return None
            raw += line
            if line in (b"\n", b"\r\n"):
                if raw.strip():
                    return name, data, raw.decode()
                continue
            if line.startswith(b"event: "):
                name = line[7:].decode().strip()
            elif line.startswith(b"data: "):
                data = line[6:].decode().rstrip("\r\n")

    def events(self):
        while (event := self.event()) is not None:
            yield event

    def payloads(self):
        """The data of all events to the end: JSON, or "[DONE]"."""
        return [d if d == "[DONE]" else json.loads(d) for _, d, _ in self.events() if d is not None]

    def first_payload(self):
        while True:
            _, data, _ = self.event()
            if data is not None:
                return json.loads(data)


def received(sim):
    """The requests that a simulated engine has got, without probes. Of bodies over 1 MiB it keeps
    only the length."""
    return [r for r in sim.requests() if r.get("method", "POST") == "POST"]


def content_of(chunks):
    """What chat chunks say."""
    return "".join(c["delta"].get("content") or "" for chunk in chunks if chunk != "[DONE]"
                   for c in chunk.get("choices", []))
