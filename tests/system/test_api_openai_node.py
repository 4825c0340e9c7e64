"""Goal: applications on the OpenAI Node SDK, whose reader of streams is not the Python one, work
through the gateway; failures arrive as the SDK's own errors; leaving a stream frees the engine."""

import json
import os
import pathlib
import shutil
import subprocess

import pytest

from gateway_process import PATIENCE, ROOT, Gateway, received
from sim_process import Sim

MODEL = "org/small-8b"
ALIAS = "gpt-4o-mini"
NODE_FOLDER = pathlib.Path(os.environ.get("BUSBAR_NODE") or ROOT / "build" / "node")
SCRIPTS = ROOT / "tests" / "node"

pytestmark = pytest.mark.skipif(
    not shutil.which("node") or not (NODE_FOLDER / "node_modules" / "openai").is_dir(),
    reason=f"node, or its OpenAI SDK in {NODE_FOLDER}, is not installed")


@pytest.fixture(scope="module")
def sim():
    with Sim([MODEL], ttft="1ms", itl="200us", embedding_size=8) as s:
        yield s


@pytest.fixture(scope="module")
def gateway(sim):
    config = {"models": {MODEL: {"engines": [sim.url], "aliases": [ALIAS]}},
              "upstream": {"keepalive_comment": "100ms"}}
    with Gateway(config=config) as g:
        g.wait_model(MODEL)
        yield g


@pytest.fixture
def faulty(sim):
    yield sim
    sim.fault("")


def command(script, url, *arguments):
    return ["node", str(SCRIPTS / script), url, *arguments]


def findings(script, url, *arguments):
    environment = {**os.environ, "BUSBAR_NODE": str(NODE_FOLDER)}
    done = subprocess.run(command(script, url, *arguments), env=environment, text=True,
                          capture_output=True, timeout=PATIENCE, check=False)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_calls(gateway, sim):
    """What the SDK understands is the same with and without the gateway."""
    through = {f["what"]: f for f in findings("calls.mjs", gateway.url, MODEL)}
    own = {f["what"]: f for f in findings("calls.mjs", sim.url, MODEL)}
    assert through["chat"]["text"] == own["chat"]["text"]
    assert through["chat"]["finish"] == "length"
    assert through["chat"]["usage"]["completion_tokens"] == 8
    assert gateway.wait_record(through["chat"]["request_id"])["status"] == 200
    assert through["stream"] == {"what": "stream", "text": own["chat"]["text"], "ids": 1,
                                 "usages": 0, "finishes": ["length"]}
    assert through["usage"]["choices"] == []
    assert through["usage"]["usage"]["completion_tokens"] == 8
    assert through["slow"] == own["slow"]  # although comments came in between
    assert gateway.metric("busbar_keepalive_comments_total") >= 2
    assert through["helper"] == own["helper"]
    assert through["embeddings"] == own["embeddings"]
    assert {MODEL, ALIAS} <= set(through["models"]["names"]) and through["models"]["one"] == MODEL
    assert through["responses"] == own["responses"]


def test_alias(gateway, sim):
    assert findings("calls.mjs", gateway.url, ALIAS)[0]["text"]
    assert json.loads(received(sim)[-1]["body"])["model"] == MODEL


def test_unknown_model(gateway):
    found = findings("errors.mjs", gateway.url, "nope", "plain")[0]["error"]
    assert found["name"] == "NotFoundError" and found["code"] == "model_not_found"


def test_busy_engine(gateway, faulty):
    """A body and Retry-After: without them the SDK says "503 status code (no body)"."""
    faulty.fault("503")
    found = findings("errors.mjs", gateway.url, MODEL, "plain")[0]["error"]
    assert found["name"] == "InternalServerError" and found["status"] == 503
    assert "no body" not in found["message"] and found["retry_after"] == "1"


@pytest.mark.parametrize("fault", ["cut:3", "nodone", "error_event:3"])
def test_an_engine_that_fails_in_its_stream(gateway, faulty, fault):
    faulty.fault(fault)
    found = findings("errors.mjs", gateway.url, MODEL, "stream")[0]
    assert found["chunks"] > 0 and found["error"]["is_api_error"], found


def test_leaving_a_stream_frees_the_engine(gateway, sim):
    """While the application lives on."""
    before = sim.state()["aborted"]
    environment = {**os.environ, "BUSBAR_NODE": str(NODE_FOLDER)}
    with subprocess.Popen(command("leave.mjs", gateway.url, MODEL), env=environment,
                          stdin=subprocess.PIPE, stdout=subprocess.PIPE) as node:
        assert json.loads(node.stdout.readline())["first"]
        sim.wait(lambda s: s["aborted"] == before + 1 and s["running"] == 0)
        assert node.poll() is None
        node.stdin.close()
        assert node.wait(PATIENCE) == 0
