"""Goal: applications on the OpenAI Python SDK work by changing the base URL alone: every call that
they make gives through the gateway what the engine itself gives, errors are the SDK's own classes,
and leaving a stream frees the engine."""

import asyncio
import io
import json

import pytest

openai = pytest.importorskip("openai", reason="the OpenAI SDK is not installed")

from gateway_process import Gateway, received, wait_until
from sim_process import Sim

MODEL = "org/small-8b"
ALIAS = "gpt-4o-mini"
HELLO = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello world"}]


@pytest.fixture(scope="module")
def sim():
    with Sim([MODEL], ttft="1ms", itl="200us", max_model_len=2048, embedding_size=8) as s:
        yield s


@pytest.fixture(scope="module")
def gateway(sim):
    models = {MODEL: {"engines": [sim.url], "aliases": [ALIAS]}}
    with Gateway(config={"models": models, "upstream": {"keepalive_comment": "100ms"}}) as g:
        g.wait_model(MODEL)
        yield g


@pytest.fixture
def faulty(sim):
    yield sim
    sim.fault("")


def client_of(url, **more):
    return openai.OpenAI(base_url=url + "/v1", api_key="sk-test", max_retries=0, timeout=20, **more)


@pytest.fixture(scope="module")
def client(gateway):
    with client_of(gateway.url) as c:
        yield c


@pytest.fixture(scope="module")
def direct(sim):
    with client_of(sim.url) as c:
        yield c


def test_chat_is_the_engines_own_answer(client, direct):
    """Text, reason and usage are those of the engine asked directly."""
    through = client.chat.completions.create(model=MODEL, messages=HELLO, max_tokens=9)
    own = direct.chat.completions.create(model=MODEL, messages=HELLO, max_tokens=9)
    assert through.choices[0].message.content == own.choices[0].message.content
    assert through.choices[0].finish_reason == "length"
    assert through.usage.completion_tokens == 9
    assert through.usage.prompt_tokens == own.usage.prompt_tokens
    assert through.object == "chat.completion" and through.model == MODEL


def test_stream_says_the_same_as_one_piece(client):
    """One id in all chunks, one finish_reason, in the last chunk, and no usage that was not asked for."""
    whole = client.chat.completions.create(model=MODEL, messages=HELLO, max_tokens=12)
    chunks = list(client.chat.completions.create(model=MODEL, messages=HELLO, max_tokens=12,
                                                 stream=True))
    text = "".join(c.choices[0].delta.content or "" for c in chunks)
    assert text == whole.choices[0].message.content
    assert len({c.id for c in chunks}) == 1
    assert [c.choices[0].finish_reason for c in chunks if c.choices[0].finish_reason] == ["length"]
    assert chunks[-1].choices[0].finish_reason == "length"
    assert all(c.usage is None for c in chunks)


def test_usage_chunk_when_asked_for(client):
    """include_usage gives exactly one more chunk, the last, without choices."""
    chunks = list(client.chat.completions.create(
        model=MODEL, messages=HELLO, max_tokens=5, stream=True,
        stream_options={"include_usage": True}))
    assert chunks[-1].choices == []
    assert chunks[-1].usage.completion_tokens == 5
    assert all(c.choices and c.usage is None for c in chunks[:-1])


def test_usage_that_is_refused_is_not_sent(client):
    """include_usage: false is as good as not asking."""
    chunks = list(client.chat.completions.create(
        model=MODEL, messages=HELLO, max_tokens=5, stream=True,
        stream_options={"include_usage": False}))
    assert all(c.choices for c in chunks)


def test_several_choices_keep_their_index(client):
    """n=3: each choice has its own text under its own index, streamed or not."""
    whole = client.chat.completions.create(model=MODEL, messages=HELLO, max_tokens=6, n=3)
    texts = {c.index: c.message.content for c in whole.choices}
    assert sorted(texts) == [0, 1, 2]
    streamed = {0: "", 1: "", 2: ""}
    for chunk in client.chat.completions.create(model=MODEL, messages=HELLO, max_tokens=6, n=3,
                                                stream=True):
        for choice in chunk.choices:
            streamed[choice.index] += choice.delta.content or ""
    assert streamed == texts


