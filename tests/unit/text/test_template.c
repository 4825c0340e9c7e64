/* Goal: templates render as Jinja2 with transformers' settings renders them. */
#include "template_cases.h"

static void test_white_space(void **state)
{
	assert_renders("a\n{% if true %}\nb\n{% endif %}\nc\n", "a\nb\nc");
	assert_renders("a\n   {% if true %}  \n b {% endif %}", "a\n  \n b ");
	assert_renders("a \n {%- if true -%} \n b \n {%- endif -%} \n c", "abc");
	assert_renders("a\n  {%+ if true +%}\nb{% endif %}", "a\n  \nb");
	assert_renders("a {# note #} b\n  {# line #}\nc", "a  b\nc");
	assert_renders("x{#- a -#} y", "xy");
	assert_renders("{{ 1 }}\n{{ 2 }}\n\n", "1\n2\n");
	assert_renders("{% raw %}{{ x }}{% endraw %}\n!", "{{ x }}!");
	assert_renders("  {%- raw -%}  {% y %} {%- endraw %}", "{% y %}");
	assert_renders("a\r\nb\rc", "a\nb\nc");
	assert_renders("", "");
}

static void test_statements(void **state)
{
	assert_renders(
		"{% for m in messages %}{{ loop.index }}{{ m.role }}{{ ',' if not loop.last }}"
		"{% endfor %}",
		"1user,2assistant");
	assert_renders(
		"{% for i in range(9) if i is odd %}{% if i == 7 %}{% break %}{% endif %}{{ i }}"
		"{% else %}none{% endfor %}",
		"135");
	assert_renders("{% for i in [] %}{% else %}none{% endfor %}", "none");
	assert_renders("{% for i in [1, 2] %}{% continue %}{% else %}all skipped{% endfor %}",
		       "all skipped");
	assert_renders("{% for k, v in {'a': 1, 'b': 2}.items() %}{{ k }}{{ v }}{% endfor %}",
		       "a1b2");
	assert_renders(
		"{% for i in 'ab' %}{{ loop.previtem }}{{ loop.nextitem }}{{ loop.revindex }}"
		"{{ loop.cycle('x', 'y') }}{{ loop.changed(1) }}{% endfor %}",
		"b2xTruea1yFalse");
	assert_renders("{% for n in [1, [2, [3]]] recursive %}{{ loop(n) if n is iterable else n }}"
		       "{{ loop.depth }}{% endfor %}",
		       "11223321");
	assert_renders("{% set x = 1 %}{% for i in [1, 2] %}{{ x }}{% set x = 5 %}{{ x }}{% endfor "
		       "%}{{ x }}",
		       "15151");
	assert_renders("{% set ns = namespace(n=0) %}{% for i in [1, 2] %}{% set ns.n = ns.n + i "
		       "%}{% endfor %}"
		       "{{ ns.n }}",
		       "3");
	assert_renders("{% set a, b = 1, 'x' %}{{ b }}{{ a }}", "x1");
	assert_renders("{% set t | upper %}a{{ 1 }}b{% endset %}{{ t }}", "A1B");
	assert_renders("{% filter trim | upper %} a {% endfilter %}", "A");
	assert_renders("{% with a = 1, b = 2 %}{{ a + b }}{% endwith %}{{ a }}", "3");
	assert_renders("{% if 0 %}a{% elif '' %}b{% elif [] %}c{% else %}d{% endif %}", "d");
	assert_renders("{% generation %}a{% endgeneration %}", "a");
	assert_renders("{% print 1, 'a' %}", "1a");
}

