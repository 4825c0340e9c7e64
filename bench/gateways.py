"""The gateways that can be measured, and how each is started.

Adding one is one entry in GATEWAYS (and a file in conf/ if it wants one).
"""
import http.client
import os
import shutil
import socket
import subprocess
import sys
import time

from processes import Process

HERE = os.path.dirname(os.path.abspath(__file__))
FIRST_PORT = 27200
BACKEND_PORT = 27199
TLS_PORT = 27220
KEY = "sk-local-0123456789abcdef0123456789"
HEADERS = {"Content-Type": "application/json", "Authorization": f"Bearer {KEY}"}

# command: what is run; {name} is filled in. Absent: the backend itself is measured.
# program: what must be on the machine. package: where it comes from (Debian), for the message.
# pip: what goes into a virtual environment of its own.
# conf: a file of conf/ that is filled in. skip: steps it cannot do.
# tls_conf, tls_options: what --tls adds; has_tls: its conf has a place for it.
# wrapped_options: without them a tool that counts cannot do its work.
GATEWAYS = {
    "direct": {},
    "busbar": {
        "program": "{busbar}",
        "command": ["{busbar}", "serve", "--listen", "127.0.0.1:{port}", "--admin",
                    "127.0.0.1:{admin_port}", "--threads", "1", "--engine", "{backend}"],
        "tls_conf": "busbar-tls.yaml", "tls_options": ["-c", "{work}/busbar-tls.yaml"],
        "wrapped_options": ["--no-sandbox"],
    },
    # With a tenant, whose key, limits and budget are looked at for each request.
    "busbar_keys": {
        "program": "{busbar}", "conf": "busbar-keys.yaml",
        "command": ["{busbar}", "serve", "--listen", "127.0.0.1:{port}", "--admin",
                    "127.0.0.1:{admin_port}", "--threads", "1", "--engine", "{backend}",
                    "-c", "{work}/busbar-keys.yaml"],
        "wrapped_options": ["--no-sandbox"],
    },
    "busbar_journal": {
        "program": "{busbar}", "conf": "busbar-journal.yaml",
        "command": ["{busbar}", "serve", "--listen", "127.0.0.1:{port}", "--admin",
                    "127.0.0.1:{admin_port}", "--threads", "1", "--engine", "{backend}",
                    "-c", "{work}/busbar-journal.yaml"],
        "wrapped_options": ["--no-sandbox"],
    },
    "nginx": {
        "program": "nginx", "package": "nginx-light", "conf": "nginx.conf", "has_tls": True,
        "command": ["nginx", "-p", "{work}", "-e", "{work}/nginx-error.log", "-c",
                    "{work}/nginx.conf"],
        "wrapped_options": ["-g", "master_process off;"],
    },
    "haproxy": {
        "program": "haproxy", "package": "haproxy", "conf": "haproxy.cfg", "has_tls": True,
        "command": ["haproxy", "-f", "{work}/haproxy.cfg"],
    },
    "smg": {
        "pip": ["smg==1.13.0"],
        "command": ["{venv}/bin/smg", "launch", "--host", "127.0.0.1", "--port", "{port}",
                    "--worker-urls", "{backend}", "--policy", "cache_aware",
                    "--prometheus-port", "{admin_port}", "--max-concurrent-requests", "20000",
                    "--log-level", "warn"],
    },
    "litellm": {
        "pip": ["litellm[proxy]==1.102.0"], "conf": "litellm.yaml", "start_s": 150,
        "command": ["{venv}/bin/litellm", "--config", "{work}/litellm.yaml", "--host",
                    "127.0.0.1", "--port", "{port}", "--num_workers", "1"],
        "env": {"LITELLM_MODE": "PRODUCTION", "LITELLM_LOCAL_MODEL_COST_MAP": "True",
                "LITELLM_LOG": "ERROR", "OPENAI_API_KEY": "sk-local"},
        "skip": ["hold_9000"],
    },
}
DEFAULT = ["direct", "busbar", "nginx", "haproxy"]
PEERS = DEFAULT + ["smg"]


class Missing(Exception):
    """A gateway cannot be measured here; the text says why."""


def cache_folder():
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return os.environ.get("BUSBAR_CACHE") or os.path.join(base, "busbar")


