"""Goal: `busbar render` writes, to the byte, what transformers would make of published templates, and
refuses what it would refuse, in the template's own words."""
import json
import os
import re
import subprocess

import pytest

jinja2 = pytest.importorskip('jinja2', reason='jinja2 is what it is compared with')

import template_generator  # noqa: E402
import template_reference as reference  # noqa: E402
from sim_process import busbar_path  # noqa: E402

BUSBAR = str(busbar_path())
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


# ---- random templates ----

# What Python shows with an address has no text that could be compared.
NO_TEXT = re.compile(r'object at 0x|object [\w.]+ at 0x|<built-in|<function|<bound|LoopContext|<class|<method', re.I)
# Known and documented: such integers are kept and written, not calculated with.
BIG = '64 bits that can be calculated with'
SEEDS = range(*(int(x) for x in os.environ.get('BUSBAR_TEMPLATE_SEEDS', '0-600').split('-')))
RANDOM_BODY = {'messages': template_generator.MESSAGES, 'chat_template_kwargs': template_generator.VALUES}


def compare_random(seed, path):
    source = template_generator.Generator(seed).template()
    try:
        expected = reference.Reference(source).render(RANDOM_BODY)
    except Exception as e:  # a template that Jinja does not compile
        expected = e
    if isinstance(expected, str) and NO_TEXT.search(expected):
        return None
    path.write_bytes(source.encode())
    r = subprocess.run([BUSBAR, 'render', '--tokenizer', str(path), '--lines', '-'], check=False, timeout=60,
                       input=json.dumps(RANDOM_BODY).encode(), capture_output=True)
    assert r.returncode in (0, 1), f'seed {seed}: {r.returncode} {r.stderr.decode()}'
    got = json.loads(r.stdout) if r.returncode == 0 else {'error': r.stderr.decode()}
    if BIG in got.get('error', ''):
        return None
    what = difference(expected, got)
    return f'seed {seed}: {source!r}\n{what}' if what else None


@pytest.mark.timeout(max(300, len(SEEDS)))
@pytest.mark.filterwarnings('ignore')
@pytest.mark.release_only
def test_random(tmp_path):
    wrong = [what for seed in SEEDS if (what := compare_random(seed, tmp_path / 'random.jinja'))]
    assert not wrong, f'{len(wrong)} of {len(SEEDS)}\n' + '\n'.join(wrong[:5])


# ---- the command ----

TEMPLATE = ("{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}"
            "{% if add_generation_prompt %}<assistant>{% endif %}")


def run(*args, text=''):
    r = subprocess.run([BUSBAR, 'render', *map(str, args)], input=text.encode(), capture_output=True, check=False)
    return r.returncode, r.stdout.decode(), r.stderr.decode()


@pytest.fixture
def template(tmp_path):
    path = tmp_path / 'chat_template.jinja'
    path.write_text(TEMPLATE)
    return path


def test_one_request(template, tmp_path):
    request = tmp_path / 'request.json'
    request.write_text('{"model": "m", "messages": [{"role": "user", "content": "Grüße\\n"}]}')
    assert run('--tokenizer', template, request) == (0, '<user>Grüße\n<assistant>', '')
    assert run('--tokenizer', tmp_path, '--no-generation-prompt', request) == (0, '<user>Grüße\n', '')
    assert run('--tokenizer', tmp_path / 'tokenizer.json', '-', text=request.read_text())[1] == \
        '<user>Grüße\n<assistant>'
    code, out, err = run('--tokenizer', template, '--repeat', '10', request)
    assert (code, out) == (0, '<user>Grüße\n<assistant>') and float(err) > 0


def test_lines(template):
    text = '{"messages": [{"role": "u", "content": "a\u2028b"}]}\n\n{"messages": 1}\n{\n'
    code, out, err = run('--tokenizer', template, '--lines', text=text)
    lines = [json.loads(x) for x in out.splitlines()]
    assert (code, err) == (0, '')
    assert lines[0] == {'prompt': '<u>a\u2028b<assistant>'}
    assert 'messages' in lines[1]['error'] and 'JSON' in lines[2]['error'] and len(lines) == 3


def test_words_of_the_template(tmp_path):
    path = tmp_path / 'x.jinja'
    path.write_text("{{ raise_exception('No ' ~ 'ä' * 400) }}")
    assert run('--tokenizer', path, '-', text='{"messages": []}')[2] == 'busbar render: No ' + 'ä' * 400 + '\n'


def test_a_config_by_itself(tmp_path):
    config = tmp_path / 'tokenizer_config.json'
    config.write_text(json.dumps({'chat_template': '{{ bos_token }}x\n', 'bos_token': {'content': '<s>'}}))
    assert run('--tokenizer', config, '-', text='{"messages": []}')[1] == '<s>x'


def test_messages_as_engines_have_them(template):
    body = json.dumps({'messages': [{'role': 'user', 'content': [{'type': 'text', 'text': 'a'},
                                                                 {'type': 'text', 'text': 'b'}]}]})
    assert run('--tokenizer', template, '--messages', 'vllm', '-', text=body)[1] == '<user>a\nb<assistant>'
    assert run('--tokenizer', template, '--messages', 'sglang', '-', text=body)[1] == '<user>a b<assistant>'
    assert "{'type': 'text'" in run('--tokenizer', template, '-', text=body)[1]


@pytest.mark.parametrize('args,code,message', [
    ([], 2, '--tokenizer is needed'),
    (['--tokenizer', 'x'], 2, 'the request is missing'),
    (['--tokenizer', 'x', 'a', 'b'], 2, 'one file'),
    (['--tokenizer', 'x', '--messages', 'other', '-'], 2, 'given, vllm or sglang'),
    (['--tokenizer', 'x', '--repeat', '0', '-'], 2, 'a number from 1'),
    (['--nope'], 2, '--help'),
    (['--tokenizer', '/does/not/exist', '-'], 1, 'No such file'),
    (['--tokenizer', 'model.gguf', '-'], 1, 'No such file'),
])
def test_wrong_usage(args, code, message):
    got, out, err = run(*args)
    assert (got, out) == (code, '') and message in err


def test_a_malformed_template(tmp_path):
    path = tmp_path / 'bad.jinja'
    path.write_text('a\n{% if x %}')
    code, _, err = run('--tokenizer', path, '-', text='{"messages": []}')
    assert code == 1 and 'line 2, column' in err and 'endif' in err


def test_help():
    code, out, _ = run('--help')
    assert code == 0 and '--tokenizer' in out and '--lines' in out
