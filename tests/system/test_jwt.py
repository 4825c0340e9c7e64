"""Goal: tokens made by PyJWT, as an identity provider would, let their tenant in, by each algorithm
and with keys from a file, over HTTP and over TLS; no token that is wrong in any respect does, nor
one that PyJWT would refuse; keys change under a running gateway; and no token shows up in anything
that busbar writes or sends on."""

import base64
import contextlib
import hashlib
import hmac
import http.server
import json
import random
import ssl
import threading
import time

import pytest

jwt = pytest.importorskip("jwt")
pytest.importorskip("cryptography")

from cryptography.hazmat.primitives import serialization  # noqa: E402
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa  # noqa: E402
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm  # noqa: E402

from gateway_process import Gateway, wait_until  # noqa: E402
from sim_process import Sim  # noqa: E402
from tls_peers import Authority  # noqa: E402

ISSUER, AUDIENCE = "https://id.example/realm", "busbar"
HELLO = [{"role": "user", "content": "Hello world"}]
API_KEY = "key-of-the-second-tenant"


class Signer:
    """One key pair of an identity provider."""

    def __init__(self, alg, kid, **made):
        self.alg, self.kid = alg, kid
        make, self.form = {
            "RS256": (lambda: rsa.generate_private_key(65537, made.get("bits", 2048)), RSAAlgorithm),
            "ES256": (lambda: ec.generate_private_key(ec.SECP256R1()), ECAlgorithm),
            "ES384": (lambda: ec.generate_private_key(ec.SECP384R1()), ECAlgorithm),
            "EdDSA": (ed25519.Ed25519PrivateKey.generate, OKPAlgorithm),
        }[alg]
        self.private = make()
        self.public = self.private.public_key()

    def jwk(self, **more):
        members = {**self.form.to_jwk(self.public, as_dict=True), "alg": self.alg, "use": "sig", **more}
        if self.kid:
            members["kid"] = self.kid
        return members

    def pem(self):
        return self.public.public_bytes(serialization.Encoding.PEM,
                                        serialization.PublicFormat.SubjectPublicKeyInfo)

    def token(self, headers=None, **claims):
        """A token for tenant first; a claim or header that is None is left out."""
        now = int(time.time())
        payload = {"sub": "first", "iss": ISSUER, "aud": AUDIENCE, "iat": now, "exp": now + 300, **claims}
        payload = {k: v for k, v in payload.items() if v is not None}
        headers = {"kid": self.kid, **(headers or {})}
        if headers["kid"] is None:
            del headers["kid"]
        return jwt.encode(payload, self.private, self.alg, headers)


SIGNERS = [Signer("RS256", "rsa-1"), Signer("ES256", "ec-1"), Signer("EdDSA", "ed-1")]
RSA, EC, ED = SIGNERS


def key_set(*signers):
    return {"keys": [s.jwk() for s in signers]}


def write_set(path, *signers):
    path.write_text(json.dumps(key_set(*signers)), encoding="utf-8")


def config(jwks, **jwt_options):
    return {"tenants": {"first": {"models": ["chat"]}, "second": {"key": API_KEY}},
            "auth": {"jwt": {"jwks": str(jwks), "issuer": ISSUER, "audience": AUDIENCE,
                             "leeway": "30s", **jwt_options}}}


def bearer(token):
    return {"Authorization": f"Bearer {token}"}


def chat(model="chat"):
    return {"model": model, "messages": HELLO, "max_tokens": 4}


def part(data):
    raw = data if isinstance(data, bytes) else json.dumps(data).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


@pytest.fixture(scope="module")
def sim():
    with Sim(["chat", "big"], ttft="1ms", itl="200us") as engine:
        yield engine


@pytest.fixture(scope="module")
def gateway(sim, tmp_path_factory):
    path = tmp_path_factory.mktemp("jwt") / "keys.json"
    write_set(path, *SIGNERS)
    with Gateway([sim], config(path)) as running:
        yield running


