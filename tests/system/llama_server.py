"""llama.cpp's own HTTP server, as the package xllamacpp brings it, in a process of its own.

    with LlamaServer(TINY) as server:
        server.url

As a program (python llama_server.py MODEL CONTEXT SLOTS) it prints its address and serves until its
input ends."""

import contextlib
import http.client
import importlib.util
import json
import pathlib
import subprocess
import sys
import threading

ROOT = pathlib.Path(__file__).resolve().parents[2]
TINY = str(ROOT / "tests" / "data" / "gguf-tiny" / "tiny.gguf")


def is_installed():
    return importlib.util.find_spec("xllamacpp") is not None


class LlamaServer:
    def __init__(self, model=TINY, context=16384, slots=2):
        self.args = [sys.executable, __file__, model, str(context), str(slots)]

    def __enter__(self):
        self.process = subprocess.Popen(self.args, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=subprocess.DEVNULL, text=True)
        for line in self.process.stdout:
            if line.startswith("listening on "):
                self.url = line.split()[-1]
                self.port = int(self.url.rsplit(":", 1)[1])
                # what it prints later must not fill the pipe
                threading.Thread(target=self.process.stdout.read, daemon=True).start()
                return self
        raise RuntimeError(f"llama-server did not start: exit code {self.process.wait()}")

    def kill(self):
        self.process.kill()
        self.process.wait()

    def __exit__(self, *_):
        self.kill()

    def request(self, method, path, body=None):
        """(status, JSON)"""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        with contextlib.closing(connection):
            connection.request(method, path, None if body is None else json.dumps(body),
                               {"Content-Type": "application/json"})
            response = connection.getresponse()
            return response.status, json.loads(response.read())

    def busy(self):
        """How many slots work, and the tokens that they have written."""
        slots = [s for s in self.request("GET", "/slots")[1] if s["is_processing"]]
        return len(slots), sum(s["next_token"][0]["n_decoded"] for s in slots)


def serve(model, context, slots):
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = model
    params.n_ctx, params.n_parallel, params.port = int(context), int(slots), 0
    params.endpoint_metrics = params.endpoint_slots = True
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
    server = xllamacpp.Server(params)
    print(f"listening on {server.listening_address}", flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    serve(*sys.argv[1:4])
