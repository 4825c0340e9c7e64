"""An engine of raw sockets: it answers probes like a plain OpenAI server, notes what it is sent byte for
byte, and answers with whatever bytes a test wants.

    with RawEngine() as engine:
        engine.answer = [b"HTTP/1.1 200 OK\\r\\n…"]
"""

import json
import socket
import threading

MODELS = json.dumps({"object": "list", "data": [{"id": "m", "object": "model", "owned_by": "us"}]}).encode()
GOOD = json.dumps({"id": "c", "object": "chat.completion", "created": 1, "model": "m", "choices": [
    {"index": 0, "message": {"role": "assistant", "content": "ok"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}}).encode()


def plain(body, status=b"200 OK", fields=b"", kind=b"application/json"):
    return (b"HTTP/1.1 " + status + b"\r\nContent-Type: " + kind + b"\r\nContent-Length: %d\r\n" % len(body)
            + fields + b"\r\n" + body)


class Post:
    """A request as it came."""

    def __init__(self, connection, line, head, body):
        self.connection = connection  # the number of its connection
        self.line, self.head, self.body = line, head, body


class Broken(Exception):
    """The gateway itself sent something that is no clean HTTP."""


class Reader:
    """Takes strictly framed requests off a socket: a gateway that sends anything else is wrong."""

    def __init__(self, sock):
        self.sock = sock
        self.data = b""

    def fill(self):
        piece = self.sock.recv(65536)
        self.data += piece
        return bool(piece)

    def request(self):
        """(line, head, body), or None at the end."""
        while b"\r\n\r\n" not in self.data:
            if not self.fill():
                if self.data:
                    raise Broken(f"a cut request: {self.data[:200]!r}")
                return None
        head, self.data = self.data.split(b"\r\n\r\n", 1)
        line, *fields = head.split(b"\r\n")
        names = [f.split(b":", 1)[0].lower() for f in fields]
        if names.count(b"host") != 1 or b"transfer-encoding" in names or names.count(b"content-length") > 1:
            raise Broken(f"framing: {head!r}")
        if b"\r" in head.replace(b"\r\n", b"") or b"\n" in head.replace(b"\r\n", b""):
            raise Broken(f"bare line ends: {head!r}")
        length = next((int(f.split(b":")[1]) for f in fields if f.lower().startswith(b"content-length:")), 0)
        while len(self.data) < length:
            if not self.fill():
                raise Broken("a cut body")
        body, self.data = self.data[:length], self.data[length:]
        return line, head.lower() + b"\r\n", body


class RawEngine:
    def __init__(self):
        self.answer = None       # pieces for the next POSTs; None: a good answer
        self.closes = False      # the connection after such an answer
        self.posts = []
        self.broken = []
        self.connections = 0
        self.ended = {}          # number of a connection: bytes that came behind its answer
        self.lock = threading.Lock()
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.url = "http://127.0.0.1:%d" % self.listener.getsockname()[1]

    def __enter__(self):
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *exc):
        self.listener.close()

    def _accept(self):
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            with self.lock:
                self.connections += 1
                number = self.connections
            threading.Thread(target=self._serve, args=(sock, number), daemon=True).start()

    def _serve(self, sock, number):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        reader = Reader(sock)
        try:
            while (request := reader.request()) is not None:
                if not self._reply(sock, number, *request):
                    break
        except Broken as e:
            self.broken.append(str(e))
        except OSError:
            pass
        finally:
            self.ended[number] = True
            sock.close()

    def _reply(self, sock, number, line, head, body):
        """False: the connection is over."""
        if not line.startswith(b"POST "):
            if line.startswith(b"GET /v1/models "):
                sock.sendall(plain(MODELS))
            else:
                sock.sendall(plain(b'{"detail":"Not Found"}', b"404 Not Found"))
            return True
        pieces, closes = self.answer, self.closes
        with self.lock:
            self.posts.append(Post(number, line, head, body))
        for piece in pieces if pieces is not None else [plain(GOOD)]:
            sock.sendall(piece)
        if closes:
            sock.shutdown(socket.SHUT_WR)
        return True

    def take_posts(self):
        with self.lock:
            posts, self.posts = self.posts, []
        return posts
