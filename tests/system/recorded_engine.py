"""An engine that answers with bytes that were recorded, or written by hand: for streams that the
simulated engine does not make (tool calls, log probabilities, odd framing).

    with RecordedEngine(stream=b"data: …") as engine:
        engine.url, engine.bodies

It lists one model, "smol", and answers every POST with the stream, cut into pieces of the given size,
each in a chunk and a TCP segment of its own. `prefill` is how many seconds it takes to begin."""

import json
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

MODELS = {"object": "list", "data": [{"id": "smol", "object": "model", "owned_by": "vllm"}]}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def setup(self):
        super().setup()
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def do_GET(self):
        body = json.dumps(MODELS).encode() if self.path == "/v1/models" else b""
        self.send_response(200 if self.path in ("/v1/models", "/health") else 404)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self):
        recorded = self.server.recorded
        recorded.bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
        time.sleep(recorded.prefill)
        self.send_response(200)
        self.send_header("Content-Type", recorded.content_type)
        for name, value in recorded.headers:
            self.send_header(name, value)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        data, size = recorded.stream, recorded.piece or len(recorded.stream)
        for i in range(0, len(data), size):
            piece = data[i:i + size]
            self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
            self.wfile.flush()
        self.wfile.write(b"0\r\n\r\n")


class RecordedEngine:
    def __init__(self, stream, piece=None, content_type="text/event-stream", headers=(),
                 prefill=0):
        self.stream, self.piece, self.prefill = stream, piece, prefill
        self.content_type, self.headers = content_type, headers
        self.bodies = []

    def __enter__(self):
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.server.recorded = self
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True)
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()