/* A string that grows is not copied, and whoever has an earlier state of it keeps that. */
static void test_growing(void **state)
{
	assert_renders(
		"{% set a = 'ab' ~ 'cd' %}{% set b = a ~ 'e' %}{% set c = a ~ 'f' %}"
		"{% set d = b + 'g' %}{% set e = b + 'h' %}{{ a }} {{ b }} {{ c }} {{ d }} {{ e }}",
		"abcd abcde abcdf abcdeg abcdeh");
	assert_renders(
		"{% set ns = namespace(s='', l=[]) %}{% for i in range(6) %}"
		"{% set ns.s = ns.s ~ i ~ ns.s[1:] %}{% set ns.l = ns.l + [ns.s] %}{% endfor %}"
		"{{ ns.l | join(',') }} {{ ns.s[:4] + 'x' }} {{ ns.s }}",
		"0,01,0121,01213121,0121312141213121,01213121412131215121312141213121 "
		"0121x 01213121412131215121312141213121");
	assert_renders(
		"{% set a = '<' ~ 'b' %}{% set b = a ~ ('>' | e) %}{{ b }}{{ a ~ 1 ~ none }}",
		"<b&gt;<b1None");
}

/* Members by short ways and by long ones are the same. */
static void test_members(void **state)
{
	assert_renders(
		"{% set d = {'role': 1, 'items': 2, 'a_name_of_more_than_16_bytes': 3, 'x': 4} %}"
		"{{ d.role }}{{ d['role'] }}{{ d['items'] }}{{ d.a_name_of_more_than_16_bytes }}"
		"{{ d.x }}{{ d.y is defined }}{{ d['y'] is defined }}{{ d.rolf is defined }}"
		"{{ d.items() | length }}",
		"11234FalseFalseFalse4");
	assert_renders("{% set d = {} %}{{ d.a is defined }}{% set ns = namespace(a=1) %}{{ ns.a }}"
		       "{{ ns['a'] }}{{ ns.b is defined }}{% set ns.b = 2 %}{{ ns.b }}",
		       "False11False2");
	assert_renders(
		"{% set d = dict(a=1,b=2,c=3,d=4,e=5,f=6,g=7,h=8,i=9,j=10) %}{{ d.j }}{{ d['a'] "
		"}}{{ d.k is defined }}",
		"101False");
	assert_renders("{{ 'a' == 'a' }}{{ 'a' != 'a' }}{{ 1 == 'a' }}{{ none != 'a' }}{{ missing "
		       "== 'a' }}"
		       "{{ 'abcdefghijklmnopqrst' == 'abcdefghijklmnopqrsu' }}",
		       "TrueFalseFalseTrueFalseFalse");
}

static void test_macros(void **state)
{
	assert_renders("{% macro m(a, b=a ~ '!') %}{{ a }}{{ b }}{% endmacro %}{{ m(1) }}{{ m(b=2, "
		       "a=3) }}",
		       "11!32");
	assert_renders(
		"{% macro m(a) %}{{ a }}{{ varargs }}{{ kwargs }}{% endmacro %}{{ m(1, 2, x=3) }}",
		"1(2,){'x': 3}");
	assert_renders("{% macro m(a) %}[{{ caller(a) }}]{% endmacro %}{% call(x) m(7) %}<{{ x "
		       "}}>{% endcall %}",
		       "[<7>]");
	assert_renders("{% macro f(n) %}{{ n }}{{ f(n - 1) if n }}{% endmacro %}{{ f(3) }}",
		       "3210");
	assert_renders("{% macro m() %}{{ later }}{% endmacro %}{% set later = 4 %}{{ m() }}", "4");
	assert_renders(
		"{% macro m(x) %}{{ x }}{% endmacro %}{{ m() }}{{ (m('a') ~ 'b') | length }}", "2");
	assert_refused("{% macro m(a) %}{% endmacro %}{{ m(1, 2) }}", -BB_EINVALID,
		       "not more than 1");
	assert_refused("{% macro m(a) %}{% endmacro %}{{ m(b=2) }}", -BB_EINVALID,
		       "keyword argument 'b'");
}

