"""Goal: tidy finds each break of a rule at its line, and nothing in a tree that is right."""
import contextlib
import importlib.util
import io
import os
import tempfile
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
SPEC = importlib.util.spec_from_file_location(
    'tidy', os.path.join(HERE, '..', '..', 'tools', 'tidy.py'))
tidy = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(tidy)

HEAD = '/* x.h: for x. Threads: any. Memory: none. Errors: none. */\n#pragma once\n'
GOOD = {
    'src/ROOMS': '# floor room\n0 base\n1 os\n1 wire\n3 net\n4 node\n4 engines node\n',
    'src/base/README.md': '# base\n| `str` | slices |\n',
    'src/base/str.h': HEAD + 'int str_len(const char *s);\n',
    'src/base/str.c': '#include "base/str.h"\n\nint str_len(const char *s)\n{\n\treturn !!s;\n}\n',
    'src/os/README.md': '# os\n`sock.[ch]`\n',
    'src/os/sock.h': HEAD + '#include <sys/socket.h>\n#include "base/str.h"\n',
    'src/os/sock.c': '#include "os/sock.h"\n#include <unistd.h>\n',
    'src/wire/README.md': '# wire\n',
    'src/net/README.md': '# net: `http`\n',
    'src/net/http.h': HEAD + '#include <sys/uio.h>\n#include "os/sock.h"\n',
    'src/node/README.md': '# node\n',
    'src/engines/README.md': '# engines\n',
}


