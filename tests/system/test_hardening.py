"""Goal: a running gateway has given up what it does not need: system calls, root, core dumps, places
to write to; and it still reloads, resolves names, rotates its log and serves."""

import contextlib
import os
import pathlib
import pwd
import re
import signal
import stat
import subprocess

import pytest

from gateway_process import Gateway, wait_until
from sim_process import Sim, busbar_path

MODEL = "m"
CHAT = {"model": MODEL, "messages": [{"role": "user", "content": "hi"}], "max_tokens": 3}
IS_ROOT = os.geteuid() == 0
VERSION = subprocess.run([busbar_path(), "--version"], capture_output=True, text=True,
                         check=True).stdout
needs_filter = pytest.mark.skipif("no filter" in VERSION, reason=VERSION.strip())
needs_root = pytest.mark.skipif(not IS_ROOT, reason="only root can become another user")


@pytest.fixture(scope="module")
def sim():
    with Sim([MODEL], ttft="1ms", itl="200us") as s:
        yield s


def facts(pid, thread=None):
    """/proc/PID/status as a dict."""
    path = f"/proc/{pid}/task/{thread}/status" if thread else f"/proc/{pid}/status"
    return dict(line.split(":\t", 1) for line in pathlib.Path(path).read_text().splitlines()
                if ":\t" in line)


def threads(pid):
    return os.listdir(f"/proc/{pid}/task")


@contextlib.contextmanager
def own_gateway(engines, config=None, prepare=lambda g: None, **options):
    g = Gateway(engines, config=config, **options)
    try:
        prepare(g)
        g.start()
        yield g
        g.stop()
    finally:
        g._remove()


@needs_filter
def test_every_thread_is_filtered(sim):
    """Seccomp mode 2 (a filter) for workers, writer, resolver and the main thread alike."""
    with Gateway([sim], threads=3) as g:
        g.wait_log("system calls are filtered")
        g.post_json("/v1/chat/completions", CHAT)
        pid = g.process.pid
        assert len(threads(pid)) >= 5
        for thread in threads(pid):
            assert facts(pid, thread)["Seccomp"].strip() == "2", thread
            assert facts(pid, thread)["NoNewPrivs"].strip() == "1", thread


@needs_filter
def test_filter_can_be_left_out(sim):
    with own_gateway([sim], prepare=lambda g: g.args.append("--no-sandbox")) as g:
        assert "--no-sandbox" in g.wait_log("system calls are not filtered")
        assert facts(g.process.pid)["Seccomp"].strip() == "0"
        assert facts(g.process.pid)["NoNewPrivs"].strip() == "1"
        g.post_json("/v1/chat/completions", CHAT)


@needs_filter
def test_filter_can_be_left_out_by_the_file(sim):
    with Gateway([sim], config={"sandbox": "off"}) as g:
        assert "sandbox: off" in g.wait_log("system calls are not filtered")
        assert facts(g.process.pid)["Seccomp"].strip() == "0"


@needs_filter
def test_life_goes_on_behind_the_filter(sim):
    """Names are looked up, a reload finds a new engine, the log is rotated, the admin API answers."""
    port = sim.port
    models = {MODEL: {"engines": [f"http://localhost:{port}"]}}
    with Gateway(config={"models": models}) as g, Sim(["other"], ttft="1ms") as second:
        g.wait_model(MODEL)
        g.post_json("/v1/chat/completions", CHAT)
        g.write_config({"models": {**models, "other": {"engines": [f"http://localhost:{second.port}"]}}})
        g.signal(signal.SIGHUP)
        g.wait_model("other")
        g.post_json("/v1/chat/completions", {**CHAT, "model": "other"})
        rotated = g.access_path + ".1"
        wait_until(lambda: len(g.access_records()) >= 2, "two records")
        os.rename(g.access_path, rotated)
        g.signal(signal.SIGUSR1)
        wait_until(lambda: os.path.exists(g.access_path), "a new access log")
        _, headers, _ = g.post("/v1/chat/completions", CHAT)
        g.wait_record(headers["x-request-id"])
        metrics = g.metrics()
        assert metrics["process_open_fds"] > 0 and metrics["process_resident_memory_bytes"] > 0
        with g.stream("/v1/chat/completions", {**CHAT, "max_tokens": 30}) as s:
            assert s.payloads()[-1] == "[DONE]"
        assert facts(g.process.pid)["Seccomp"].strip() == "2"