def find_program(name):
    """Debian keeps servers in /usr/sbin, which is not in every PATH."""
    return shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")


def make_venv(name, requirements):
    """A virtual environment with these packages, kept for the next time."""
    folder = os.path.join(cache_folder(), f"bench-{name}")
    mark = os.path.join(folder, "done")
    if not os.path.exists(mark):
        print(f"{name}: installing {' '.join(requirements)} into {folder}", flush=True)
        made = subprocess.run([sys.executable, "-m", "venv", folder], check=False)
        if made.returncode == 0:
            made = subprocess.run([f"{folder}/bin/pip", "install", "-q", *requirements],
                                  check=False)
        if made.returncode != 0:
            raise Missing(f"{' '.join(requirements)} could not be installed")
        with open(mark, "w", encoding="ascii"):
            pass
    return folder


def post(port, body, timeout_s):
    """The status of one chat request, 0 when there is no answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout_s)
    try:
        connection.request("POST", "/v1/chat/completions", body, HEADERS)
        answer = connection.getresponse()
        answer.read()
        return answer.status
    except (OSError, http.client.HTTPException):
        return 0
    finally:
        connection.close()


FIRST_BODY = b'{"model":"m","max_tokens":1,"messages":[{"role":"user","content":"hello"}]}'


def wait_for_answer(process, port, limit_s):
    """Seconds until the first chat request is answered with 200."""
    begin = time.monotonic()
    status = 0
    while time.monotonic() - begin < limit_s:
        status = post(port, FIRST_BODY, 5)
        if status == 200:
            return time.monotonic() - begin
        if not process.is_running():
            raise Missing("it ended before it answered")
        time.sleep(0.005)
    raise Missing(f"no answer with 200 within {limit_s} s (last status: {status or 'none'})")


def own_copy(program, work):
    """The program as it is now: a build meanwhile must not change what is measured."""
    os.makedirs(work, exist_ok=True)
    return shutil.copy(program, os.path.join(work, "busbar"))


def check_port_is_free(port):
    with socket.socket() as probe:
        if probe.connect_ex(("127.0.0.1", port)) == 0:
            raise SystemExit(f"port {port} is in use by another program")


class Backend:
    """`busbar sim serve`: answers at once unless a prompt says how fast."""

    def __init__(self, busbar, cores, work):
        check_port_is_free(BACKEND_PORT)
        self.port = BACKEND_PORT
        self.process = Process(
            [busbar, "sim", "serve", "--listen", f"127.0.0.1:{self.port}", "--model", "m",
             "--ttft", "0", "--itl", "0", "--stamp", "--max-seqs", "20000",
             "--max-model-len", "200000", "--kv-blocks", "1000000"],
            cores, os.path.join(work, "backend.log"))
        wait_for_answer(self.process, self.port, 20)


def make_certificate(work):
    """A certificate of its own for the gateways of --tls: P-256, which all of them can."""
    made = subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
         "-days", "30", "-subj", "/CN=localhost", "-keyout", "tls.key", "-out", "tls.pem"],
        cwd=work, capture_output=True, text=True, check=False)
    if made.returncode != 0:
        raise SystemExit(f"openssl cannot make a certificate: {made.stderr.strip()}")
    with open(os.path.join(work, "tls-both.pem"), "w", encoding="ascii") as both:
        for name in ("tls.pem", "tls.key"):
            with open(os.path.join(work, name), encoding="ascii") as f:
                both.write(f.read())


def tls_values(work):
    """What --tls puts into the files of conf/; the client decides on the cipher, for all alike."""
    return {"nginx_listen": " ssl",
            "nginx_certificate": f"ssl_certificate {work}/tls.pem; ssl_certificate_key {work}/tls.key; "
                                 "ssl_protocols TLSv1.2 TLSv1.3;",
            "haproxy_bind": f" ssl crt {work}/tls-both.pem alpn http/1.1"}


NO_TLS_VALUES = {"nginx_listen": "", "nginx_certificate": "", "haproxy_bind": ""}


class TlsClient:
    """HAProxy as the client's end of TLS, beside the load generator, which speaks none."""

    def __init__(self, settings, cores, started):
        program = find_program("haproxy")
        if not program:
            raise SystemExit("--tls needs haproxy as the client's end (apt-get install haproxy)")
        with open(os.path.join(HERE, "conf", "tls-client.cfg"), encoding="utf-8") as f:
            text = f.read()
        for gateway in started:
            text += (f"listen {gateway.name}\n\tbind 127.0.0.1:{gateway.load_port}\n"
                     f"\tserver it 127.0.0.1:{gateway.port} ssl verify none force-tlsv13 "
                     "ciphersuites TLS_AES_256_GCM_SHA384\n")
        path = os.path.join(settings.work, "tls-client.cfg")
        with open(path, "w", encoding="utf-8") as f:
            f.write(text)
        self.process = Process([program, "-f", path], cores,
                               os.path.join(settings.work, "tls-client.log"))


