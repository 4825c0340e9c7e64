#include "wire/config_table.h"

#include "wire/config.h"
#include "wire/spelling.h"

#define SECOND 1000000000ull
#define MILLISECOND 1000000ull
#define MINUTE (60 * SECOND)
#define HOUR (60 * MINUTE)
#define KIB (1ull << 10)
#define MIB (1ull << 20)
#define GIB (1ull << 30)

const char *const config_policies[] = {
	"lookahead",	"cost_ms",	"pending",	"least_tokens", "least_requests",
	"power_of_two", "session",	"round_robin",	"random",	"chwbl",
	"prefix_hash",	"dynamo_cost",	"llmd",		"lmetric",	NULL,
};

static const char *const log_levels[] = {
	[BB_LOG_ERROR] = "error",
	[BB_LOG_WARN] = "warn",
	[BB_LOG_INFO] = "info",
	[BB_LOG_DEBUG] = "debug",
	NULL,
};

static const char *const log_formats[] = {
	[CONFIG_LOG_AUTO] = "auto",
	[CONFIG_LOG_TEXT] = "text",
	[CONFIG_LOG_JSON] = "json",
	NULL,
};

static const char *const engine_kinds[] = {
	[CONFIG_ENGINE_AUTO] = "auto",
	[CONFIG_ENGINE_VLLM] = "vllm",
	[CONFIG_ENGINE_SGLANG] = "sglang",
	[CONFIG_ENGINE_TRTLLM] = "trtllm",
	[CONFIG_ENGINE_LLAMACPP] = "llamacpp",
	[CONFIG_ENGINE_BUSBAR] = "busbar",
	[CONFIG_ENGINE_OPENAI] = "openai",
	NULL,
};

static const char *const off_on[] = { [CONFIG_OFF] = "off", [CONFIG_ON] = "on", NULL };
static const char *const false_true[] = { [CONFIG_OFF] = "false", [CONFIG_ON] = "true", NULL };

static const char *const verify[] = {
	[CONFIG_VERIFY_ON] = "true",
	[CONFIG_VERIFY_OFF] = "false",
	NULL,
};

static const char *const tls_versions[] = {
	[CONFIG_TLS_1_2] = "1.2",
	[CONFIG_TLS_1_3] = "1.3",
	NULL,
};

static const char *const priorities[] = {
	[CONFIG_PRIORITY_INTERACTIVE] = "interactive",
	[CONFIG_PRIORITY_STANDARD] = "standard",
	[CONFIG_PRIORITY_BATCH] = "batch",
	NULL,
};

/* What the OpenAI SDK sends from a browser. */
#define CORS_HEADERS                                                                               \
	"authorization, content-type, openai-organization, openai-project, x-request-id, "         \
	"x-stainless-arch, x-stainless-helper-method, x-stainless-lang, x-stainless-os, "          \
	"x-stainless-package-version, x-stainless-retry-count, x-stainless-runtime, "              \
	"x-stainless-runtime-version, x-stainless-timeout"

enum {
#define X(name, size, text) SIZE_OF_##name = size,
	CONFIG_KEY_TYPES(X)
#undef X
};

/* The 0 * sizeof breaks the build when a member has not the size that its type writes. */
#define MEMBER(struct_name, member, kind)                                                          \
	.type = CONFIG_KEY_##kind,                                                                 \
	.offset =                                                                                  \
		offsetof(struct struct_name, member) +                                             \
		0 * sizeof(char[sizeof(((struct struct_name *)0)->member) == SIZE_OF_##kind ? 1    \
											    : -1])
#define ROOT(kind, member) .scope = CONFIG_SCOPE_ROOT, MEMBER(config, member, kind)
#define MODEL(kind, member) .scope = CONFIG_SCOPE_MODEL, MEMBER(config_model, member, kind)
#define ENGINE(kind, member) .scope = CONFIG_SCOPE_ENGINE, MEMBER(config_engine, member, kind)
#define TENANT(kind, member) .scope = CONFIG_SCOPE_TENANT, MEMBER(config_tenant, member, kind)
#define SNI(kind, member) .scope = CONFIG_SCOPE_SNI, MEMBER(config_sni, member, kind)

