"""Goal: with a tokenizer the gateway counts as the engines do, says whether that is so, answers
/tokenize itself, refuses what does not fit before an engine sees it, and never refuses by a count
that is not the engine's."""

import json
import os
import shutil
import subprocess

import pytest

from engine_process import ENGINE, TINY, Engine
from gateway_process import Gateway, wait_until
from llama_server import LlamaServer, is_installed
from sim_process import Sim, busbar_path

MODEL = os.environ.get("BUSBAR_MODEL") or TINY
CHAT = "/v1/chat/completions"

needs_engine = pytest.mark.skipif(not os.access(ENGINE, os.X_OK),
                                  reason=f"{ENGINE} is not built (make engine)")

MESSAGES = [
    {"role": "system", "content": "You are terse."},
    {"role": "user", "content": "Naïve café: 東京 – 1234567.89, they'd've said.\n\n\tdone  "},
    {"role": "assistant", "content": "Yes 😀."},
    {"role": "user", "content": "Another  one, please"},
]


def config_for(url, **model):
    return {"models": {"small": {"engines": [url], "tokenizer": MODEL, **model}}}


@pytest.fixture(scope="module")
def engine():
    e = Engine("--name", "small", "--ctx", "2048", "--parallel", "2", "--threads", "1", model=MODEL)
    e.ready()
    yield e
    assert e.stop() == 0, e.log()


@pytest.fixture(scope="module")
def gateway(engine):
    url = f"http://127.0.0.1:{engine.port}"
    with Gateway(config=config_for(url, aliases=["little"])) as g:
        g.engine_url = url
        wait_until(lambda: g.engine(url)["state"] == "ready", "a ready engine")
        wait_until(lambda: g.engine(url)["tokens"] != "pending", "the comparison")
        yield g


def engine_tokens(engine, body):
    return engine.post("/tokenize", body)["tokens"]


@needs_engine
def test_self_test_says_exact(gateway):
    """A real engine with the same file: every probe gives the same ids, and that is told."""
    row = gateway.engine(gateway.engine_url)
    assert row["tokens"] == "exact", row
    gateway.wait_log("tokens of small are exact")
    assert gateway.metric("busbar_engine_tokens", engine=gateway.engine_url, verdict="exact") == 1


@needs_engine
def test_tokenize_as_the_engine(gateway, engine):
    """The gateway's own answers, ids and texts, are those of the engine; no request reaches it."""
    before = gateway.engine(gateway.engine_url)["requests"]
    for body in ({"prompt": "Hello, world"}, {"prompt": MESSAGES[1]["content"]},
                 {"prompt": "<|im_start|>user", "add_special_tokens": False},
                 {"messages": MESSAGES}, {"messages": MESSAGES[:2], "add_generation_prompt": False}):
        answer = gateway.post_json("/tokenize", {"model": "little", **body})
        assert answer["tokens"] == engine_tokens(engine, body), body
        assert answer["count"] == len(answer["tokens"])
        assert answer["max_model_len"] == gateway.status()["models"][0]["context_tokens"]
        text = gateway.post_json("/detokenize", {"tokens": answer["tokens"]})["prompt"]
        if "prompt" in body and body.get("add_special_tokens", True):
            assert text.endswith(body["prompt"])
    assert gateway.engine(gateway.engine_url)["requests"] == before


@needs_engine
def test_tokenize_forms(gateway):
    """llama.cpp's form; the texts of tokens; ids that do not exist."""
    plain = gateway.post_json("/tokenize", {"prompt": "two words", "return_token_strs": True,
                                            "add_special_tokens": False})
    assert len(plain["token_strs"]) == plain["count"]
    assert gateway.post_json("/v1/tokenize", {"content": "two words"}) == {"tokens": plain["tokens"]}
    status, _, body = gateway.post("/detokenize", {"model": "small", "tokens": [1 << 31]})
    assert status == 400 and b"ids from 0 to" in body
    status, _, body = gateway.post("/detokenize", {"model": "small", "tokens": "no"})
    assert status == 400


