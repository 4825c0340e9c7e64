/*
 * Goal: YAML becomes the tree that it describes, with places; what could surprise (anchors,
 * aliases, tags, doubled keys, depth, size, odd bytes) is refused where it stands.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/buf.h"
#include "wire/yaml_tree.h"

struct reading {
	struct bb_arena arena;
	struct config_errors errors;
	const struct yaml_item *root;
	int rc;
};

static char *long_value;

static const char *variable(void *ctx, const char *name)
{
	return strcmp(name, "LONG") == 0 ? long_value : NULL;
}

static void read_text(struct reading *r, struct bb_str text)
{
	*r = (struct reading){ 0 };
	bb_arena_init(&r->arena, 128u << 20);
	config_errors_init(&r->errors);
	r->rc = yaml_tree_read(text, variable, NULL, &r->arena, &r->root, &r->errors);
}

static void done(struct reading *r)
{
	bb_arena_fini(&r->arena);
	config_errors_fini(&r->errors);
}

static const struct yaml_item *find(const struct yaml_item *map, const char *key)
{
	const struct yaml_item *item = yaml_tree_find(map, bb_str_of(key));

	assert_non_null(item);
	return item;
}

static void test_tree(void **state)
{
	struct reading r;

	read_text(&r, BB_STR("a: 1\n\"b c\": [x, 'y', {z: ~}]\nd:\n  - é\n  - \"\"\ne: null\n"));
	assert_int_equal(r.rc, 0);
	assert_int_equal(r.errors.count, 0);
	assert_int_equal(r.root->kind, YAML_KIND_MAP);
	assert_int_equal(r.root->count, 4);
	assert_true(bb_str_eq(find(r.root, "a")->text, BB_STR("1")));
	const struct yaml_item *list = find(r.root, "b c");
	assert_int_equal(list->kind, YAML_KIND_LIST);
	assert_int_equal(list->count, 3);
	assert_int_equal(list->key_place.line, 2);
	assert_int_equal(list->place.column, 8);
	assert_int_equal(list->last->place.column, 17);
	assert_int_equal(find(list->last, "z")->kind, YAML_KIND_NULL);
	list = find(r.root, "d");
	assert_true(bb_str_eq(list->first->text, BB_STR("é")));
	assert_int_equal(list->first->next->kind, YAML_KIND_SCALAR);
	assert_int_equal(list->first->next->text.len, 0);
	assert_int_equal(find(r.root, "e")->kind, YAML_KIND_NULL);
	assert_null(yaml_tree_find(r.root, BB_STR("f")));
	assert_null(yaml_tree_find(list, BB_STR("f")));
	assert_null(yaml_tree_find(NULL, BB_STR("f")));
	done(&r);
}

struct refusal {
	const char *text;
	uint32_t line, column;
	const char *part; /* of the sentence */
};

static const struct refusal refusals[] = {
	{ "a: &x 1\nb: *x", 1, 4, "anchors" },
	{ "a: &x [1]", 1, 4, "anchors" },
	{ "a: &x {b: 1}", 1, 4, "anchors" },
	{ "&x a: 1", 1, 1, "anchors" },
	{ "a: *x", 1, 4, "in quotes" },
	{ "a: [*]", 1, 6, "in quotes" },
	{ "a: !!str 1", 1, 4, "tags" },
	{ "a: !x [1]", 1, 4, "tags" },
	{ "a: !x {b: 1}", 1, 4, "tags" },
	{ "a: 1\n---\nb: 1\n", 2, 1, "second document" },
	{ "%YAML 1.1\n---\na: 1\n", 1, 1, "directives" },
	{ "---\na: 1\n...\n%TAG ! x", 4, 1, "directives" },
	{ "? [a]\n: 1", 1, 3, "a key must be" },
	{ "? {a: b}\n: 1", 1, 3, "a key must be" },
	{ "\"\": 1", 1, 1, "a key cannot be empty" },
	{ "\"a\\nb\": 1", 1, 1, "control characters" },
	{ "a:\n\tb: 1", 2, 1, "not with tabs" },
	{ "a: [1", 2, 1, "flow sequence" },
	{ "a: \"b", 1, 6, "quoted scalar" },
	{ "a: b: c", 1, 5, "mapping values" },
	{ "a: 1\nb: \xff\n", 2, 4, "UTF-8" },
	{ "a: 1\nb: \x01\n", 2, 4, "UTF-8" },
	{ "[[[[[[[[[[[[[[[[[", 1, 17, "nested too deeply" },
	{ "{a: {a: {a: {a: {a: {a: {a: {a: {a: {a: {a: {a: {a: {a: {a: {a: {", 1, 65,
	  "too deeply" },
};

