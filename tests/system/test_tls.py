"""Goal: the gateway speaks TLS as it should to real peers (curl, openssl, sslscan, Python, the OpenAI
SDK) and towards engines: the right certificate for each name, nothing weak, nobody without a
certificate where one is asked for, new certificates without a drop, engines verified; and whoever
does not finish a handshake harms nobody."""

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import ssl
import statistics
import struct
import subprocess
import threading
import time

import pytest

from gateway_process import Gateway, UnixConnection, content_of, received, wait_until
from sim_process import Sim, busbar_path
from tls_peers import Authority, TlsConnection, TlsFront, TlsGateway, program

CHAT = "/v1/chat/completions"
HELLO = [{"role": "user", "content": "Hello world"}]
LONG = [{"role": "user", "content": "[[itl=2000]] go on"}]
ENDLESS = [{"role": "user", "content": "[[tokens=100000 itl=1000]] go on"}]
QUICK = {"interval": "50ms", "timeout": "2s", "unhealthy_after": 1}


@pytest.fixture(scope="module", autouse=True)
def openssl_is_not_instrumented(tmp_path_factory):
    """ThreadSanitizer does not see the atomics of a libcrypto that it was not built into, and takes what
    they guard for races; our own code in its callbacks is watched all the same."""
    path = tmp_path_factory.mktemp("tsan") / "suppressions"
    path.write_text("called_from_lib:libcrypto.so.3\ncalled_from_lib:libssl.so.3\n", encoding="ascii")
    before = os.environ.get("TSAN_OPTIONS")
    os.environ["TSAN_OPTIONS"] = f"{before + ' ' if before else ''}suppressions={path}"
    yield
    os.environ.pop("TSAN_OPTIONS")
    if before is not None:
        os.environ["TSAN_OPTIONS"] = before


@pytest.fixture(scope="module")
def pki(tmp_path_factory):
    """Authorities and certificates that all tests share; none of them writes here."""
    folder = tmp_path_factory.mktemp("pki")
    authority = Authority(folder)
    other = Authority(folder, "other")

    class Pki:
        ca, other_ca = authority, other
        server = authority.issue("localhost", "DNS:localhost,IP:127.0.0.1")
        second = authority.issue("second", "DNS:localhost,DNS:second.test")
        wild = authority.issue("wild", "DNS:*.wild.test")
        exact = authority.issue("exact", "DNS:api.wild.test")
        client = authority.issue("app-1", "DNS:app-1")
        foreign = other.issue("foreign", "DNS:localhost")
        rsa = authority.issue("rsa", "DNS:localhost", kind="rsa:2048")
        expired = authority.issue("expired", "DNS:localhost", days=(-30, -1))
    return Pki


@pytest.fixture(scope="module")
def sim():
    with Sim(["m"], ttft="1ms", itl="200us", max_model_len=200000, kv_blocks=50000) as s:
        yield s


@pytest.fixture(scope="module")
def gateway(pki, sim):
    config = {"tls": {"sni": [
        {"names": ["*.wild.test"], "cert": pki.wild.cert, "key": pki.wild.key},
        {"names": ["api.wild.test", "other.test"], "cert": pki.exact.cert, "key": pki.exact.key}]}}
    with TlsGateway(pki.ca, pki.server, [sim], config=config, threads=2) as g:
        yield g


def chat(**more):
    return {"model": "m", "messages": HELLO, "max_tokens": 4, **more}


def rss(gateway):
    with open(f"/proc/{gateway.process.pid}/statm", encoding="ascii") as f:
        return int(f.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def is_sanitized():
    return any(v in os.environ.get("BUSBAR", "") for v in ("asan", "tsan"))


def run(*command, stdin="", env=None):
    return subprocess.run(command, input=stdin, text=True, capture_output=True, timeout=60,
                          check=False, env=env)


def need(name):
    path = program(name)
    if not path:
        pytest.skip(f"{name} is not installed")
    return path


def s_client(gateway, *options, stdin="", name="localhost"):
    """What `openssl s_client` prints."""
    done = run("openssl", "s_client", "-connect", f"127.0.0.1:{gateway.port}", "-servername", name,
               "-CAfile", gateway.authority.path, *options, stdin=stdin)
    return done.stdout + done.stderr


# ---- clients ----

@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_the_openai_sdk(gateway, pki, version):
    """With a private authority, by both versions: answers, streams, errors."""
    openai = pytest.importorskip("openai", reason="the OpenAI SDK is not installed")
    httpx = pytest.importorskip("httpx2" if openai.__version__ >= "3" else "httpx")
    number = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}[version]
    context = pki.ca.client_context(minimum_version=number, maximum_version=number)
    with httpx.Client(verify=context) as client:
        sdk = openai.OpenAI(base_url=f"{gateway.url}/v1", api_key="sk", http_client=client,
                            max_retries=0)
        answer = sdk.chat.completions.create(model="m", messages=HELLO, max_tokens=5)
        assert answer.usage.completion_tokens == 5
        text = "".join(c.choices[0].delta.content or "" for c in sdk.chat.completions.create(
            model="m", messages=HELLO, max_tokens=50, stream=True) if c.choices)
        assert len(text.split()) == 50
        with pytest.raises(openai.NotFoundError):
            sdk.chat.completions.create(model="nobody", messages=HELLO)