@needs_engine
def test_usage_is_what_was_counted(gateway):
    """The engine's own count of a real answer's prompt is the gateway's."""
    counted = gateway.post_json("/tokenize", {"messages": MESSAGES})["count"]
    answer = gateway.post_json(CHAT, {"model": "small", "messages": MESSAGES, "max_tokens": 2})
    assert answer["usage"]["prompt_tokens"] == counted
    assert gateway.metric("busbar_prompts_total", count="exact") >= 1


@needs_engine
def test_several_prompts(gateway):
    """Their tokens are added up for limits, and each must fit by itself only."""
    exact = gateway.metric("busbar_prompts_total", count="exact")
    prompts = ["one two three " * 60, "four five six " * 60, [9, 8, 7]]
    body = {"model": "small", "prompt": prompts[:2], "max_tokens": 1}
    total = sum(gateway.post_json("/tokenize", {"prompt": p})["count"] for p in prompts[:2])
    assert total > 300
    assert gateway.post_json("/v1/completions", body)["usage"]["prompt_tokens"] == total
    assert gateway.metric("busbar_prompts_total", count="exact") == exact + 1
    assert gateway.post_json("/v1/completions", {**body, "prompt": prompts[2]})["usage"]["prompt_tokens"] == 3
    status, _, answer = gateway.post("/v1/completions", {**body, "prompt": ["short", "word " * 3000]})
    assert status == 400 and json.loads(answer)["error"]["code"] == "context_length_exceeded"


@needs_engine
def test_too_long_is_refused_here(gateway):
    """With numbers, in OpenAI's form, before the engine has seen it."""
    before = gateway.engine(gateway.engine_url)["requests"]
    long = [{"role": "user", "content": "word " * 3000}]
    count = gateway.post_json("/tokenize", {"messages": long})["count"]
    status, _, body = gateway.post(CHAT, {"model": "small", "messages": long})
    error = json.loads(body)["error"]
    assert status == 400 and error["code"] == "context_length_exceeded"
    assert str(count) in error["message"]
    assert gateway.metric("busbar_requests_total", api="chat", status="2xx") is not None
    assert gateway.engine(gateway.engine_url)["requests"] <= before + 1  # decided, never sent


@pytest.mark.tsan
@needs_engine
def test_conversation_is_cached(gateway):
    """The second turn of a long conversation finds the first one's tokens, and counts the same."""
    talk = [{"role": "system", "content": "Be brief. " * 40},
            {"role": "user", "content": "Tell me about rivers. " * 20}]
    gateway.post(CHAT, {"model": "small", "messages": talk, "max_tokens": 1})
    reused = gateway.metric("busbar_prompt_cache_reused_bytes_total")
    talk += [{"role": "assistant", "content": "They flow."}, {"role": "user", "content": "And lakes?"}]
    answer = gateway.post_json(CHAT, {"model": "small", "messages": talk, "max_tokens": 1})
    assert gateway.metric("busbar_prompt_cache_reused_bytes_total") > reused + 300
    assert answer["usage"]["prompt_tokens"] == \
        gateway.post_json("/tokenize", {"messages": talk})["count"]


def test_a_different_tokenizer_is_found_out():
    """An engine whose ids are others: loud, shown, and its requests are not refused by our counts."""
    with Sim(["small"], kind="vllm", max_model_len=64) as sim:
        with Gateway(config=config_for(sim.url)) as g:
            row = wait_until(lambda: (r := g.engine(sim.url))["tokens"] not in ("pending", "none") and r,
                             "the comparison")
            assert row["tokens"] == "different", row
            g.wait_log("does not tokenize as the tokenizer of small does")
            assert "token 0 is" in row["tokens_detail"] or "tokens there and" in row["tokens_detail"]
            # the engine answers /tokenize, since it knows better
            body = {"model": "small", "prompt": "Hello, world"}
            through = g.post_json("/tokenize", body)
            assert through == json.loads(sim.request("POST", "/tokenize", body)[2])


@pytest.mark.skipif(not is_installed(), reason="the package xllamacpp is not installed")
def test_llamacpp_is_compared():
    """llama.cpp's own server: tokens and rendered chats are the same."""
    with LlamaServer() as server:
        name = server.request("GET", "/v1/models")[1]["data"][0]["id"]
        config = {"models": {name: {"engines": [server.url], "tokenizer": TINY}}}
        with Gateway(config=config) as g:
            row = wait_until(lambda: (r := g.engine(server.url))["tokens"] not in ("pending", "none") and r,
                             "the comparison")
            assert row["tokens"] == "exact", row


