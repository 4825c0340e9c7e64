"""Goal: curl, with which people try an API first, and whose HTTP is not Python's, gets along with the
gateway: HTTP/1.0, Expect, chunked uploads, forms, unix sockets, several requests on one connection."""

import json
import shutil
import subprocess

import pytest

from gateway_process import PATIENCE, Gateway, received, wait_until
from sim_process import Sim

pytestmark = pytest.mark.skipif(not shutil.which("curl"), reason="curl is not installed")

MODEL = "small"
CHAT = "/v1/chat/completions"
BODY = json.dumps({"model": MODEL, "messages": [{"role": "user", "content": "Hello"}],
                   "max_tokens": 5})


@pytest.fixture(scope="module")
def sim():
    with Sim([MODEL], ttft="1ms", itl="200us") as s:
        yield s


@pytest.fixture(scope="module")
def socket_path(tmp_path_factory):
    path = str(tmp_path_factory.mktemp("c") / "api.sock")
    if len(path) > 100:
        pytest.skip(f"the path of temporary folders is too long for sockets: {path}")
    return path


@pytest.fixture(scope="module")
def gateway(sim, socket_path):
    with Gateway([sim], listen=["127.0.0.1:0", f"unix:{socket_path}"]) as g:
        yield g


def curl(*arguments, data=None, code=0):
    """Standard output; the exit code must be the one given."""
    done = subprocess.run(["curl", "-sS", "--max-time", str(PATIENCE), *arguments], input=data,
                          capture_output=True, check=False)
    assert done.returncode == code, done.stderr
    return done.stdout


JSON = ("-H", "Content-Type: application/json")


def test_chat(gateway):
    answer = json.loads(curl(gateway.url + CHAT, *JSON, "-d", BODY))
    assert answer["choices"][0]["finish_reason"] == "length"


def test_stream(gateway):
    """-N shows the events as they come; the last line is [DONE]."""
    body = json.dumps({**json.loads(BODY), "stream": True})
    lines = curl("-N", gateway.url + CHAT, *JSON, "-d", body).decode().split("\n\n")
    assert lines[-2:] == ["data: [DONE]", ""] and len(lines) > 5


def test_without_content_type(gateway):
    """curl -d says application/x-www-form-urlencoded; the body is JSON all the same."""
    assert json.loads(curl(gateway.url + CHAT, "-d", BODY))["choices"]


def test_http_1_0(gateway):
    out = curl("--http1.0", "-i", gateway.url + CHAT, *JSON, "-d", BODY).decode()
    assert out.startswith("HTTP/1.1 200 ") and '"choices"' in out


def test_http_2_is_not_needed(gateway):
    """An upgrade that is offered, as Java's HttpClient does by default, is not taken, and no matter."""
    offer = ("-H", "Connection: Upgrade, HTTP2-Settings", "-H", "Upgrade: h2c", "-H",
             "HTTP2-Settings: AAEAAEAAAAIAAAAA")
    out = curl("--http1.1", "-i", gateway.url + CHAT, *JSON, *offer, "-d", BODY).decode()
    assert out.startswith("HTTP/1.1 200 ") and '"choices"' in out


def test_head(gateway):
    out = curl("-I", gateway.url + "/v1/models").decode()
    assert out.startswith("HTTP/1.1 200 ") and "content-type: application/json" in out.lower()


def test_large_upload_with_expect(gateway, sim):
    """A megabyte, for which curl asks with Expect: 100-continue."""
    body = json.dumps({"model": MODEL, "input": "x", "user": "y" * 1_200_000}).encode()
    out = curl("-v", gateway.url + "/v1/embeddings", *JSON, "-H", "Expect: 100-continue",
               "--expect100-timeout", str(PATIENCE), "--data-binary", "@-", data=body)
    assert json.loads(out)["data"]
    assert received(sim)[-1]["body_len"] == len(body)


def test_chunked_upload(gateway, sim):
    out = curl(gateway.url + CHAT, *JSON, "-H", "Transfer-Encoding: chunked", "--data-binary", "@-",
               data=BODY.encode())
    assert json.loads(out)["choices"]
    assert received(sim)[-1]["body"] == BODY


def test_form(gateway, tmp_path):
    sound = tmp_path / "a.wav"
    sound.write_bytes(bytes(range(256)) * 2000)
    out = curl(gateway.url + "/v1/audio/transcriptions", "-F", f"file=@{sound}", "-F",
               f"model={MODEL}")
    assert json.loads(out)["text"].startswith("heard ")


def test_unix_socket(gateway, socket_path):
    out = curl("--unix-socket", socket_path, "http://any.name" + CHAT, *JSON, "-d", BODY)
    assert json.loads(out)["choices"]


def test_one_connection_for_several(gateway):
    """The second and third request need no new connection, also behind a stream and an error."""
    streamed = json.dumps({**json.loads(BODY), "stream": True})
    show = ("-o", "/dev/null", "-w", "%{num_connects} %{http_code}\n")
    out = curl(gateway.url + CHAT, *show, "-d", streamed, "--next",
               "-sS", gateway.url + "/v1/nothing", *show, "--next",
               "-sS", gateway.url + CHAT, *show, "-d", BODY).decode()
    assert out == "1 200\n0 404\n0 200\n"


def test_retry_follows_the_header(gateway, sim, tmp_path):
    """curl --retry waits as long as Retry-After says, and gets the answer then."""
    before = len(received(sim))
    sim.fault("503")
    try:
        with subprocess.Popen(["curl", "-sS", "--retry", "9", "--max-time", str(PATIENCE), "-o",
                               str(tmp_path / "out"), "-w", "%{http_code}", gateway.url + CHAT,
                               "-d", BODY], stdout=subprocess.PIPE) as process:
            wait_until(lambda: len(received(sim)) > before, "the first attempt")
            sim.fault("")
            assert process.communicate(timeout=PATIENCE)[0] == b"200"
    finally:
        sim.fault("")
    assert len(received(sim)) == before + 2


def test_leaving(gateway, sim):
    """curl that is killed in a stream: the engine stops."""
    before = sim.state()["aborted"]
    body = json.dumps({"model": MODEL, "stream": True,
                       "messages": [{"role": "user", "content": "[[tokens=30000 itl=1000]] go"}]})
    with subprocess.Popen(["curl", "-sSN", gateway.url + CHAT, "-d", body],
                          stdout=subprocess.PIPE) as process:
        assert process.stdout.readline().startswith(b"data: ")
        process.kill()
    sim.wait(lambda s: s["running"] == 0 and s["aborted"] == before + 1)
