"""Goal: applications on the Anthropic SDK, and agents built on it, work through the gateway where an
engine offers /v1/messages, and every error has Anthropic's form."""

import json

import pytest

anthropic = pytest.importorskip("anthropic", reason="the Anthropic SDK is not installed")

from gateway_process import Gateway
from sim_process import Sim

MODEL = "small"
ALIAS = "claude-sonnet"
HELLO = [{"role": "user", "content": "Hello world"}]


@pytest.fixture(scope="module")
def sim():
    with Sim([MODEL], ttft="1ms", itl="200us", max_model_len=1024) as s:
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


@pytest.fixture(scope="module")
def client(gateway):
    with anthropic.Anthropic(base_url=gateway.url, api_key="k", max_retries=0, timeout=20) as c:
        yield c


def test_message(client):
    """A message in one piece, asked for under an alias."""
    m = client.messages.create(model=ALIAS, max_tokens=6, messages=HELLO)
    assert m.type == "message" and m.role == "assistant" and m.stop_reason == "max_tokens"
    assert m.usage.output_tokens == 6 and m.content[0].text


def test_stream(client, gateway):
    """Events in Anthropic's order, the same text as in one piece, and the counts in the record."""
    whole = client.messages.create(model=MODEL, max_tokens=8, messages=HELLO)
    with client.messages.stream(model=MODEL, max_tokens=8, messages=HELLO) as stream:
        kinds = [e.type for e in stream if e.type.startswith(("message_", "content_block_"))]
        final = stream.get_final_message()
        request_id = stream.response.headers["x-request-id"]
    assert final.content[0].text == whole.content[0].text
    assert kinds[0] == "message_start" and kinds[-1] == "message_stop"
    assert kinds.count("content_block_delta") == 8
    record = gateway.wait_record(request_id)
    assert record["api"] == "messages" and record["output_tokens"] == 8
    assert record["prompt_tokens"] >= final.usage.input_tokens


def test_count_tokens(client):
    count = client.messages.count_tokens(model=ALIAS, messages=HELLO)
    assert count.input_tokens > 0


def test_unknown_model(client):
    """not_found_error in Anthropic's form."""
    with pytest.raises(anthropic.NotFoundError) as e:
        client.messages.create(model="nope", max_tokens=3, messages=HELLO)
    assert e.value.body["type"] == "error"
    assert e.value.body["error"]["type"] == "not_found_error"
    assert MODEL in e.value.body["error"]["message"]


def test_malformed_body(gateway):
    status, _, body = gateway.post("/v1/messages", b'{"model": ')
    assert status == 400
    assert json.loads(body)["type"] == "error"
    assert json.loads(body)["error"]["type"] == "invalid_request_error"


def test_wrong_method(gateway):
    status, _, body = gateway.get("/v1/messages")
    assert status == 405 and json.loads(body)["type"] == "error"


def test_an_engine_that_dies_in_its_stream(client, faulty):
    """`event: error`, which the SDK raises."""
    faulty.fault("cut:3")
    with pytest.raises(anthropic.APIStatusError) as e:
        with client.messages.stream(model=MODEL, max_tokens=9, messages=HELLO) as stream:
            for _ in stream:
                pass
    assert e.value.body["type"] == "error"


def test_the_error_event_as_it_is_on_the_wire(gateway, faulty):
    faulty.fault("cut:2")
    with gateway.stream("/v1/messages", {"model": MODEL, "max_tokens": 9, "messages": HELLO}) as s:
        events = list(s.events())
    name, data, _ = events[-1]
    assert name == "error"
    error = json.loads(data)
    assert error["type"] == "error" and error["error"]["type"] == "api_error"
    assert not any(n == "message_stop" for n, _, _ in events)


def test_no_engine(client, faulty, gateway):
    """An engine that cannot be reached: 5xx in Anthropic's form with Retry-After where it makes sense."""
    faulty.fault("refuse")
    with pytest.raises(anthropic.InternalServerError) as e:
        client.messages.create(model=MODEL, max_tokens=3, messages=HELLO)
    assert e.value.body["type"] == "error"


def test_comments_do_not_disturb(client):
    """Comments that keep a stream open during a long prefill are not for the SDK to see."""
    slow = [{"role": "user", "content": "[[ttft=350000]] Hello"}]
    with client.messages.stream(model=MODEL, max_tokens=4, messages=slow) as stream:
        assert stream.get_final_message().usage.output_tokens == 4


def test_leaving_a_stream_frees_the_engine(client, sim):
    before = sim.state()["aborted"]
    long = [{"role": "user", "content": "[[itl=1000]] go on"}]
    with client.messages.stream(model=MODEL, max_tokens=900, messages=long) as stream:
        next(iter(stream))
    sim.wait(lambda s: s["aborted"] == before + 1 and s["running"] == 0)
