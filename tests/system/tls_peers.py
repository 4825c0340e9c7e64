"""What system tests of TLS need: an authority of their own, a gateway that is spoken to through TLS,
and a TLS server that stands before an engine.

    authority = Authority(folder)
    cert = authority.issue("localhost", "DNS:localhost,IP:127.0.0.1")
    with Sim(["m"]) as sim, TlsGateway(authority, cert, [sim]) as g:
        g.get("/v1/models")
"""

import asyncio
import datetime
import http.client
import pathlib
import re
import shutil
import socket
import ssl
import subprocess
import threading
import types

from gateway_process import PATIENCE, Gateway

CONFIG = """
[ca]
default_ca = here
[here]
database = index.txt
new_certs_dir = issued
certificate = ca.pem
private_key = ca.key
rand_serial = yes
default_md = sha256
policy = any
unique_subject = no
[any]
commonName = supplied
"""


def stamp(days):
    when = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(days=days)
    return when.strftime("%Y%m%d%H%M%SZ")


class Authority:
    """Signs certificates by the openssl program. `path` is its own certificate."""

    def __init__(self, folder, name="ca"):
        self.folder = pathlib.Path(folder) / name
        (self.folder / "issued").mkdir(parents=True)
        (self.folder / "index.txt").touch()
        (self.folder / "ca.cnf").write_text(CONFIG, encoding="ascii")
        self.path = str(self.folder / "ca.pem")
        self._openssl("req", "-x509", *self._new_key("ca"), "-out", "ca.pem", "-subj", f"/CN={name}")

    def _new_key(self, name, kind="ec"):
        chosen = ["ec", "-pkeyopt", "ec_paramgen_curve:P-256"] if kind == "ec" else [kind]
        return ["-newkey", *chosen, "-nodes", "-keyout", f"{name}.key"]

    def _openssl(self, *arguments):
        done = subprocess.run(["openssl", *arguments], cwd=self.folder, capture_output=True,
                              text=True, check=False)
        assert done.returncode == 0, done.stderr

    def issue(self, name, alt_names, days=(-1, 30), kind="ec"):
        """A certificate with its key, P-256 or "rsa:2048": .cert and .key are paths."""
        (self.folder / f"{name}.ext").write_text(
            f"basicConstraints=CA:FALSE\nsubjectAltName={alt_names}\n", encoding="ascii")
        self._openssl("req", "-new", *self._new_key(name, kind), "-out", f"{name}.csr", "-subj", f"/CN={name}")
        self._openssl("ca", "-batch", "-config", "ca.cnf", "-in", f"{name}.csr", "-out", f"{name}.pem",
                      "-extfile", f"{name}.ext", "-startdate", stamp(days[0]), "-enddate",
                      stamp(days[1]), "-notext")
        return types.SimpleNamespace(cert=str(self.folder / f"{name}.pem"),
                                     key=str(self.folder / f"{name}.key"), name=name)

    def client_context(self, shown=None, **limits):
        """What a Python client trusts. `shown` is a certificate of its own."""
        context = ssl.create_default_context(cafile=self.path)
        if shown:
            context.load_cert_chain(shown.cert, shown.key)
        for key, value in limits.items():
            setattr(context, key, value)
        return context


class TlsConnection(http.client.HTTPSConnection):
    """To 127.0.0.1, asking for the certificate of `name`."""

    def __init__(self, port, context, name="localhost", timeout=PATIENCE):
        super().__init__(name, port, timeout=timeout, context=context)
        self.context, self.name = context, name

    def connect(self):
        raw = socket.create_connection(("127.0.0.1", self.port), timeout=self.timeout)
        self.sock = self.context.wrap_socket(raw, server_hostname=self.name)