@needs_filter
def test_unix_sockets_behind_the_filter(folder):
    """Listeners and engines on unix sockets, and the sockets are gone or replaced after a restart."""
    path = str(folder / "engine")
    with Sim([MODEL], listen="unix:" + path, ttft="1ms") as s:
        for _ in range(2):
            listen = f"unix:{folder}/api"
            with Gateway([s.url], listen=(listen, "127.0.0.1:0"), admin=f"unix:{folder}/admin",
                         wait=False) as g:
                g.wait_ready(1)


def give_to(user):
    def prepare(g):
        entry = pwd.getpwnam(user)
        for path in (g.folder, g.config_path):
            os.chown(path, entry.pw_uid, entry.pw_gid)
    return prepare


@needs_root
@pytest.mark.parametrize("cores", [False, True])
def test_no_core_dump(sim, cores):
    """What cannot be dumped belongs to root in /proc, whoever runs it; else to its user."""
    user = pwd.getpwnam("nobody")
    if "sanitizer" in VERSION:
        pytest.skip("a sanitizer attaches to the process")
    become = ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"]
    if subprocess.run([*become, busbar_path(), "--version"], capture_output=True).returncode:
        pytest.skip("another user cannot run this binary where it lies")

    def prepare(g):
        give_to("nobody")(g)
        g.args = become + g.args + (["--allow-core"] if cores else [])

    with own_gateway([sim], prepare=prepare) as g:
        g.post_json("/v1/chat/completions", CHAT)
        assert g.metrics()["process_open_fds"] > 0
        assert os.stat(f"/proc/{g.process.pid}/environ").st_uid == (user.pw_uid if cores else 0)


@needs_root
def test_root_becomes_a_user(sim):
    """Real, effective and saved ids and groups are the user's; the log is opened anew by it."""
    user = pwd.getpwnam("nobody")
    with own_gateway([sim], prepare=give_to("nobody"), user="nobody") as g:
        status = facts(g.process.pid)
        assert status["Uid"].split() == [str(user.pw_uid)] * 4
        assert status["Gid"].split() == [str(user.pw_gid)] * 4
        assert int(status["CapPrm"], 16) == 0 and int(status["CapEff"], 16) == 0
        assert "running as root" not in g.log()
        g.post_json("/v1/chat/completions", CHAT)
        wait_until(g.access_records, "a record")
        os.remove(g.access_path)
        g.signal(signal.SIGUSR1)
        wait_until(lambda: os.path.exists(g.access_path), "a new access log")
        assert os.stat(g.access_path).st_uid == user.pw_uid
        g.signal(signal.SIGHUP)
        g.wait_log("the new configuration is in force")
        assert g.metrics()["process_open_fds"] > 0


@needs_root
def test_root_becomes_the_user_of_the_file(sim):
    with own_gateway([sim], {"user": "nobody"}, prepare=give_to("nobody")) as g:
        assert facts(g.process.pid)["Uid"].split() == [str(pwd.getpwnam("nobody").pw_uid)] * 4


@needs_root
def test_root_is_warned(sim):
    with Gateway([sim]) as g:
        assert "--user" in g.wait_log("running as root")


def test_user_that_is_not_there():
    ended = subprocess.run([busbar_path(), "serve", "--listen", "127.0.0.1:0", "--admin",
                            "127.0.0.1:0", "--user", "no-such-user-here"],
                           capture_output=True, text=True, timeout=30)
    assert ended.returncode == 1
    assert "the user no-such-user-here: there is no such user" in ended.stderr


