/* Goal: every error code has a row that a client can be answered with, and no two look alike. */
#include "unit.h"

#include "base/err.h"

static void every_row_is_whole(void **state)
{
	for (int e = 1; e < BB_E_COUNT; e++) {
		const struct bb_error_info *i = bb_error_info(e);
		assert_ptr_equal(i, bb_error_info(-e));
		assert_true(i->http_status >= 400 && i->http_status < 600);
		/* Limits have the types that OpenAI gives them; the rest is a mistake of one side. */
		if (i->http_status != 429)
			assert_true(strcmp(i->type, "server_error") == 0 ||
				    strcmp(i->type, "invalid_request_error") == 0);
		/* A client's mistake is 4xx, ours is 5xx. */
		assert_int_equal(strcmp(i->type, "server_error") == 0, i->http_status >= 500);
		assert_true(i->name[0] && i->code[0] && i->text[0]);
		assert_true(i->text[strlen(i->text) - 1] != '.');
		/* SDKs try 5xx again; saying "retryable" of another 4xx than 408, 409 or 429 has no effect. */
		if (i->retryable)
			assert_true(i->http_status >= 500 || i->http_status == 408 ||
				    i->http_status == 429);
		for (int k = 1; k < e; k++) {
			assert_string_not_equal(i->name, bb_error_info(k)->name);
			assert_string_not_equal(i->code, bb_error_info(k)->code);
		}
	}
}

static void the_others(void **state)
{
	assert_int_equal(bb_error_info(0)->http_status, 200);
	assert_string_equal(bb_error_info(BB_E_COUNT)->name, "SYSTEM");
	assert_string_equal(bb_error_info(-99999)->name, "SYSTEM");
	assert_string_equal(bb_error_info(INT32_MIN)->name, "SYSTEM");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_row_is_whole),
		cmocka_unit_test(the_others),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
