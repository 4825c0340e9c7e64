"""Goal: with tenants configured nobody comes in without a good key, each gets what its tenant may use
and no more, however many come at once; keys are made, rotated and revoked under running streams;
and no key shows up in anything that busbar writes."""

import concurrent.futures
import datetime
import json
import re
import subprocess

import pytest

from gateway_process import Gateway, content_of, received, wait_until
from sim_process import Sim, busbar_path

HELLO = [{"role": "user", "content": "Hello world"}]
LONG = [{"role": "user", "content": "[[itl=200]] go on"}]
CHAT = "/v1/chat/completions"
A, B = "key-of-the-first-tenant", "key-of-the-second-tenant"
NAMES = ["chat", "chat-big", "embed"]


@pytest.fixture(scope="module")
def sim():
    with Sim(NAMES, ttft="1ms", itl="200us") as engine:
        yield engine


def chat(model="chat", **more):
    return {"model": model, "messages": HELLO, "max_tokens": 4, **more}


def bearer(key):
    return {"Authorization": f"Bearer {key}"}


def keys(*arguments):
    """`busbar keys …`: (exit code, output, messages)."""
    done = subprocess.run([busbar_path(), "keys", *arguments], text=True, capture_output=True,
                          timeout=30, check=False)
    return done.returncode, done.stdout, done.stderr


def make_key(path, tenant, *more):
    code, out, err = keys("create", "--tenant", tenant, "--file", str(path), *more)
    assert code == 0, err
    return out.strip()


def listed(path):
    """[(id, tenant, rest of the line)]"""
    code, out, err = keys("list", "--file", str(path))
    assert code == 0, err
    return [tuple(line.split(None, 2)) for line in out.splitlines()[1:]]


def two_tenants(**first):
    return {"tenants": {"first": {"key": A, **first}, "second": {"key": B}}}


def together(count, call):
    """What `count` calls at the same time return."""
    with concurrent.futures.ThreadPoolExecutor(count) as pool:
        return list(pool.map(call, range(count)))


# ---- who comes in ----

def test_both_headers(sim):
    with Gateway([sim], two_tenants()) as g:
        for headers in (bearer(A), {"x-api-key": B}, {**bearer(A), "x-api-key": A}):
            g.post_json(CHAT, chat(), headers)
            assert g.get("/v1/models", headers)[0] == 200


def test_without_a_good_key(sim):
    wrong = [{}, bearer("x" * 30), bearer(A + "x"), bearer(A[:-1]), {"x-api-key": "wrong"},
             {"Authorization": A}, {"Authorization": "Basic " + A}, {"Authorization": "Bearer"},
             {**bearer(A), "x-api-key": B}]
    with Gateway([sim], two_tenants()) as g:
        for headers in wrong:
            for method, path, body in (("POST", CHAT, chat()), ("GET", "/v1/models", None),
                                       ("GET", "/v1/models/chat", None), ("GET", "/other", None),
                                       ("POST", "/tokenize", {"prompt": "x"}),
                                       ("DELETE", CHAT, None)):
                status, got, error = g.error(method, path, body, headers)
                assert (status, error["code"]) == (401, "invalid_api_key"), (headers, path)
                assert got["www-authenticate"] == "Bearer"
                assert A not in json.dumps(error) and B not in json.dumps(error)
            assert g.get("/health", headers)[0] == 200
        assert g.metric("busbar_unauthorized_total") == 6 * len(wrong)
        assert g.metric("busbar_tenant_requests_total") == 0


def test_anthropic_form(sim):
    with Gateway([sim], two_tenants()) as g:
        status, got, body = g.post("/v1/messages", chat(), {"x-api-key": "wrong"})
        assert (status, got["www-authenticate"]) == (401, "Bearer")
        error = json.loads(body)
        assert (error["type"], error["error"]["type"]) == ("error", "authentication_error")
        status, _, _ = g.post("/v1/messages", chat(), {"x-api-key": A})
        assert status == 200


def test_a_strangers_body_is_not_read(sim):
    """A large body is refused by its head; the engine hears of nothing."""
    with Gateway([sim], two_tenants()) as g:
        before = len(received(sim))
        with g.raw_connect() as c:
            c.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer nope\r\n"
                      b"Content-Type: application/json\r\nContent-Length: 9000000\r\n\r\n")
            assert c.recv(65536).startswith(b"HTTP/1.1 401 ")
        assert len(received(sim)) <= before
        assert g.metric("busbar_received_bytes_total") == 0