def test_nothing_is_written_elsewhere(sim, folder):
    """The gateway makes one file, its access log, wherever it is started."""
    before = set(os.listdir(folder))
    with own_gateway([sim], prepare=lambda g: g.args.append("--allow-core")) as g:
        g.post_json("/v1/chat/completions", CHAT)
        wait_until(g.access_records, "a record")
        writable = set()
        for fd in os.listdir(f"/proc/{g.process.pid}/fd"):
            try:
                link = os.readlink(f"/proc/{g.process.pid}/fd/{fd}")
                flags = int(next(line for line in pathlib.Path(f"/proc/{g.process.pid}/fdinfo/{fd}")
                                 .read_text().splitlines() if line.startswith("flags")).split()[1], 8)
            except OSError:
                continue
            if link.startswith("/") and flags & os.O_ACCMODE and not link.startswith("/dev/"):
                writable.add(link)
        assert writable == {g.access_path}
        assert set(os.listdir(g.folder)) == {"access.log", "busbar.yaml"}
        assert stat.S_IMODE(os.stat(g.access_path).st_mode) & 0o007 == 0
    assert set(os.listdir(folder)) == before


def test_no_page_is_writable_and_executable(sim):
    with Gateway([sim]) as g:
        if not IS_ROOT:
            pytest.skip("the gateway lets nobody but root look at its memory")
        for line in pathlib.Path(f"/proc/{g.process.pid}/maps").read_text().splitlines():
            assert not ("w" in line.split()[1] and "x" in line.split()[1]), line


def test_binary_is_hardened():
    """Position independent, no executable stack, relocations read-only from the start."""
    if "release" not in VERSION:
        pytest.skip("only the release variant is hardened")
    readelf = subprocess.run(["readelf", "-hldW", busbar_path()], capture_output=True, text=True,
                             check=True).stdout
    assert "DYN (" in readelf
    stack = next(line for line in readelf.splitlines() if "GNU_STACK" in line)
    assert "RWE" not in stack
    assert "GNU_RELRO" in readelf and "NOW" in readelf


# ---- secrets in memory ----

def mappings(pid):
    """(begin, end, is left out of dumps) of what a dump would have."""
    now = None
    with open(f"/proc/{pid}/smaps", encoding="utf-8") as f:
        for line in f:
            head = re.match(r"([0-9a-f]+)-([0-9a-f]+) r\S+ \S+ \S+ \S+\s*(.*)", line)
            if head and not head[3].startswith("[v"):
                now = int(head[1], 16), int(head[2], 16)
            elif line.startswith("VmFlags:") and now:
                yield *now, " dd" in line
                now = None


def copies(pid, secret):
    """For each copy of a secret in a process: is it left out of dumps?"""
    found = []
    with open(f"/proc/{pid}/mem", "rb", 0) as memory:
        for begin, end, is_hidden in mappings(pid):
            memory.seek(begin)
            try:
                found += [is_hidden] * memory.read(end - begin).count(secret)
            except OSError:
                continue  # not there any more
    return found


@pytest.mark.release_only
def test_keys_stay_out_of_dumps(folder):
    """Where dumps are allowed, what a gateway that has probed its engines keeps of their keys lies in
    pages that no dump has, and no other copy is left; after a reload the old key is nowhere."""
    old, new = "canary-of-an-engine-key-1-0123456789", "canary-of-an-engine-key-2-0123456789"
    with Sim(["m"]) as sim:
        def config(key):
            return {"engines": [{"url": sim.url, "api_key": key}], "probe": {"interval": "50ms"}}
        g = Gateway(config=config(old))
        g.args.append("--allow-core")
        with g:
            g.wait_ready(1)
            wait_until(lambda: copies(g.process.pid, old.encode()) and
                       all(copies(g.process.pid, old.encode())), "only hidden copies")
            g.write_config(config(new))
            assert g.reload()[0] == 200
            g.wait_ready(1)
            assert g.post_json("/v1/chat/completions", {"model": "m", "messages": [
                {"role": "user", "content": "x"}]})["choices"]
            wait_until(lambda: any(copies(g.process.pid, new.encode())), "the new key")
            wait_until(lambda: not copies(g.process.pid, old.encode()),
                       lambda: f"the old key is gone: {copies(g.process.pid, old.encode())}")
