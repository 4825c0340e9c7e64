#!/usr/bin/env python3
"""tidy.py: the rules of the house that a program can check.

Prints `file:line: error: what` for each break of a rule, `warning:` for what is only worth a look,
and `tidy: ok (N files)` at the end. Exit 1 when there was an error.

  --root DIR      the repository (default: the folder above this one)
  --no-compile    do not compile each header by itself
  --warnings      print the warnings as well, and not only their number

The rules, each a function below:
  includes        src/ROOMS: includes point to the same room or downward; no circles between files
  kernel          only `os` (and the programs in engine/ and tests/) include the kernel's headers
  headers         #pragma once, the four words of the opening comment, no bool parameters, and a
                  .c includes its own .h first
  compile         each header compiles alone
  rooms           each room has a README.md that names each of its files
  calls           forbidden functions; heap memory only through base/alloc.h
  names           C files have basenames of their own
  text            no left-over notes, no paths of a machine, no blanks at line ends, a final newline
  sizes           files and functions (warnings, and an error for very long files)
"""
import argparse
import os
import re
import subprocess
import sys
from collections import defaultdict

KERNEL = re.compile(
    r'^(sys/.*|net/.*|netinet/.*|arpa/.*|linux/.*|unistd\.h|fcntl\.h|netdb\.h|signal\.h|poll\.h'
    r'|dirent\.h|sched\.h|termios\.h|spawn\.h|ftw\.h|glob\.h|pwd\.h|grp\.h|syslog\.h|mqueue\.h'
    r'|semaphore\.h|aio\.h|ifaddrs\.h)$')
ENGINE_ROOMS = ('base', 'os', 'text', 'wire', 'net')
NET_MAY = {'sys/socket.h', 'sys/uio.h'}
FORBIDDEN = ('strcpy', 'strcat', 'sprintf', 'vsprintf', 'strtok', 'atoi', 'atol', 'atof', 'rand',
             'srand', 'localtime', 'gets', 'alloca')
HEAP = ('malloc', 'calloc', 'realloc', 'free', 'strdup', 'strndup', 'asprintf', 'vasprintf')
HEAP_HOME = 'src/base/alloc.c'
FILE_LINES_MAX, FILE_LINES_WARN = 600, 450
FUNCTION_LINES_WARN = 100
LINE_WIDTH_WARN = 100
# Written in parts, so that this file does not break its own rules.
NOTES = re.compile(r'\b(TO' r'DO|FIX' r'ME|XX' r'X)\b')
MACHINE = re.compile(r'(?<![\w.~$}])/((work|home/\w+|Users/\w+|tmp/\w*brief\w*)(?=/|\b)|root/\.)')
REGISTRY = re.compile(r'\b(py' r'pi\.org|files\.pythonhosted|registry\.npm' r'js|static\.crates)')
BINARY = ('.bin', '.msgpack', '.gguf', '.png', '.gz', '.ico', '.woff2')
HEADER_WORDS = ('Threads:', 'Memory:', 'Errors:')