def refusal(gateway, token, status=401):
    """The error's sentence and the challenge; the token is in neither."""
    code, headers, error = gateway.error("GET", "/v1/models", headers=bearer(token))
    assert code == status, error
    for piece in token.split("."):
        assert len(piece) < 12 or (piece not in json.dumps(error) and piece not in str(headers))
    return error["message"], headers["www-authenticate"]


# ---- who comes in ----

@pytest.mark.parametrize("signer", SIGNERS, ids=lambda s: s.alg)
def test_accepted(gateway, sim, signer):
    token = signer.token()
    status, headers, _ = gateway.post("/v1/chat/completions", chat(), bearer(token))
    assert status == 200
    assert gateway.wait_record(headers["x-request-id"])["tenant"] == "first"
    assert gateway.get("/v1/models", {"x-api-key": token})[0] == 200
    # The engine gets no token, and a second request is as good as the first.
    assert token not in json.dumps(sim.requests())
    assert gateway.post("/v1/chat/completions", chat(), bearer(token))[0] == 200


def test_claims_that_are_fine(gateway):
    now = time.time()
    for more in ({"aud": ["other", AUDIENCE]}, {"nbf": int(now)}, {"iat": None}, {"exp": now + 60.5},
                 {"roles": ["a"], "deep": {"exp": 1, "aud": "x"}}, {"nbf": int(now) + 20},
                 {"exp": int(now) - 5}):
        assert gateway.get("/v1/models", bearer(ED.token(**more)))[0] == 200, more
    for headers in ({"typ": "at+jwt"}, {"typ": None}, {"kid": None}, {"jku": "http://127.0.0.1:1/"}):
        assert gateway.get("/v1/models", bearer(ED.token(headers)))[0] == 200, headers


def test_keys_beside_tokens(gateway):
    assert gateway.get("/v1/models", bearer(API_KEY))[0] == 200
    assert gateway.error("GET", "/v1/models")[0] == 401
    code, headers, _ = gateway.error("GET", "/v1/models", headers=bearer("wrong-key-of-nobody"))
    assert code == 401 and headers["www-authenticate"] == "Bearer"
    # Two that differ are refused even when both are good.
    both = {**bearer(ED.token()), "x-api-key": API_KEY}
    assert gateway.error("GET", "/v1/models", headers=both)[0] == 401


def test_what_a_tenant_may(gateway):
    """A token has its tenant's limits: here, one of two models."""
    token = EC.token()
    models = json.loads(gateway.get("/v1/models", bearer(token))[2])["data"]
    assert [m["id"] for m in models] == ["chat"]
    assert gateway.error("POST", "/v1/chat/completions", chat("big"), bearer(token))[0] == 403
    assert gateway.post("/v1/chat/completions", chat("big"), bearer(API_KEY))[0] == 200


def test_openai_sdk(gateway):
    openai = pytest.importorskip("openai")
    with openai.OpenAI(base_url=gateway.url + "/v1", api_key=RSA.token(), max_retries=0) as client:
        answer = client.chat.completions.create(**chat())
        assert answer.choices[0].message.content
        text = "".join(c.choices[0].delta.content or "" for c in
                       client.chat.completions.create(**chat(), stream=True) if c.choices)
        assert text == answer.choices[0].message.content
    with openai.OpenAI(base_url=gateway.url + "/v1", api_key=RSA.token(exp=1), max_retries=0) as client:
        with pytest.raises(openai.AuthenticationError, match="the token has expired"):
            client.models.list()


# ---- who does not ----

def hs256(secret, header=None):
    """RFC 8725 §2.1: a MAC with a public key for its secret."""
    text = part({"alg": "HS256", "typ": "JWT", "kid": "rsa-1", **(header or {})}) + "." + part(
        {"sub": "first", "iss": ISSUER, "aud": AUDIENCE, "exp": int(time.time()) + 300})
    return text + "." + part(hmac.new(secret, text.encode(), hashlib.sha256).digest())


def unsigned():
    return part({"alg": "none"}) + "." + part({"sub": "first", "exp": 2 ** 40}) + "."


def with_claims(token, **claims):
    """The same signature over other claims."""
    header, payload, signature = token.split(".")
    old = json.loads(base64.urlsafe_b64decode(payload + "=="))
    return ".".join((header, part({**old, **claims}), signature))