static void test_expressions(void **state)
{
	assert_renders("{{ 1 + 2 * 3 ** 2 - 4 // 3 }} {{ -7 // 2 }} {{ -7 % 3 }} {{ 7 / 2 }} {{ 2 "
		       "** -1 }}",
		       "18 -4 2 3.5 0.5");
	assert_renders("{{ 1 ~ 'a' ~ none ~ 1.0 }} {{ 'a' + 'b' * 3 }} {{ [1] + [2] }} {{ (1,) }}",
		       "1aNone1.0 abbb [1, 2] (1,)");
	assert_renders("{{ 1 < 2 < 3 }} {{ 1 < 3 < 2 }} {{ 'a' in 'cat' }} {{ 4 not in [1, 2] }} "
		       "{{ not 1 == 2 }}",
		       "True False True True True");
	assert_renders(
		"{{ 'b' if false }}|{{ 'b' if false else 'c' }}|{{ none or 'x' }}|{{ 0 and 1 }}",
		"|c|x|0");
	assert_renders("{{ 'hello'[1:3] }} {{ 'hello'[::-1] }} {{ [1, 2, 3][-2:] }} {{ 'größe'[2] "
		       "}} {{ 'größe'[-2:] }}",
		       "el olleh [2, 3] ö ße");
	assert_renders("{{ missing }}|{{ missing is defined }}|{{ {'a': 1}.b }}|{{ [1][5] }}",
		       "|False||");
	assert_renders("{{ {'items': 1}['items'] }} {{ {'a': {'b': 2}}.a.b }} {{ {1: 'x'}[1] }}",
		       "1 2 x");
	assert_renders("{{ messages[0].content }}{{ messages[-1]['content'] }}", "HiYo\n");
	assert_renders("{{ messages.0.role }}", "user");
	assert_renders("{{ 'a' 'b' }} {{ 1_000 }} {{ 0x1f }} {{ 1e-7 }} {{ '\\u00e9\\n\\x41' }}",
		       "ab 1000 31 1e-07 é\nA");
	assert_renders("{{ true }} {{ None }} {{ 9223372036854775808 }} {{ -5 | abs }}",
		       "True None 9223372036854775808 5");
}

static void test_reprs(void **state)
{
	assert_renders(
		"{{ ['it\\'s', \"q\\\"\", 'a\\n', 'é\\u200b', 1.0, {'k': none}, (1, 2), true] }}",
		"[\"it's\", 'q\"', 'a\\n', 'é\\u200b', 1.0, {'k': None}, (1, 2), True]");
	assert_renders("{{ 1e16 }} {{ 123456789.125 }} {{ 1e22 }} {{ 0.1 + 0.2 }} {{ 1e5 }} {{ "
		       "-0.0 }} {{ 5e-324 }}",
		       "1e+16 123456789.125 1e+22 0.30000000000000004 100000.0 -0.0 5e-324");
	assert_renders("{{ {'a': [1, 'é<\"'], 'b': none, 'c': 1.5} | tojson }}",
		       "{\"a\": [1, \"é<\\\"\"], \"b\": null, \"c\": 1.5}");
	assert_renders("{{ {'b': 1, 'a': [2, {}]} | tojson(indent=2, sort_keys=true) }}",
		       "{\n  \"a\": [\n    2,\n    {}\n  ],\n  \"b\": 1\n}");
	assert_renders("{{ 'é\\u0001😀' | tojson(ensure_ascii=true) }} {{ [1, 2] | "
		       "tojson(separators=(',', ':')) }}",
		       "\"\\u00e9\\u0001\\ud83d\\ude00\" [1,2]");
	assert_renders("{{ range(3) }} {{ {'a': 1}.items() }} {{ [missing] }}",
		       "range(0, 3) dict_items([('a', 1)]) [Undefined]");
}