def test_the_stream_helper_of_the_sdk(client):
    """client.chat.completions.stream() puts chunks together itself and is strict about them."""
    with client.chat.completions.stream(model=MODEL, messages=HELLO) as stream:
        deltas = "".join(e.delta for e in stream if e.type == "content.delta")
        final = stream.get_final_completion()
    assert final.choices[0].message.content == deltas
    assert final.choices[0].finish_reason == "stop"


def test_alias(client, sim):
    """The engine is asked under its own name."""
    answer = client.chat.completions.create(model=ALIAS, messages=HELLO, max_tokens=3)
    assert answer.choices[0].message.content
    assert json.loads(received(sim)[-1]["body"])["model"] == MODEL


def test_completions(client, direct):
    """The older completions, streamed or not."""
    own = direct.completions.create(model=MODEL, prompt="Once upon", max_tokens=8)
    whole = client.completions.create(model=MODEL, prompt="Once upon", max_tokens=8)
    assert whole.choices[0].text == own.choices[0].text
    chunks = list(client.completions.create(model=MODEL, prompt="Once upon", max_tokens=8,
                                            stream=True))
    assert "".join(c.choices[0].text for c in chunks) == own.choices[0].text
    assert chunks[-1].choices[0].finish_reason == "length"


def test_embeddings(client, direct):
    """The SDK asks for base64; floats give the same numbers."""
    packed = client.embeddings.create(model=MODEL, input=["one", "two"])
    plain = client.embeddings.create(model=MODEL, input=["one", "two"], encoding_format="float")
    own = direct.embeddings.create(model=MODEL, input=["one", "two"])
    assert [d.index for d in packed.data] == [0, 1]
    assert packed.data[1].embedding == pytest.approx(plain.data[1].embedding, abs=1e-6)
    assert packed.data[0].embedding == own.data[0].embedding


def test_models(client):
    """The list has the model and its alias; a name with a slash can be asked for."""
    names = {m.id for m in client.models.list()}
    assert {MODEL, ALIAS} <= names
    assert client.models.retrieve(MODEL).id == MODEL
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("nothing")


def test_responses(client, direct):
    """The Responses API, streamed or not, ends with a whole response."""
    own = direct.responses.create(model=MODEL, input="Hello", max_output_tokens=6)
    whole = client.responses.create(model=MODEL, input="Hello", max_output_tokens=6)
    assert whole.output_text == own.output_text and whole.usage.output_tokens == 6
    events = list(client.responses.create(model=MODEL, input="Hello", max_output_tokens=6,
                                          stream=True))
    assert [e.sequence_number for e in events] == list(range(len(events)))
    assert events[0].type == "response.created"
    assert events[-1].response.output_text == own.output_text


def test_transcription(client, sim):
    """A multipart form whose model is an alias: only the name changes."""
    sound = io.BytesIO(bytes(range(256)) * 40)
    sound.name = "a.wav"
    answer = client.audio.transcriptions.create(model=ALIAS, file=sound)
    assert answer.text.startswith("heard ")
    assert answer.model_extra["model"] == MODEL


def test_pictures(client):
    answer = client.images.generate(model=MODEL, prompt="a cat", n=2)
    assert len(answer.data) == 2 and answer.data[0].b64_json


def test_request_id(client, gateway):
    """The SDK's request id is the one of the access record."""
    answer = client.chat.completions.create(model=MODEL, messages=HELLO, max_tokens=2)
    assert answer._request_id
    record = gateway.wait_record(answer._request_id)
    assert record["output_tokens"] == 2 and record["api"] == "chat"


def test_unknown_model(client):
    """NotFoundError, with the code that SDK users look for and the names that there are."""
    with pytest.raises(openai.NotFoundError) as e:
        client.chat.completions.create(model="nope", messages=HELLO)
    assert e.value.code == "model_not_found" and e.value.param == "model"
    assert MODEL in e.value.message


def test_what_the_engine_refuses(client):
    """A 400 of the engine stays a 400 with the engine's own words."""
    with pytest.raises(openai.BadRequestError) as e:
        client.chat.completions.create(model=MODEL, max_tokens=2,
                                       messages=[{"role": "user", "content": "word " * 4000}])
    assert "context" in e.value.message or "length" in e.value.message


