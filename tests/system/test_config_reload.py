"""Goal: a running gateway takes a new configuration as a whole or not at all, without dropping
anything, by `busbar reload` and by SIGHUP; `busbar status` shows what is in force; shutting down lets
streams end."""

import json
import signal
import subprocess

import pytest

from gateway_process import Gateway, content_of, received, wait_until
from sim_process import Sim, busbar_path

HELLO = [{"role": "user", "content": "Hello world"}]
LONG = [{"role": "user", "content": "[[itl=2000]] go on"}]
CHAT = "/v1/chat/completions"
QUICK = {"interval": "50ms", "unhealthy_after": 1}


@pytest.fixture(scope="module")
def sims():
    with Sim(["m"], ttft="1ms", itl="200us") as one, Sim(["m"], ttft="1ms", itl="200us") as two:
        yield one, two


def chat(model="m", **more):
    return {"model": model, "messages": HELLO, "max_tokens": 4, **more}


def busbar(gateway, *arguments):
    """A subcommand that talks to the gateway: (exit code, output, messages)."""
    done = subprocess.run([busbar_path(), *arguments, "--admin", gateway.admin], text=True,
                          capture_output=True, timeout=30, check=False)
    return done.returncode, done.stdout, done.stderr


def config_for(*engines, **models):
    return {"probe": QUICK, "models": {name: {"engines": [e.url for e in engines], **more}
                                       for name, more in models.items()}}


# ---- reload ----

def test_reload_command(sims):
    """A new alias works at once, an old one is gone."""
    with Gateway(config=config_for(sims[0], m={"aliases": ["old"]})) as g:
        g.wait_model("m")
        g.post_json(CHAT, chat("old"))
        g.write_config(config_for(sims[0], m={"aliases": ["new"]}))
        assert busbar(g, "reload") == (0, "reloaded\n", "")
        g.post_json(CHAT, chat("new"))
        assert g.error("POST", CHAT, chat("old"))[0] == 404
        assert g.metric("busbar_reloads_total") == g.status()["reloads"] == 1


def test_a_bad_file_is_refused(sims):
    """All mistakes with their places, exit code 2, and everything goes on as before."""
    with Gateway(config=config_for(sims[0], m={})) as g:
        g.wait_model("m")
        g.write_config("models:\n  n:\n    engines: [http://h:1]\nupstream: {retires: 2}\n"
                       "probe: {interval: 30}\n")
        code, out, messages = busbar(g, "reload")
        assert code == 2 and out == ""
        assert ":4:12: error: unknown key 'retires'" in messages and "'retries'" in messages
        assert ":5:19: error: probe.interval" in messages
        assert "the old configuration stays in force" in messages
        g.post_json(CHAT, chat())
        assert g.metric("busbar_reloads_refused_total") == 1
        assert g.metric("busbar_reloads_total") == 0
        g.write_config(config_for(sims[0], m={}))
        assert g.reload() == (200, "")


def test_a_missing_file_is_refused(sims):
    with Gateway(config=config_for(sims[0], m={})) as g:
        g.wait_model("m")
        subprocess.run(["mv", g.config_path, g.config_path + ".away"], check=True)
        code, _, messages = busbar(g, "reload")
        assert code == 2 and "No such file" in messages
        g.post_json(CHAT, chat())


def test_sighup(sims):
    """The same by a signal; a bad file is told in the log."""
    with Gateway(config=config_for(sims[0], m={})) as g:
        g.wait_model("m")
        g.write_config(config_for(sims[0], m={"aliases": ["new"]}))
        g.signal(signal.SIGHUP)
        g.wait_log("the new configuration is in force")
        g.post_json(CHAT, chat("new"))
        g.write_config("nonsense: 1\n")
        g.signal(signal.SIGHUP)
        assert "nonsense" in g.wait_log("the old configuration stays in force")
        g.post_json(CHAT, chat("new"))


