#!/usr/bin/env python3
"""What templates that never want to end take until they are refused: CPU time of `busbar render`.

    python3 bench/hostile_templates.py             the slowest first
    python3 bench/hostile_templates.py --count N   so many of them (12)

Each repeats one thing that a template can do, as often as its limits let it, with a request of 70
bytes. The time is of the whole process; limits are in docs/templates.md.
"""
import argparse
import json
import os
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
BODY = json.dumps({'messages': [{'role': 'user', 'content': 'hi'}]}).encode()
VALUES = ("{% set a = 'x' * 900000 %}{% set b = 'x' * 900000 %}{% set u = 'é' * 400000 %}"
          "{% set s = ' ' * 900000 %}{% set l = range(99999) | list %}{% set d = {a: 1} %}")
LOOPS = '{% for i in range(99999) %}{% for j in range(99) %}', '{% endfor %}{% endfor %}'
SETS = ''.join('{%% set v%d = 1 %%}' % i for i in range(1900))
EXPRESSIONS = (
    'i + j', "'abc'.strip()", "'%s' % i", "'{:>10}'.format(i)", "'%.300f' % 1e300", '(1/3) | string', '[1, 2, 3]',
    "{'a': 1, 'b': 2}", 'namespace(a=1)', 'messages | tojson', 'messages | tojson(indent=4)', 'a | upper', 'u | upper',
    'u | title', 'u | length', 'u[1:]', 'u[::-1]', 'u[399999]', 'u | list', 's | trim', "u.strip('aé')", 'a == b',
    'a < b', "'y' in a", "('x' * 1000 + 'y') in a", "('y' + 'x' * 400000) in a", "u.find('z')", "a.rfind('y')",
    "a.count('xy')", "a.count('x')", "a.replace('x', 'y')", "a.replace('xxxxxxxx', 'y')", "a.split('x')", 's.split()',
    'a.splitlines()', 'l | sort', 'l | unique | list', "l | join(',')", "l | map('string') | list",
    "l | map(attribute='x') | list", "l | select('odd') | list", "l | groupby('real') | list", 'l | sum', 'l | max',
    'u | indent', 's | wordcount', 'u | truncate(100)', "'a' | center(900000)", 'a | e', "('<' * 900000) | e",
    'u | tojson', 'u | tojson(ensure_ascii=true)', '[u] | string', "['\\x01' * 100000] | string", 'a ~ b', 'a + b',
    'range(99999) | list', 'range(99999)', 'l == range(99999) | list', '-1 in l', 'l + l', 'l * 5', 'l[::-1]',
    'l | batch(2) | list', 'l | slice(3) | list', 'd[a]', "'1'.zfill(900000)", "('\\t' * 100000).expandtabs()",
    "('9' * 4000) | int", "'123' | int", "('1' * 400) | float", "strftime_now('%Y-%m-%d %H:%M:%S')",
    "strftime_now('%c' * 1000)", 'u.isalpha()', 'u.istitle()', 'u.lower()', '1 if i > j else 2',
    'loop.index0 + loop.revindex0', 'u | reverse', 'l | reverse | list', 'u | last', '3 ** 20', '3.1 ** 20.5',
    '99999999999999999999999999 < 99999999999999999999999998', "dict(*[], **{'a': 1})", "a.rsplit('y')",
    "a.rpartition('y')", 'm(1, 2, 3, 4, 5, 6, 7, 8, x=1, y=2)', 'many()')
MACROS = ('{% macro m(a, b, c, d) %}{{ varargs }}{{ kwargs }}{% endmacro %}'
          '{% macro many() %}' + SETS + '{% endmacro %}')


def templates():
    all_of_them = {e: MACROS + VALUES + LOOPS[0] + '{% set x = ' + e + ' %}' + LOOPS[1] for e in EXPRESSIONS}
    all_of_them['nothing, in loops'] = LOOPS[0].replace('99)', '99999)') + LOOPS[1]
    all_of_them['a block that is printed'] = LOOPS[0] + '{% set x %}{{ i }}{% endset %}' + LOOPS[1]
    all_of_them['names of 1,900 slots'] = LOOPS[0] + '{% if false %}' + SETS + '{% endif %}' + LOOPS[1]
    all_of_them['a loop that calls itself'] = (
        LOOPS[0] + "{% for x in [[1, [2, [3]]]] recursive %}{{ loop(x) if x is iterable else '' }}{% endfor %}"
        + LOOPS[1])
    return all_of_them


def main():
    parser = argparse.ArgumentParser(description=__doc__.split('\n', maxsplit=1)[0])
    parser.add_argument('--count', type=int, default=12)
    parser.add_argument('--busbar', default=os.path.join(ROOT, 'build', 'busbar'))
    args = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, 'chat_template.jinja')
        for name, source in templates().items():
            with open(path, 'w', encoding='utf-8') as f:
                f.write(source)
            before = os.times()
            done = subprocess.run([args.busbar, 'render', '--tokenizer', path, '-'], input=BODY, capture_output=True)
            after = os.times()
            took = after.children_user + after.children_system - before.children_user - before.children_system
            said = done.stderr.decode().strip().rsplit(': ', 1)[-1]
            rows.append((took * 1000, name, said if done.returncode else 'done'))
    rows.sort(reverse=True)
    print('| what is repeated | CPU, ms | end |\n|---|---|---|')
    for took, name, end in rows[:args.count]:
        print(f'| `{name}` | {took:.0f} | {end} |')
    print(f'\n{len(rows)} templates; the slowest took {rows[0][0]:.0f} ms')
    return 0


if __name__ == '__main__':
    sys.exit(main())