class Tidy:
    def __init__(self, root):
        self.root = os.path.abspath(root)
        self.errors = []
        self.warnings = []
        self.files = self.list_files()
        self.text = {}
        self.code = {}
        for path in self.files:
            if path.endswith(BINARY) or '/corpus/' in path or path.startswith('tests/data/'):
                continue
            try:
                with open(os.path.join(self.root, path), encoding='utf-8', newline='') as f:
                    self.text[path] = f.read()
            except UnicodeDecodeError:
                self.error(path, 1, 'not UTF-8')
            except OSError:
                continue
        for path, text in self.text.items():
            if path.endswith(('.c', '.h')):
                self.code[path] = blank_comments(text)

    def list_files(self):
        """What git knows or would take; everything where there is no git."""
        git = ['git', '-C', self.root, 'ls-files', '-co', '--exclude-standard', '-z']
        if os.path.isdir(os.path.join(self.root, '.git')):
            try:
                out = subprocess.run(git, capture_output=True, check=True).stdout.decode()
                return sorted(set(p for p in out.split('\0') if p))
            except (OSError, subprocess.CalledProcessError):
                pass
        found = []
        for folder, names, files in os.walk(self.root):
            names[:] = [n for n in names if n not in ('.git', 'build', 'node_modules', '__pycache__')]
            found += [os.path.relpath(os.path.join(folder, f), self.root) for f in files]
        return sorted(found)

    def error(self, path, line, what):
        self.errors.append((path, line, what))

    def warn(self, path, line, what):
        self.warnings.append((path, line, what))

    def c_files(self, *folders):
        return [p for p in self.code if p.startswith(tuple(f + '/' for f in folders))]

    # ---- rules ----

    def read_rooms(self):
        """{room: (floor, rooms of the same floor that it may use)}"""
        rooms = {}
        for n, line in enumerate(self.text.get('src/ROOMS', '').splitlines(), 1):
            words = line.split('#')[0].split()
            if not words:
                continue
            if len(words) < 2 or not words[0].isdigit():
                self.error('src/ROOMS', n, 'a line is: floor room [rooms of the same floor it may use]')
                continue
            rooms[words[1]] = (int(words[0]), set(words[2:]))
        return rooms

    def check_includes(self):
        rooms = self.read_rooms()
        graph = defaultdict(dict)
        for path in self.c_files('src', 'engine'):
            room = path.split('/')[1] if path.startswith('src/') else 'engine'
            if room != 'engine' and room not in rooms:
                self.error(path, 1, f'room {room} is not in src/ROOMS')
                continue
            for line, target, quoted in includes(self.text[path]):
                if not quoted:
                    continue
                found = next((p for p in ('src/' + target, target,
                                          os.path.join(os.path.dirname(path), target))
                              if p in self.code), None)
                if not found:
                    self.error(path, line, f'"{target}" is not a header of this repository')
                    continue
                graph[path][found] = line
                if found.startswith('src/') and room != 'engine':
                    self.check_direction(path, line, rooms, room, found.split('/')[1])
                elif room == 'engine' and found.startswith('src/') and \
                        found.split('/')[1] not in ENGINE_ROOMS and found != 'src/cmd/version.h':
                    self.error(path, line, 'the engine uses the rooms ' + ' '.join(ENGINE_ROOMS))
                elif room != 'engine' and not found.startswith('src/'):
                    self.error(path, line, f'{found} is outside of src/')
        self.check_circles(graph)

    def check_direction(self, path, line, rooms, room, target):
        if room == target or target not in rooms:
            return
        floor, beside = rooms[room]
        if rooms[target][0] > floor:
            self.error(path, line, f'{room} (floor {floor}) includes upward from {target} '
                                   f'(floor {rooms[target][0]})')
        elif rooms[target][0] == floor and target not in beside:
            self.error(path, line, f'{room} includes sideways from {target} (both on floor {floor})')

    def check_circles(self, graph):
        state, stack = {}, []

        def visit(node):
            state[node] = 1
            stack.append(node)
            for target, line in graph[node].items() if node in graph else ():
                if state.get(target) == 1:
                    circle = stack[stack.index(target):] + [target]
                    self.error(node, line, 'circle of includes: ' + ' -> '.join(circle))
                elif target not in state:
                    visit(target)
            stack.pop()
            state[node] = 2

        for node in sorted(graph):
            if node not in state:
                visit(node)

    def check_kernel(self):
        for path in self.c_files('src'):
            room = path.split('/')[1]
            if room == 'os':
                continue
            for line, target, quoted in includes(self.text[path]):
                if not quoted and KERNEL.match(target) and not (room == 'net' and target in NET_MAY):
                    self.error(path, line, f'<{target}> is the kernel: only room os may include it')

    def check_headers(self):
        for path in self.c_files('src', 'engine'):
            text = self.text[path]
            if path.endswith('.c'):
                own = path[:-2] + '.h'
                first = next(includes(text), None)
                if own in self.code and not (first and ('src/' + first[1] == own or first[1] in own)):
                    self.error(path, first[0] if first else 1, f'the first include is {own}')
                continue
            if not re.search(r'^#pragma once$', text, re.M):
                self.error(path, 1, 'no #pragma once')
            opening = text.split('*/')[0] if text.startswith('/*') else ''
            missing = [w for w in HEADER_WORDS if w not in opening]
            if missing:
                self.error(path, 1, 'the opening comment does not say ' + ' '.join(missing))
            for n, line in enumerate(self.code[path].splitlines(), 1):
                if re.search(r'[(,]\s*(const\s+)?bool\s+\w+\s*[,)]', line) and '(*' not in line:
                    self.error(path, n, 'a boolean parameter: use an enum')

    def check_compile(self):
        cache = os.environ.get('BUSBAR_CACHE') or os.path.join(
            os.environ.get('XDG_CACHE_HOME') or os.path.expanduser('~/.cache'), 'busbar')
        isystem = [os.path.join(cache, 'httptools-0.9.0/vendor/llhttp/include'),
                   os.path.join(cache, 'yyjson-4.0.6/yyjson')]
        llama = [os.path.join(cache, d, 'include') for d in sorted(os.listdir(cache))
                 if re.match(r'llama-cpp-.*-(ON|OFF)$', d)] if os.path.isdir(cache) else []
        compiler = os.environ.get('CC', 'gcc')
        if not all(os.path.isdir(d) for d in isystem):
            return self.warn('Makefile', 1, 'headers were not compiled: run make deps')
        flags = [compiler, '-std=gnu17', '-D_GNU_SOURCE', '-fsyntax-only', '-Wall', '-Wextra',
                 '-Werror', '-Wno-unused-parameter', '-Isrc', '-Iengine', '-x', 'c']
        for d in isystem + llama[:1]:
            flags += ['-isystem', d]
        for path in self.c_files('src', 'engine'):
            if not path.endswith('.h') or ('<llama.h>' in self.text[path] and not llama):
                continue
            unit = f'#include "{path}"\n'
            try:
                r = subprocess.run(flags + ['-I.', '-'], input=unit, capture_output=True, text=True,
                                   cwd=self.root, check=False)
            except OSError:
                return self.warn('Makefile', 1, f'headers were not compiled: no {compiler}')
            if r.returncode:
                lines = [x for x in r.stderr.splitlines() if 'error' in x] or [r.stderr.strip()]
                self.error(path, 1, 'does not compile alone: ' + lines[0])

    def check_rooms(self):
        folders = {'src/' + room for room in self.read_rooms()}
        if any(p.startswith('engine/') for p in self.code):
            folders.add('engine')
        for folder in sorted(folders):
            readme = folder + '/README.md'
            if readme not in self.text:
                self.error(readme, 1, 'the room has no README.md')
                continue
            named = set()
            for span in re.findall(r'`([^`]+)`', self.text[readme]):
                for word in re.split(r'[\s,]+', span):
                    word = re.sub(r'\.(\[ch\]|[ch])$', '', word)
                    named.add(word.split('/')[-1])
            stems = {os.path.splitext(os.path.basename(p))[0] for p in self.c_files(folder)}
            for stem in sorted(stems - named):
                self.error(readme, 1, f'does not name `{stem}`')

    def check_calls(self):
        bad = re.compile(r'(?<![\w.>])(' + '|'.join(FORBIDDEN) + r')\s*\(')
        heap = re.compile(r'(?<![\w.>])(' + '|'.join(HEAP) + r')\s*\(')
        for path in self.c_files('src', 'engine', 'tests'):
            for n, line in enumerate(self.code[path].splitlines(), 1):
                for m in bad.finditer(line):
                    self.error(path, n, f'{m.group(1)}() is forbidden')
                if path != HEAP_HOME and not path.startswith('tests/'):
                    for m in heap.finditer(line):
                        self.error(path, n, f'{m.group(1)}(): memory comes from base/alloc.h')

    def check_names(self):
        homes = defaultdict(set)
        for path in self.code:
            homes[os.path.splitext(os.path.basename(path))[0]].add(os.path.dirname(path))
        for stem, folders in sorted(homes.items()):
            if len(folders) > 1:
                self.error(sorted(folders)[0] + '/' + stem, 1,
                           'the name is used again in ' + ', '.join(sorted(folders)[1:]))
            if re.search(r'(^|_)(util|utils|common|misc|helper|helpers|manager)(_|$)', stem):
                self.error(sorted(folders)[0] + '/' + stem, 1, 'a name that says nothing')

    def check_text(self):
        for path, text in self.text.items():
            is_markdown = path.endswith('.md')
            for n, line in enumerate(text.split('\n'), 1):
                if line.endswith('\r'):
                    self.error(path, n, 'ends in CR LF')
                elif line != line.rstrip() and not (is_markdown and line.endswith('  ')
                                                    and line.strip()):
                    self.error(path, n, 'blanks at the end of the line')
                note = NOTES.search(line)
                if note:
                    self.error(path, n, f'a left-over note: {note.group(1)}')
                if MACHINE.search(line):
                    self.error(path, n, 'a path of somebody\'s machine')
                if REGISTRY.search(line):
                    self.error(path, n, 'the host name of a package registry')
            if text and not text.endswith('\n'):
                self.error(path, text.count('\n') + 1, 'no newline at the end of the file')

    def check_sizes(self):
        for path in self.c_files('src', 'engine', 'tests'):
            lines = self.text[path].split('\n')
            count = len(lines) - 1
            is_test = path.startswith('tests/')
            if count > FILE_LINES_MAX and not is_test:
                self.error(path, 1, f'{count} lines: a file has at most {FILE_LINES_MAX}')
            elif count > FILE_LINES_WARN:
                self.warn(path, 1, f'{count} lines')
            begin = 0
            for n, line in enumerate(lines, 1):
                if line == '{':
                    begin = n
                elif line.startswith('}') and begin:
                    if n - begin - 1 > FUNCTION_LINES_WARN:
                        self.warn(path, begin, f'a function of {n - begin - 1} lines')
                    begin = 0
                if len(line.expandtabs(8)) > LINE_WIDTH_WARN and not line.endswith('\\'):
                    self.warn(path, n, f'{len(line.expandtabs(8))} columns')

    def run(self, compile_headers):
        self.check_includes()
        self.check_kernel()
        self.check_headers()
        self.check_rooms()
        self.check_calls()
        self.check_names()
        self.check_text()
        self.check_sizes()
        if compile_headers:
            self.check_compile()


