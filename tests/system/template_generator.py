"""Random small templates over what chat templates use, for comparison with Jinja2.

A seed gives the same template in every run. Most expressions make sense; some are meant not to, since
what is refused must be refused by both.
"""
import random

NAMES = ['messages', 'tools', 'text', 'wide', 'number', 'real', 'yes', 'nothing', 'items', 'words', 'd',
         'missing', 'x', 'y', 'ns.a', 'loop.index', 'loop.last', 'nested', 'empty', 'big']
STRINGS = ["'a'", "''", "'a,b,,c'", "'  x y '", "'ÄÖ ß ǆ'", "'<b>&'", "'%s-%s'", "'{}/{!r}/{:>5}'", "'line\\nnext\\n'",
           "'user'", "'Hello World'", "'123'", "'-4.50'", "'\\t'", "'é'", '"it\'s"', "'🙂x'", "'0'"]
NUMBERS = ['0', '1', '2', '-1', '3', '10', '2.5', '0.1', '1e3', '1e-7', '-0.0', '7', '12', '100']
FILTERS = ['trim', 'upper', 'lower', 'length', 'count', 'string', 'list', 'first', 'last', 'tojson', 'title',
           'capitalize', 'int', 'float', 'abs', 'items', 'dictsort', 'sort', 'unique', 'reverse', 'join',
           "join(', ')", "join('-', attribute='a')", 'safe', 'e', 'sum', 'min', 'max', 'round', 'round(1)',
           'round(2, "floor")', 'default("z")', 'd("q", true)', "replace('a', 'bb')", "replace('a', 'b', 1)",
           "map('upper')", "map(attribute='a')", "map(attribute='role', default='?')", "select('string')",
           "reject('none')", "selectattr('a')", "selectattr('role', 'equalto', 'user')",
           "rejectattr('a', 'defined')", 'indent', 'indent(2, true)', "indent('> ', blank=true)",
           'tojson(indent=2)', 'tojson(sort_keys=true)', 'tojson(ensure_ascii=true)',
           "tojson(separators=(',', ':'))", 'wordcount', 'center(11)', 'batch(2)', 'batch(2, "f")', 'slice(2)',
           "groupby('a')", 'sort(reverse=true)', "sort(attribute='a')", 'trim("x ")', 'truncate(5)',
           'truncate(6, true, "~", 0)', "attr('upper')", 'int(default=3)', 'float(1.5)', "format('u', 2)",
           'min(attribute="a")', 'map("int")', "map('default', 1)", 'forceescape', 'sum(start=1)', 'map("trim")',
           "sort(case_sensitive=true)", 'list|length', 'string|length', 'dictsort(by="value")', 'list|first']
TESTS = ['defined', 'undefined', 'none', 'string', 'mapping', 'iterable', 'sequence', 'number', 'integer',
         'float', 'boolean', 'true', 'false', 'odd', 'even', 'upper', 'lower', 'callable', 'in [1, 2, "a"]',
         'divisibleby 2', 'divisibleby(3)', 'eq 1', 'equalto("a")', 'ne 2', 'lt 3', 'gt 0', 'sameas none', 'le 2',
         'ge 1', 'escaped', 'in "abc"', 'filter', 'test', "== 1", '> 0']
METHODS = ['strip()', 'lstrip()', 'rstrip()', "strip('ax ')", "split()", "split(',')", "split(',', 1)", "rsplit(' ', 1)",
           'rsplit()', 'splitlines()', 'splitlines(true)', "startswith('a')", "endswith(('x', 'c'))", 'upper()',
           'lower()', 'title()', 'capitalize()', "replace('a', 'o')", "replace('', '-')", "find('b')", "rfind('a')",
           "index('a')", "count('a')", "count('')", "join(['p', 'q'])", "join(words)", "format(1, 'k', 2.5)",
           "removeprefix('a')", "removesuffix('c')", 'isdigit()', 'isalpha()', 'isalnum()', 'isspace()',
           'isupper()', 'islower()', 'istitle()', 'zfill(6)', "ljust(6, '.')", 'rjust(6)', 'center(7)', 'swapcase()',
           'casefold()', "partition(',')", "rpartition(' ')", 'items()', 'keys()', 'values()', "get('a')",
           "get('zz', 5)", 'get(1)', "index(2)", 'count(1)', 'copy()', "append(1)", "pop()", "update({})",
           'expandtabs(4)', 'isnumeric()', 'isdecimal()', 'isidentifier()', 'isascii()', 'isprintable()',
           "startswith('b', 1)", "find('a', 1, 4)", "split('')", 'nope()', 'clear()', "split(maxsplit=1)"]