class TidyTest(unittest.TestCase):
    def run_tidy(self, files, *args):
        with tempfile.TemporaryDirectory() as root:
            for path, text in {**GOOD, **files}.items():
                if text is None:
                    continue
                os.makedirs(os.path.join(root, os.path.dirname(path)), exist_ok=True)
                with open(os.path.join(root, path), 'w', encoding='utf-8', newline='') as f:
                    f.write(text)
            out = io.StringIO()
            with contextlib.redirect_stdout(out):
                rc = tidy.main(['--root', root, *(args or ('--no-compile',))])
            return rc, out.getvalue()

    def finds(self, files, place, *words):
        rc, out = self.run_tidy(files)
        lines = [x for x in out.splitlines() if x.startswith(place + ': error:')]
        self.assertTrue(any(all(w in x for w in words) for x in lines), out)
        self.assertEqual(rc, 1)

    def allows(self, files):
        rc, out = self.run_tidy(files)
        self.assertEqual(rc, 0, out)

    def test_a_tree_that_is_right(self):
        rc, out = self.run_tidy({})
        self.assertEqual(rc, 0, out)
        self.assertRegex(out, r'tidy: ok \(12 files\)\n$')

    def test_includes_upward(self):
        self.finds({'src/base/str.c': '#include "base/str.h"\n#include "os/sock.h"\n'},
                   'src/base/str.c:2', 'upward')

    def test_includes_sideways(self):
        wire = {'src/wire/json.c': '#include "os/sock.h"\n', 'src/wire/README.md': '`json`\n'}
        self.finds(wire, 'src/wire/json.c:1', 'sideways')

    def test_the_third_column_allows_a_room_of_the_same_floor(self):
        node = {'src/node/gpu.h': HEAD, 'src/node/README.md': '`gpu`\n'}
        self.allows({**node, 'src/engines/vllm.c': '#include "node/gpu.h"\n',
                     'src/engines/README.md': '`vllm`\n'})
        self.finds({'src/engines/vllm.h': HEAD, 'src/engines/README.md': '`vllm`\n',
                    'src/node/gpu.c': '#include "engines/vllm.h"\n', 'src/node/README.md': '`gpu`\n'},
                   'src/node/gpu.c:1', 'sideways')

    def test_a_circle(self):
        self.finds({'src/base/a.h': HEAD + '#include "base/b.h"\n',
                    'src/base/b.h': HEAD + '#include "base/a.h"\n',
                    'src/base/README.md': '`str` `a` `b`\n'}, 'src/base/b.h:3', 'circle')

    def test_an_absent_header_and_an_unknown_room(self):
        self.finds({'src/base/str.c': '#include "base/str.h"\n#include "base/gone.h"\n'},
                   'src/base/str.c:2', 'not a header')
        self.finds({'src/attic/x.c': '\n'}, 'src/attic/x.c:1', 'not in src/ROOMS')

    def test_the_kernel_belongs_to_os(self):
        for header in ('unistd.h', 'sys/epoll.h', 'netinet/in.h', 'signal.h'):
            self.finds({'src/base/str.c': f'#include "base/str.h"\n#include <{header}>\n'},
                       'src/base/str.c:2', 'kernel')
        self.finds({'src/base/str.c': '#include "base/str.h"\n#include <sys/uio.h>\n'},
                   'src/base/str.c:2', 'kernel')
        self.finds({'src/net/http.h': HEAD + '#include <sys/stat.h>\n'}, 'src/net/http.h:3', 'kernel')

    def test_headers(self):
        self.finds({'src/base/str.h': HEAD.replace('#pragma once\n', '')}, 'src/base/str.h:1', 'pragma')
        self.finds({'src/base/str.h': HEAD.replace('Memory: none. ', '')}, 'src/base/str.h:1', 'Memory:')
        self.finds({'src/base/str.h': HEAD + 'int f(int a, bool is_b);\n'}, 'src/base/str.h:3', 'bool')
        self.finds({'src/base/str.c': '#include <string.h>\n#include "base/str.h"\n'},
                   'src/base/str.c:1', 'first include')

    def test_rooms_have_a_readme_that_names_their_files(self):
        self.finds({'src/wire/README.md': None, 'src/ROOMS': GOOD['src/ROOMS'] + '2 brain\n'},
                   'src/brain/README.md:1', 'no README')
        self.finds({'src/base/README.md': 'str is not in code marks\n'}, 'src/base/README.md:1', '`str`')

    def test_forbidden_calls(self):
        for call in ('strcpy(a, b)', 'sprintf(a, "x")', 'atoi (a)', 'rand()', 'alloca(n)', 'gets(a)'):
            self.finds({'src/base/str.c': f'#include "base/str.h"\n\tx = {call};\n'},
                       'src/base/str.c:2', 'forbidden')
        self.finds({'src/base/str.c': '#include "base/str.h"\n\tp = malloc(3);\n'},
                   'src/base/str.c:2', 'memory comes from')
        self.allows({'src/base/alloc.c': 'void *p = malloc(3);\n', 'src/base/README.md': '`str alloc`\n'})

    def test_comments_strings_and_members_are_not_calls(self):
        self.allows({'src/base/str.c': '#include "base/str.h"\n/* malloc(3)\n strcpy(a) */\n'
                                       'const char *s = "free(x) \\" rand()"; // atoi(x)\n'
                                       'int x = p->free(q) + p.rand() + my_free(q);\n'})

    def test_names(self):
        self.finds({'src/wire/str.h': HEAD, 'src/wire/README.md': '`str`\n'}, 'src/base/str:1', 'used again')
        self.finds({'src/wire/json_util.h': HEAD, 'src/wire/README.md': '`json_util`\n'},
                   'src/wire/json_util:1', 'says nothing')

    def test_text(self):
        self.finds({'README.md': 'a \nb\n'}, 'README.md:1', 'blanks')
        self.finds({'README.md': 'a\r\n'}, 'README.md:1', 'CR LF')
        self.finds({'README.md': 'a'}, 'README.md:1', 'newline')
        self.finds({'README.md': 'a\n' + 'TO' 'DO: b\n'}, 'README.md:2', 'left-over')
        self.finds({'run.sh': 'cd ' + '/wo' 'rk/main\n'}, 'run.sh:1', 'machine')
        self.finds({'run.sh': 'curl ' + 'https://py' 'pi.org/x\n'}, 'run.sh:1', 'registry')
        self.allows({'README.md': 'two blanks make a line break  \nhere\n'})

    def test_sizes(self):
        self.finds({'src/base/str.c': '#include "base/str.h"\n' + '\n' * 600}, 'src/base/str.c:1', '601 lines')
        rc, out = self.run_tidy({'src/base/str.c': '#include "base/str.h"\nint f(void)\n{\n'
                                 + '\tx();\n' * 101 + '}\n'}, '--no-compile', '--warnings')
        self.assertIn('src/base/str.c:3: warning: a function of 101 lines', out)
        self.assertEqual(rc, 0)

    def test_a_header_that_needs_another_first(self):
        with tempfile.TemporaryDirectory() as cache:
            for d in ('httptools-0.9.0/vendor/llhttp/include', 'yyjson-4.0.6/yyjson'):
                os.makedirs(os.path.join(cache, d))
            before = os.environ.get('BUSBAR_CACHE')
            os.environ['BUSBAR_CACHE'] = cache
            try:
                rc, out = self.run_tidy({'src/base/str.h': HEAD + 'size_t str_size(void);\n'}, '--warnings')
            finally:
                if before is None:
                    del os.environ['BUSBAR_CACHE']
                else:
                    os.environ['BUSBAR_CACHE'] = before
        if 'headers were not compiled' in out:
            self.skipTest('no compiler')
        self.assertEqual(rc, 1, out)
        self.assertIn('src/base/str.h:1: error: does not compile alone', out)


def run():
    result = unittest.TextTestRunner(verbosity=0).run(
        unittest.defaultTestLoader.loadTestsFromTestCase(TidyTest))
    bad = len(result.failures) + len(result.errors)
    skipped = len(result.skipped)
    print(f'tidy-test: {result.testsRun - bad - skipped} passed, {bad} failed, {skipped} skipped')
    return 1 if bad else 0


if __name__ == '__main__':
    raise SystemExit(run())
