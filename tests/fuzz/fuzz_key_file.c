/*
 * Goal: no file of keys, however odd, breaks the changes that are made to it: a change that is
 * given out reads again as what was meant, and the text around it is all still there.
 */
#include "base/log.h"
#include "wire/date.h"
#include "wire/key_file.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define STORED "bbh1:Zz12Cd34:000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"

struct first_id {
	char id[KEY_ID_LEN + 1];
	uint32_t count;
};

static void keep_id(void *user, const struct key_file_entry *e)
{
	struct first_id *f = user;

	if (!e->record.is_clear && !f->id[0])
		memcpy(f->id, e->record.id, sizeof(f->id));
	f->count++;
}

static uint32_t count_keys(struct bb_str text, struct first_id *f)
{
	struct config_errors errors;

	*f = (struct first_id){ .id = "" };
	config_errors_init(&errors);
	const int rc = key_file_each(text, keep_id, f, &errors);
	BB_ASSERT(rc == 0 || rc == -BB_EINVALID);
	BB_ASSERT(rc == 0 || errors.count + errors.unlisted_count);
	config_errors_fini(&errors);
	return f->count;
}

static void add(struct bb_str text)
{
	struct key_record record;
	struct first_id before, after;
	const char *why = NULL;
	struct bb_buf out;

	int rc = key_record_parse(BB_STR(STORED), &record, &why);
	BB_ASSERT(rc == 0);
	bb_buf_init(&out, 1u << 20);
	rc = key_file_add(text, BB_STR("t"), &record, &out, &why);
	BB_ASSERT(rc == 0 || (rc == -BB_EINVALID && why) || rc == -BB_ELIMIT);
	if (rc == 0) {
		BB_ASSERT(count_keys(bb_buf_str(&out), &after) == count_keys(text, &before) + 1);
		BB_ASSERT(out.len > text.len);
	}
	bb_buf_fini(&out);
}

static void end(struct bb_str text, uint64_t expires_s)
{
	struct first_id before, after;
	char tenant[KEY_FILE_TENANT_SIZE];
	const char *why = NULL;
	struct bb_buf out;

	const uint32_t count = count_keys(text, &before);
	if (!before.id[0])
		return;
	bb_buf_init(&out, 1u << 20);
	const int rc =
		key_file_end(text, bb_str_of(before.id), expires_s, tenant, &out, &why);
	BB_ASSERT(rc == 0 || why);
	if (rc == 0)
		BB_ASSERT(count_keys(bb_buf_str(&out), &after) == count - (expires_s == 0));
	bb_buf_fini(&out);
}

/* What is a date is written as one that is the same. */
static void date(struct bb_str text)
{
	uint64_t unix_s, again;
	struct bb_buf out;

	if (date_parse(text, &unix_s))
		return;
	bb_buf_init(&out, 64);
	date_write(unix_s, &out);
	const int rc = date_parse(bb_buf_str(&out), &again);
	BB_ASSERT(rc == 0 && again == unix_s);
	bb_buf_fini(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct bb_str text = { size ? (const char *)data : "", size };

	add(text);
	end(text, 0);
	end(text, 1798675200);
	date(text);
	return 0;
}
