/*
 * work_read.h: workloads from recorded traces.
 *
 * For: `busbar replay`, `busbar bench run`, `busbar sim workload`. What a file is, is seen in its
 * first bytes; it may be packed with gzip. Formats:
 *
 *   Mooncake  a JSON object a line: timestamp (ms), input_length, output_length (tokens), hash_ids
 *             (one for 512 tokens of the prompt each; equal ids are equal tokens). Also, as
 *             others have them: session_id, delay (ms between the end of the session's request
 *             before and this one, which then has no timestamp); and as work_write.h does: after
 *             (instead of the session's last, the request of that number, from 0), tenant, adapter.
 *             Published with "Mooncake: A KVCache-centric Disaggregated Architecture for LLM
 *             Serving", 2024.
 *   Azure     CSV with the columns TIMESTAMP, ContextTokens, GeneratedTokens: lengths and no
 *             prefixes, so that all prompts are different. Published as AzureLLMInferenceTrace.
 *   journal   of `busbar serve` (docs/journal.md), a file or a folder of them: prompts are made of
 *             the recorded hashes of their blocks, and answers are as long as they were. Requests
 * of all models are taken for ones of one.
 *
 * What a trace says of a request must be whole, in range and not contradict itself; ids beyond a
 * prompt's length are left out, and tokens that no id is given for are that prompt's own. A length
 * of 0 is taken as 1. Times count from the first request.
 * Threads: pure. Memory: the file (at most WORK_FILE_MAX, packed and unpacked) while it is read.
 * Errors: a code, and a sentence in `why` that names the line; the workload is empty then.
 */
#pragma once

#include "base/str.h"
#include "sim/workload.h"

#define WORK_FILE_MAX ((size_t)4 << 30)
#define WORK_WHY_SIZE 256
#define WORK_MOONCAKE_BLOCK 512u

/* "-" reads stdin; a folder is a journal's. */
BB_MUST int work_read_file(const char *path, struct workload *w, char why[WORK_WHY_SIZE]);
/* The same for a file's contents. */
BB_MUST int work_read_text(struct bb_str text, struct workload *w, char why[WORK_WHY_SIZE]);