static void test_filters(void **state)
{
	assert_renders("{{ ' a ' | trim }}|{{ 'xax' | trim('x') }}|{{ 'abc' | length }}|{{ 'aB' | "
		       "upper }}",
		       "a|a|3|AB");
	assert_renders(
		"{{ 'hello big-world' | title }} {{ 'ÉA' | capitalize }} {{ 'straße' | upper }}",
		"Hello Big-World Éa STRASSE");
	assert_renders(
		"{{ [3, 1, 2] | sort }} {{ ['b', 'A'] | sort }} {{ {'b': 1, 'a': 2} | dictsort }}",
		"[1, 2, 3] ['A', 'b'] [('a', 2), ('b', 1)]");
	assert_renders("{{ messages | map(attribute='role') | join(', ') }}", "user, assistant");
	assert_renders("{{ messages | selectattr('role', 'equalto', 'user') | list | length }}",
		       "1");
	assert_renders("{{ [1, 2, 3, 4] | select('odd') | list }}{{ [0, 1] | reject | list }}",
		       "[1, 3][0]");
	assert_renders("{{ [1, 2, 3] | batch(2, 0) | list }} {{ [1, 2, 3] | slice(2) | list }}",
		       "[[1, 2], [3, 0]] [[1, 2], [3]]");
	assert_renders("{{ messages | groupby('role') | map(attribute=0) | list }}",
		       "['assistant', 'user']");
	assert_renders("{{ 'a\nb\n\nc' | indent }}|{{ 'a\nb' | indent(1, true) }}",
		       "a\n    b\n\n    c| a\n b");
	assert_renders(
		"{{ 'x' | default('y') }}{{ missing | d('z') }}{{ '' | default('e', true) }}",
		"xze");
	assert_renders("{{ 3 | float }} {{ true | float }} {{ none | float(2) }}", "3.0 1.0 2");
	assert_renders("{{ '12' | int + 1 }} {{ 'q' | int(7) }} {{ '1.5' | float }} {{ 2.5 | round "
		       "}} {{ 3.7 | int }}",
		       "13 7 1.5 2.0 3");
	assert_renders("{{ 'a<b' | e }} {{ ('a<b' | safe) ~ '<' }} {{ ('<' | safe) + '<' }}",
		       "a&lt;b a<b< <&lt;");
	assert_renders("{{ [1, 2, 1] | unique | list }} {{ [1, 2] | sum }} {{ [2, 1] | min }} {{ "
		       "[] | first }}",
		       "[1, 2] 3 1 ");
	assert_renders("{{ 'a b c' | replace(' ', '-', 1) }} {{ 'a b' | wordcount }} {{ '%s=%d' | "
		       "format('n', 3) }}",
		       "a-b c 2 n=3");
	assert_renders("{{ 'a long text' | truncate(8) }} {{ [1, [2]] | last | first }}",
		       "a long text 2");
}

static void test_methods(void **state)
{
	assert_renders(
		"{{ 'a,b,,c'.split(',') }} {{ ' a  b '.split() }} {{ 'a-b-c'.rsplit('-', 1) }}",
		"['a', 'b', '', 'c'] ['a', 'b'] ['a-b', 'c']");
	assert_renders("{{ 'x<t>y</t>z'.split('</t>')[-1].lstrip('\\n') }}", "z");
	assert_renders("{{ 'abc'.startswith(('x', 'ab')) }} {{ 'abc'.endswith('c', 0, 2) }} {{ "
		       "'abcb'.rfind('b') }}",
		       "True False 3");
	assert_renders(
		"{{ '{} {0}'.format('a') if false else '{1}{0!r:>5}{k}'.format('a', 'b', k=2) }}",
		"b  'a'2");
	assert_renders("{{ '{:.2f}|{:>6}|{:^7}|{:05d}|{:,}|{:#x}'.format(3.14159, 'a', 'mid', -42, "
		       "1234567, 255) }}",
		       "3.14|     a|  mid  |-0042|1,234,567|0xff");
	assert_renders("{{ '%5.1f|%-4s|%04d|%x|%%|%(a)s' % {'a': 1} if false else "
		       "'%5.1f|%-4s|%04d|%x|%%' % (2.25, 'a', 7, 255) }}",
		       "  2.2|a   |0007|ff|%");
	assert_renders("{{ '-'.join(['a', 'b']) }} {{ 'ab'.removeprefix('a') }} {{ '7'.zfill(3) }} "
		       "{{ 'a\\nb'.splitlines() }}",
		       "a-b b 007 ['a', 'b']");
	assert_renders(
		"{{ {'a': 1}.get('b', 2) }} {{ {'a': 1}.keys() | list }} {{ [1, 2].index(2) }}",
		"2 ['a'] 1");
	assert_renders(
		"{{ 'ΑΣ'.lower() }} {{ 'ǆ'.title() }} {{ 'ﬁ'.upper() }} {{ 'ß'.casefold() }}",
		"ας ǅ FI ss");
	assert_renders("{% set c = cycler(1, 2) %}{{ c.next() }}{{ c.next() }}{{ c.next() }}{{ "
		       "c.current }}",
		       "1212");
	assert_renders("{% set j = joiner('; ') %}{{ j() }}a{{ j() }}b", "a; b");
}