def test_browsers_may_ask_first(sim):
    config = {**two_tenants(), "cors": {"origins": ["https://app.example"]}}
    with Gateway([sim], config) as g:
        status, got, _ = g.request("OPTIONS", CHAT, None, {
            "Origin": "https://app.example", "Access-Control-Request-Method": "POST"})
        assert (status, got["access-control-allow-origin"]) == (204, "https://app.example")
        status, got, _ = g.request("POST", CHAT, chat(), {"Origin": "https://app.example"})
        assert (status, got["access-control-allow-origin"]) == (401, "https://app.example")


def test_the_key_stays_here(sim):
    """Engines get no credentials of clients, and other fields as they were."""
    with Gateway([sim], two_tenants()) as g:
        g.post_json(CHAT, chat(), {**bearer(A), "x-api-key": A, "x-other": "kept"})
        names = {n.lower(): v for n, v in received(sim)[-1]["headers"]}
        assert "authorization" not in names and "x-api-key" not in names
        assert names["x-other"] == "kept"
    with Gateway([sim]) as g:  # without tenants they are the engine's business
        g.post_json(CHAT, chat(), bearer("the-engines-own-key"))
        names = {n.lower(): v for n, v in received(sim)[-1]["headers"]}
        assert names["authorization"] == "Bearer the-engines-own-key"


def test_expired(sim):
    now = datetime.datetime.now(datetime.timezone.utc)
    soon = (now + datetime.timedelta(days=2)).strftime("%Y-%m-%d")
    with Gateway([sim], {"tenants": {"over": {"key": A, "expires": "2026-01-01"},
                                     "soon": {"key": B, "expires": soon}}}) as g:
        status, _, error = g.error("POST", CHAT, chat(), bearer(A))
        assert status == 401 and "expired" in error["message"]
        g.post_json(CHAT, chat(), bearer(B))


# ---- models ----

def test_models(sim):
    config = {"tenants": {"first": {"key": A, "models": ["chat"]},
                          "second": {"key": B, "models": ["*-big", "alias"]}},
              "models": {"embed": {"engines": [sim.url], "aliases": ["alias"]},
                         "chat": {"engines": [sim.url]}, "chat-big": {"engines": [sim.url]}}}
    with Gateway([sim], config) as g:
        def names(key):
            return [m["id"] for m in json.loads(g.get("/v1/models", bearer(key))[2])["data"]]
        g.wait_model("embed")
        g.wait_model("chat-big")
        assert names(A) == ["chat"]
        assert sorted(names(B)) == ["alias", "chat-big"]
        assert g.get("/v1/models/chat", bearer(A))[0] == 200
        assert g.get("/v1/models/chat", bearer(B))[0] == 404
        assert g.get("/v1/models/chat-big", bearer(A))[0] == 404
        g.post_json(CHAT, chat("chat"), bearer(A))
        g.post_json(CHAT, chat("chat-big"), bearer(B))
        g.post_json("/v1/embeddings", {"model": "alias", "input": "x"}, bearer(B))
        for key, model in ((A, "chat-big"), (A, "none"), (A, "alias"), (B, "chat"), (B, "embed")):
            status, _, error = g.error("POST", CHAT, chat(model), bearer(key))
            assert (status, error["code"], error["param"]) == (403, "permission_denied", "model")
        # A name that the pattern covers and nobody serves: what there is, as far as one may know.
        status, _, error = g.error("POST", CHAT, chat("no-big"), bearer(B))
        assert status == 404 and "chat-big" in error["message"]
        assert "`chat`" not in error["message"] and "embed" not in error["message"]
        wait_until(lambda: all(e["requests_in_flight"] == 0 for e in g.status()["engines"]), "nothing is left")


def test_models_by_their_alias(sim):
    """Who may use a model may use it by any of its names."""
    config = {"tenants": {"first": {"key": A, "models": ["chat"]}},
              "models": {"chat": {"engines": [sim.url], "aliases": ["gpt-4o", "*"]},
                         "chat-big": {"engines": [sim.url]}}}
    with Gateway([sim], config) as g:
        g.wait_model("chat")
        for model in ("gpt-4o", "whatever"):
            assert g.post_json(CHAT, chat(model), bearer(A))["choices"]
        assert g.error("POST", CHAT, chat("chat-big"), bearer(A))[0] == 403