/* TLS of the listeners, which differ only in the member. */
#define LISTENER_TLS(name, of)                                                                     \
	{ .path = name ".cert", ROOT(TEXT, of.cert), .check = config_check_path,                   \
	  .text = "Path of its certificate with the chain, in PEM; without it there is no TLS." }, \
	{ .path = name ".key", ROOT(TEXT, of.key), .check = config_check_path,                     \
	  .text = "Path of the certificate's private key, in PEM." },                              \
	{ .path = name ".client_ca", ROOT(TEXT, of.client_ca), .check = config_check_path,         \
	  .text = "Path of the authority's certificates; only clients with a certificate of it "   \
		  "get in (mutual TLS)." },                                                        \
	{ .path = name ".min_version", ROOT(CHOICE, of.min_version), .initial = "1.2",             \
	  .choices = tls_versions, .text = "The oldest version of TLS that is spoken." },          \
	{ .path = name ".sni", ROOT(SNIS, of.sni), .max = 256,                                     \
	  .text = "Further certificates by the name that a client asks for: a list of maps with "  \
		  "the keys `names`, `cert` and `key`." }

/* clang-format off */
const struct config_key config_keys[] = {
	{ .path = "listen", ROOT(TEXTS, listen), .initial = "127.0.0.1:8080", .min = 1, .max = 16,
	  .check = config_check_address,
	  .text = "Where clients connect: `HOST:PORT`, `[::1]:PORT`, `:PORT` (every interface) or "
		  "`unix:PATH`." },
	{ .path = "admin", ROOT(SWITCHED, admin), .initial = "127.0.0.1:8081",
	  .check = config_check_address,
	  .text = "Where metrics, health and the admin API are served; it has no authentication, so "
		  "keep it off public interfaces." },
	{ .path = "threads", ROOT(COUNT, threads), .initial = "0", .max = 64,
	  .text = "Threads that serve clients; 0 is one for each processor core." },
	{ .path = "policy", ROOT(POLICY, policy), .initial = "lookahead",
	  .text = "How an engine is chosen for a request." },
	{ .path = "shadow", ROOT(POLICIES, shadow), .max = 4,
	  .text = "Policies whose choices are computed beside the real ones and counted, to compare "
		  "them; each costs as much again as a decision." },
	{ .path = "explain", ROOT(CHOICE, explain), .initial = "false", .choices = false_true,
	  .text = "Without tenants: whether answers tell in headers which engine gave them and why "
		  "(`x-busbar-engine`, `x-busbar-cached-tokens`, `x-busbar-reason`)." },
	{ .path = "seed", ROOT(NUMBER, seed), .initial = "0", .max = UINT64_MAX,
	  .text = "Start of the generator that breaks ties, for runs that can be repeated; 0 takes "
		  "it from the system." },

	{ .path = "log.level", ROOT(CHOICE, log.level), .initial = "info", .choices = log_levels,
	  .text = "The most verbose kind of line that is written." },
	{ .path = "log.format", ROOT(CHOICE, log.format), .initial = "auto", .choices = log_formats,
	  .text = "`text` for people, `json` for machines; `auto` is text on a terminal and JSON "
		  "otherwise." },
	{ .path = "access_log.path", ROOT(SWITCHED, access_log_path), .initial = "-",
	  .check = config_check_path,
	  .text = "Where one line for each request goes: a file, or `\"-\"` for standard output." },
	{ .path = "journal.path", ROOT(SWITCHED, journal.path), .initial = "off",
	  .check = config_check_path,
	  .text = "A folder for the journal of decisions (docs/journal.md), made if absent; this "
		  "gateway's alone." },
	{ .path = "journal.size", ROOT(SIZE, journal.size), .initial = "64MiB", .min = 64 * KIB,
	  .max = 1 * GIB,
	  .text = "Size of a file of the journal, after which another one begins." },
	{ .path = "journal.files", ROOT(COUNT, journal.files), .initial = "8", .min = 2,
	  .max = 10000,
	  .text = "How many files are kept; the oldest are removed." },
	{ .path = "shutdown.grace", ROOT(DURATION, shutdown_grace_ns), .initial = "30s",
	  .max = 24 * HOUR,
	  .text = "How long running requests may go on after the gateway was told to stop." },

	{ .path = "cors.origins", ROOT(TEXTS, cors.origins), .max = 64,
	  .check = config_check_origin,
	  .text = "Web pages that may call the gateway from a browser, as `https://HOST`, or `\"*\"` "
		  "for all; when empty, CORS is off." },
	{ .path = "cors.headers", ROOT(TEXT, cors.headers), .initial = CORS_HEADERS,
	  .check = config_check_headers,
	  .text = "Header fields that such a page may send." },
	{ .path = "cors.max_age", ROOT(DURATION, cors.max_age_ns), .initial = "10m",
	  .max = 24 * HOUR,
	  .text = "How long a browser may remember these answers." },

	{ .path = "limits.head_size", ROOT(SIZE, limits.head_size), .initial = "32KiB",
	  .min = 1 * KIB, .max = 1 * MIB,
	  .text = "Size of a request's line and header fields." },
	{ .path = "limits.url", ROOT(SIZE, limits.url_size), .initial = "8KiB", .min = 256,
	  .max = 1 * MIB,
	  .text = "Length of a request's target, its path and query." },
	{ .path = "limits.body_size", ROOT(SIZE, limits.body_size), .initial = "32MiB",
	  .min = 1 * KIB, .max = 1 * GIB,
	  .text = "Size of a request's body." },
	{ .path = "limits.buffers", ROOT(SIZE, limits.buffers), .initial = "1GiB",
	  .min = 1 * MIB, .max = 1024 * GIB,
	  .text = "Memory for bodies, for answers that are put together and for what clients have not "
		  "read yet, of all threads together. Beyond it requests are refused; small ones, "
		  "and answers on their way, may go a quarter over it." },
	{ .path = "limits.connections", ROOT(COUNT, limits.connections), .initial = "0",
	  .max = 1000000,
	  .text = "Connections of clients at once; 0 is as many as the system allows." },
	{ .path = "limits.connections_per_address", ROOT(COUNT, limits.connections_per_address),
	  .initial = "0", .max = 1000000,
	  .text = "Connections of one address (IPv6: one /64) at once; 0 is no limit, for gateways "
		  "behind a load balancer." },
	{ .path = "limits.body_rate", ROOT(SIZE, limits.body_rate), .initial = "256",
	  .max = 1 * GIB,
	  .text = "Bytes a second at which a request's body must come, on average after ten seconds; "
		  "0 is no limit." },
	{ .path = "limits.header_timeout", ROOT(DURATION, limits.header_timeout_ns),
	  .initial = "10s", .min = 100 * MILLISECOND, .max = 1 * HOUR,
	  .text = "Time for a request's head to arrive." },
	{ .path = "limits.body_timeout", ROOT(DURATION, limits.body_timeout_ns), .initial = "30s",
	  .min = 100 * MILLISECOND, .max = 1 * HOUR,
	  .text = "Time without any byte of a request's body arriving." },
	{ .path = "limits.keepalive", ROOT(DURATION, limits.keepalive_ns), .initial = "75s",
	  .min = 100 * MILLISECOND, .max = 24 * HOUR,
	  .text = "Time that an idle connection of a client is kept." },
	{ .path = "limits.write_timeout", ROOT(DURATION, limits.write_timeout_ns),
	  .initial = "60s", .min = 100 * MILLISECOND, .max = 1 * HOUR,
	  .text = "Time without a client taking any byte of its answer." },
	{ .path = "limits.requests_per_connection", ROOT(COUNT, limits.requests_per_connection),
	  .initial = "0", .max = UINT32_MAX,
	  .text = "Requests after which a client's connection is closed; 0 is no limit." },
	{ .path = "limits.json_depth", ROOT(COUNT, limits.json_depth), .initial = "64", .min = 8,
	  .max = 64,
	  .text = "How deeply arrays and objects of a request may be nested." },
	{ .path = "limits.sse_line", ROOT(SIZE, limits.sse_line), .initial = "1MiB", .min = 4 * KIB,
	  .max = 64 * MIB,
	  .text = "Size of a line in an engine's event stream." },
	{ .path = "limits.prompt_cache", ROOT(SIZE, limits.prompt_cache), .initial = "64MiB",
	  .min = 64 * KIB, .max = 64 * GIB, .flags = CONFIG_KEY_ZERO,
	  .text = "Memory for the tokens of prompts, so that a conversation's next turn costs only what "
		  "is new; 0 is none." },
	{ .path = "limits.kv_mirror", ROOT(SIZE, limits.kv_mirror), .initial = "256MiB",
	  .min = 1 * MIB, .max = 64 * GIB,
	  .text = "Memory for following the KV events of one engine; beyond it further blocks of it "
		  "are not followed." },
	{ .path = "limits.answer_size", ROOT(SIZE, limits.answer_size), .initial = "16MiB",
	  .min = 64 * KIB, .max = 1 * GIB,
	  .text = "Size of an answer that must be put together before it is sent." },

	{ .path = "limits.index", ROOT(SIZE, limits.index), .initial = "512MiB", .min = 1 * MIB,
	  .max = 64 * GIB,
	  .text = "Memory for the prefix index: which engine holds which blocks of which prompts. Some "
		  "20 bytes for each block of 16 tokens at each engine." },

	{ .path = "limits.explain", ROOT(COUNT, limits.explain), .initial = "10000", .max = 1000000,
	  .text = "Decisions that are kept for `busbar explain`, some 350 bytes each; 0 is none." },

	{ .path = "queue.max", ROOT(COUNT, queue.max), .initial = "10000", .min = 1, .max = 1000000,
	  .text = "Requests that may wait in the gateway for an engine that is open for them; beyond "
		  "it they are refused." },
	{ .path = "queue.wait", ROOT(DURATION, queue.wait_ns), .initial = "60s",
	  .min = 100 * MILLISECOND, .max = 1 * HOUR,
	  .text = "Time after which a request that waits is refused." },

	{ .path = "upstream.connect_timeout", ROOT(DURATION, upstream.connect_timeout_ns),
	  .initial = "2s", .min = 10 * MILLISECOND, .max = 10 * MINUTE,
	  .text = "Time for a connection to an engine." },
	{ .path = "upstream.first_byte_timeout", ROOT(DURATION, upstream.first_byte_timeout_ns),
	  .initial = "600s", .min = 100 * MILLISECOND, .max = 24 * HOUR,
	  .text = "Time from the request to the head of the engine's answer; a long queue or a long "
		  "prompt takes minutes." },
	{ .path = "upstream.read_timeout", ROOT(DURATION, upstream.read_timeout_ns),
	  .initial = "300s", .min = 100 * MILLISECOND, .max = 24 * HOUR,
	  .text = "Time without any byte of an engine's answer arriving." },
	{ .path = "upstream.write_timeout", ROOT(DURATION, upstream.write_timeout_ns),
	  .initial = "60s", .min = 100 * MILLISECOND, .max = 1 * HOUR,
	  .text = "Time without an engine taking any byte of a request." },
	{ .path = "upstream.idle_timeout", ROOT(DURATION, upstream.idle_timeout_ns),
	  .initial = "4s", .min = 100 * MILLISECOND, .max = 1 * HOUR,
	  .text = "Time that an idle connection to an engine is kept; less than the engine keeps it "
		  "(5s for most of them), or requests meet closed connections." },
	{ .path = "upstream.idle_connections", ROOT(COUNT, upstream.idle_connections),
	  .initial = "1024", .max = 65535,
	  .text = "Idle connections that each thread keeps to one engine." },
	{ .path = "upstream.retries", ROOT(COUNT, upstream.retries), .initial = "2", .max = 16,
	  .text = "How often a request is tried on another engine as long as nothing of an answer "
		  "has come." },
	{ .path = "upstream.keepalive_comment", ROOT(DURATION, upstream.keepalive_comment_ns),
	  .initial = "10s", .min = 100 * MILLISECOND, .max = 1 * HOUR, .flags = CONFIG_KEY_ZERO,
	  .text = "Pause after which a stream that waits for its first token gets a comment, so that "
		  "proxies keep it open; 0 is never." },

	{ .path = "probe.interval", ROOT(DURATION, probe.interval_ns), .initial = "1s",
	  .min = 50 * MILLISECOND, .max = 1 * HOUR,
	  .text = "Pause between two looks at an engine's health." },
	{ .path = "probe.timeout", ROOT(DURATION, probe.timeout_ns), .initial = "2s",
	  .min = 10 * MILLISECOND, .max = 10 * MINUTE,
	  .text = "Time for the answer to a probe." },
	{ .path = "probe.metrics_interval", ROOT(DURATION, probe.metrics_interval_ns),
	  .initial = "1s", .min = 50 * MILLISECOND, .max = 1 * HOUR,
	  .text = "Pause between two readings of an engine's metrics." },
	{ .path = "probe.unhealthy_after", ROOT(COUNT, probe.unhealthy_after), .initial = "3",
	  .min = 1, .max = 100,
	  .text = "Failed probes in a row after which an engine gets no more requests." },

	LISTENER_TLS("tls", tls),
	LISTENER_TLS("admin_tls", admin_tls),
	{ .path = "names", SNI(TEXTS, names), .min = 1, .max = 256, .flags = CONFIG_KEY_REQUIRED,
	  .check = config_check_host_pattern,
	  .text = "Names that the certificate is for: `api.example.org` or `*.example.org`." },
	{ .path = "cert", SNI(TEXT, cert), .flags = CONFIG_KEY_REQUIRED, .check = config_check_path,
	  .text = "Path of the certificate with its chain, in PEM." },
	{ .path = "key", SNI(TEXT, key), .flags = CONFIG_KEY_REQUIRED, .check = config_check_path,
	  .text = "Path of its private key, in PEM." },

	{ .path = "keys.file", ROOT(TEXT, keys_file), .check = config_check_path,
	  .text = "A second file with `tenants`, which `busbar keys` writes and a reload reads "
		  "again." },
	{ .path = "insecure_no_keys", ROOT(CHOICE, insecure_no_keys), .initial = "false",
	  .choices = false_true,
	  .text = "Without any API key only this machine can connect; `true` lets everybody in." },
	{ .path = "tenants", ROOT(TENANTS, tenants), .max = CONFIG_TENANTS_MAX,
	  .text = "Who may use the gateway: a map from names (letters, digits and `. _ @ -`) to the "
		  "keys below. Once it is there, each request needs a key." },
	{ .path = "key", TENANT(KEYS, key), .max = CONFIG_TENANT_KEYS_MAX, .flags = CONFIG_KEY_SECRET,
	  .text = "Its API key: the hash that `busbar keys create` prints, or a variable, as "
		  "`${NAME}`; in clear it is taken with a warning." },
	{ .path = "keys", TENANT(KEYS, keys), .max = CONFIG_TENANT_KEYS_MAX,
	  .flags = CONFIG_KEY_SECRET,
	  .text = "Several of them. A hash may be followed by `:` and the date at which it ends." },
	{ .path = "models", TENANT(TEXTS, models), .max = 1024, .check = config_check_name_pattern,
	  .text = "Models that it may use, by their names or aliases; `*` stands for any letters. "
		  "Without it, all." },
	{ .path = "expires", TENANT(DATE, expires_s),
	  .text = "When its keys end: `2026-12-31` (the first moment of that day, UTC) or "
		  "`2026-12-31T18:00:00+01:00`." },
	{ .path = "limits.requests_per_minute", TENANT(NUMBER, limits.requests_per_minute),
	  .initial = "0", .max = 1000000000,
	  .text = "Requests a minute; as many can come at once after a quiet minute. 0 is no limit." },
	{ .path = "limits.tokens_per_minute", TENANT(NUMBER, limits.tokens_per_minute),
	  .initial = "0", .max = 1000000000000,
	  .text = "Prompt and output tokens a minute, reserved before a request and settled after "
		  "it. 0 is no limit." },
	{ .path = "limits.concurrent", TENANT(NUMBER, limits.concurrent), .initial = "0",
	  .max = 1000000,
	  .text = "Requests under way at once. 0 is no limit." },
	{ .path = "budget", TENANT(BUDGET, budget),
	  .text = "For each calendar month (UTC): `N tokens/month`, or money as `N EUR/month`, which "
		  "is read and not watched yet." },
	{ .path = "priority", TENANT(CHOICE, priority), .initial = "standard", .choices = priorities,
	  .text = "Who goes first when engines are full; read and not used yet." },
	{ .path = "allow", TENANT(TEXTS, allow), .max = 64, .check = config_check_member,
	  .text = "Members of requests that the engine shield would refuse or take away, and that "
		  "this tenant may send." },
	{ .path = "shared_prefix_cache", TENANT(CHOICE, shared_prefix_cache), .initial = "false",
	  .choices = false_true,
	  .text = "Whether its prompts may share the engines' prefix cache with other tenants, who "
		  "could then find out by timing what was asked." },

	{ .path = "explain", TENANT(CHOICE, explain), .initial = "false", .choices = false_true,
	  .text = "Whether its answers tell in headers which engine gave them and why; that shows the "
		  "inside of the fleet." },

	{ .path = "auth.jwt.jwks", ROOT(TEXT, jwt.jwks), .check = config_check_jwks,
	  .text = "Public keys of who signs tokens: a file, or an `http://` or `https://` URL. With "
		  "it, signed tokens are taken beside API keys." },
	{ .path = "auth.jwt.issuer", ROOT(TEXT, jwt.issuer), .check = config_check_printable,
	  .text = "The `iss` that a token must have." },
	{ .path = "auth.jwt.audience", ROOT(TEXT, jwt.audience), .check = config_check_printable,
	  .text = "The `aud` that a token must have." },
	{ .path = "auth.jwt.tenant_claim", ROOT(TEXT, jwt.tenant_claim), .initial = "sub",
	  .check = config_check_member,
	  .text = "The claim that names the tenant." },
	{ .path = "auth.jwt.algorithms", ROOT(TEXTS, jwt.algorithms), .max = 3,
	  .check = config_check_algorithm,
	  .text = "Signatures that are taken: `RS256`, `ES256`, `EdDSA`; all of them when empty." },
	{ .path = "auth.jwt.leeway", ROOT(DURATION, jwt.leeway_ns), .initial = "60s",
	  .max = 1 * HOUR,
	  .text = "How far clocks may be apart when a token's times are looked at." },

	{ .path = "shield.image_urls", ROOT(TEXTS, shield.image_urls), .max = 256,
	  .check = config_check_printable,
	  .text = "Beginnings of URLs from which engines may fetch images, audio and video of "
		  "requests." },
	{ .path = "shield.allow", ROOT(TEXTS, shield.allow), .max = 64,
	  .check = config_check_member,
	  .text = "Members of requests that the engine shield lets through for everybody." },

	{ .path = "user", ROOT(TEXT, user), .check = config_check_user,
	  .text = "Account to go on as once the sockets are open, when started as root." },
	{ .path = "sandbox", ROOT(CHOICE, sandbox), .initial = "on", .choices = off_on,
	  .text = "Whether system calls that a gateway never needs are closed off." },

	{ .path = "models", ROOT(MODELS, models), .max = CONFIG_MODELS_MAX,
	  .text = "What clients can ask for: a map from names (letters, digits and `. _ : / @ -`) to "
		  "the keys below." },
	{ .path = "engines", MODEL(TEXTS, engine_urls), .max = CONFIG_ENGINES_MAX,
	  .check = config_check_url,
	  .text = "URLs of the engines that serve the model; at least one, here or by an engine that "
		  "lists the model in its own `models`." },
	{ .path = "aliases", MODEL(TEXTS, aliases), .max = 256, .check = config_check_alias,
	  .text = "Other names for it; `\"*\"` catches every name that is not known." },
	{ .path = "served_name", MODEL(TEXT, served_name), .check = config_check_name,
	  .text = "The engines' own name for it; by default found out by asking them." },
	{ .path = "tokenizer", MODEL(TEXT, tokenizer), .check = config_check_path,
	  .text = "Path of its tokenizer: the folder of the model, a `tokenizer.json` or a GGUF file. "
		  "Without it the tokens of its prompts are estimated." },
	{ .path = "chat_template", MODEL(TEXT, chat_template), .check = config_check_path,
	  .text = "Path of a chat template that its engines use instead of the model's own." },
	{ .path = "objectives.ttft", MODEL(DURATION, ttft_ns), .initial = "0",
	  .min = 1 * MILLISECOND, .max = 24 * HOUR, .flags = CONFIG_KEY_ZERO,
	  .text = "Time to the first token that is aimed at; 0 is none." },
	{ .path = "objectives.itl", MODEL(DURATION, itl_ns), .initial = "0",
	  .min = 1 * MILLISECOND, .max = 1 * HOUR, .flags = CONFIG_KEY_ZERO,
	  .text = "Time between two tokens that is aimed at; 0 is none." },

	{ .path = "engines", ROOT(ENGINES, engines), .max = CONFIG_ENGINES_MAX,
	  .text = "Engines that need options, and engines that no model names, which serve whatever "
		  "they list themselves; each is a URL or a map with the keys below." },
	{ .path = "url", ENGINE(TEXT, url), .flags = CONFIG_KEY_REQUIRED, .check = config_check_url,
	  .text = "`http://HOST:PORT` or `https://HOST:PORT`, with a `/base` if it has one, or "
		  "`unix:PATH`." },
	{ .path = "kind", ENGINE(CHOICE, kind), .initial = "auto", .choices = engine_kinds,
	  .text = "What it is; `openai` is any server with an OpenAI API, `auto` finds out." },
	{ .path = "api_key", ENGINE(TEXT, api_key), .flags = CONFIG_KEY_SECRET,
	  .check = config_check_secret,
	  .text = "Sent to the engine as `Authorization: Bearer`; best from a variable, as "
		  "`${NAME}`." },
	{ .path = "tls.ca", ENGINE(TEXT, tls.ca), .check = config_check_path,
	  .text = "Path of the authorities that sign an `https://` engine's certificate, in PEM; "
		  "without it, those that the system trusts." },
	{ .path = "tls.cert", ENGINE(TEXT, tls.cert), .check = config_check_path,
	  .text = "Path of the gateway's own certificate, for engines that ask for one." },
	{ .path = "tls.key", ENGINE(TEXT, tls.key), .check = config_check_path,
	  .text = "Path of its private key." },
	{ .path = "tls.server_name", ENGINE(TEXT, tls.server_name), .check = config_check_host,
	  .text = "The name in the engine's certificate, where it is not the URL's host." },
	{ .path = "tls.verify", ENGINE(CHOICE, tls.verify), .initial = "true", .choices = verify,
	  .text = "`false` takes any certificate, so anybody in between can read along." },
	{ .path = "kv_events", ENGINE(TEXTS, kv_events), .initial = "auto", .max = 64,
	  .check = config_check_kv_events,
	  .text = "Where it tells what its KV cache holds: `auto` asks it, `off` does without, `poll` "
		  "takes TensorRT-LLM's (which nobody else may do then); or `tcp://HOST:PORT`, one for "
		  "each data-parallel rank, `*` being the engine's own host." },
	{ .path = "kv_replay", ENGINE(TEXTS, kv_replay), .max = 64, .check = config_check_endpoint,
	  .text = "Where it repeats events that were lost: as many endpoints as in `kv_events`." },
	{ .path = "kv_topic", ENGINE(TEXT, kv_topic), .check = config_check_printable,
	  .text = "The topic of these events; without it all topics are taken." },
	{ .path = "models", ENGINE(TEXTS, models), .max = CONFIG_MODELS_MAX,
	  .check = config_check_name,
	  .text = "Models that it serves; they need not stand in `models`." },
};
/* clang-format on */