def test_streams_go_on_under_a_reload(sims):
    """Streams on an engine that the new file does not have end as if nothing were."""
    one, two = sims
    before = one.state()["aborted"]
    with Gateway(config=config_for(one, m={})) as g:
        g.wait_model("m")
        with g.stream(CHAT, chat(messages=LONG, max_tokens=200)) as s:
            first = s.first_payload()
            g.write_config(config_for(two, m={}))
            assert g.reload()[0] == 200
            g.wait_model("m")
            g.post_json(CHAT, chat())  # a new one goes to the new engine
            assert json.loads(received(two)[-1]["body"])["model"] == "m"
            rest = s.payloads()
        assert rest[-1] == "[DONE]" and len(content_of([first, *rest]).split()) == 200
        wait_until(lambda: [e["url"] for e in g.status()["engines"]] == [two.url], "one engine left")
        assert one.state()["aborted"] == before


def test_reload_changes_limits_and_policy(sims):
    """Also what holds for connections that are open already."""
    one, two = sims
    with Gateway(config={**config_for(one, two, m={}), "policy": "round_robin"}) as g:
        wait_until(lambda: g.status()["models"][0]["engines_ready"] == 2, "two engines")
        connection = g.connect()
        connection.request("POST", CHAT, json.dumps(chat(user="x" * 5000)))
        assert connection.getresponse().read() and g.status()["policy"] == "round_robin"
        g.write_config({**config_for(one, two, m={}), "policy": "random",
                        "limits": {"body_size": "1KiB"}})
        assert g.reload()[0] == 200
        assert g.status()["policy"] == "random"

        def refused():
            return g.post(CHAT, chat(user="x" * 5000))[0] == 413
        wait_until(refused, "the new limit")
        connection.request("POST", CHAT, json.dumps(chat(user="x" * 5000)))
        assert connection.getresponse().status == 413
        connection.close()


def test_what_only_a_restart_changes_is_said(sims):
    with Gateway(config=config_for(sims[0], m={})) as g:
        g.write_config({**config_for(sims[0], m={}), "threads": 7, "seed": 5})
        assert g.reload()[0] == 200
        g.wait_log("seed has changed; it takes effect with a restart")
        g.wait_log("threads has changed; it takes effect with a restart")


def test_options_win_over_the_file(sims):
    """What the command line said is still in force after a reload."""
    with Gateway([sims[0]], config={"policy": "random", "probe": QUICK}, policy="round_robin") as g:
        assert g.status()["policy"] == "round_robin"
        g.write_config({"policy": "least_tokens", "probe": QUICK})
        assert g.reload()[0] == 200
        assert g.status()["policy"] == "round_robin"
        g.post_json(CHAT, chat())


def test_nothing_fails_under_many_reloads(sims):
    """Twenty reloads that move the model between two engines, under requests."""
    one, two = sims
    with Gateway(config=config_for(one, two, m={})) as g:
        g.wait_model("m")
        for i in range(20):
            engines = [(one, two), (two,), (two, one), (one,)][i % 4]
            g.write_config(config_for(*engines, m={"aliases": [f"a{i}"]}))
            assert g.reload()[0] == 200
            g.wait_model("m")
            assert g.post_json(CHAT, chat(f"a{i}"))["choices"]
            with g.stream(CHAT, chat()) as s:
                assert s.payloads()[-1] == "[DONE]"


def test_a_gateway_without_a_file(sims):
    """There is nothing to reload, and it says so."""
    g = Gateway([sims[0]])
    at = g.args.index("-c")
    del g.args[at:at + 2]
    with g:
        g.post_json(CHAT, chat())
        code, _, messages = busbar(g, "reload")
        assert code == 2 and "without a configuration file" in messages


# ---- status ----

def test_status_command(sims):
    """A table for people: engines with state and kind, models with aliases."""
    one, two = sims
    with Gateway([two], config=config_for(one, m={"aliases": ["gpt-4o-mini"]})) as g:
        g.wait_ready(2)
        g.post_json(CHAT, chat())
        code, out, messages = busbar(g, "status")
        assert code == 0 and messages == ""
        assert out.startswith("busbar 0.") and "policy lookahead" in out
        for url in (one.url, two.url):
            row = next(line for line in out.splitlines() if line.startswith(url))
            assert " vllm " in row and " ready " in row
        model = next(line for line in out.splitlines() if line.startswith("m "))
        assert "2/2" in model and "gpt-4o-mini" in model and "32.8k" in model