class TlsGateway(Gateway):
    """A gateway with TLS on its API listener. `admin` of the configuration stays plain unless
    admin_tls is given, and then it is spoken to through TLS as well."""

    def __init__(self, authority, cert, engines=(), config=None, shown=None, **options):
        config = dict(config or {})
        config["tls"] = {"cert": cert.cert, "key": cert.key, **config.get("tls", {})}
        self.authority, self.shown = authority, shown
        self.admin_is_tls = "admin_tls" in config
        super().__init__(engines, config=config, **options)

    def start(self):
        super().start()
        if self.port is not None:
            self.url = f"https://localhost:{self.port}"
        if self.admin_is_tls:
            self.admin_port = int(self.admin.rsplit(":", 1)[1])
        return self

    def context(self, **limits):
        return self.authority.client_context(self.shown, **limits)

    def connect(self, timeout=PATIENCE):
        return TlsConnection(self.port, self.context(), timeout=timeout)

    def raw_connect(self, patience=PATIENCE):
        connection = TlsConnection(self.port, self.context(), timeout=patience)
        connection.connect()
        return connection.sock

    def plain_connect(self, patience=PATIENCE):
        return socket.create_connection(("127.0.0.1", self.port), timeout=patience)

    def certificate(self, name="localhost", trust=None):
        """The names in the certificate that is given to someone who asks for `name`."""
        context = trust or self.context()
        context.check_hostname = False
        with self.plain_connect() as raw, context.wrap_socket(raw, server_hostname=name) as c:
            return [value for kind, value in c.getpeercert()["subjectAltName"] if kind == "DNS"]

    def admin_request(self, method, path, body=None):
        if not self.admin_is_tls:
            return super().admin_request(method, path, body)
        port = int(re.search(r":(\d+)$", self.admin).group(1))
        connection = TlsConnection(port, self.context())
        try:
            connection.request(method, path, body)
            response = connection.getresponse()
            return response.status, response.headers, response.read()
        finally:
            connection.close()


class TlsFront:
    """A TLS server that passes everything on to a plain port: what makes an engine an https:// one.
    `client_ca`: it wants to see certificates. Handshakes that failed are in `refused`, the names that
    clients asked for in `asked`."""

    def __init__(self, port, cert, client_ca=None):
        self.target = port
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(cert.cert, cert.key)
        self.context.sni_callback = lambda _socket, name, _context: self.asked.append(name)
        if client_ca:
            self.context.load_verify_locations(client_ca)
            self.context.verify_mode = ssl.CERT_REQUIRED
        self.asked, self.subjects = [], []
        self.port = self.loop = None
        self.tasks = set()

    async def _pump(self, reader, writer):
        try:
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        except (OSError, ssl.SSLError):
            pass
        finally:
            writer.close()

    async def _serve(self, reader, writer):
        peer = writer.get_extra_info("peercert")
        if peer:
            self.subjects.append(dict(pair[0] for pair in peer["subject"])["commonName"])
        try:
            engine_reader, engine_writer = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:
            writer.close()
            return
        await asyncio.gather(self._pump(reader, engine_writer), self._pump(engine_reader, writer))

    def _run(self, ready):
        self.loop = asyncio.new_event_loop()
        self.loop.set_exception_handler(lambda _loop, _context: None)  # peers that give up a handshake

        async def start():
            server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self.context)
            self.port = server.sockets[0].getsockname()[1]
            ready.set()
        self.loop.create_task(start())
        self.loop.run_forever()
        for task in asyncio.all_tasks(self.loop):
            task.cancel()
        self.loop.run_until_complete(asyncio.sleep(0))
        self.loop.close()

    def __enter__(self):
        ready = threading.Event()
        self.thread = threading.Thread(target=self._run, args=(ready,), daemon=True)
        self.thread.start()
        assert ready.wait(PATIENCE)
        return self

    def __exit__(self, *exc):
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(PATIENCE)

    def url(self, host="localhost"):
        return f"https://{host}:{self.port}"


def program(name):
    """The path of a program, or None."""
    return shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin")