static void test_refusals(void **state)
{
	assert_refused("{{ raise_exception('Only ' ~ 1) }}", -BB_EINVALID, "Only 1");
	assert_refused("{{ missing.a }}", -BB_EINVALID, "'missing' is undefined");
	assert_refused("\n {{ messages[0].x.y }}", -BB_EINVALID, "line 2, column");
	assert_refused("{{ messages[0].x.y }}", -BB_EINVALID, "'dict object' has no attribute 'x'");
	assert_refused("{{ [].append(1) }}", -BB_EINVALID, "unsafe");
	assert_refused("{{ {}.update(a=1) }}", -BB_EINVALID, "unsafe");
	assert_refused("{{ ''.__class__.x }}", -BB_EINVALID, "unsafe");
	assert_refused("{{ 'a' + 1 }}", -BB_EINVALID,
		       "can only concatenate str (not \"int\") to str");
	assert_refused("{{ 1 // 0 }}", -BB_EINVALID, "division");
	assert_refused("{{ 1 < 'a' }}", -BB_EINVALID, "not supported between");
	assert_refused("{% set x.y = 1 %}", -BB_EINVALID, "non-namespace");
	assert_refused("{% for a, b in [[1]] %}{% endfor %}", -BB_EINVALID, "unpack");
	assert_refused("{{ missing | tojson }}", -BB_EINVALID, "not JSON serializable");
	assert_renders("{% if false %}{{ 1 | no_filter }}{% endif %}ok", "ok");
	assert_refused("{% if true %}{{ 1 | no_filter }}{% endif %}", -BB_EINVALID, "no_filter");
}

static void test_syntax_errors(void **state)
{
	assert_refused("{{ 1 | no_filter }}", -BB_ESYNTAX,
		       "line 1, column 8: there is no filter named 'no_filter'");
	assert_refused("{{ 1 is no_test }}", -BB_ESYNTAX, "no test named");
	assert_refused("a\n{% foo %}", -BB_ESYNTAX, "line 2, column 4: unknown tag 'foo'");
	assert_refused("{% include 'x' %}", -BB_ESYNTAX, "not supported");
	assert_refused("{% if true %}", -BB_ESYNTAX, "'endif' was expected");
	assert_refused("{{ (1 }}", -BB_ESYNTAX, "");
	assert_refused("{{ 1", -BB_ESYNTAX, "not closed");
	assert_refused("{# a", -BB_ESYNTAX, "comment");
	assert_refused("{% raw %}a", -BB_ESYNTAX, "raw");
	assert_refused("{{ 'a }}", -BB_ESYNTAX, "string");
	assert_refused("{{ }}", -BB_ESYNTAX, "an expression");
	assert_refused("{{ a b }}", -BB_ESYNTAX, "expected");
	assert_refused("{{ f(a=1, 2) }}", -BB_ESYNTAX, "order");
	assert_refused("{% set true = 1 %}", -BB_ESYNTAX, "cannot be assigned");
	assert_refused("{% break %}", -BB_ESYNTAX, "outside of a loop");
	assert_refused("{{ ] }}", -BB_ESYNTAX, "unexpected ']'");
	assert_refused("{{ $ }}", -BB_ESYNTAX, "unexpected character");
	assert_refused("\xff", -BB_ESYNTAX, "UTF-8");
	assert_refused("{{ '\\ud800' }}", -BB_ESYNTAX, "escape");
	assert_refused("{% endif %}", -BB_ESYNTAX, "unknown tag 'endif'");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_white_space),   cmocka_unit_test(test_statements),
		cmocka_unit_test(test_growing),	      cmocka_unit_test(test_members),
		cmocka_unit_test(test_macros),	      cmocka_unit_test(test_expressions),
		cmocka_unit_test(test_reprs),	      cmocka_unit_test(test_filters),
		cmocka_unit_test(test_methods),	      cmocka_unit_test(test_refusals),
		cmocka_unit_test(test_syntax_errors),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