const uint32_t config_key_count = sizeof(config_keys) / sizeof(config_keys[0]);

/* ---- look-up ---- */

const struct config_key *config_key_find(enum config_scope scope, struct bb_str path)
{
	for (uint32_t i = 0; i < config_key_count; i++)
		if (config_keys[i].scope == scope &&
		    bb_str_eq(bb_str_of(config_keys[i].path), path))
			return &config_keys[i];
	return NULL;
}

/* What follows "section." in a path, or p == NULL; the section "" holds everything. */
static struct bb_str path_below(const char *path, struct bb_str section)
{
	const struct bb_str p = bb_str_of(path);

	if (section.len == 0)
		return p;
	if (!bb_str_starts(p, section) || p.len == section.len || p.p[section.len] != '.')
		return (struct bb_str){ 0 };
	return bb_str_skip(p, section.len + 1);
}

bool config_key_is_section(enum config_scope scope, struct bb_str path)
{
	for (uint32_t i = 0; i < config_key_count; i++)
		if (config_keys[i].scope == scope && path_below(config_keys[i].path, path).p)
			return true;
	return false;
}

struct bb_str config_key_guess(enum config_scope scope, struct bb_str section, struct bb_str name)
{
	struct spelling s;

	spelling_init(&s, name);
	for (uint32_t i = 0; i < config_key_count; i++) {
		struct bb_str rest = path_below(config_keys[i].path, section);
		if (config_keys[i].scope == scope && rest.p)
			spelling_offer(&s, bb_str_cut(&rest, '.'));
	}
	if (s.best.p)
		return s.best;
	for (uint32_t i = 0; i < config_key_count; i++) {
		const struct bb_str path = bb_str_of(config_keys[i].path);
		const size_t dot = path.len - name.len - 1;
		if (config_keys[i].scope == scope && path.len > name.len + 1 &&
		    bb_str_ends(path, name) && path.p[dot] == '.')
			return path;
	}
	return (struct bb_str){ 0 };
}