OPERATORS = ['+', '-', '*', '/', '//', '%', '~', '==', '!=', '<', '<=', '>', '>=', 'in', 'not in', 'and', 'or']
SLICES = ['[0]', '[-1]', '[1:]', '[:-1]', '[::-1]', '[1:3]', '[::2]', '[-2:]', '[5]', "['a']", "['role']", '.a', '.role',
          '.items', '["b"]', '[:2]', '[3:1:-1]', "['content']", '.content', '[none:2]', '.upper', '[1:-1:2]', '[x]', '[true]']
TEXT = ['a', ' b ', '\n', '\n  ', '  \n', '<|x|>', 'é ', '\t', '{', '}', '%', '#', '\n\n', ' {"k": 1} ']

VALUES = {
    'tools': [{'type': 'function', 'a': 1}, {'type': 'x', 'a': None}], 'text': 'a quick, brown fox', 'wide': 'Größe 世界 Σας ΌΣΟΣ ﬁ',
    'number': 5, 'real': 2.5, 'yes': True, 'nothing': None, 'items': [3, 1, 2, 2], 'words': ['b', 'A', 'a', 'C'],
    'd': {'b': 2, 'a': 'x', 'C': [1, {'k': 'v"\n'}], 'items': 7}, 'nested': [[1, 2], [3], [], 'é', {'a': 1}, {'a': 0}],
    'empty': [], 'big': 123456789012345678901234567890, 'x': 1, 'y': 'why',
}
MESSAGES = [{'role': 'user', 'content': ' Hi\n'}, {'role': 'assistant', 'content': '<a>\'"&', 'a': 2},
            {'role': 'user', 'content': ['p', {'text': 't'}], 'a': 1}]


