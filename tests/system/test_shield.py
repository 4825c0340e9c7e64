"""Goal: what could harm an engine does not reach one. Members that the shield refuses never leave the
gateway, those that it takes out are missing from the engine's body and nothing else is, an allow list
lifts both, also by a reload; mistyped members are refused in OpenAI's form, and in Anthropic's on its
paths; a limit of tokens over the engine's context is refused with the numbers."""

import json
import subprocess

import pytest

from gateway_process import PATIENCE, Gateway, received
from sim_process import Sim, busbar_path

MODEL = "org/small-8b"
CHAT = "/v1/chat/completions"
COMPLETIONS = "/v1/completions"
INNER = "http://169.254.169.254/latest/meta-data/"
CONTEXT = 4096


@pytest.fixture(scope="module")
def sim():
    with Sim([MODEL], ttft="1ms", itl="200us", max_model_len=CONTEXT) as s:
        yield s


@pytest.fixture(scope="module")
def gateway(sim):
    with Gateway([sim]) as g:
        yield g


@pytest.fixture(scope="module")
def lenient(sim):
    """Allows three members, and pictures from one internal place."""
    with Gateway([sim], config={
            "probe": {"interval": "50ms", "timeout": "2s", "metrics_interval": "100ms"},
            "shield": {"allow": ["chat_template", "cache_salt", "n"],
                       "image_urls": ["http://images.internal/public/"]}}) as g:
        yield g


def chat(content="Hello", **more):
    return {"model": MODEL, "messages": [{"role": "user", "content": content}], "max_tokens": 2, **more}


def part(**members):
    return chat([members])


def refused(gateway, sim, body, param, code, path=CHAT):
    """400 with this member to blame, and the engine has seen nothing of it."""
    before = len(received(sim)), sim.state().get("requests_total")
    status, _, error = gateway.error("POST", path, body)
    assert status == 400, error
    assert (error["param"], error["code"]) == (param, code), error
    assert error["type"] == "invalid_request_error"
    assert (len(received(sim)), sim.state().get("requests_total")) == before
    return error["message"]


def sent(gateway, sim, body, path=CHAT):
    """What the engine gets of a body, which is JSON text."""
    status, _, answer = gateway.post(path, body.encode(), {"Content-Type": "application/json"})
    assert status == 200, answer
    return received(sim)[-1]["body"]


REFUSED = [
    ("chat_template", "{% for x in range(10**9) %}{% endfor %}"),
    ("kv_transfer_params", {"remote_host": "10.0.0.1", "remote_port": 1}),
    ("features", [{"data": "AA=="}]),
    ("prompt_embeds", "AA=="),
    ("mm_processor_kwargs", {"num_crops": 10**9}),
    ("logits_processors", ["os.system"]),
    ("custom_logit_processor", "80049"),
    ("vllm_xargs", {"kv_transfer_params": "x"}),
    ("lora_path", "/etc"),
    ("use_beam_search", True),
]


@pytest.mark.parametrize("member,value", REFUSED, ids=[m for m, _ in REFUSED])
def test_refused(gateway, sim, member, value):
    message = refused(gateway, sim, chat(**{member: value}), member, "parameter_not_allowed")
    assert member in message


def test_refused_also_in_a_stream(gateway, sim):
    refused(gateway, sim, chat(stream=True, chat_template="x"), "chat_template", "parameter_not_allowed")


def test_template_in_kwargs(gateway, sim):
    refused(gateway, sim, chat(chat_template_kwargs={"a": 1, "chat_template": "x"}),
            "chat_template_kwargs.chat_template", "parameter_not_allowed")
    gateway.post_json(CHAT, chat(chat_template_kwargs={"enable_thinking": False}))


LIMITED = [
    ("n", 17), ("top_logprobs", 21), ("prompt_logprobs", 1000),
    ("allowed_token_ids", list(range(4097))), ("bad_words", ["a"] * 257),
    ("guided_regex", "((a{1000}){1000}){1000}"),
    ("response_format", {"type": "json_schema", "json_schema": {"schema": {"enum": ["x" * 131072]}}}),
]