class Gateway:
    """One gateway in front of the backend; `port` is where it listens, `load_port` where the load
    goes: the same, or with --tls the client's end of it."""

    def __init__(self, name, settings):
        self.name = name
        self.spec = GATEWAYS[name]
        self.process = None
        index = list(GATEWAYS).index(name)
        self.port = FIRST_PORT + 2 * index if self.spec.get("command") else BACKEND_PORT
        self.tls = getattr(settings, "tls", False)
        self.load_port = TLS_PORT + index if self.tls else self.port
        self.values = {
            "port": self.port, "admin_port": self.port + 1, "work": settings.work,
            "backend": f"http://127.0.0.1:{BACKEND_PORT}", "backend_port": BACKEND_PORT,
            "busbar": settings.busbar, "venv": "", "key": KEY,
            **(tls_values(settings.work) if self.tls else NO_TLS_VALUES),
        }
        self.log = os.path.join(settings.work, f"{name}.log")
        self._prepare()

    def _prepare(self):
        if "pip" in self.spec:
            self.values["venv"] = make_venv(self.name, self.spec["pip"])
        program = self.spec.get("program", "").format(**self.values)
        if program and not find_program(program):
            package = self.spec.get("package")
            raise Missing(f"{program} is not installed" +
                          (f" (apt-get install {package})" if package else ""))
        if self.tls and not ("tls_conf" in self.spec or self.spec.get("has_tls")):
            raise Missing("nothing says how it is set up for TLS")
        for conf in ("conf", "tls_conf") if self.tls else ("conf",):
            if conf in self.spec:
                self._fill_in(self.spec[conf])

    def _fill_in(self, name):
        with open(os.path.join(HERE, "conf", name), encoding="utf-8") as f:
            text = f.read()
        for key, value in self.values.items():
            text = text.replace(f"@{key.upper()}@", str(value))
        with open(os.path.join(self.values["work"], name), "w", encoding="utf-8") as f:
            f.write(text)

    def start(self, cores, backend, wrapper=()):
        """Starts it and returns the seconds to its first answer; None for the backend itself.

        `wrapper` stands in front of its command: a tool that counts, for one.
        """
        if not self.spec.get("command"):
            self.process = backend.process
            return None
        check_port_is_free(self.port)
        parts = list(self.spec["command"])
        parts += self.spec.get("tls_options", []) if self.tls else []
        parts += self.spec.get("wrapped_options", []) if wrapper else []
        command = [part.format(**self.values) for part in parts]
        command[0] = find_program(command[0]) or command[0]
        self.process = Process([*wrapper, *command], cores, self.log, self.spec.get("env"))
        try:
            return wait_for_answer(self.process, self.load_port, self.spec.get("start_s", 30))
        except Missing:
            self.process.stop()
            raise

    def stop(self):
        if self.process and self.spec.get("command"):
            self.process.stop()
        self.process = None

    def version(self):
        """The first line that says which version was measured."""
        if "pip" in self.spec:
            return self.spec["pip"][0]
        program = self.spec.get("program", "").format(**self.values)
        if not program:
            return ""
        flag = {"nginx": "-v", "haproxy": "-v"}.get(self.name, "--version")
        said = subprocess.run([find_program(program), flag], capture_output=True, text=True,
                              check=False)
        lines = (said.stdout or said.stderr).strip().splitlines()
        return lines[0] if lines else ""