def test_busy_engine_is_retried_by_the_sdk(gateway, faulty):
    """503 carries Retry-After, so the SDK's own retry waits for that long and then succeeds."""
    faulty.fault("503")
    with client_of(gateway.url) as c, pytest.raises(openai.InternalServerError) as e:
        c.chat.completions.create(model=MODEL, messages=HELLO)
    assert e.value.status_code == 503
    assert e.value.response.headers["retry-after"] == "1"


def test_an_engine_that_fails_in_its_stream(client, faulty):
    """The SDK raises: half an answer never looks like a whole one."""
    for fault in ("cut:3", "nodone", "error_event:3", "badjson"):
        faulty.fault(fault)
        got = []
        with pytest.raises(openai.APIError) as e:
            for chunk in client.chat.completions.create(model=MODEL, messages=HELLO, max_tokens=9,
                                                        stream=True):
                got.append(chunk)
        assert got, fault
        assert e.value.message, fault
        assert all(not c.choices[0].finish_reason for c in got), fault


def test_comments_do_not_disturb(client, gateway):
    """Comments that keep a stream open during a long prefill are not for the SDK to see."""
    before = gateway.metric("busbar_keepalive_comments_total")
    slow = [{"role": "user", "content": "[[ttft=350000]] Hello"}]
    chunks = list(client.chat.completions.create(model=MODEL, messages=slow, max_tokens=4,
                                                 stream=True))
    assert chunks[-1].choices[0].finish_reason == "length"
    events = list(client.responses.create(model=MODEL, input="[[ttft=350000]] Hello",
                                          max_output_tokens=4, stream=True))
    assert events[-1].response.output_text
    assert gateway.metric("busbar_keepalive_comments_total") >= before + 4


def test_leaving_a_stream_frees_the_engine(client, sim):
    """Closing the SDK's stream cancels the request at the engine."""
    before = sim.state()["aborted"]
    long = [{"role": "user", "content": "[[tokens=100000 itl=1000]] go on"}]
    stream = client.chat.completions.create(model=MODEL, messages=long, stream=True)
    next(iter(stream))
    assert sim.state()["running"] == 1
    stream.close()
    sim.wait(lambda s: s["aborted"] == before + 1 and s["running"] == 0)


def test_fields_the_gateway_does_not_know(client, sim):
    """extra_body, extra_headers, tools, developer messages: the body reaches the engine as it was."""
    sent = []
    hooks = {"request": [lambda request: sent.append(request.read())]}
    with openai.DefaultHttpxClient(event_hooks=hooks) as http, \
            client.with_options(http_client=http) as c:
        c.chat.completions.create(
            model=MODEL, max_completion_tokens=4, seed=2**60 + 1, temperature=1e-7, top_p=1.0,
            messages=[{"role": "developer", "content": "é \u2028 \\ / \""}, *HELLO],
            tools=[{"type": "function", "function": {"name": "f", "parameters": {}}}],
            parallel_tool_calls=False, logprobs=True, top_logprobs=2,
            extra_body={"top_k": 7, "chat_template_kwargs": {"enable_thinking": False}},
            extra_headers={"X-Custom-Thing": "yes"})
    seen = received(sim)[-1]
    assert seen["body"].encode() == sent[-1]
    fields = {k.lower(): v for k, v in seen["headers"]}
    assert fields["x-custom-thing"] == "yes"
    assert fields["authorization"] == "Bearer sk-test"


def test_many_at_once(gateway, direct):
    """60 streams at once over the pooled connections of one async client: each gets its own answer."""
    texts = [f"question {i}" for i in range(60)]
    own = {t: direct.chat.completions.create(model=MODEL, max_tokens=10,
                                             messages=[{"role": "user", "content": t}])
           .choices[0].message.content for t in texts}

    async def one(c, text):
        stream = await c.chat.completions.create(
            model=MODEL, max_tokens=10, stream=True,
            messages=[{"role": "user", "content": text}])
        said = ""
        async for chunk in stream:
            said += chunk.choices[0].delta.content or ""
        assert said == own[text]

    async def all_of_them():
        async with openai.AsyncOpenAI(base_url=gateway.url + "/v1", api_key="x",
                                      max_retries=0, timeout=20) as c:
            await asyncio.gather(*(one(c, t) for t in texts))

    asyncio.run(all_of_them())
    wait_until(lambda: gateway.status()["requests_in_flight"] == 0, "no request in flight")