def test_a_model_that_is_not_allowed_comes_before_limits(sim):
    """403 does not pass, 429 does: who may not use a model is told so even where its budget is used
    up, and what is refused with 403 takes nothing of any limit."""
    config = {"tenants": {"first": {"key": A, "models": ["chat"],
                                    "limits": {"requests_per_minute": 2}},
                          "second": {"key": B, "models": ["chat"], "budget": "1 tokens/month"}},
              "models": {"chat": {"engines": [sim.url], "aliases": ["gpt-4o"]},
                         "chat-big": {"engines": [sim.url], "aliases": ["other"]}}}
    with Gateway([sim], config) as g:
        g.wait_model("chat")
        g.wait_model("chat-big")
        for model in ("chat-big", "other", "none"):
            for _ in range(4):
                status, got, error = g.error("POST", CHAT, chat(model), bearer(A))
                assert (status, error["code"]) == (403, "permission_denied")
                assert "retry-after" not in got
        for _ in range(2):
            g.post_json(CHAT, chat("gpt-4o"), bearer(A))
        assert g.error("POST", CHAT, chat("chat"), bearer(A))[0] == 429
        assert g.error("POST", CHAT, chat("chat-big"), bearer(A))[0] == 403
        assert g.error("POST", CHAT, chat("chat"), bearer(B))[0] == 429
        assert g.error("POST", CHAT, chat("other"), bearer(B))[0] == 403
        assert g.error("POST", CHAT, chat("none"), bearer(B))[0] == 403


# ---- limits ----

def test_requests_per_minute_at_once(sim):
    """200 clients at once and room for 50: exactly 50 come through."""
    with Gateway([sim], two_tenants(limits={"requests_per_minute": 50})) as g:
        answers = together(200, lambda i: g.post(CHAT, chat(), bearer(A)))
        statuses = [a[0] for a in answers]
        # One more drops in each 1.2 seconds that this takes.
        assert 50 <= statuses.count(200) <= 53 and set(statuses) == {200, 429}
        for status, got, body in answers:
            assert got["x-ratelimit-limit-requests"] == "50"
            assert 0 <= int(got["x-ratelimit-remaining-requests"]) < 50
            assert re.fullmatch(r"\d+ms|\d+s|1m0s", got["x-ratelimit-reset-requests"])
            assert "x-ratelimit-limit-tokens" not in got
            if status == 429:
                error = json.loads(body)["error"]
                assert error["code"] == "rate_limit_exceeded" and "50 requests" in error["message"]
                assert got["retry-after"] in ("1", "2")
        g.post_json(CHAT, chat(), bearer(B))  # the other one is not held up


def test_concurrent(sim):
    with Gateway([sim], two_tenants(limits={"concurrent": 2})) as g:
        body = {"model": "chat", "messages": LONG, "max_tokens": 1000}
        with g.stream(CHAT, body, bearer(A)) as one:
            with g.stream(CHAT, body, bearer(A)) as two:
                one.first_payload(), two.first_payload()
                status, got, error = g.error("POST", CHAT, chat(), bearer(A))
                assert status == 429 and "2 requests are under way" in error["message"]
                assert got["retry-after"] == "1"
                assert g.metric("busbar_tenant_requests_in_flight", tenant="first") == 2
                g.post_json(CHAT, chat(), bearer(B))
            wait_until(lambda: g.post(CHAT, chat(), bearer(A))[0] == 200, "a place is free again")
        wait_until(lambda: g.metric("busbar_tenant_requests_in_flight", tenant="first") == 0,
                   "both are given back")


def test_tokens_per_minute(sim):
    with Gateway([sim], two_tenants(limits={"tokens_per_minute": 1000})) as g:
        status, got, _ = g.post(CHAT, chat(max_tokens=100), bearer(A))
        assert status == 200
        limit, left = (int(got[f"x-ratelimit-{k}-tokens"]) for k in ("limit", "remaining"))
        assert limit == 1000 and 850 < left < 900
        # Settled with what was used: all but some prompt and 100 tokens of output is there again.
        wait_until(lambda: g.metric("busbar_tenant_tokens_total", tenant="first", kind="output") == 100,
                   "it is counted")
        status, got, error = g.error("POST", CHAT, {"model": "chat", "max_tokens": 4, "messages": [
            {"role": "user", "content": "word " * 4000}]}, bearer(A))
        assert status == 429 and "more than the 1000" in error["message"]
        assert got["x-should-retry"] == "false" and "retry-after" not in got
        status, got, error = g.error("POST", CHAT, {"model": "chat", "max_tokens": 4, "messages": [
            {"role": "user", "content": "word " * 770}]}, bearer(A))
        assert status == 429 and "1000 tokens a minute" in error["message"]
        assert 1 <= int(got["retry-after"]) <= 60


