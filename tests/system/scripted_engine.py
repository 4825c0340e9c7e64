"""An engine whose every byte a test decides, for answers that no well-behaved server gives.

    def script(engine, conn, request):
        conn.sendall(b"HTTP/1.1 200 OK\\r\\nContent-Length: 2\\r\\n\\r\\n{}")

    with ScriptedEngine(script) as engine, Gateway(config=engine.config()) as gateway: ...

Probes (GET) are answered by the class itself: it looks like a plain OpenAI server with one model.
The script runs once for each other request, in a thread of its connection. It may keep the
connection (then the next request is read from it), close it, or return "close".
"""

import re
import socket
import threading

MODELS = b'{"object":"list","data":[{"id":"m","object":"model","created":1,"owned_by":"t"}]}'


def answer(body, status="200 OK", kind="application/json", more=""):
    """A complete answer with its length."""
    return (f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n"
            f"{more}\r\n").encode() + body


def chunk(data):
    return b"%x\r\n%s\r\n" % (len(data), data)


STREAM_HEAD = (b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
               b"Transfer-Encoding: chunked\r\n\r\n")


def event(text, finish="null"):
    return (b'data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"m","choices":'
            b'[{"index":0,"delta":{"content":"%s"},"finish_reason":%s}]}\n\n'
            % (text.encode(), finish.encode()))


class Request:
    def __init__(self, head, body):
        self.head = head
        self.body = body
        self.method, self.target, _ = head.split(b"\r\n", 1)[0].decode().split(" ")


class ScriptedEngine:
    def __init__(self, script, reads_body=True, backlog=128):
        self.script = script
        self.reads_body = reads_body
        self.requests = []      # those that the script got
        self.connections = 0    # that carried such a request
        self.opened = 0         # all of them
        self.lock = threading.Lock()
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=backlog)
        self.port = self.listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.open = set()
        self.carriers = set()
        self.ended = False

    def config(self, **more):
        """A configuration with this engine alone; probes are quick."""
        return {"engines": [{"url": self.url, "kind": "openai"}],
                "probe": {"interval": "50ms", "timeout": "2s", "metrics_interval": "1h"}, **more}

    def __enter__(self):
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *exc):
        self.ended = True
        self.listener.close()
        with self.lock:
            for conn in self.open:
                try:
                    conn.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass

    def posting(self):
        """Open connections that have carried such a request."""
        with self.lock:
            return len(self.carriers & self.open)

    def _accept(self):
        while not self.ended:
            try:
                conn, _ = self.listener.accept()
            except OSError:
                return
            with self.lock:
                self.open.add(conn)
                self.opened += 1
            threading.Thread(target=self._serve, args=(conn,), daemon=True).start()

    def _serve(self, conn):
        had_post = False
        pending = b""
        try:
            while True:
                while b"\r\n\r\n" not in pending:
                    piece = conn.recv(65536)
                    if not piece:
                        return
                    pending += piece
                head, pending = pending.split(b"\r\n\r\n", 1)
                length = int((re.search(rb"(?i)\r\ncontent-length: *(\d+)", head) or [0, 0])[1])
                while self.reads_body and len(pending) < length:
                    piece = conn.recv(1 << 20)
                    if not piece:
                        return
                    pending += piece
                request = Request(head, pending[:length])
                pending = pending[length:]
                if request.method == "GET":
                    conn.sendall(answer(MODELS) if request.target == "/v1/models"
                                 else answer(b"{}", "404 Not Found"))
                    continue
                with self.lock:
                    self.connections += not had_post
                    had_post = True
                    self.carriers.add(conn)
                    self.requests.append(request)
                if self.script(self, conn, request) == "close":
                    return
        except OSError:
            pass
        finally:
            with self.lock:
                self.open.discard(conn)
            conn.close()
