/* Goal: hostile templates end with a clear error in bounded time and memory, and nothing leaks when
 * any allocation fails. */
#include "base/alloc.h"
#include "template_cases.h"

static char text[TEMPLATE_SOURCE_MAX + 64];

/* `begin` n times, then the middle, then `end` n times. */
static const char *nested(const char *begin, const char *middle, const char *end, int n)
{
	char *p = text;

	for (int i = 0; i < n; i++)
		p = stpcpy(p, begin);
	p = stpcpy(p, middle);
	for (int i = 0; i < n; i++)
		p = stpcpy(p, end);
	return text;
}

static void test_source(void **state)
{
	memset(text, 'a', TEMPLATE_SOURCE_MAX + 1);
	text[TEMPLATE_SOURCE_MAX + 1] = '\0';
	assert_refused(text, -BB_ELIMIT, "larger than");
}

static void test_nesting(void **state)
{
	char brackets[600], source[700];

	memset(brackets, '(', 200);
	snprintf(source, sizeof(source), "{{ %.200s1 }}", brackets);
	assert_refused(source, -BB_ESYNTAX, "in each other");
	memset(brackets, '-', 300);
	snprintf(source, sizeof(source), "{{ %.300s1 }}", brackets);
	assert_refused(source, -BB_ESYNTAX, "nested more than");
	assert_refused(nested("{% if 1 %}", "x", "{% endif %}", 500), -BB_ESYNTAX,
		       "nested more than");
	assert_refused(nested("{% for i in [1] %}", "x", "{% endfor %}", 500), -BB_ESYNTAX,
		       "nested more than");
	assert_refused(nested("{{ not ", "", "", 1), -BB_ESYNTAX, "");
	char *p = stpcpy(text, "{{ 1");
	for (int i = 0; i < 5000; i++)
		p = stpcpy(p, "-1");
	stpcpy(p, " }}");
	assert_refused(text, -BB_ELIMIT, "nested more than");
	/* Long but flat is fine. */
	p = stpcpy(text, "{{ 'a'");
	for (int i = 0; i < 5000; i++)
		p = stpcpy(p, "+'b'");
	stpcpy(p, " }}");
	assert_int_equal(render_as(text, BODY, NULL).text.len, 5001);
}

static void test_work(void **state)
{
	assert_refused(
		"{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
		-BB_ELIMIT, "steps");
	assert_refused("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", -BB_ELIMIT,
		       "macros call each other");
	assert_refused("{% for x in [1] recursive %}{{ loop([1]) }}{% endfor %}", -BB_ELIMIT,
		       "deep");
	assert_refused("{{ range(100001) }}", -BB_EINVALID, "Range too big");
	assert_refused("{{ 'a' * 5000000000 }}", -BB_ELIMIT, "memory");
	assert_refused("{{ [1] * 500000000 }}", -BB_ELIMIT, "memory");
	assert_refused("{{ 'a' * 2000000 }}", -BB_ELIMIT, "longer than");
	assert_refused("{{ '{:99999999}'.format(1) }}", -BB_ELIMIT, "field");
	assert_refused("{{ '%99999999d' % 1 }}", -BB_ELIMIT, "");
	assert_refused("{{ 2 ** 64 }}", -BB_ELIMIT, "64 bits");
	assert_refused("{{ 9223372036854775807 + 1 }}", -BB_ELIMIT, "64 bits");
	assert_refused("{% set ns = namespace(x=[]) %}{% for i in range(1000) %}{% set ns.x = "
		       "[ns.x] %}{% endfor %}"
		       "{{ ns.x }}",
		       -BB_ELIMIT, "nested more than");
	assert_refused("{% set ns = namespace(x=[], y=[]) %}{% for i in range(1000) %}{% set ns.x "
		       "= [ns.x] %}"
		       "{% set ns.y = [ns.y] %}{% endfor %}{{ ns.x == ns.y }}",
		       -BB_ELIMIT, "too deeply");
	assert_refused("{% set ns = namespace(s='ab') %}{% for i in range(40) %}{% set ns.s = ns.s "
		       "+ ns.s %}{% endfor %}",
		       -BB_ELIMIT, "");
}

/* What is looked at is counted, also inside of one comparison. */
static void test_hidden_work(void **state)
{
#define FOREVER(statement)                                                                         \
	"{% set a = 'x' * 900000 %}{% set b = 'x' * 900000 %}{% set d = {a: 1} %}"                 \
	"{% for i in range(99999) %}{% for j in range(9) %}{% set x = " statement                  \
	" %}{% endfor %}{% endfor %}"
	assert_refused(FOREVER("a == b"), -BB_ELIMIT, "steps");
	assert_refused(FOREVER("a < b"), -BB_ELIMIT, "steps");
	assert_refused(FOREVER("d[a]"), -BB_ELIMIT, "steps");
	assert_refused(FOREVER("a.startswith(b)"), -BB_ELIMIT, "steps");
	assert_refused(FOREVER("d.get(b)"), -BB_ELIMIT, "steps");
	assert_refused("{% set ns = namespace(a=[1], b=[1]) %}{% for i in range(40) %}"
		       "{% set ns.a = [ns.a, ns.a] %}{% set ns.b = [ns.b, ns.b] %}{% endfor %}{{ "
		       "ns.a == ns.b }}",
		       -BB_ELIMIT, "steps");
}