static void test_refusals(void **state)
{
	for (size_t i = 0; i < sizeof(refusals) / sizeof(refusals[0]); i++) {
		const struct refusal *x = &refusals[i];
		struct reading r;
		read_text(&r, bb_str_of(x->text));
		assert_int_equal(r.errors.count, 1);
		const struct config_error *e = &r.errors.items[0];
		if (!strstr(e->text.p, x->part) || e->place.line != x->line ||
		    e->place.column != x->column)
			fail_msg("'%s' gave %u:%u: %s", x->text, e->place.line, e->place.column,
				 e->text.p);
		assert_int_equal(r.rc, -BB_EINVALID);
		done(&r);
	}
}

/* The value ends at the brace, so it is two mistakes; the second one says what to do. */
static void test_variable_in_braces(void **state)
{
	struct reading r;

	read_text(&r, BB_STR("a: {b: ${C}}"));
	assert_int_equal(r.rc, -BB_EINVALID);
	assert_int_equal(r.errors.count, 2);
	assert_non_null(strstr(r.errors.items[1].text.p, "put \"${NAME}\" in quotes"));
	done(&r);
}

/* Mistakes in values do not end the reading, and what is broken says so. */
static void test_broken_values(void **state)
{
	struct reading r;

	read_text(&r, BB_STR("a: ${NONE}\nb: \"x\\u0085y\"\nc: |\n  two\n  lines\nd: 1\nd: 2\n"
			     "e: \"\\0\"\nf: \"\\uFFFE\"\ng: good\n"));
	assert_int_equal(r.rc, 0);
	assert_int_equal(r.errors.count, 6);
	assert_int_equal(find(r.root, "a")->kind, YAML_KIND_BROKEN);
	assert_int_equal(find(r.root, "b")->kind, YAML_KIND_BROKEN);
	assert_int_equal(find(r.root, "c")->kind, YAML_KIND_BROKEN);
	assert_int_equal(find(r.root, "e")->kind, YAML_KIND_BROKEN);
	assert_int_equal(find(r.root, "f")->kind, YAML_KIND_BROKEN);
	assert_true(bb_str_eq(find(r.root, "g")->text, BB_STR("good")));
	done(&r);
}

static void test_depth_that_fits(void **state)
{
	struct reading r;

	read_text(&r, BB_STR("[[[[[[[[[[[[[[[[x]]]]]]]]]]]]]]]]"));
	assert_int_equal(r.rc, 0);
	done(&r);
}

static void test_too_many_values(void **state)
{
	struct bb_buf text;
	struct reading r;

	bb_buf_init(&text, 1u << 20);
	bb_buf_lit(&text, "[");
	for (int i = 0; i < YAML_TREE_ITEMS_MAX; i++)
		bb_buf_lit(&text, "1,");
	bb_buf_lit(&text, "]");
	read_text(&r, bb_buf_str(&text));
	assert_int_equal(r.rc, -BB_EINVALID);
	assert_non_null(strstr(r.errors.items[0].text.p, "too many values"));
	done(&r);
	bb_buf_fini(&text);
}

/* Variables cannot blow a small file up. */
static void test_expansion_is_bounded(void **state)
{
	static char value[40001];
	struct reading r;

	memset(value, 'v', sizeof(value) - 1);
	long_value = value;
	read_text(&r, BB_STR("- ${LONG}\n- ${LONG}${LONG}\n"));
	assert_int_equal(r.rc, 0);
	assert_int_equal(r.errors.count, 1);
	assert_int_equal(r.errors.items[0].place.line, 2);
	assert_non_null(strstr(r.errors.items[0].text.p, "too long"));
	done(&r);

	struct bb_buf text;
	bb_buf_init(&text, 1u << 20);
	for (int i = 0; i < 30; i++)
		bb_buf_lit(&text, "- ${LONG}\n");
	read_text(&r, bb_buf_str(&text));
	assert_int_equal(r.errors.items[0].place.line, YAML_TREE_EXPANDED_MAX / 40000 + 1);
	done(&r);
	bb_buf_fini(&text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_tree),
		cmocka_unit_test(test_refusals),
		cmocka_unit_test(test_variable_in_braces),
		cmocka_unit_test(test_broken_values),
		cmocka_unit_test(test_depth_that_fits),
		cmocka_unit_test(test_too_many_values),
		cmocka_unit_test(test_expansion_is_bounded),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