def includes(text):
    """(line, target, is quoted) of each #include."""
    for n, line in enumerate(text.splitlines(), 1):
        m = re.match(r'\s*#\s*include\s+(?:"([^"]+)"|<([^>]+)>)', line)
        if m:
            yield n, m.group(1) or m.group(2), m.group(1) is not None


def blank_comments(text):
    """The text with comments, strings and character constants blanked; lines stay where they are."""
    pattern = re.compile(r'//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', re.S)
    return pattern.sub(lambda m: re.sub(r'[^\n]', ' ', m.group(0)), text)


def main(argv):
    here = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    parser = argparse.ArgumentParser(description=__doc__.split('\n', maxsplit=1)[0])
    parser.add_argument('--root', default=here)
    parser.add_argument('--no-compile', action='store_true')
    parser.add_argument('--warnings', action='store_true')
    args = parser.parse_args(argv)
    tidy = Tidy(args.root)
    tidy.run(compile_headers=not args.no_compile)
    for path, line, what in sorted(tidy.warnings) if args.warnings else ():
        print(f'{path}:{line}: warning: {what}')
    for path, line, what in sorted(tidy.errors):
        print(f'{path}:{line}: error: {what}')
    if tidy.errors:
        print(f'tidy: {len(tidy.errors)} errors in {len(tidy.files)} files')
        return 1
    if tidy.warnings and not args.warnings:
        print(f'tidy: {len(tidy.warnings)} warnings (tools/tidy.py --warnings)')
    print(f'tidy: ok ({len(tidy.files)} files)')
    return 0


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