class Generator:
    def __init__(self, seed):
        self.r = random.Random(seed)
        self.loops = 0

    def pick(self, *kinds):
        return self.r.choice(kinds)

    def atom(self):
        r = self.r.random()
        if r < 0.45:
            return self.r.choice(NAMES)
        if r < 0.65:
            return self.r.choice(STRINGS)
        if r < 0.82:
            return self.r.choice(NUMBERS)
        if r < 0.88:
            return self.r.choice(['true', 'false', 'none', 'True', 'None'])
        return self.r.choice(['[]', '[1, "a", x]', '{"a": 1, "b": [2]}', '(1, 2)', '{}', '(x,)', 'range(3)',
                              '[none, true, 1.0]', "{'k': text}", 'range(5, 0, -2)', 'namespace(a=1)', 'dict(a=2, b=y)',
                              '[{"a": 3}, {"a": 1}, {"a": 2}]', "['x', 'X', 'y']", 'm1(x)', 'm2()', 'm2(y=3)'])

    def expression(self, depth=0):
        if depth > 3:
            return self.atom()
        r = self.r.random()
        if r < 0.28:
            return self.atom()
        if r < 0.48:
            return f'{self.operand(depth)}|{self.r.choice(FILTERS)}'
        if r < 0.58:
            return f'({self.expression(depth + 1)}).{self.r.choice(METHODS)}'
        if r < 0.67:
            # Jinja folds slices of literals in a way of its own.
            return f'({self.r.choice(NAMES)}){self.r.choice(SLICES)}'
        if r < 0.75:
            return f'{self.operand(depth)} is {self.pick("", "not ")}{self.r.choice(TESTS)}'
        if r < 0.76:  # of small numbers: what Python makes of large ones takes all memory there is
            return f'{self.pick("2", "x", "-3", "0.5", "yes")} ** {self.pick("0", "3", "-1", "x", "2.0")}'
        if r < 0.92:
            return f'{self.operand(depth)} {self.r.choice(OPERATORS)} {self.operand(depth)}'
        if r < 0.95:
            return f'{self.pick("not ", "-", "+")}{self.operand(depth)}'
        return (f'{self.operand(depth)} if {self.operand(depth)}' +
                self.pick('', f' else {self.operand(depth)}'))

    def operand(self, depth):
        inner = self.expression(depth + 1)
        return inner if self.r.random() < 0.25 or inner.isidentifier() else f'({inner})'

    def tag(self, text):
        left, right = self.pick('', '', '', '-', '+'), self.pick('', '', '', '-', '+')
        return '{%' + left + ' ' + text + ' ' + right + '%}'

    def output(self):
        return '{{' + self.pick('', '', '-') + ' ' + self.expression() + ' ' + self.pick('', '', '-') + '}}'

    def body(self, depth):
        return ''.join(self.piece(depth + 1) for _ in range(self.r.randint(1, 3)))

    def piece(self, depth=0):
        r = self.r.random()
        if r < 0.25:
            return self.r.choice(TEXT)
        if r < 0.62 or depth > 3:
            return self.output()
        if r < 0.70:
            target = self.pick('x', 'y', 'z', 'ns.a', 'x, y')
            return self.tag(f'set {target} = {self.expression()}')
        if r < 0.80:
            text = self.tag(f'if {self.expression()}') + self.body(depth)
            if self.r.random() < 0.3:
                text += self.tag(f'elif {self.expression()}') + self.body(depth)
            if self.r.random() < 0.4:
                text += self.tag('else') + self.body(depth)
            return text + self.tag('endif')
        if r < 0.91:
            return self.loop(depth)
        return self.other(depth)

    def loop(self, depth):
        over = self.pick('items', 'messages', 'words', 'd.items()', 'd|dictsort', 'range(3)', 'text', self.expression())
        target = self.pick('x', 'x', 'k, v') if 'd' in over else self.pick('x', 'x', 'm')
        text = self.tag(f'for {target} in {over}' + self.pick('', '', '', f' if {self.expression()}'))
        self.loops += 1
        text += self.body(depth)
        if self.r.random() < 0.15:
            text += self.tag(f'if {self.expression()}') + self.tag(self.pick('break', 'continue')) + self.tag('endif')
        if self.r.random() < 0.4:
            text += '{{ ' + self.pick('loop.index', 'loop.first', 'loop.last', 'loop.length', 'loop.previtem',
                                      'loop.nextitem', 'loop.revindex', "loop.cycle('a', 'b')", 'loop.changed(x)',
                                      'loop.index0', 'loop.depth', 'loop.revindex0') + ' }}'
        text += self.body(depth) if self.r.random() < 0.3 else ''
        self.loops -= 1
        if self.r.random() < 0.2:
            text += self.tag('else') + self.body(depth)
        return text + self.tag('endfor')

    def other(self, depth):
        kind = self.pick('setblock', 'filter', 'with', 'comment', 'raw', 'generation', 'call', 'macro', 'raise')
        if kind == 'setblock':
            return self.tag('set z' + self.pick('', ' | trim', ' | upper | replace("A", "b")')) + self.body(depth) + self.tag('endset') + '{{ z }}'
        if kind == 'filter':
            return self.tag('filter ' + self.pick('upper', 'trim', "replace('a', 'b')", 'indent(1)')) + self.body(depth) + self.tag('endfilter')
        if kind == 'with':
            return self.tag(f'with x = {self.expression()}') + self.body(depth) + self.tag('endwith')
        if kind == 'comment':
            return self.pick('{# c #}', '{#- c -#}', '{# {{ x }} #}', '{#-#}', '{#+ c +#}')
        if kind == 'raw':
            return self.tag('raw') + self.r.choice(TEXT) + '{{ x }}' + self.r.choice(TEXT) + self.tag('endraw')
        if kind == 'generation':
            return self.tag('generation') + self.body(depth) + self.tag('endgeneration')
        if kind == 'call':
            return self.tag('call(q) m3(' + self.atom() + ')') + '[{{ q }}' + self.body(depth) + ']' + self.tag('endcall')
        if kind == 'macro':
            return self.tag('macro m4(p, q=' + self.expression() + ')') + self.body(depth) + '{{ p }}{{ q }}' + self.tag('endmacro') + '{{ m4(' + self.pick('', 'x', '1, 2', 'q=3', '1, 2, 3') + ') }}'
        return '{{ raise_exception("no " ~ ' + self.atom() + ') }}' if self.r.random() < 0.2 else ''

    def template(self):
        head = ('{%- macro m1(a, b=2) %}<{{ a }}:{{ b }}{{ varargs }}>{% endmacro %}'
                '{%- macro m2(y) %}[{{ y }}{{ kwargs }}]{% endmacro %}'
                "{%- macro m3(v) %}({{ caller(v) }}|{{ v }}){% endmacro %}"
                '{%- set ns = namespace(a=0) %}')
        return head + ''.join(self.piece() for _ in range(self.r.randint(1, 5))) + self.pick('', '\n', '\n\n')