def test_budget_at_once(sim):
    """However many come at once, the month's budget holds to the token, and unused tokens come back."""
    with Gateway([sim], two_tenants(budget="2000 tokens/month")) as g:
        answers = together(200, lambda i: g.post(CHAT, chat(max_tokens=50), bearer(A)))
        good = [json.loads(body) for status, _, body in answers if status == 200]
        used = sum(a["usage"]["total_tokens"] for a in good)
        bad = [(got, json.loads(body)["error"]) for status, got, body in answers if status != 200]
        assert good and bad and used <= 2000
        for got, error in bad:
            assert (error["code"], error["type"]) == ("insufficient_quota", "insufficient_quota")
            assert "2000 tokens a month" in error["message"]
            assert int(got["retry-after"]) > 0 and got["x-should-retry"] == "false"
        wait_until(lambda: g.metric("busbar_tenant_budget_used_tokens", tenant="first") == used,
                   "all is settled")
        # What is left can be used, to the last whole request.
        while (answer := g.post(CHAT, chat(max_tokens=50), bearer(A)))[0] == 200:
            used += json.loads(answer[2])["usage"]["total_tokens"]
        assert 2000 - 50 - 120 < used <= 2000


def test_failures_are_given_back():
    """An engine that cannot be reached costs nothing."""
    with Gateway(["http://127.0.0.1:9"], {**two_tenants(limits={"requests_per_minute": 2}),
                                          "models": {"m": {"engines": ["http://127.0.0.1:9"]}}},
                 wait=False) as g:
        for _ in range(5):
            status, got, _ = g.error("POST", CHAT, chat("m"), bearer(A))
            assert status in (502, 503)
            assert got["x-ratelimit-remaining-requests"] == "1"
            # It is given back behind the answer.
            wait_until(lambda: g.metric("busbar_tenant_requests_in_flight", tenant="first") == 0,
                       "it is settled")


def test_every_endpoint_counts(sim):
    with Gateway([sim], two_tenants(limits={"requests_per_minute": 100})) as g:
        calls = [("/v1/embeddings", {"model": "embed", "input": "one two three"}),
                 ("/v1/completions", {"model": "chat", "prompt": "x", "max_tokens": 2}),
                 ("/v1/responses", {"model": "chat", "input": "x", "max_output_tokens": 2}),
                 ("/v1/rerank", {"model": "embed", "query": "x", "documents": ["a", "b"]}),
                 ("/v1/messages", {"model": "chat", "max_tokens": 2, "messages": HELLO})]
        for n, (path, body) in enumerate(calls):
            status, got, answer = g.post(path, body, bearer(A))
            assert status == 200, answer
            assert int(got["x-ratelimit-remaining-requests"]) in (99 - n, 100 - n)


# ---- the file of keys ----