REFUSED = {
    "expired": (lambda: ED.token(exp=int(time.time()) - 31), "expired"),
    "never expires": (lambda: ED.token(exp=None), "never expires"),
    "not yet": (lambda: ED.token(nbf=int(time.time()) + 60), "not valid yet"),
    "from the future": (lambda: ED.token(iat=int(time.time()) + 60), "not valid yet"),
    "other issuer": (lambda: ED.token(iss="https://id.example/realm2"), "issuer"),
    "no issuer": (lambda: ED.token(iss=None), "issuer"),
    "other audience": (lambda: ED.token(aud=["a", "b"]), "audience"),
    "no audience": (lambda: ED.token(aud=None), "audience"),
    "other claims": (lambda: with_claims(EC.token(), sub="second"), "signature"),
    "other signer": (lambda: Signer("RS256", "rsa-1").token(), "signature"),
    "unknown key": (lambda: Signer("EdDSA", "ed-9").token(), "not known"),
    "key of another type": (lambda: Signer("ES256", "rsa-1").token(), "not for its algorithm"),
    "hmac": (lambda: hs256(RSA.pem()), "algorithm"),
    "hmac as rsa": (lambda: hs256(RSA.pem(), {"alg": "RS256"}), "signature"),
    "other algorithm": (lambda: Signer("ES384", "ec-1").token(), "algorithm"),
    "critical": (lambda: ED.token({"crit": ["exp"], "exp": 1}), "critical"),
    "log-out": (lambda: ED.token({"typ": "logout+jwt"}), "type"),
    "too long": (lambda: ED.token(x="y" * 8000), "longer than"),
    "nonsense": (lambda: "aaaa.bbbb.cccc", "header"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_refused(gateway, what):
    make, said = REFUSED[what]
    message, challenge = refusal(gateway, make())
    assert said in message
    assert challenge == f'Bearer error="invalid_token", error_description="{message}"'


def test_unsigned(gateway):
    message, _ = refusal(gateway, unsigned())
    assert "API key" in message  # without a third part it is no token at all
    message, _ = refusal(gateway, unsigned() + "AA")
    assert "algorithm" in message


def test_stranger(gateway):
    for claims in ({"sub": "nobody-here-17"}, {"sub": None}, {"sub": 7}, {"sub": "x" * 100}):
        try:
            token = ED.token(**claims)
        except TypeError:  # PyJWT does not make a number of it
            token = jwt.api_jws.encode(json.dumps({"sub": 7, "iss": ISSUER, "aud": AUDIENCE,
                                                   "exp": 2 ** 40}).encode(), ED.private, "EdDSA")
        code, _, error = gateway.error("GET", "/v1/models", headers=bearer(token))
        assert code == 403 and error["code"] == "permission_denied"
        assert "'sub'" in error["message"]
        assert "nobody-here-17" not in error["message"] and "xxx" not in error["message"]


def test_never_wider_than_pyjwt(gateway):
    """Hundreds of tokens with a few bytes changed: whatever busbar lets in, PyJWT verifies as well."""
    pick = random.Random(20)
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.=+/"
    let_in = 0
    with contextlib.closing(gateway.connect()) as connection:
        for i in range(400):
            signer = SIGNERS[i % 3]
            token = list(signer.token())
            for _ in range(pick.randrange(3)):
                at = pick.randrange(len(token))
                token[at] = pick.choice(["", pick.choice(alphabet), token[at] * 2])
            token = "".join(token)
            connection.request("GET", "/v1/models", headers=bearer(token))
            answer = connection.getresponse()
            answer.read()
            assert answer.status in (200, 401)
            if answer.status == 200:
                claims = jwt.decode(token, signer.public, [signer.alg], audience=AUDIENCE, issuer=ISSUER)
                assert claims["sub"] == "first"
                let_in += 1
    assert 100 < let_in < 390  # a third was left as it was


def test_allowed_algorithms(sim, tmp_path):
    write_set(tmp_path / "keys.json", *SIGNERS)
    with Gateway([sim], config(tmp_path / "keys.json", algorithms=["ES256"], tenant_claim="org")) as g:
        assert g.get("/v1/models", bearer(EC.token(org="second", sub="x")))[0] == 200
        assert "algorithm" in refusal(g, RSA.token(org="second"))[0]
        assert "algorithm" in refusal(g, ED.token(org="second"))[0]
        assert g.error("GET", "/v1/models", headers=bearer(EC.token()))[2]["message"].count("'org'")


# ---- where keys come from ----

class KeyServer(http.server.ThreadingHTTPServer):
    """An identity provider's key set over HTTP, or TLS with a certificate."""

    def __init__(self, identity=None):
        self.body, self.code, self.asked = b"", 200, []
        server = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                server.asked.append((self.path, dict(self.headers)))
                self.send_response(server.code)
                self.send_header("Content-Type", "application/jwk-set+json")
                self.send_header("Content-Length", str(len(server.body)))
                self.end_headers()
                self.wfile.write(server.body)

            def log_message(self, *args):
                pass

        super().__init__(("127.0.0.1", 0), Handler)
        scheme = "http"
        if identity:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(identity.cert, identity.key)
            self.socket = context.wrap_socket(self.socket, server_side=True,
                                              do_handshake_on_connect=False)
            scheme = "https"
        self.url = f"{scheme}://localhost:{self.server_port}/realm/certs?v=1"

    def handle_error(self, request, client_address):
        pass  # a client that does not trust the certificate leaves

    def show(self, *signers, code=200):
        self.body, self.code = json.dumps(key_set(*signers)).encode(), code

    def __enter__(self):
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *exc):
        self.shutdown()
        self.server_close()


def is_in(gateway, token):
    return gateway.get("/v1/models", bearer(token))[0] == 200


def test_url(sim):
    """Keys that rotate: a new one is fetched when it is first seen, and an old one is out then."""
    new = Signer("ES256", "ec-2")
    with KeyServer() as server:
        server.show(RSA)
        with Gateway([sim], config(server.url)) as g:
            g.wait_log("1 keys to check tokens with")
            assert "v=1" not in g.log()
            path, headers = server.asked[0]
            assert path == "/realm/certs?v=1"
            assert headers["Host"] == f"localhost:{server.server_port}"
            assert is_in(g, RSA.token())
            server.show(new)
            assert "not known" in refusal(g, new.token())[0]
            wait_until(lambda: is_in(g, new.token()), "the new key")
            assert "not known" in refusal(g, RSA.token())[0]
            # Tokens of unknown keys do not make a flood of questions.
            asked = len(server.asked)
            for i in range(50):
                refusal(g, Signer("EdDSA", f"ed-{i}").token())
            assert len(server.asked) <= asked + 1
            # What goes wrong at the server leaves the keys that there are.
            server.show(RSA, code=500)
            assert g.reload()[0] == 200
            g.wait_log("the keys from before stay in force")
            assert is_in(g, new.token())


def test_before_keys_are_there(sim):
    with KeyServer() as server:
        server.show(ED, code=503)
        with Gateway([sim], config(server.url)) as g:
            g.wait_log("tokens cannot be checked until it is loaded")
            code, headers, error = g.error("GET", "/v1/models", headers=bearer(ED.token()))
            assert code == 503 and headers["retry-after"]
            assert "not been loaded" in error["message"]
            assert g.get("/v1/models", bearer(API_KEY))[0] == 200
            server.show(ED)
            assert g.reload()[0] == 200
            wait_until(lambda: is_in(g, ED.token()), "the keys")


def test_tls(sim, tmp_path, monkeypatch):
    """Over TLS only from a server whose certificate is right."""
    authority = Authority(tmp_path)
    good = authority.issue("localhost", "DNS:localhost")
    wrong = authority.issue("other", "DNS:other.example")
    monkeypatch.setenv("SSL_CERT_FILE", authority.path)
    with KeyServer(good) as server:
        server.show(ED)
        with Gateway([sim], config(server.url)) as g:
            wait_until(lambda: is_in(g, ED.token()), "the keys")
            assert "can be forged" not in g.log()
    with KeyServer(wrong) as server:
        server.show(ED)
        with Gateway([sim], config(server.url)) as g:
            g.wait_log("tokens cannot be checked until it is loaded")
            assert not is_in(g, ED.token())
            assert not server.asked


def test_file_reload(sim, tmp_path):
    path = tmp_path / "keys.json"
    write_set(path, RSA, ED)
    with Gateway([sim], config(path)) as g:
        rsa_token, ed_token = RSA.token(), ED.token()
        assert is_in(g, rsa_token) and is_in(g, ed_token)
        write_set(path, ED)
        assert g.reload()[0] == 200
        assert "not known" in refusal(g, rsa_token)[0]  # although it was remembered
        assert is_in(g, ed_token)
        path.write_text('{"keys": [', encoding="utf-8")
        code, report = g.reload()
        assert code != 200 and f"auth.jwt.jwks: {path}: " in report
        assert is_in(g, ed_token)
        # Another claim names the tenant from now on, also for a token that is remembered.
        write_set(path, ED)
        g.write_config(config(path, tenant_claim="org"))
        assert g.reload()[0] == 200
        assert g.error("GET", "/v1/models", headers=bearer(ed_token))[0] == 403
        # Without the section no token is taken.
        without = config(path)
        del without["auth"]
        g.write_config(without)
        assert g.reload()[0] == 200
        assert "API key" in refusal(g, ed_token)[0]
        assert is_in(g, API_KEY)


def test_warnings(sim, tmp_path):
    """Without an audience every token of the provider is good, and the log says so."""
    path = tmp_path / "keys.json"
    write_set(path, ED)
    careless = config(path)
    del careless["auth"]["jwt"]["audience"]
    with Gateway([sim], careless) as g:
        assert "made for other applications" in g.log()
        assert is_in(g, ED.token(aud="another")) and is_in(g, ED.token(aud=None))
    with Gateway([sim], config(path)) as g:
        assert "made for other applications" not in g.log()


def test_bad_key_files(sim, tmp_path):
    """A gateway does not start with keys that it cannot use, and says why."""
    path = tmp_path / "keys.json"
    weak = Signer("RS256", "weak", bits=1024)
    for text, said in ((None, "No such file"), ("[]", "no JSON object"), ('{"keys":[]}', "no keys"),
                       (json.dumps(key_set(weak)), "fewer than 2048 bits"),
                       (json.dumps({"keys": [ED.jwk(d="AAAA")]}), "private"),
                       (json.dumps({"keys": [RSA.jwk(alg="RS512")]}), "'alg'")):
        path.unlink(missing_ok=True)
        if text is not None:
            path.write_text(text, encoding="utf-8")
        g = Gateway([sim], config(path))
        with pytest.raises(AssertionError, match="the gateway ended"):
            with g:
                pass
        assert f"auth.jwt.jwks: {path}: " in g.log() and said in g.log()
    # One that is good among others is enough, and the others are told.
    path.write_text(json.dumps({"keys": [weak.jwk(), ED.jwk()]}), encoding="utf-8")
    with Gateway([sim], config(path)) as g:
        assert is_in(g, ED.token())
        assert "fewer than 2048 bits" in g.log()


# ---- what is written ----

def test_no_token_is_written(sim, tmp_path):
    write_set(tmp_path / "keys.json", *SIGNERS)
    tokens = [s.token() for s in SIGNERS] + [ED.token(exp=1), ED.token(sub="canary-tenant-91")]
    with Gateway([sim], config(tmp_path / "keys.json"), log_level="debug") as g:
        for token in tokens:
            _, headers, _ = g.post("/v1/chat/completions", chat(), bearer(token))
            g.wait_record(headers["x-request-id"])
        written = g.log() + g.metrics_text() + json.dumps(g.status())
        with open(g.access_path, encoding="utf-8") as f:
            written += f.read()
    sent_on = json.dumps(sim.requests())
    for token in tokens:
        for piece in token.split("."):
            assert piece not in written and piece not in sent_on
    assert "canary-tenant-91" not in written
    assert '"first"' in written