def test_who_does_not_trust_us_is_not_served(gateway, pki):
    with pytest.raises(ssl.SSLCertVerificationError):
        TlsConnection(gateway.port, pki.other_ca.client_context()).connect()


@pytest.mark.parametrize("options", [["--tlsv1.2", "--tls-max", "1.2"], ["--tlsv1.3"], ["--http2"],
                                     ["--no-alpn"], ["--http1.0"]])
def test_curl(gateway, pki, options):
    curl = need("curl")
    done = run(curl, "-sS", "-v", "--cacert", pki.ca.path, *options, f"{gateway.url}{CHAT}", "-d",
               json.dumps(chat()), "-H", "Content-Type: application/json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["usage"]["completion_tokens"] == 4
    if "--http2" in options:
        assert "server accepted http/1.1" in done.stderr or "ALPN, server accepted to use http/1.1" \
            in done.stderr, done.stderr


def test_curl_streams_to_the_end(gateway, pki):
    """-N, and --http1.0, where the end of the connection is the end of the answer: curl fails when
    that end is not said properly."""
    curl = need("curl")
    for options in ([], ["--http1.0"]):
        done = run(curl, "-sSN", "--cacert", pki.ca.path, *options, f"{gateway.url}{CHAT}", "-d",
                   json.dumps(chat(stream=True, max_tokens=300)), "-H",
                   "Content-Type: application/json")
        assert done.returncode == 0, done.stderr
        assert done.stdout.rstrip().endswith("data: [DONE]")


def test_alpn(gateway):
    """http/1.1 is chosen; without ALPN it works; HTTP/2 alone is refused by the alert for that."""
    assert "ALPN protocol: http/1.1" in s_client(gateway, "-alpn", "http/1.1")
    assert "ALPN protocol: http/1.1" in s_client(gateway, "-alpn", "h2,http/1.1")
    without = s_client(gateway)
    assert "No ALPN negotiated" in without and "Verify return code: 0" in without
    refused = s_client(gateway, "-alpn", "h2")
    assert "no application protocol" in refused, refused


def test_old_versions_are_refused(gateway):
    for version in ("-tls1", "-tls1_1"):
        said = s_client(gateway, version, "-cipher", "ALL:@SECLEVEL=0")
        assert "alert protocol version" in said or "no protocols available" in said or \
            "unsupported protocol" in said, said


def test_renegotiation_is_refused(gateway):
    """A client of TLS 1.2 that wants another handshake ('R' in s_client) does not get one."""
    said = s_client(gateway, "-tls1_2", stdin="R\n")
    assert "no renegotiation" in said, said


def test_sslscan_finds_nothing_weak(gateway):
    sslscan = need("sslscan")
    done = run(sslscan, "--no-colour", "--show-ciphers", "--sni-name=localhost", f"127.0.0.1:{gateway.port}")
    out = done.stdout
    assert re.search(r"TLSv1\.2\s+enabled", out) and re.search(r"TLSv1\.3\s+enabled", out), out
    for old in ("SSLv2", "SSLv3", r"TLSv1\.0", r"TLSv1\.1"):
        assert not re.search(rf"{old}\s+enabled", out), out
    suites = re.findall(r"^(?:Accepted|Preferred)\s+(\S+)\s+(\d+) bits\s+(?:0x\w+\s+)?(\S+)", out, re.M)
    assert len(suites) >= 6, out
    for version, bits, suite in suites:
        assert int(bits) >= 128, suite
        assert "GCM" in suite or "CHACHA20" in suite, suite
        assert version == "TLSv1.3" or suite.startswith("ECDHE-"), suite
    assert "Compression disabled" in out or "does not support compression" in out
    assert "Session renegotiation not supported" in out or "Secure session" in out
    assert "vulnerable to heartbleed" not in out.replace("not vulnerable to heartbleed", "")


@pytest.mark.parametrize("asked,given", [
    ("localhost", "localhost"), ("nobody.test", "localhost"), ("a.wild.test", "*.wild.test"),
    ("A.Wild.Test", "*.wild.test"), ("api.wild.test", "api.wild.test"),
    ("API.WILD.TEST", "api.wild.test"), ("other.test", "api.wild.test"),
    ("a.b.wild.test", "localhost"), ("wild.test", "localhost"), (None, "localhost")])
def test_the_name_chooses_the_certificate(gateway, asked, given):
    assert given in gateway.certificate(asked)


def test_sessions_are_resumed(gateway):
    """A client that comes back does not need a whole handshake; both versions."""
    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        context = gateway.context(minimum_version=version, maximum_version=version)
        session, resumed = None, 0
        for _ in range(6):
            with gateway.plain_connect() as raw, \
                    context.wrap_socket(raw, server_hostname="localhost", session=session) as c:
                c.sendall(b"GET /v1/models HTTP/1.1\r\nHost: g\r\n\r\n")
                assert c.recv(65536).startswith(b"HTTP/1.1 200")
                resumed += c.session_reused
                session = c.session
        assert resumed == 5, (version, resumed)


def test_many_requests_on_one_connection(gateway):
    """Kept alive, pipelined, and cut into records anywhere."""
    body = json.dumps(chat()).encode()
    one = (b"POST " + CHAT.encode() + b" HTTP/1.1\r\nHost: g\r\nContent-Type: application/json\r\n"
           b"Content-Length: " + str(len(body)).encode() + b"\r\n\r\n" + body)
    with gateway.raw_connect() as c:
        c.sendall(one * 20)
        got = b""
        while got.count(b'"total_tokens"') < 20:
            piece = c.recv(65536)
            assert piece, got
            got += piece
        assert got.count(b"HTTP/1.1 200 OK") == 20
        for step in (1, 7, 100):
            for at in range(0, len(one), step):
                c.sendall(one[at:at + step])
            got = b""
            while b'"total_tokens"' not in got:
                got += c.recv(65536)


def test_large_bodies_both_ways(gateway, sim):
    """Ten megabytes in, megabytes out, not a byte wrong."""
    big = "word " * 2_000_000
    with contextlib.closing(gateway.connect()) as connection:
        for size in (1 << 20, len(big)):
            body = json.dumps(chat(user=big[:size], max_tokens=1))
            connection.request("POST", CHAT, body, {"Content-Type": "application/json"})
            response = connection.getresponse()
            assert response.status == 200, response.read()
            response.read()
    status, _, answer = gateway.post(CHAT, chat(max_tokens=100000, messages=[
        {"role": "user", "content": "[[tokens=100000 itl=0]] go on"}]))
    assert status == 200
    answer = json.loads(answer)
    assert len(answer["choices"][0]["message"]["content"].split()) == 100000
    with gateway.stream(CHAT, chat(max_tokens=50000, messages=[
            {"role": "user", "content": "[[tokens=50000 itl=0]] go on"}])) as s:
        payloads = s.payloads()
    assert payloads[-1] == "[DONE]" and len(content_of(payloads).split()) == 50000


# ---- clients that behave badly ----

def test_plain_http_is_told_so(gateway):
    with gateway.plain_connect() as c:
        c.sendall(b"GET /v1/models HTTP/1.1\r\nHost: g\r\n\r\n")
        got = b""
        while piece := c.recv(65536):
            got += piece
    head, _, body = got.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 ")
    assert "https://" in json.loads(body)["error"]["message"]


@pytest.mark.parametrize("sent", [b"\0" * 100, b"SSH-2.0-x\r\n", b"\x16\x03\x01\x00\x05hello",
                                  b"\x80\x2e\x01\x00\x02" + b"x" * 60, b"\x16\x03\x03\x40\x01" + b"x" * 20000,
                                  b"DELETE / HTTP/1.1\r\nHost: g\r\n\r\n", bytes(range(256)) * 40])
def test_garbage_is_cut(gateway, sent):
    """It ends at once, with an alert or without, and others are served."""
    with gateway.plain_connect(5) as c:
        try:
            c.sendall(sent)
            got = b""
            while piece := c.recv(65536):
                got += piece
        except (ConnectionResetError, BrokenPipeError):
            got = b""
        assert len(got) <= 7, got  # one alert
    assert gateway.get("/v1/models")[0] == 200


def hello(context, name="localhost"):
    """A whole ClientHello."""
    out = ssl.MemoryBIO()
    session = context.wrap_bio(ssl.MemoryBIO(), out, server_hostname=name)
    with contextlib.suppress(ssl.SSLWantReadError):
        session.do_handshake()
    return out.read()


def test_half_handshakes_harm_nobody(pki, sim):
    """300 that stop at different points, while others are served; limits.header_timeout ends them."""
    config = {"limits": {"header_timeout": "1500ms"}}
    with TlsGateway(pki.ca, pki.server, [sim], config=config, threads=1) as g:
        whole = hello(g.context())
        before = rss(g)
        half = []
        for i in range(300):
            c = g.plain_connect()
            c.sendall(whole[:i * len(whole) // 299])
            half.append(c)
        for _ in range(20):
            g.post_json(CHAT, chat())
        grown = (rss(g) - before) / len(half)
        print(f"a half handshake holds {grown / 1024:.0f} KiB")
        if not is_sanitized():
            assert grown < 96 << 10
        for c in half:  # all of them are ended by the gateway
            c.settimeout(30)
            with contextlib.suppress(ConnectionResetError):
                while c.recv(65536):
                    pass
            c.close()
        wait_until(lambda: g.status()["connections"] == 0, "no connection left")
        g.post_json(CHAT, chat())


def test_a_flood_of_handshakes_does_not_stop_streams(pki, sim):
    """Handshakes of many at once, with the key that costs most: a running stream goes on between
    them."""
    with TlsGateway(pki.ca, pki.rsa, [sim], threads=1) as g, \
            g.stream(CHAT, chat(messages=ENDLESS, max_tokens=100000)) as s:
        s.first_payload()
        gaps, flood = [], True

        def watch():
            last = time.monotonic()
            while flood:
                s.event()
                now = time.monotonic()
                gaps.append(now - last)
                last = now
        watcher = threading.Thread(target=watch)
        watcher.start()
        # All hellos lie there when the gateway looks: it has all of the handshakes to do at once.
        whole = hello(g.context())
        crowd = [g.plain_connect() for _ in range(200)]
        for c in crowd:
            c.sendall(whole)
        answers = [c.recv(1) for c in crowd]
        flood = False
        watcher.join()
        assert all(answers)
        for c in crowd:
            c.close()
        worst = max(gaps)
        print(f"200 handshakes: longest gap of a stream {worst * 1000:.0f} ms, "
              f"median {statistics.median(gaps) * 1000:.1f} ms")
        assert len(gaps) > 5 and worst < 2  # generous: the machine may be busy with other things


def test_connections_are_limited(pki, sim):
    """limits.connections counts those that shake hands, too."""
    with TlsGateway(pki.ca, pki.server, [sim], config={"limits": {"connections": 20}}, threads=1) as g:
        held = [g.plain_connect() for _ in range(20)]
        wait_until(lambda: g.status()["connections"] == 20, "20 connections")
        with pytest.raises((ssl.SSLError, OSError)):
            g.raw_connect(5)
        for c in held:
            c.close()
        wait_until(lambda: g.status()["connections"] == 0, "none")
        g.post_json(CHAT, chat())


def small_reader(gateway):
    """A TLS connection with little room in its kernel's buffer."""
    raw = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    raw.settimeout(30)
    raw.connect(("127.0.0.1", gateway.port))
    return gateway.context().wrap_socket(raw, server_hostname="localhost")


def post_bytes(body):
    body = json.dumps(body).encode()
    return (f"POST {CHAT} HTTP/1.1\r\nHost: g\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\n\r\n").encode() + body


def test_a_client_that_stops_reading_stops_its_engine(pki):
    """What it does not take stays at the engine; memory is bounded; limits.write_timeout ends it."""
    fast = [{"role": "user", "content": "[[tokens=2000000 itl=50]] go on"}]
    config = {"limits": {"write_timeout": "700ms"}, "upstream": {"keepalive_comment": "100ms"}}
    with Sim(["m"], ttft="1ms", max_model_len=3000000, kv_blocks=400000) as engine, \
            TlsGateway(pki.ca, pki.server, [engine], config=config, threads=1) as g:
        g.post_json(CHAT, chat())
        before = rss(g)
        readers = [small_reader(g) for _ in range(8)]
        for r in readers:
            r.sendall(post_bytes(chat(messages=fast, max_tokens=1900000, stream=True)))
            assert r.recv(100).startswith(b"HTTP/1.1 200 OK")
        engine.wait(lambda s: s["running"] == len(readers))
        time.sleep(0.4)  # within the time-out: this long a fast engine goes on if it is not stopped
        grown = rss(g) - before
        if not is_sanitized():
            assert grown < 8 << 20, grown
        engine.wait(lambda s: s["aborted"] == len(readers))
        for r in readers:
            r.close()
        wait_until(lambda: g.status()["connections"] == 0, "no connection left")
        g.post_json(CHAT, chat())


@pytest.mark.parametrize("way", ["close_notify", "fin", "reset"])
def test_a_client_that_leaves_stops_its_engine(gateway, sim, way):
    """By a proper end, by a FIN alone, by a reset: the engine is told within milliseconds."""
    times = []
    for _ in range(5):
        before = sim.state()["aborted"]
        c = gateway.raw_connect()
        c.sendall(post_bytes(chat(messages=ENDLESS, max_tokens=100000, stream=True)))
        while b"data: " not in c.recv(65536):
            pass
        began = time.monotonic()
        if way == "close_notify":
            c.setblocking(False)
            with contextlib.suppress(ssl.SSLError, OSError):
                c.unwrap()
        if way == "reset":
            c.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        c.close()
        sim.wait(lambda s, n=before: s["aborted"] == n + 1)
        times.append(time.monotonic() - began)
    print(f"{way}: cancelled after {statistics.median(times) * 1000:.1f} ms")
    assert statistics.median(times) < 0.25


def test_memory_of_idle_connections(pki, sim):
    """OpenSSL's buffers are given back while a connection is idle."""
    if is_sanitized():
        pytest.skip("a sanitizer's memory is not the gateway's")
    with TlsGateway(pki.ca, pki.server, [sim], threads=1) as g:
        def use(connection):
            connection.request("POST", CHAT, json.dumps(chat()), {"Content-Type": "application/json"})
            assert connection.getresponse().read()
            return connection
        context = g.context()
        first = [use(TlsConnection(g.port, context)) for _ in range(50)]
        before = rss(g)
        more = [use(TlsConnection(g.port, context)) for _ in range(400)]
        a_connection = (rss(g) - before) / len(more)
        print(f"an idle TLS connection holds {a_connection / 1024:.1f} KiB")
        assert a_connection < 48 << 10
        for c in first + more:
            c.close()


# ---- who may come in ----

def test_client_certificates(pki, sim):
    """tls.client_ca: only who shows a certificate of that authority gets in; also on resumption."""
    config = {"tls": {"client_ca": pki.ca.path}}
    with TlsGateway(pki.ca, pki.server, [sim], config=config, shown=pki.client) as g:
        g.post_json(CHAT, chat())
        curl = need("curl")
        base = [curl, "-sSv", "--cacert", pki.ca.path, f"{g.url}/v1/models"]
        assert run(*base, "--cert", pki.client.cert, "--key", pki.client.key).returncode == 0
        for shown in ([], ["--cert", pki.foreign.cert, "--key", pki.foreign.key],
                      ["--cert", pki.expired.cert, "--key", pki.expired.key]):
            for version in ([], ["--tls-max", "1.2"]):
                done = run(*base, *shown, *version)
                assert done.returncode != 0 and not done.stdout, (shown, done.stdout)
                assert "alert" in done.stderr, done.stderr
        assert f"CN = {pki.ca.folder.name}" in s_client(g) or "CN=ca" in s_client(g)  # whom it trusts


def test_a_unix_socket_stays_plain(pki, sim, folder):
    """It does not leave the machine."""
    path = folder / "api.sock"
    config = {"tls": {"cert": pki.server.cert, "key": pki.server.key}}
    with Gateway([sim], config=config, listen=[f"unix:{path}", "127.0.0.1:0"]) as g:
        curl = need("curl")
        done = run(curl, "-sS", "--unix-socket", str(path), "http://localhost/v1/models")
        assert json.loads(done.stdout)["object"] == "list", done.stderr
        assert any("API on https://127.0.0.1" in line for line in g.lines), g.log()


def test_the_admin_listener(pki, sim):
    """admin_tls with client certificates: `busbar status` and `busbar reload` reach it."""
    config = {"admin_tls": {"cert": pki.server.cert, "key": pki.server.key,
                            "client_ca": pki.ca.path}}
    with TlsGateway(pki.ca, pki.server, [sim], config=config, shown=pki.client) as g:
        def busbar(*arguments):
            return run(busbar_path(), *arguments)
        where = f"https://localhost:{g.admin_port}"
        ours = ["--ca", pki.ca.path, "--cert", pki.client.cert, "--key", pki.client.key]
        done = busbar("status", "--admin", where, *ours)
        assert done.returncode == 0 and sim.url in done.stdout, done.stderr
        assert busbar("reload", "--admin", where, *ours).stdout == "reloaded\n"
        numeric = f"https://127.0.0.1:{g.admin_port}"
        assert busbar("status", "--admin", numeric, *ours).returncode == 0
        done = busbar("status", "--admin", where, "--ca", pki.ca.path)
        assert done.returncode == 1 and "certificate required" in done.stderr, done.stderr
        done = busbar("status", "--admin", where, "--ca", pki.other_ca.path, *ours[2:])
        assert done.returncode == 1 and "certificate was refused" in done.stderr, done.stderr
        done = busbar("status", "--admin", f"127.0.0.1:{g.admin_port}")
        assert done.returncode == 1 and "https://" in done.stderr, done.stderr
        done = busbar("status", "--admin", where, "--ca", "/nowhere/ca.pem")
        assert done.returncode == 2 and "/nowhere/ca.pem" in done.stderr


# ---- certificates that change ----

def copy_identity(cert, folder):
    shutil.copy(cert.cert, folder / "cert.pem")
    shutil.copy(cert.key, folder / "key.pem")


def reloading(pki, folder, sim, **options):
    copy_identity(pki.server, folder)
    config = {"tls": {"cert": str(folder / "cert.pem"), "key": str(folder / "key.pem")}}
    return TlsGateway(pki.ca, pki.server, [sim], config=config, **options)


def test_a_new_certificate_without_a_drop(pki, sim, folder):
    """SIGHUP under running streams and kept connections: they go on, new ones get the new one."""
    with reloading(pki, folder, sim, threads=2) as g:
        assert "second.test" not in g.certificate()
        with g.stream(CHAT, chat(messages=LONG, max_tokens=300)) as s, \
                contextlib.closing(g.connect()) as kept:
            first = s.first_payload()
            kept.request("GET", "/v1/models")
            assert kept.getresponse().read()
            copy_identity(pki.second, folder)
            g.signal(signal.SIGHUP)
            g.wait_log("the new configuration is in force")
            wait_until(lambda: "second.test" in g.certificate(), "the new certificate")
            for _ in range(10):
                assert "second.test" in g.certificate()
            kept.request("GET", "/v1/models")
            assert kept.getresponse().status == 200
            rest = s.payloads()
        assert rest[-1] == "[DONE]" and len(content_of([first, *rest]).split()) == 300
        # Sessions of before are not resumed: their keys are gone with the old certificate.
        assert g.get("/v1/models")[0] == 200


def test_paths_are_seen_from_the_folder_of_the_file(pki, sim, folder):
    """Certificates, keys, token keys, the access log and sockets; wherever busbar is started, and
    again at a reload. On the command line a path is seen from the working folder."""
    for name in ("tls", "logs", "run", "elsewhere"):
        (folder / name).mkdir()
    copy_identity(pki.server, folder / "tls")
    shutil.copy(pki.ca.path, folder / "tls/ca.pem")
    (folder / "keys.yaml").write_text("tenants: {one: {key: key-of-the-first-tenant-0123456789}}\n")
    (folder / "jwks.json").write_text(json.dumps({"keys": [  # the public key of RFC 7515, A.3
        {"kty": "EC", "crv": "P-256", "kid": "1", "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
         "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}]}))
    (folder / "busbar.yaml").write_text(json.dumps({
        "listen": ["127.0.0.1:0", "unix:run/api.sock"], "admin": "unix:run/admin.sock",
        "access_log": {"path": "logs/access.log"}, "keys": {"file": "keys.yaml"},
        "auth": {"jwt": {"jwks": "jwks.json", "issuer": "i", "audience": "a"}},
        "tls": {"cert": "tls/cert.pem", "key": "tls/key.pem",
                "sni": [{"names": ["x.test"], "cert": "tls/cert.pem", "key": "tls/key.pem"}]},
        "engines": [{"url": sim.url}, {"url": "https://127.0.0.1:9", "tls": {"ca": "tls/ca.pem"}}]}))

    def check(path, where):
        return subprocess.run([busbar_path(), "check", path], cwd=where, capture_output=True, text=True,
                              check=False)
    for path, where in ((str(folder / "busbar.yaml"), "/"), ("busbar.yaml", folder),
                        ("../busbar.yaml", folder / "elsewhere")):
        done = check(path, where)
        assert done.returncode == 0, done.stderr
    with subprocess.Popen([busbar_path(), "serve", "-c", "../busbar.yaml"], cwd=folder / "elsewhere",
                          stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True) as process:
        try:
            lines = []
            for line in process.stderr:
                lines.append(line)
                if "metrics, health and status on " in line:
                    break
            assert "metrics, health and status on " in lines[-1], "".join(lines)
            assert sorted(os.listdir(folder / "run")) == ["admin.sock", "api.sock"]
            assert os.listdir(folder / "logs") == ["access.log"]
            done = subprocess.run([busbar_path(), "reload", "--admin", "unix:../run/admin.sock"],
                                  cwd=folder / "elsewhere", capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stdout + done.stderr
            connection = UnixConnection(str(folder / "run/api.sock"))
            connection.request("GET", "/v1/models", headers={"x-api-key": "key-of-the-first-tenant-0123456789"})
            assert connection.getresponse().status == 200
            connection.close()
        finally:
            process.terminate()
            assert process.wait(20) == 0
    assert os.listdir(folder / "elsewhere") == []


def test_nothing_fails_under_many_reloads(pki, sim, folder):
    with reloading(pki, folder, sim, threads=2) as g:
        failed, done = [], threading.Event()

        def ask():
            while not done.is_set():
                try:
                    g.post_json(CHAT, chat())
                except Exception as e:
                    failed.append(repr(e))
        askers = [threading.Thread(target=ask) for _ in range(4)]
        for a in askers:
            a.start()
        for i in range(20):
            copy_identity(pki.second if i % 2 else pki.server, folder)
            assert g.reload()[0] == 200
        done.set()
        for a in askers:
            a.join()
        assert not failed, failed[:3]


def test_a_broken_certificate_refuses_the_reload(pki, sim, folder):
    """As a whole, with the file's name; the old certificate stays."""
    with reloading(pki, folder, sim) as g:
        (folder / "cert.pem").write_text("garbage\n", encoding="ascii")
        code, report = g.reload()
        assert code != 200 and str(folder / "cert.pem") in report, report
        shutil.copy(pki.second.cert, folder / "cert.pem")  # without its key
        code, report = g.reload()
        assert code != 200 and str(folder / "key.pem") in report and "is not that of" in report, report
        (folder / "cert.pem").unlink()
        code, report = g.reload()
        assert code != 200 and "No such file" in report, report
        assert "second.test" not in g.certificate()
        g.post_json(CHAT, chat())
        copy_identity(pki.second, folder)
        assert g.reload()[0] == 200
        assert "second.test" in g.certificate()


@pytest.mark.parametrize("part", ["cert", "key", "client_ca"])
def test_a_start_with_a_broken_file(pki, folder, part):
    """Exit code 2, as for all of a configuration, and a message that names the file."""
    broken = folder / "broken.pem"
    broken.write_text("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
                      encoding="ascii")
    config = folder / "busbar.yaml"
    tls = {"cert": pki.server.cert, "key": pki.server.key, part: str(broken)}
    config.write_text(json.dumps({"tls": tls}), encoding="ascii")
    done = run(busbar_path(), "serve", "-c", str(config), "--listen", "127.0.0.1:0", "--admin", "off",
               "--access-log", "off")
    assert done.returncode == 2, (done.returncode, done.stderr)
    assert str(broken) in done.stderr and "tls" in done.stderr, done.stderr


def test_keys_that_cannot_be_used(pki, folder):
    """Another certificate's, and one with a passphrase, which nobody is asked for."""
    secret = folder / "secret.key"
    assert run("openssl", "pkey", "-in", pki.server.key, "-aes128", "-passout", "pass:sesame", "-out",
               str(secret)).returncode == 0
    for key, words in ((pki.wild.key, "is not that of"), (str(secret), "encrypted")):
        config = folder / "busbar.yaml"
        config.write_text(json.dumps({"tls": {"cert": pki.server.cert, "key": key}}), encoding="ascii")
        done = run(busbar_path(), "serve", "-c", str(config), "--listen", "127.0.0.1:0", "--admin",
                   "off", "--access-log", "off")
        assert done.returncode == 2 and key in done.stderr and words in done.stderr, done.stderr


def test_an_expired_certificate_is_told(pki, sim):
    with TlsGateway(pki.ca, pki.expired, [sim]) as g:
        assert pki.expired.cert in g.wait_log("has expired")


# ---- engines ----

def engine(url, **tls):
    return {"probe": QUICK, "engines": [{"url": url, "tls": tls}]}


def test_an_engine_is_verified(pki, sim):
    """By name and by address; whole answers and streams, connections kept."""
    with TlsFront(sim.port, pki.server) as front:
        for host in ("localhost", "127.0.0.1"):
            with Gateway(config=engine(front.url(host), ca=pki.ca.path)) as g:
                g.wait_model("m")
                for _ in range(5):
                    g.post_json(CHAT, chat())
                with g.stream(CHAT, chat(max_tokens=500)) as s:
                    assert len(content_of(s.payloads()).split()) == 500
                body = chat(user="x" * 3_000_000)
                g.post_json(CHAT, body)
                assert json.loads(received(sim)[-2]["body"])["model"] == "m"
        assert "localhost" in front.asked and "127.0.0.1" not in front.asked


@pytest.mark.parametrize("case,why", [("name", "hostname mismatch"), ("address", "IP address mismatch"),
                                      ("unknown", "unable to get local issuer certificate"),
                                      ("system", "unable to get local issuer certificate"),
                                      ("expired", "certificate has expired")])
def test_an_engine_that_is_not_who_it_says_is_refused(pki, case, why):
    """It gets no request, the log says why once, and clients get 503."""
    cert = {"name": pki.wild, "address": pki.second, "expired": pki.expired}.get(case, pki.server)
    host = "127.0.0.1" if case == "address" else "localhost"
    ca = {"unknown": {"ca": pki.other_ca.path}, "system": {}}.get(case, {"ca": pki.ca.path})
    with Sim(["m"]) as untouched, TlsFront(untouched.port, cert) as front:
        config = {"probe": QUICK, "models": {"m": {"engines": [front.url(host)]}},
                  "engines": [{"url": front.url(host), "tls": ca}]}
        with Gateway(config=config) as g:
            line = g.wait_log("the certificate was refused")
            assert why in line, line
            assert g.engine(front.url(host))["state"] != "ready"
            status, _, error = g.error("POST", CHAT, chat())
            assert status == 503 and host not in error["message"], error
            probed = len(front.asked)
            wait_until(lambda: len(front.asked) >= probed + 3, "more probes")
            assert g.log().count("at 127.0.0.1") == 1, g.log()
        assert untouched.requests() == []  # not even a probe


def test_an_engine_that_is_not_verified(pki, sim):
    """tls.verify: false: it works, and a warning says what that means."""
    with TlsFront(sim.port, pki.expired) as front, \
            Gateway(config=engine(front.url(), verify=False)) as g:
        g.wait_model("m")
        g.post_json(CHAT, chat())
        line = g.wait_log("is not verified")
        assert '"level":"warn"' in line and front.url() in line
        assert "localhost" in front.asked


def test_another_name_for_an_engine(pki, sim):
    """tls.server_name: what the certificate is for, where the URL says something else."""
    with TlsFront(sim.port, pki.wild) as front, \
            Gateway(config=engine(front.url("127.0.0.1"), ca=pki.ca.path,
                                  server_name="gpu1.wild.test")) as g:
        g.wait_model("m")
        g.post_json(CHAT, chat())
        assert set(front.asked) == {"gpu1.wild.test"}


def test_a_certificate_for_the_engine(pki, sim):
    """An engine that asks for one gets it; without one, the log says what it wants."""
    with TlsFront(sim.port, pki.server, client_ca=pki.ca.path) as front:
        with Gateway(config=engine(front.url(), ca=pki.ca.path, cert=pki.client.cert,
                                   key=pki.client.key)) as g:
            g.wait_model("m")
            g.post_json(CHAT, chat())
            assert set(front.subjects) == {"app-1"}
        with Gateway(config=engine(front.url(), ca=pki.ca.path)) as g:
            assert "the TLS connection to the engine broke" in g.wait_log("engine_probed")


def test_nginx_as_an_engine(pki, sim, folder):
    """A TLS server that is no test's."""
    nginx = need("nginx")
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    conf = folder / "nginx.conf"
    conf.write_text(f"""daemon off; worker_processes 1; pid {folder}/pid; error_log {folder}/error.log;
events {{}}
http {{ access_log off; client_body_temp_path {folder}/a; proxy_temp_path {folder}/b;
 fastcgi_temp_path {folder}/c; uwsgi_temp_path {folder}/d; scgi_temp_path {folder}/e;
 server {{ listen 127.0.0.1:{port} ssl; ssl_certificate {pki.server.cert};
  ssl_certificate_key {pki.server.key}; location / {{ proxy_pass {sim.url};
  proxy_http_version 1.1; proxy_buffering off; }} }} }}
""", encoding="ascii")
    process = subprocess.Popen([nginx, "-c", str(conf), "-e", f"{folder}/error.log"],
                               stderr=subprocess.DEVNULL)
    try:
        with Gateway(config=engine(f"https://localhost:{port}", ca=pki.ca.path)) as g:
            g.wait_model("m")
            for _ in range(20):
                g.post_json(CHAT, chat())
            with g.stream(CHAT, chat(max_tokens=2000)) as s:
                assert len(content_of(s.payloads()).split()) == 2000
    finally:
        process.terminate()
        process.wait()


def test_an_engine_that_breaks_off(pki):
    """A TLS connection that ends without its proper end is a cut, not the end of the answer."""
    with Sim(["m"], ttft="1ms", itl="200us", fault="cut") as broken, \
            TlsFront(broken.port, pki.server) as front, \
            Gateway(config={**engine(front.url(), ca=pki.ca.path), "upstream": {"retries": 0}}) as g:
        g.wait_model("m")
        with g.stream(CHAT, chat(max_tokens=200)) as s:
            raw = s.response.read()
        assert b"[DONE]" not in raw and b"error" in raw, raw[-300:]


def test_reloads_do_not_take_https_engines_away(pki, sim):
    """Each reload reads the CA again and probes anew; requests find the engine all the time."""
    with TlsFront(sim.port, pki.server) as front, \
            Gateway(config=engine(front.url(), ca=pki.ca.path), threads=2) as g:
        g.wait_model("m")
        for _ in range(15):
            assert g.reload()[0] == 200
            for _ in range(5):
                g.post_json(CHAT, chat())


def test_gateways_in_a_row(pki, sim):
    """TLS from the client to a gateway, to a second gateway with certificates both ways."""
    inner_config = {"tls": {"client_ca": pki.ca.path}}
    with TlsGateway(pki.ca, pki.server, [sim], config=inner_config, shown=pki.client) as inner:
        outer_config = engine(inner.url, ca=pki.ca.path, cert=pki.client.cert, key=pki.client.key)
        with TlsGateway(pki.ca, pki.second, config=outer_config) as outer:
            outer.wait_model("m")
            with outer.stream(CHAT, chat(max_tokens=1000)) as s:
                assert len(content_of(s.payloads()).split()) == 1000
            before = sim.state()["aborted"]
            with outer.stream(CHAT, chat(messages=ENDLESS, max_tokens=100000)) as s:
                s.first_payload()
            sim.wait(lambda state: state["aborted"] == before + 1)
        with Gateway(config=engine(inner.url, ca=pki.ca.path)) as nobody:
            assert "certificate required" in nobody.wait_log("engine_probed")


def test_ca_files_that_are_missing(folder):
    config = folder / "busbar.yaml"
    config.write_text(json.dumps(engine("https://localhost:1", ca="/nowhere/ca.pem")), encoding="ascii")
    done = run(busbar_path(), "serve", "-c", str(config), "--listen", "127.0.0.1:0", "--admin", "off",
               "--access-log", "off")
    assert done.returncode == 2, (done.returncode, done.stderr)
    assert "/nowhere/ca.pem" in done.stderr and "https://localhost:1" in done.stderr, done.stderr