def test_make_list_rotate_revoke(sim, folder):
    path = folder / "keys.yaml"
    path.write_text("# ours\ntenants:\n  shop:   # the shop\n    models: [chat]\n")
    first = make_key(path, "shop")
    second = make_key(path, "clinic", "--expires", "2099-12-31")
    assert re.fullmatch(r"bb-[0-9A-Za-z]{43}", first) and first != second
    text = path.read_text()
    assert first not in text and second not in text
    assert text.startswith("# ours\ntenants:\n") and "  shop:   # the shop\n" in text
    assert {(i, t) for i, t, _ in listed(path)} == {(first[3:11], "shop"), (second[3:11], "clinic")}
    config = {"keys": {"file": "keys.yaml"}}
    with Gateway([sim]) as g:
        g.stop()
        g.config_path = str(folder / "busbar.yaml")
        g.args[g.args.index("-c") + 1] = g.config_path
        g.write_config(config)  # beside the file of keys, which it names without a folder
        g.lines.clear()
        g.start()
        g.post_json(CHAT, chat(), bearer(first))
        g.post_json(CHAT, chat("chat-big"), bearer(second))
        assert g.error("POST", CHAT, chat("chat-big"), bearer(first))[0] == 403
        # Rotated: both are good until the old one ends.
        code, third, err = keys("rotate", first[3:11], "--file", str(path), "--grace", "1h")
        third = third.strip()
        assert code == 0 and first[3:11] in err
        assert g.error("POST", CHAT, chat(), bearer(third))[0] == 401
        assert g.reload()[0] == 200
        for key in (first, third):
            g.post_json(CHAT, chat(), bearer(key))
        # A grace of nothing ends it at once.
        code, fourth, _ = keys("rotate", second[3:11], "--file", str(path), "--grace", "0")
        assert code == 0 and g.reload()[0] == 200
        assert "expired" in g.error("POST", CHAT, chat(), bearer(second))[2]["message"]
        g.post_json(CHAT, chat(), bearer(fourth.strip()))
        # Revoked under a stream of that very key: the stream goes on, the next request is refused.
        with g.stream(CHAT, {"model": "chat", "messages": LONG, "max_tokens": 8}, bearer(third)) as s:
            s.first_payload()
            assert keys("revoke", third[3:11], "--file", str(path))[0] == 0
            assert g.reload()[0] == 200
            assert g.error("POST", CHAT, chat(), bearer(third))[0] == 401
            assert content_of(s.payloads())
        g.post_json(CHAT, chat(), bearer(first))


def test_serve_with_keys_alone(sim, folder):
    path = folder / "keys.yaml"
    key = make_key(path, "one")
    with Gateway([sim], keys=path) as g:
        assert g.error("POST", CHAT, chat())[0] == 401
        g.post_json(CHAT, chat(), bearer(key))
        # The last key taken out does not open the gate.
        assert keys("revoke", key[3:11], "--file", str(path))[0] == 0
        assert g.reload()[0] == 200
        assert g.error("POST", CHAT, chat())[0] == 401
        # A file with mistakes is refused as a whole, with its own name.
        path.write_text("tenants: {one: {kye: x}}\n")
        status, report = g.reload()
        assert status != 200 and f"{path}:1:17: error: unknown key 'kye'" in report


def test_reload_keeps_what_was_used(sim):
    limits = {"requests_per_minute": 5}
    with Gateway([sim], two_tenants(limits=limits)) as g:
        for _ in range(5):
            g.post_json(CHAT, chat(), bearer(A))
        g.write_config(two_tenants(limits=limits))
        assert g.reload()[0] == 200
        assert g.error("POST", CHAT, chat(), bearer(A))[0] == 429


def test_keys_command_errors(folder):
    path = folder / "keys.yaml"
    assert keys()[0] == 2
    assert keys("create")[0] == 2
    assert keys("list", "--file", str(path))[0] == 1
    assert keys("create", "--tenant", "a b", "--file", str(path))[0] == 2
    assert not path.exists()
    make_key(path, "a")
    assert path.stat().st_mode & 0o777 == 0o600
    path.chmod(0o640)
    make_key(path, "a")
    assert path.stat().st_mode & 0o777 == 0o640
    assert keys("revoke", "none", "--file", str(path))[0] == 2
    assert keys("revoke", "--file", str(path))[0] == 2
    assert keys("rotate", "x", "--file", str(path), "--grace", "soon")[0] == 2
    before = path.read_text()
    path.write_text(before + "  - broken: [\n")
    code, _, err = keys("create", "--tenant", "a", "--file", str(path))
    assert code == 2 and path.read_text() == before + "  - broken: [\n"
    code, out, err = keys("create", "--tenant", "a")
    key, stored = out.splitlines()
    assert code == 0 and stored.startswith(f"bbh1:{key[3:11]}:") and key not in err


def test_many_at_work_on_one_file(folder):
    """Nobody's key is lost when several make keys at once."""
    path = folder / "keys.yaml"
    made = together(8, lambda i: [make_key(path, f"t{i}") for _ in range(5)])
    assert {i for i, _, _ in listed(path)} == {key[3:11] for some in made for key in some}


# ---- without keys: this machine only ----

def start_and_fail(*arguments):
    done = subprocess.run([busbar_path(), "serve", "--admin", "off", *arguments], text=True,
                          capture_output=True, timeout=30, check=False)
    return done.returncode, done.stderr


