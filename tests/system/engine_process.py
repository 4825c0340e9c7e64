"""busbar-engine as a child process, and a small HTTP client for it: what test_engine.py needs."""
import http.client
import json
import os
import pathlib
import re
import signal
import socket
import struct
import subprocess
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
ENGINE = os.environ.get("BUSBAR_ENGINE", str(ROOT / "build" / "busbar-engine"))
TINY = str(ROOT / "tests" / "data" / "gguf-tiny" / "tiny.gguf")
PATIENCE = 60  # seconds until a test gives up; never waited for when all is well


def wait_until(condition, what):
    """Polls a condition of the engine (a metric, a log line)."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        value = condition()
        if value:
            return value
        time.sleep(0.005)
    raise AssertionError(f"not within {PATIENCE} s: {what}")


class Engine:
    def __init__(self, *arguments, model=TINY):
        self.lines = []
        self.process = subprocess.Popen(
            [ENGINE, model, "--listen", "127.0.0.1:0", *arguments],
            stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()
        line = self.wait_line("listening on http://")
        self.port = int(re.search(r"127\.0\.0\.1:(\d+)", line).group(1))

    def _read(self):
        for line in self.process.stderr:
            self.lines.append(line.rstrip("\n"))

    def log(self):
        return "\n".join(self.lines)

    def wait_line(self, text):
        def found():
            for line in list(self.lines):
                if text in line:
                    return line
            if self.process.poll() is not None:
                self.reader.join()
                raise AssertionError(f"the engine ended: {self.log()}")
            return None
        return wait_until(found, f"log line {text!r}")

    def ready(self):
        self.wait_line(" ready: ")
        return self

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            code = self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise AssertionError(f"does not end: {self.log()}") from None
        self.reader.join()
        return code

    def __enter__(self):
        return self.ready()

    def __exit__(self, *_):
        assert self.stop() == 0, self.log()

    # ---- HTTP ----

    def request(self, method, path, body=None, headers=None):
        """Status, headers, body as text."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        text = body if isinstance(body, (str, bytes, type(None))) else json.dumps(body)
        connection.request(method, path, text, headers or {})
        answer = connection.getresponse()
        data = answer.read()
        connection.close()
        return answer.status, answer.headers, data.decode("utf-8")

    def post(self, path, body, headers=None):
        """The JSON of an answer that must be 200."""
        status, _, text = self.request("POST", path, body, headers)
        assert status == 200, text
        return json.loads(text)

    def refused(self, path, body, status):
        """The error object of an answer that must have this status."""
        got, headers, text = self.request("POST", path, body)
        assert got == status, text
        error = json.loads(text)["error"]
        assert set(error) == {"message", "type", "param", "code"}
        return error, headers

    def open_stream(self, path, body, receive_buffer=0):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        if receive_buffer:  # bytes; must be set before the connection is made
            connection.sock = socket.socket()
            connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
            connection.sock.connect(("127.0.0.1", self.port))
        connection.request("POST", path, json.dumps({**body, "stream": True}))
        answer = connection.getresponse()
        assert answer.status == 200, answer.read()
        assert answer.headers["Content-Type"].startswith("text/event-stream")
        return connection, answer

    def stream(self, path, body):
        """All events of a stream; the last must be [DONE]."""
        connection, answer = self.open_stream(path, body)
        events = list(read_events(answer))
        connection.close()
        assert events[-1] == "[DONE]"
        return [json.loads(event) for event in events[:-1]]

    def metrics(self):
        """{name with labels other than engine and model_name: value}"""
        _, _, text = self.request("GET", "/metrics")
        values = {}
        for line in text.splitlines():
            if line.startswith("#"):
                continue
            name, value = line.rsplit(" ", 1)
            name = re.sub(r'engine="0",model_name="[^"]*",?', "", name).replace("{}", "")
            values[name.replace("vllm:", "")] = float(value)
        return values

    def wait_metric(self, name, wanted):
        return wait_until(lambda: self.metrics()[name] == wanted, f"{name} = {wanted}")


def read_events(answer):
    """The data of each server-sent event until the stream ends."""
    while True:
        line = answer.readline()
        if not line:
            return
        assert line.startswith(b"data: "), line
        yield line[6:].decode("utf-8").rstrip("\n")
        assert answer.readline() == b"\n"


def unpack(data):
    """The part of MessagePack that KV events use."""
    value, rest = _unpack(memoryview(data))
    assert len(rest) == 0
    return value


def _unpack(d):
    tag, d = d[0], d[1:]
    if tag < 0x80:
        return tag, d
    if tag < 0x90:
        return _unpack_map(d, tag & 15)
    if tag < 0xA0:
        return _unpack_array(d, tag & 15)
    if tag < 0xC0:
        return bytes(d[:tag & 31]).decode(), d[tag & 31:]
    if tag in (0xC0, 0xC2, 0xC3):
        return {0xC0: None, 0xC2: False, 0xC3: True}[tag], d
    if tag == 0xCB:
        return struct.unpack(">d", d[:8])[0], d[8:]
    if 0xCC <= tag <= 0xCF:
        size = 1 << (tag - 0xCC)
        return int.from_bytes(d[:size], "big"), d[size:]
    sizes = {0xD9: 1, 0xDA: 2, 0xDC: 2, 0xDD: 4, 0xDE: 2, 0xDF: 4}
    size = sizes[tag]
    count, d = int.from_bytes(d[:size], "big"), d[size:]
    if tag in (0xD9, 0xDA):
        return bytes(d[:count]).decode(), d[count:]
    return _unpack_array(d, count) if tag in (0xDC, 0xDD) else _unpack_map(d, count)


def _unpack_array(d, count):
    items = []
    for _ in range(count):
        item, d = _unpack(d)
        items.append(item)
    return items, d


def _unpack_map(d, count):
    items = {}
    for _ in range(count):
        key, d = _unpack(d)
        items[key], d = _unpack(d)
    return items, d