def test_what_is_counted_and_what_is_not():
    """Embeddings are; bodies over 1 MiB and messages with pictures are estimates, and are served."""
    with Sim(["small"], kind="vllm") as sim:
        with Gateway(config=config_for(sim.url)) as g:
            g.wait_engine(sim.url, "ready")

            def counted(path, body):
                before = [g.metric("busbar_prompts_total", count=c) for c in ("exact", "estimated")]
                assert g.post(path, {"model": "small", **body})[0] in (200, 400)
                after = [g.metric("busbar_prompts_total", count=c) for c in ("exact", "estimated")]
                return [b - a for a, b in zip(before, after)]
            assert counted("/v1/embeddings", {"input": ["one", "two words"]}) == [1, 0]
            assert counted(CHAT, {"messages": MESSAGES, "max_tokens": 1}) == [1, 0]
            picture = [{"type": "text", "text": "see"},
                       {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}]
            assert counted(CHAT, {"messages": [{"role": "user", "content": picture}],
                                  "max_tokens": 1}) == [0, 1]
            large = [{"role": "user", "content": "word " * 220_000}]
            assert counted(CHAT, {"messages": large, "max_tokens": 1}) == [0, 1]


def test_a_tokenizer_that_cannot_be_used():
    """Neither serve nor check starts with it; both name the file and what is wrong."""
    with Sim(["small"]) as sim:
        g = Gateway(config={"models": {"small": {"engines": [sim.url], "tokenizer": "/nowhere/x"}}})
        with pytest.raises(AssertionError, match="/nowhere/x"):
            g.start()
        checked = subprocess.run([busbar_path(), "check", g.config_path], capture_output=True, text=True)
        assert checked.returncode == 2 and "models.small.tokenizer: /nowhere/x" in checked.stderr


@pytest.mark.tsan
def test_a_reload_reads_the_files_again(tmp_path):
    """A better file is taken and the engine compared again; a broken one refuses the reload."""
    path = tmp_path / "model.gguf"
    path.write_bytes(b"GGUF and nothing else")
    with Sim(["small"]) as sim:
        config = {"probe": {"interval": "50ms", "metrics_interval": "50ms"},
                  "models": {"small": {"engines": [sim.url]}}}
        with Gateway(config=config) as g:
            config["models"]["small"]["tokenizer"] = str(path)
            g.write_config(config)
            status, report = g.reload()
            assert status == 422 and "models.small.tokenizer" in str(report), report
            shutil.copy(TINY, path)
            assert g.reload()[0] == 200
            wait_until(lambda: g.engine(sim.url)["tokens"] == "different", "the comparison")


def test_without_a_tokenizer_it_is_said():
    with Sim(["small"]) as sim:
        with Gateway(config={"models": {"small": {"engines": [sim.url]}}}) as g:
            g.wait_log("small: prompts are estimated from their bytes")
            assert g.engine(sim.url)["tokens"] == "none"


def test_block_hashes_on_the_command_line():
    """Whole blocks only; a prefix has the hashes of its text's beginning; salts and schemes differ."""
    def blocks(text, *options):
        run = subprocess.run([busbar_path(), "tokenize", "--tokenizer", TINY, "--blocks", "4", *options],
                             input=text, capture_output=True, text=True)
        assert run.returncode == 0, run.stderr
        return run.stdout.split()
    text = "the cat is on the mat and the dog is in the house"
    own = blocks(text)
    assert len(own) >= 2 and all(len(h) == 16 for h in own)
    assert blocks(text + " and more of it")[:len(own)] == own
    chained, local = blocks(text, "--scheme", "dynamo"), blocks(text, "--scheme", "dynamo-local")
    assert chained[0] == local[0] and chained[1] != local[1]
    assert len({own[0], chained[0], blocks(text, "--salt", "a")[0], blocks(text, "--lora", "a")[0]}) == 4
    wrong = subprocess.run([busbar_path(), "tokenize", "--tokenizer", TINY, "--blocks", "0"],
                           input="", capture_output=True, text=True)
    assert wrong.returncode == 2 and "from 1 to 1024" in wrong.stderr
