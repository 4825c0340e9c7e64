"""Goal: `busbar render` writes, to the byte, what transformers would make of published templates, and
refuses what it would refuse, in the template's own words."""
import json
import os
import subprocess

import jinja2
import pytest

import template_reference as reference

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUSBAR = os.path.join(ROOT, 'build', 'busbar')
PUBLISHED = list(reference.published())


def render_lines(path, bodies, *options):
    """What `busbar render --lines` says of each body."""
    text = ''.join(json.dumps(b) + '\n' for b in bodies)
    r = subprocess.run([BUSBAR, 'render', '--tokenizer', path, '--lines', *options, '-'],
                       input=text.encode(), capture_output=True, check=False, timeout=120)
    assert r.returncode == 0, r.stderr.decode()
    lines = [json.loads(x) for x in r.stdout.decode().split('\n') if x]
    assert len(lines) == len(bodies)
    return lines


def model_folder(folder, source, tokens):
    (folder / 'chat_template.jinja').write_bytes(source.encode())
    (folder / 'tokenizer_config.json').write_text(json.dumps(tokens))
    return str(folder)


def difference(expected, got):
    """None when both say the same."""
    if isinstance(expected, str):
        return None if got.get('prompt') == expected else f'expected {expected!r}\n     got {got!r}'
    if 'error' not in got:
        return f'expected {expected!r}\n     got {got!r}'
    if type(expected) is jinja2.exceptions.TemplateError and got['error'] != expected.message:
        return f'expected the message {expected.message!r}\n     got {got!r}'
    return None


@pytest.mark.skipif(not PUBLISHED, reason='no published templates: sh tools/deps.sh llama fetches them')
@pytest.mark.parametrize('name,path,source,tokens', PUBLISHED, ids=[p[0] for p in PUBLISHED])
def test_published(name, path, source, tokens, tmp_path):
    path = path or model_folder(tmp_path, source, tokens)
    bodies = list(reference.CONVERSATIONS.values())
    try:
        template = reference.Reference(source, tokens)
    except jinja2.exceptions.TemplateSyntaxError as e:
        pytest.skip(f'Jinja itself refuses it: {e}')
    wrong = []
    for key, body, got in zip(reference.CONVERSATIONS, bodies, render_lines(path, bodies)):
        what = difference(template.render(body), got)
        if what:
            wrong.append(f'{key}: {what}')
    assert not wrong, '\n'.join(wrong)
