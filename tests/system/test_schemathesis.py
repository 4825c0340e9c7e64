"""Goal: requests made from OpenAI's own description of its API, right ones and wrong ones, never get an
answer that is the gateway's fault, and what the description calls right is refused only for reasons
that this gateway adds on purpose. Skipped without schemathesis or without the description."""

import gzip
import json
import pathlib

import pytest

from gateway_process import Gateway
from sim_process import Sim

schemathesis = pytest.importorskip("schemathesis", reason="schemathesis is not installed")
hypothesis = pytest.importorskip("hypothesis")

ROOT = pathlib.Path(__file__).resolve().parents[2]
DESCRIPTION = ROOT.parent / "shared" / "fixtures" / "openai-openapi" / "openapi.json.gz"
MODEL = "org/small-8b"
PATHS = ["/chat/completions", "/completions", "/embeddings", "/responses"]
EXAMPLES = 60

# What the gateway refuses although OpenAI's description allows it: limits of the shield, no tokens at
# all, no prompt in an array of prompts, stream_options without stream (OpenAI's server refuses that as
# well), media that an engine would have to fetch.
OURS = {"n", "best_of", "logprobs", "top_logprobs", "max_tokens", "max_completion_tokens",
        "max_output_tokens", "stream_options", "tools", "text", "response_format", "functions",
        "logit_bias", "prompt", "messages.image_url", "input.image_url", "input.file_url"}

pytestmark = pytest.mark.skipif(not DESCRIPTION.exists(), reason="OpenAI's description is not here")


@pytest.fixture(scope="module")
def gateway():
    with Sim([MODEL], ttft="0ms", itl="0ms") as sim, Gateway([sim]) as g:
        yield g


@pytest.fixture(scope="module")
def description():
    whole = json.loads(gzip.decompress(DESCRIPTION.read_bytes()))
    whole["paths"] = {p: {"post": whole["paths"][p]["post"]} for p in PATHS}
    return schemathesis.openapi.from_dict(whole)


def as_json(body):
    """NaN and such cannot be said in JSON; schemathesis marks an absent body with its own object."""
    try:
        return json.dumps(body, allow_nan=False).encode()
    except (TypeError, ValueError):
        return None


def ask(gateway, path, body):
    """The status and, from 400 on, the error object."""
    status, headers, answer = gateway.request("POST", "/v1" + path, body, {"Content-Type": "application/json"})
    assert status < 500, (status, body, answer)
    if status == 200:
        return status, None
    assert headers["content-type"].startswith("application/json"), (status, body)
    error = json.loads(answer)["error"]
    assert error["message"] and error["type"], (body, answer)
    return status, error


def run(description, path, mode, check):
    """Calls check(body) for the bodies that are made for this path; the same ones in each run."""
    strategy = description[path]["POST"].as_strategy(generation_mode=mode)

    @hypothesis.settings(max_examples=EXAMPLES, derandomize=True, deadline=None, database=None,
                         suppress_health_check=list(hypothesis.HealthCheck))
    @hypothesis.given(case=strategy)
    def made(case):
        check(case.body)

    made()


@pytest.mark.parametrize("path", PATHS)
def test_right_ones(gateway, description, path):
    counts = {"served": 0, "refused": 0}
    wrongly = {}

    def check(body):
        if not isinstance(body, dict):
            return
        text = as_json({**body, "model": MODEL})
        if text is None:
            return
        status, error = ask(gateway, path, text)
        counts["served" if status == 200 else "refused"] += 1
        if status != 200 and "(at byte " in error["message"] and error["param"] not in OURS:
            wrongly.setdefault(error["param"], (error["message"], text))

    run(description, path, schemathesis.GenerationMode.POSITIVE, check)
    assert not wrongly, wrongly
    assert counts["served"] > 0, counts


@pytest.mark.parametrize("path", PATHS)
def test_wrong_ones(gateway, description, path):
    counts = {"served": 0, "refused": 0}

    def check(body):
        if isinstance(body, dict):
            body = {**body, "model": MODEL}
        text = as_json(body)
        if text is None:
            return
        status, _ = ask(gateway, path, text)
        counts["served" if status == 200 else "refused"] += 1

    run(description, path, schemathesis.GenerationMode.NEGATIVE, check)
    assert counts["refused"] > 0, counts
    assert gateway.process.poll() is None
