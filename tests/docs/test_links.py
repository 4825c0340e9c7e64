"""Goal: every relative link and every file named in the documents leads somewhere."""
import os
import re
import subprocess
import sys

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), '..', '..'))


def documents():
    git = ['git', '-C', ROOT, 'ls-files', '-co', '--exclude-standard', '*.md']
    try:
        out = subprocess.run(git, capture_output=True, check=True, text=True).stdout
        return [p for p in out.splitlines() if not p.startswith('tests/data/')]
    except (OSError, subprocess.CalledProcessError):
        return [os.path.relpath(os.path.join(d, f), ROOT) for d, _, files in os.walk(ROOT)
                for f in files if f.endswith('.md') and '/build' not in d and 'node_modules' not in d]


def headings(text):
    """The anchors that GitHub and GitLab give to headings."""
    anchors = set()
    for title in re.findall(r'^#+\s+(.*?)\s*$', text, re.M):
        title = re.sub(r'[`*]', '', title).lower()
        anchors.add(re.sub(r'[^\w\- ]', '', title).replace(' ', '-'))
    return anchors


def broken(path):
    with open(os.path.join(ROOT, path), encoding='utf-8') as f:
        text = f.read()
    prose = re.sub(r'```.*?```', '', text, flags=re.S)
    for target in re.findall(r'\]\(([^)\s]+)\)', prose):
        if re.match(r'[a-z]+:', target):
            continue
        file, _, anchor = target.partition('#')
        full = os.path.normpath(os.path.join(ROOT, os.path.dirname(path), file)) if file else \
            os.path.join(ROOT, path)
        if not os.path.exists(full):
            yield target
        elif anchor and full.endswith('.md'):
            with open(full, encoding='utf-8') as f:
                if anchor not in headings(f.read()):
                    yield target


def main():
    bad = [(p, t) for p in documents() if os.path.exists(os.path.join(ROOT, p)) for t in broken(p)]
    for path, target in bad:
        print(f'{path}: the link {target} leads nowhere')
    return 1 if bad else 0


if __name__ == '__main__':
    sys.exit(main())
