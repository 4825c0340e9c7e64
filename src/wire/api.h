/*
 * api.h: the endpoints that clients call, in one table.
 *
 * For: gateway and sim: which path is what, which protocol family it speaks, what its label is in
 * metrics. OpenAI's API as the open engines offer it, its Responses API, Anthropic's Messages API,
 * and the rerank, score and tokenize endpoints of vLLM and others.
 * Threads: constant data. Memory: static. Errors: none.
 */
#pragma once

#include <stdbool.h>

#include "base/str.h"

enum family { FAMILY_OPENAI, FAMILY_ANTHROPIC, FAMILY_RESPONSES };
enum api_body { API_BODY_JSON, API_BODY_MULTIPART, API_BODY_EITHER };

/* clang-format off */
/*      name             canonical path              family     body       stream generates label */
#define API_ENDPOINTS(X) \
	X(CHAT,            "/v1/chat/completions",     OPENAI,    JSON,      true,  true,  "chat") \
	X(COMPLETIONS,     "/v1/completions",          OPENAI,    JSON,      true,  true,  "completions") \
	X(EMBEDDINGS,      "/v1/embeddings",           OPENAI,    JSON,      false, false, "embeddings") \
	X(RESPONSES,       "/v1/responses",            RESPONSES, JSON,      true,  true,  "responses") \
	X(MESSAGES,        "/v1/messages",             ANTHROPIC, JSON,      true,  true,  "messages") \
	X(COUNT_TOKENS,    "/v1/messages/count_tokens",ANTHROPIC, JSON,      false, false, "count_tokens") \
	X(RERANK,          "/v1/rerank",               OPENAI,    JSON,      false, false, "rerank") \
	X(SCORE,           "/v1/score",                OPENAI,    JSON,      false, false, "score") \
	X(TRANSCRIPTIONS,  "/v1/audio/transcriptions", OPENAI,    MULTIPART, true,  true,  "transcriptions") \
	X(TRANSLATIONS,    "/v1/audio/translations",   OPENAI,    MULTIPART, true,  true,  "translations") \
	X(SPEECH,          "/v1/audio/speech",         OPENAI,    JSON,      true,  false, "speech") \
	X(IMAGES,          "/v1/images/generations",   OPENAI,    JSON,      true,  false, "images") \
	X(IMAGE_EDITS,     "/v1/images/edits",         OPENAI,    EITHER,    true,  false, "image_edits") \
	X(IMAGE_VARIATIONS,"/v1/images/variations",    OPENAI,    MULTIPART, false, false, "image_variations") \
	X(TOKENIZE,        "/tokenize",                OPENAI,    JSON,      false, false, "tokenize") \
	X(DETOKENIZE,      "/detokenize",              OPENAI,    JSON,      false, false, "detokenize")
/* clang-format on */

/* Other paths of the same endpoints. */
#define API_ALIASES(X)                                                                             \
	X("/rerank", RERANK)                                                                       \
	X("/v2/rerank", RERANK)                                                                    \
	X("/score", SCORE)                                                                         \
	X("/v1/tokenize", TOKENIZE)                                                                \
	X("/v1/detokenize", DETOKENIZE)

enum api {
	API_NONE,
#define X(name, path, family, body, stream, generates, label) API_##name,
	API_ENDPOINTS(X)
#undef X
		API_COUNT,
};

struct api_info {
	struct bb_str path;
	enum family family;
	enum api_body body;
	bool can_stream;
	bool generates;	   /* it produces tokens one after the other */
	const char *label; /* for metrics */
};

/* The path may carry a query. API_NONE when there is no such endpoint. */
enum api api_from_path(struct bb_str path);
/* `api` is not API_NONE. */
const struct api_info *api_info(enum api api);