@pytest.mark.parametrize("member,value", LIMITED, ids=[m for m, _ in LIMITED])
def test_limited(gateway, sim, member, value):
    refused(gateway, sim, chat(**{member: value}), member, "invalid_value")


PARTS = [
    ({"type": "image_url", "image_url": {"url": INNER}}, "messages.image_url"),
    ({"type": "image_url", "image_url": {"url": "file:///etc/passwd"}}, "messages.image_url"),
    ({"image_url": "http://localhost:6379/"}, "messages.image_url"),
    ({"type": "video_url", "video_url": {"url": "gopher://x.example/"}}, "messages.video_url"),
    ({"type": "audio_url", "audio_url": {"url": "http://0x7f.1/"}}, "messages.audio_url"),
    ({"type": "image_embeds", "image_embeds": "AA=="}, "messages.image_embeds"),
]


@pytest.mark.parametrize("members,param", PARTS, ids=[p for _, p in PARTS])
def test_parts(gateway, sim, members, param):
    refused(gateway, sim, part(**members), param, "parameter_not_allowed")


def test_public_pictures_pass(gateway, sim):
    body = json.dumps(chat([{"type": "image_url", "image_url": {"url": "https://example.com/a.png"}},
                            {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0="}}]))
    assert sent(gateway, sim, body) == body


STRIPPED = [
    ('{"cache_salt":"mine","model":"%s",%s}', '{"model":"%s",%s}'),
    ('{"model":"%s", "cache_salt" : null ,%s}', '{"model":"%s", %s}'),
    ('{"model":"%s",%s , "priority": -5}', '{"model":"%s",%s }'),
    ('{"model":"%s","request_id":"a","r\\u0069d":"b",%s,\n"data_parallel_rank":0 ,"id_slot":1 }',
     '{"model":"%s",%s }'),
]


@pytest.mark.parametrize("given,wanted", STRIPPED, ids=range(len(STRIPPED)))
def test_taken_out(gateway, sim, given, wanted):
    rest = '"messages":[{"role":"user","content":"cache_salt"}],"max_tokens":2,"x":1.0e-0'
    assert sent(gateway, sim, given % (MODEL, rest)) == wanted % (MODEL, rest)


def test_allowed(lenient, sim):
    body = json.dumps(chat(chat_template="x", cache_salt="mine", n=17))
    assert sent(lenient, sim, body) == body
    refused(lenient, sim, chat(features=[]), "features", "parameter_not_allowed")
    lenient.post_json(CHAT, part(image_url={"url": "http://images.internal/public/a.png"}))
    refused(lenient, sim, part(image_url={"url": "http://images.internal/public/../b"}),
            "messages.image_url", "parameter_not_allowed")


def test_reload_changes_what_is_allowed(sim):
    probe = {"interval": "50ms", "timeout": "2s", "metrics_interval": "100ms"}
    with Gateway([sim], config={"probe": probe}) as gateway:
        refused(gateway, sim, chat(features=[]), "features", "parameter_not_allowed")
        gateway.write_config({"probe": probe, "shield": {"allow": ["features"]}})
        assert gateway.reload()[0] == 200
        gateway.post_json(CHAT, chat(features=[]))
        gateway.write_config({"probe": probe, "shield": {"allow": ["featurs"]}})
        status, _ = gateway.reload()
        assert status != 200
        gateway.post_json(CHAT, chat(features=[]))  # the old configuration stays


def test_unknown_names_are_told_at_the_start(tmp_path):
    config = tmp_path / "busbar.yaml"
    config.write_text("shield: {allow: [no_such_member]}\n", encoding="utf-8")
    run = subprocess.run([busbar_path(), "serve", "-c", str(config), "--listen", "127.0.0.1:0"],
                         capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert run.returncode != 0
    assert "no_such_member" in run.stderr


# ---- validation ----

MISTYPED = [
    (CHAT, {"model": MODEL}, "messages"),
    (CHAT, {"model": MODEL, "messages": []}, "messages"),
    (CHAT, {"model": MODEL, "messages": [{"role": "user"}, {"content": "x"}]}, "messages[1].role"),
    (CHAT, chat(5), "messages[0].content"),
    (CHAT, chat(temperature=2.5), "temperature"),
    (CHAT, chat(top_p="1"), "top_p"),
    (CHAT, chat(stop=["a"] * 17), "stop"),
    (CHAT, chat(n=0), "n"),
    (CHAT, chat(stream_options={"include_usage": True}), "stream_options"),
    (CHAT, chat(tools=[{}] * 129), "tools"),
    (CHAT, {**chat(), "max_tokens": 0}, "max_tokens"),
    (COMPLETIONS, {"model": MODEL, "prompt": {}}, "prompt"),
    ("/v1/embeddings", {"model": MODEL, "input": 5}, "input"),
]


@pytest.mark.parametrize("path,body,param", MISTYPED, ids=[p for _, _, p in MISTYPED])
def test_mistyped(gateway, sim, path, body, param):
    assert param in refused(gateway, sim, body, param, "invalid_value", path)


def test_anthropic_form(gateway, sim):
    before = len(received(sim))
    body = {"model": MODEL, "max_tokens": 5, "messages": [{"role": "user", "content": "x"}]}
    for wrong in ({**body, "temperature": 1.5}, {**body, "messages": [{}]}, {**body, "features": []},
                  {**body, "messages": [{"role": "user", "content": [
                      {"type": "image", "source": {"type": "url", "url": INNER}}]}]}):
        status, _, answer = gateway.post("/v1/messages", wrong)
        answer = json.loads(answer)
        assert status == 400 and answer["type"] == "error", answer
        assert answer["error"]["type"] == "invalid_request_error"
    assert len(received(sim)) == before


def test_over_the_context(gateway, sim):
    for body in (chat(max_tokens=None, max_completion_tokens=CONTEXT + 1),
                 {**chat(), "max_tokens": CONTEXT + 1}):
        message = refused(gateway, sim, body, "max_tokens", "context_length_exceeded")
        assert str(CONTEXT) in message and str(CONTEXT + 1) in message
    # A stream is refused before it begins; the engine's own check counts the prompt as well.
    refused(gateway, sim, {**chat(), "stream": True, "max_tokens": 10**6}, "max_tokens",
            "context_length_exceeded")
    assert gateway.metric("busbar_requests_in_flight") == 0


# ---- tenants ----

def test_tenants(sim):
    """Rights are a tenant's own, and so is its part of the prefix cache."""
    keys = {name: f"test-key-of-{name}-0123456789" for name in ("acme", "rival", "open")}
    tenants = {name: {"key": key} for name, key in keys.items()}
    tenants["acme"]["allow"] = ["features", "cache_salt"]
    tenants["open"]["shared_prefix_cache"] = True
    with Gateway(config={"models": {MODEL: {"engines": [sim.url]}},
                         "engines": [{"url": sim.url, "kind": "vllm"}],
                         "probe": {"interval": "50ms", "timeout": "2s", "metrics_interval": "100ms"},
                         "tenants": tenants}) as gateway:
        gateway.wait_model(MODEL)

        def post(tenant, body, wanted=200):
            status, _, answer = gateway.post(CHAT, body, {"Authorization": f"Bearer {keys[tenant]}"})
            assert status == wanted, answer
            return json.loads(received(sim)[-1]["body"]) if status == 200 else json.loads(answer)

        post("acme", chat(features=[]))
        assert post("rival", chat(features=[]), 400)["error"]["param"] == "features"
        salts = {name: post(name, chat()).get("cache_salt") for name in keys}
        assert salts["open"] is None
        assert salts["acme"] and salts["rival"] and salts["acme"] != salts["rival"]
        assert all(len(s) == 43 and s.replace("-", "").replace("_", "").isalnum()
                   for s in salts.values() if s)
        assert post("rival", chat(cache_salt=salts["acme"]))["cache_salt"] == salts["rival"]
        assert post("rival", chat(cache_salt=None))["cache_salt"] == salts["rival"]
        assert post("acme", chat(cache_salt="mine"))["cache_salt"] == "mine"
        assert "cache_salt" not in post("open", chat(cache_salt=salts["acme"]))
        gateway.reload()
        assert post("rival", chat())["cache_salt"] == salts["rival"]
