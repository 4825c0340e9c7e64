/*
 * err.h: every error code of busbar, once.
 *
 * For: functions that can fail return 0 or -BB_E…; the table gives each code its name, the HTTP
 * status and the OpenAI error type and code that a client sees, whether a client may retry, and
 * one sentence for the user.
 * Threads: constant data. Memory: static. Errors: none.
 */
#pragma once

#include <stdbool.h>

/*      name       status  OpenAI type              OpenAI code                retry  sentence */
#define BB_ERRORS(X)                                                                               \
	X(NOMEM,     503, "server_error",          "out_of_memory",             true,               \
	  "the gateway has no memory left for this request; try again later")                       \
	X(LIMIT,     413, "invalid_request_error", "limit_exceeded",            false,              \
	  "a size or count is over its configured limit")                                           \
	X(STALE,     503, "server_error",          "engine_changed",            true,               \
	  "the engine left while it was being chosen; try again")                                   \
	X(SYNTAX,    400, "invalid_request_error", "invalid_json",              false,              \
	  "the text is malformed")                                                                  \
	X(INVALID,   400, "invalid_request_error", "invalid_value",             false,              \
	  "a value is outside of what is allowed")                                                  \
	X(ENCODING,  415, "invalid_request_error", "unsupported_encoding",      false,              \
	  "Content-Encoding is not supported; send the body plain")                                 \
	X(HTTP,      400, "invalid_request_error", "bad_http",                  false,              \
	  "the bytes are not valid HTTP/1.1")                                                       \
	X(TIMEOUT,   408, "invalid_request_error", "request_timeout",           true,               \
	  "the request did not arrive in time")                                                     \
	X(NOMODEL,   404, "invalid_request_error", "model_not_found",           false,              \
	  "no engine serves this model")                                                            \
	X(NOROUTE,   404, "invalid_request_error", "unknown_url",               false,              \
	  "there is nothing at this path")                                                          \
	X(METHOD,    405, "invalid_request_error", "method_not_allowed",        false,              \
	  "this path does not take this method")                                                    \
	X(NOENDPOINT, 404, "invalid_request_error", "endpoint_not_supported",   false,              \
	  "no engine of this model offers this endpoint")                                           \
	X(NOENGINE,  503, "server_error",          "no_engine_ready",           true,               \
	  "no engine is ready for this model")                                                      \
	X(CONNECT,   502, "server_error",          "engine_unreachable",        true,               \
	  "the engine could not be reached")                                                        \
	X(UPSTREAM,  502, "server_error",          "engine_failed",             true,               \
	  "the engine's answer was cut off or malformed")                                           \
	X(UPTIMEOUT, 504, "server_error",          "engine_timeout",            true,               \
	  "the engine did not answer in time")                                                      \
	X(BUSY,      503, "server_error",          "overloaded",                true,               \
	  "the gateway is at its limit; try again later")                                           \
	X(DRAINING,  503, "server_error",          "shutting_down",             true,               \
	  "the gateway is shutting down; try again")                                                \
	X(CANCELED,  499, "invalid_request_error", "client_closed_request",     false,              \
	  "the client left before the answer")                                                      \
	X(SYSTEM,    500, "server_error",          "internal_error",            true,               \
	  "a system call failed")                                                                   \
	X(EXIST,     409, "invalid_request_error", "already_exists",            false,              \
	  "it exists already")                                                                      \
	X(ABSENT,    404, "invalid_request_error", "not_found",                 false,              \
	  "it does not exist")                                                                      \
	X(SHIELD,    400, "invalid_request_error", "parameter_not_allowed",     false,              \
	  "this member of the request is not allowed here")                                         \
	X(ANSWER,    400, "invalid_request_error", "answer_too_large",          false,              \
	  "the answer is larger than limits.answer_size; ask for fewer tokens, or for a stream")    \
	X(CONTEXT,   400, "invalid_request_error", "context_length_exceeded",   false,              \
	  "the request does not fit into the model's context")                                      \
	X(AUTH,      401, "invalid_request_error", "invalid_api_key",           false,              \
	  "the API key is missing or not valid")                                                    \
	X(FORBIDDEN, 403, "invalid_request_error", "permission_denied",         false,              \
	  "this API key may not do that")                                                           \
	X(RATE,      429, "rate_limit_error",      "rate_limit_exceeded",       true,               \
	  "the rate limit of this API key is reached; try again later")                             \
	X(QUOTA,     429, "insufficient_quota",    "insufficient_quota",        false,              \
	  "the budget of this API key is used up")

enum bb_error {
	BB_OK = 0,
#define X(name, status, type, code, retry, text) BB_E##name,
	BB_ERRORS(X)
#undef X
	BB_E_COUNT,
};

struct bb_error_info {
	const char *name;   /* "NOMEM" */
	int http_status;    /* what a client sees */
	const char *type;   /* OpenAI's error.type */
	const char *code;   /* OpenAI's error.code */
	bool retryable;     /* may a client try the same request again? */
	const char *text;   /* one sentence for the user, no full stop at the end */
};

/* The row of a code; `err` may be given as 0, BB_E… or -BB_E…. Unknown codes give SYSTEM's row. */
const struct bb_error_info *bb_error_info(int err);

/* A function whose result must be looked at. */
#define BB_MUST __attribute__((warn_unused_result))