def test_status_as_json(sims):
    with Gateway([sims[0]], threads=2) as g:
        code, out, _ = busbar(g, "status", "--json")
        assert code == 0
        told = json.loads(out)
        assert told["threads"] == 2 and told["draining"] is False
        assert told["engines"][0]["url"] == sims[0].url and told["engines"][0]["state"] == "ready"
        assert told["models"][0]["name"] == "m"


def test_status_of_nobody():
    """No gateway there: exit code 1 and what to look at."""
    for command in ("status", "reload"):
        done = subprocess.run([busbar_path(), command, "--admin", "127.0.0.1:1"], text=True,
                              capture_output=True, timeout=30, check=False)
        assert done.returncode == 1 and "is the gateway running" in done.stderr


# ---- shutting down ----

@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_shutdown_lets_streams_end(sims, number):
    """The stream ends with [DONE], new clients are refused, readiness says so, the exit code is 0."""
    with Gateway([sims[0]]) as g:
        with g.stream(CHAT, chat(messages=LONG, max_tokens=200)) as s:
            first = s.first_payload()
            g.signal(number)
            wait_until(lambda: g.status()["draining"], "draining")
            assert g.admin_request("GET", "/readyz")[0] == 503

            def refused():
                try:
                    g.raw_connect().close()
                except ConnectionRefusedError:
                    return True
                return False
            wait_until(refused, "no new connection")
            rest = s.payloads()
            assert rest[-1] == "[DONE]" and len(content_of([first, *rest]).split()) == 200
        assert g.wait_end() == 0


def test_shutdown_closes_idle_connections(sims):
    """A client that keeps its connection for later does not hold it up."""
    with Gateway([sims[0]]) as g:
        connection = g.connect()
        connection.request("GET", "/v1/models")
        assert connection.getresponse().read()
        g.signal(signal.SIGTERM)
        assert g.wait_end() == 0
        connection.close()


def test_second_signal_stops_at_once(sims):
    """Streams are cut, the engine is freed, the exit code is 0."""
    before = sims[0].state()["aborted"]
    with Gateway([sims[0]], config={"shutdown": {"grace": "1h"}}) as g:
        with g.stream(CHAT, chat(messages=LONG, max_tokens=9000)) as s:
            s.first_payload()
            g.signal(signal.SIGTERM)
            wait_until(lambda: g.status()["draining"], "draining")
            g.signal(signal.SIGTERM)
            assert g.wait_end() == 0
    sims[0].wait(lambda s: s["running"] == 0 and s["aborted"] == before + 1)


def test_grace_ends(sims):
    """shutdown.grace is the longest that a stream may hold it up."""
    with Gateway([sims[0]], config={"shutdown": {"grace": "200ms"}}) as g:
        with g.stream(CHAT, chat(messages=LONG, max_tokens=9000)) as s:
            s.first_payload()
            g.signal(signal.SIGTERM)
            assert g.wait_end() == 0
            assert "were cut at the end of shutdown.grace" in g.log()


# ---- the start ----

def test_address_in_use(sims):
    """Exit code 1, and what to do, in the log."""
    with Gateway([sims[0]]) as g:
        for option, key in (("--listen", f"127.0.0.1:{g.port}"), ("--admin", g.admin)):
            arguments = ["--listen", "127.0.0.1:0", "--admin", "off", option, key]
            if option == "--listen":
                arguments = arguments[2:]
            done = subprocess.run([busbar_path(), "serve", *arguments, "--engine", sims[0].url],
                                  text=True, capture_output=True, timeout=30, check=False)
            assert done.returncode == 1
            assert "cannot listen on" in done.stderr and "choose another" in done.stderr


@pytest.mark.parametrize("arguments,words", [
    (["--engine", "ftp://x"], "--engine"), (["--threads", "x"], "--threads"),
    (["--policy", "best"], "--policy"), (["--listen", "nowhere"], "--listen"),
    (["-c", "/nonexistent.yaml"], "nonexistent.yaml"), (["--what"], "--help"),
    (["http://127.0.0.1:1"], "--engine URL"),
])
def test_bad_options(arguments, words):
    """Exit code 2 and a sentence."""
    done = subprocess.run([busbar_path(), "serve", *arguments], text=True, capture_output=True,
                          timeout=30, check=False)
    assert done.returncode == 2 and words in done.stderr