/* What takes longer than other steps is charged more: the whole stays a fraction of a second. */
static void test_dear_work(void **state)
{
	assert_refused(FOREVER("('x' * 1000 + 'y') in a"), -BB_ELIMIT, "steps");
	assert_refused(FOREVER("a.count('xy')"), -BB_ELIMIT, "steps");
	assert_refused(FOREVER("(1 / 3) | string"), -BB_ELIMIT, "steps");
	assert_refused(FOREVER("'%.300f' % 1e300"), -BB_ELIMIT, "steps");
	assert_refused("{% for i in range(99999) %}{% for j in range(99) %}{% set x = 1 / 3 %}"
		       "{% set y = {'a': x} | tojson %}{% endfor %}{% endfor %}",
		       -BB_ELIMIT, "steps");
	/* 800 slots that are cleared each time. */
	char *p = stpcpy(text, "{% for i in range(99999) %}{% for j in range(99) %}{% if false %}");
	for (int i = 0; i < 800; i++)
		p += snprintf(p, 32, "{%% set v%d = 1 %%}", i);
	stpcpy(p, "{% endif %}{% endfor %}{% endfor %}");
	assert_refused(text, -BB_ELIMIT, "steps");
}

/* A long request has more steps and memory than a short one. */
static void test_limits_grow(void **state)
{
	static const char source[] =
		"{% for i in range(99999) %}{% for j in range(22) %}{% endfor %}"
		"{% endfor %}{{ messages | length }}";
	struct template *t = NULL;
	struct bb_buf body, out;

	assert_int_equal(template_create(BB_STR(source), &t, NULL), 0);
	bb_buf_init(&body, 4u << 20);
	bb_buf_init(&out, 64);
	bb_buf_lit(&body, "{\"messages\":[{\"role\":\"user\",\"content\":\"");
	for (int i = 0; i < 300000; i++)
		bb_buf_lit(&body, "0123456789");
	const size_t len = body.len;
	bb_buf_lit(&body, "\"}]}");
	const struct template_input large = { .body = bb_buf_str(&body) };
	assert_int_equal(template_render(t, &large, &out, NULL), 0);
	assert_str(bb_buf_str(&out), "1");
	body.len = 50;
	bb_buf_lit(&body, "\"}]}");
	assert_true(len > body.len);
	const struct template_input small = { .body = bb_buf_str(&body) };
	assert_int_equal(template_render(t, &small, &out, NULL), -BB_ELIMIT);
	template_destroy(t);
	bb_buf_fini(&body);
	bb_buf_fini(&out);
}

static void test_memory_max(void **state)
{
	const struct template_input in = { .memory_max = 1u << 20 };
	const struct rendering x = render_as("{% set s = 'a' * 3000000 %}", BODY, &in);

	assert_int_equal(x.rc, -BB_ELIMIT);
	assert_non_null(strstr(x.e.message, "1 MiB"));
}

static void test_out_is_kept(void **state)
{
	struct template *t = NULL;
	struct bb_buf out;
	const struct template_input in = { .body = BB_STR_INIT(BODY) };

	bb_buf_init(&out, 64);
	bb_buf_lit(&out, "before");
	assert_int_equal(template_create(BB_STR("abc{{ missing.x }}"), &t, NULL), 0);
	assert_int_equal(template_render(t, &in, &out, NULL), -BB_EINVALID);
	assert_str(bb_buf_str(&out), "before");
	template_destroy(t);
	assert_int_equal(template_create(BB_STR("{{ 'x' * 100 }}"), &t, NULL), 0);
	assert_int_equal(template_render(t, &in, &out, NULL), -BB_ELIMIT);
	assert_str(bb_buf_str(&out), "before");
	template_destroy(t);
	bb_buf_fini(&out);
}

/* Everything that allocates, in one template. */
#define RICH                                                                                       \
	"{% macro m(a, b=[1]) %}{{ a }}{{ b }}{{ varargs }}{{ kwargs }}{% endmacro %}"             \
	"{% set ns = namespace(l=[], d={'a': 1}) %}{% for i in messages %}{% set ns.l = ns.l + "   \
	"[i] %}"                                                                                   \
	"{{ m(loop.index, 2, 3, x='y') }}{{ i | tojson(indent=1) }}{{ i.items() | list }}{% "      \
	"endfor %}"                                                                                \
	"{{ messages | map(attribute='content') | join('-') }}{{ 'a b' | upper }}{{ "              \
	"'a-b'.split('-') }}"                                                                      \
	"{{ messages | groupby('role') | list }}{{ '%s' % 'x' }}{{ '{!r}'.format('q') }}{{ [2, "   \
	"1] | sort }}"                                                                             \
	"{{ 'abc' | batch(2) | list }}{{ strftime_now('%Y') | length }}{{ range(3) | list }}"      \
	"{% set q | trim %} z {% endset %}{{ q }}{{ ns.d | dictsort }}{{ 'é' ~ 1 }}{{ [1, "       \
	"2][::-1] }}"

static void test_torture(void **state)
{
	uint64_t n = 1;

	for (;; n++) {
		struct rendering x;
		bb_alloc_fail_at(n, BB_FAIL_ONCE);
		x = render_as(RICH, BODY, NULL);
		const uint64_t failed = bb_alloc_failed_count();
		bb_alloc_fail_at(0, BB_FAIL_ONCE);
		static uint64_t before;
		if (failed == before)
			break;
		before = failed;
		assert_true(x.rc == -BB_ENOMEM || x.rc == 0);
		if (x.rc)
			assert_true(x.e.message[0] != '\0');
	}
	assert_true(n > 3);
	assert_int_equal(render_as(RICH, BODY, NULL).rc, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_source),	   cmocka_unit_test(test_nesting),
		cmocka_unit_test(test_work),	   cmocka_unit_test(test_hidden_work),
		cmocka_unit_test(test_dear_work),  cmocka_unit_test(test_limits_grow),
		cmocka_unit_test(test_memory_max), cmocka_unit_test(test_out_is_kept),
		cmocka_unit_test(test_torture),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