def test_loopback_only(sim, folder):
    code, log = start_and_fail("--engine", sim.url, "--listen", "0.0.0.0:0")
    assert code == 2 and "there are no API keys" in log and "--insecure-no-keys" in log
    config = folder / "c.yaml"
    config.write_text("listen: '[::]:0'\n")
    assert start_and_fail("-c", str(config))[0] == 2
    with Gateway([sim]) as g:
        g.wait_log("everybody on this machine may use the engines, and nobody else")
    with Gateway([sim], listen=["0.0.0.0:0"], config={"insecure_no_keys": "true"}) as g:
        g.wait_log("anyone who reaches 0.0.0.0:0 may use the engines")
        # Nor may a reload leave the door open.
        g.write_config({})
        status, report = g.reload()
        assert status != 200 and "can be reached from other machines" in report
    with Gateway([sim], two_tenants(), listen=["0.0.0.0:0"]) as g:
        assert "anyone who reaches" not in g.log()
        g.write_config({})
        assert g.reload()[0] != 200
        assert g.error("POST", CHAT, chat())[0] == 401


# ---- nothing tells a key ----

def test_no_key_in_any_output(sim, folder):
    """Keys in clear and as hashes are looked for in logs, metrics, records, status and messages."""
    path = folder / "keys.yaml"
    made = make_key(path, "made")
    stored = re.search(r"bbh1:\w+:(\w+)", path.read_text()).group(1)
    secrets = [A, B, made, made[3:], made[11:], stored, stored[:16]]
    config = {**two_tenants(limits={"requests_per_minute": 3}), "keys": {"file": str(path)}}
    seen = []
    with Gateway([sim], config, log_level="debug") as g:
        requests = []
        for headers in (bearer(A), {"x-api-key": B}, bearer(made), bearer(A + B), {"x-api-key": made + "x"},
                        {**bearer(A), "x-api-key": made}, {"Authorization": A},
                        {"Authorization": "Basic " + made}, *[bearer(A)] * 6):
            for path_, body in ((CHAT, chat()), (CHAT, chat("none")), (CHAT, {"model": 5})):
                status, got, answer = g.post(path_, body, headers)
                requests.append(got["x-request-id"])
                seen += [str(got), answer.decode()]
        for request_id in requests:
            g.wait_record(request_id)
        records = g.access_records()
        assert {r.get("tenant") for r in records} == {"first", "second", "made", None}
        g.write_config({**config, "tenants": {"first": {"keys": [A, A]}}})
        status, report = g.reload()
        assert status != 200
        g.write_config(config)
        assert g.reload()[0] == 200
        seen += [report, g.metrics_text(), json.dumps(g.status()), json.dumps(records)]
        for arguments in (("check", "--print"), ("check",)):
            done = subprocess.run([busbar_path(), *arguments, g.config_path], text=True,
                                  capture_output=True, timeout=30, check=True)
            seen += [done.stdout, done.stderr]
            assert "warning: tenants.first: a key is written in clear" in done.stderr
        assert '"***"' in seen[-4]
        g.stop()
        seen.append(g.log())
    for text in seen:
        for secret in secrets:
            assert secret not in text, text


def test_records_and_metrics(sim):
    with Gateway([sim], two_tenants(models=["chat"])) as g:
        answers = [g.post(CHAT, body, bearer(key)) for body, key in (
            (chat(), A), (chat(), A), (chat("embed"), A), (chat(max_tokens=7), B))]
        for status, got, _ in answers:
            record = g.wait_record(got["x-request-id"])
            assert record["status"] == status
        tenants = [g.wait_record(got["x-request-id"])["tenant"] for _, got, _ in answers]
        assert tenants == ["first"] * 3 + ["second"]
        assert g.metric("busbar_tenant_requests_total", tenant="first", status="2xx") == 2
        assert g.metric("busbar_tenant_requests_total", tenant="first", status="4xx") == 1
        assert g.metric("busbar_tenant_requests_total", tenant="second") == 1
        assert g.metric("busbar_tenant_tokens_total", tenant="second", kind="output") == 7
        assert g.metric("busbar_tenant_tokens_total", tenant="first", kind="output") == 8
        assert g.metric("busbar_tenant_tokens_total", tenant="first", kind="prompt") > 0
