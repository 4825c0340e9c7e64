"""What transformers would render: Jinja2 set up as its chat templates are, and conversations.

The environment follows transformers' utils/chat_template_utils.py (`_compile_jinja_template` and
`render_jinja_template`): an immutable sandbox with trim_blocks and lstrip_blocks, break and
continue, {% generation %}, json.dumps as `tojson`, raise_exception and strftime_now.
"""
import copy
import datetime
import glob
import json
import os

import jinja2
import jinja2.ext
import jinja2.sandbox

CACHE = os.environ.get('BUSBAR_CACHE') or os.path.join(
    os.environ.get('XDG_CACHE_HOME') or os.path.expanduser('~/.cache'), 'busbar')
LLAMA_TEMPLATES = os.path.join(CACHE, 'llama-cpp-0.3.36', 'vendor', 'llama.cpp', 'models', 'templates')
TAG = 'CONTINUE_FINAL_MESSAGE_TAG '


class Generation(jinja2.ext.Extension):
    """{% generation %}…{% endgeneration %}: only its body is rendered."""
    tags = {'generation'}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(['name:endgeneration'], drop_needle=True)
        return jinja2.nodes.CallBlock(self.call_method('_body'), [], [], body).set_lineno(line)

    def _body(self, caller):
        return caller()


def raise_exception(message):
    raise jinja2.exceptions.TemplateError(message)


def tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
    return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent, separators=separators,
                      sort_keys=sort_keys)


def environment():
    env = jinja2.sandbox.ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, jinja2.ext.loopcontrols])
    env.filters['tojson'] = tojson
    env.globals['raise_exception'] = raise_exception
    env.globals['strftime_now'] = lambda format: datetime.datetime.now().strftime(format)
    return env


class Reference:
    def __init__(self, source, tokens=None):
        self.source = source
        self.tokens = tokens or {}
        self.template = environment().from_string(source)

    def render(self, body):
        """The prompt, or the exception."""
        try:
            return self.prompt(copy.deepcopy(body))
        except Exception as e:  # templates raise what they like; some recurse without end
            return e

    def prompt(self, body):
        messages = body['messages']
        for message in messages:
            for call in message.get('tool_calls') or []:
                function = call.get('function') or {}
                if isinstance(function.get('arguments'), str):
                    try:
                        function['arguments'] = json.loads(function['arguments'])
                    except ValueError:
                        pass
        go_on = body.get('continue_final_message')
        final = mark(messages, go_on) if go_on else None
        values = dict(self.tokens)
        values.update(tools=body.get('tools'), documents=body.get('documents'),
                      add_generation_prompt=body.get('add_generation_prompt', not go_on))
        if body.get('reasoning_effort') is not None:
            values['reasoning_effort'] = body['reasoning_effort']
        values.update(body.get('chat_template_kwargs') or {})
        out = self.template.render(messages=messages, **values)
        return cut(out, final) if go_on else out


def mark(messages, field):
    field = field if isinstance(field, str) else 'content'
    text = messages[-1].get(field)
    if isinstance(text, list):
        part = next(p for p in reversed(text) if 'text' in p)
        text = part['text']
        part['text'] += TAG
    else:
        messages[-1][field] = text + TAG
    return text


def cut(out, final):
    if final.strip() not in out or TAG.strip() not in out:
        raise ValueError('the final message does not appear')
    at = out.rindex(TAG.strip())
    return out[:at] if out[at:at + len(TAG)] == TAG else out[:at].rstrip()


def special(value):
    return value['content'] if isinstance(value, dict) else value


TOKENS = {'bos_token': '<s>', 'eos_token': '</s>', 'unk_token': '<unk>', 'pad_token': '<pad>'}


def published():
    """(name, folder, source, special tokens) of the templates that are at hand.

    Without a folder the template is a file by itself, to be given these tokens.
    """
    for path in sorted(glob.glob(os.path.join(LLAMA_TEMPLATES, '*.jinja'))):
        with open(path, encoding='utf-8', newline='') as f:
            yield os.path.basename(path)[:-6], None, f.read(), TOKENS
    for path in sorted(glob.glob(os.path.join(CACHE, '**', 'tokenizer_config.json'), recursive=True)):
        with open(path, encoding='utf-8') as f:
            config = json.load(f)
        source = config.get('chat_template')
        if isinstance(source, str):
            tokens = {k: special(v) for k, v in config.items()
                      if k.endswith('_token') and isinstance(special(v), str)}
            yield path[len(CACHE) + 1:].replace('/', '-'), os.path.dirname(path), source, tokens


def call(name, arguments, id='call_12345'):
    return {'id': id, 'type': 'function', 'function': {'name': name, 'arguments': arguments}}


WEATHER = {'type': 'function', 'function': {
    'name': 'get_weather', 'description': 'The weather at a <place> & "time"',
    'parameters': {'type': 'object', 'properties': {
        'city': {'type': 'string', 'description': "the city's name, e.g. \"São Paulo\""},
        'days': {'type': 'integer', 'enum': [1, 3, 7], 'default': 1},
        'unit': {'type': ['string', 'null'], 'enum': ['celsius', 'fahrenheit']}},
        'required': ['city']}}}
SUM = {'type': 'function', 'function': {
    'name': 'sum_up', 'description': 'Adds numbers.\nAll of them.',
    'parameters': {'type': 'object', 'properties': {
        'values': {'type': 'array', 'items': {'type': 'number'}},
        'options': {'type': 'object', 'properties': {'exact': {'type': 'boolean'}}}}},
    'return': {'type': 'number'}}}
NUMBERS = json.dumps({'a': 1e-7, 'b': 123456789012345678901234567890, 'c': 1.0, 'd': -0.5, 'e': True,
                      'f': None, 'g': [1, 2.5, 'x', {'h': {}}], 'i': 1e22, 'j': '</tool_call>', 'k': 0})


def user(text):
    return {'role': 'user', 'content': text}


def assistant(text, **more):
    return {'role': 'assistant', 'content': text, **more}


def system(text):
    return {'role': 'system', 'content': text}


def tool(text, **more):
    return {'role': 'tool', 'tool_call_id': 'call_12345', 'name': 'get_weather', 'content': text, **more}


def tool_turns(arguments):
    return [user('How warm is it in Turin?'),
            assistant('', tool_calls=[call('get_weather', arguments)]),
            tool('{"celsius": 21.5, "sky": "clear"}')]


CONVERSATIONS = {
    'user': {'messages': [user('Hello!')]},
    'system': {'messages': [system('Be brief.'), user('Hello!')]},
    'no generation prompt': {'messages': [system('Be brief.'), user('Hi'), assistant('Hello.')],
                             'add_generation_prompt': False},
    'multi turn': {'messages': [user('One'), assistant('1'), user(' Two \n'), assistant('\n2\n'),
                                user('Three')]},
    'empty': {'messages': []},
    'empty contents': {'messages': [system(''), user(''), assistant(''), user('')]},
    'unicode': {'messages': [system('Отвечай кратко. 要简短'), user('Grüße, 世界! 👩‍👩‍👧 \u2028e\u0301 ﷽'),
                             assistant('こんにちは\u3000'), user('\u00a0नमस्ते\ufeff')]},
    'html': {'messages': [user('<b>"a" & \'b\'</b> &amp; <|im_end|></s>[INST] {{ x }} {% y %}'),
                          assistant('<think>hm</think>ok'), user('<script>')]},
    'tools': {'messages': [system('Use tools.'), user('Weather in Turin?')], 'tools': [WEATHER, SUM]},
    'tools, no system': {'messages': [user('Weather in Turin?')], 'tools': [WEATHER]},
    'tool call': {'messages': tool_turns('{"city": "Turin", "days": 3}'), 'tools': [WEATHER]},
    'tool call, then text': {'messages': tool_turns('{"city": "Turin"}') +
                             [assistant('It is 21.5 °C.'), user('Thanks')], 'tools': [WEATHER, SUM]},
    'a tool without parameters': {'messages': tool_turns('{}') + [assistant('Now.')], 'tools': [{
        'type': 'function', 'function': {'name': 'now', 'description': 'The time.', 'parameters': {
            'type': 'object', 'properties': {}, 'required': []}}}]},
    'named by its own words': {'messages': [system('Brief.'), user('Hi')], 'chat_template_kwargs': {
        'functions': '[{"name": "now"}]', 'datetime': '2026-01-02', 'tools': [WEATHER['function']],
        'date_string': '1 Jan 2026', 'builtin_tools': ['web_search'], 'model_identity': 'I am I.'}},
    'two calls': {'messages': [
        user('Turin and Oslo?'),
        assistant('I look.', tool_calls=[call('get_weather', '{"city":"Turin"}', 'call_aaaaa'),
                                         call('get_weather', '{"city":"Oslo"}', 'call_bbbbb')]),
        tool('21', tool_call_id='call_aaaaa'), tool('-3', tool_call_id='call_bbbbb')],
        'tools': [WEATHER]},
    'numbers in arguments': {'messages': tool_turns(NUMBERS), 'tools': [SUM]},
    'arguments are objects': {'messages': tool_turns({'city': 'Zürich "ZH"', 'n': 0.1}), 'tools': [WEATHER]},
    'arguments are no JSON': {'messages': tool_turns('{"city": '), 'tools': [WEATHER]},
    'empty arguments': {'messages': tool_turns('{}'), 'tools': [WEATHER]},
    'content is null': {'messages': [user('x'), {'role': 'assistant', 'content': None, 'tool_calls': [
        call('sum_up', '{"values":[1,2.0,3e3]}')]}, tool('3003.0', name='sum_up')], 'tools': [SUM]},
    'reasoning': {'messages': [user('2+2?'), assistant('4', reasoning_content='Two and two.'),
                               user('3+3?'), assistant('6', reasoning_content=' Easy.\n'), user('4+4?')]},
    'reasoning in text': {'messages': [user('2+2?'), assistant('<think>\nTwo.\n</think>\n\n4'),
                                       user('3+3?')]},
    'reasoning and tools': {'messages': [
        user('Weather?'), assistant('', reasoning_content='Ask.', tool_calls=[
            call('get_weather', '{"city":"Turin"}')]), tool('21')], 'tools': [WEATHER]},
    'thinking on': {'messages': [user('Why?')], 'chat_template_kwargs': {
        'enable_thinking': True, 'thinking': True, 'reasoning_effort': 'high'}},
    'thinking off': {'messages': [user('Why?')], 'chat_template_kwargs': {
        'enable_thinking': False, 'thinking': False, 'thinking_budget': 0}},
    'effort': {'messages': [user('Why?')], 'reasoning_effort': 'low'},
    'developer': {'messages': [{'role': 'developer', 'content': 'Be brief.'}, user('Hi')]},
    'two users': {'messages': [user('a'), user('b')]},
    'assistant first': {'messages': [assistant('a'), user('b')]},
    'system last': {'messages': [user('a'), system('b')]},
    'unknown role': {'messages': [{'role': 'critic', 'content': 'no'}]},
    'parts': {'messages': [{'role': 'user', 'content': [{'type': 'text', 'text': 'One. '},
                                                        {'type': 'text', 'text': 'Two.'}]}]},
    'image': {'messages': [{'role': 'user', 'content': [{'type': 'image'},
                                                        {'type': 'text', 'text': 'What is it?'}]}]},
    'continue': {'messages': [user('Count'), assistant('1, 2, ')], 'continue_final_message': True,
                 'add_generation_prompt': False},
    'continue trimmed': {'messages': [user('Count'), assistant('1, 2,')],
                         'continue_final_message': True},
    'documents': {'messages': [user('What do they say?')], 'documents': [
        {'title': 'A', 'text': 'Alpha <1>', 'doc_id': 1}, {'title': 'B', 'text': 'Beta\n"2"'}]},
    'long': {'messages': [m for i in range(40) for m in (
        user(f'Question {i}?\n' + 'words ' * i), assistant(f'Answer {i}.\n\n' + '- a\n' * (i % 7)))] +
        [user('Last?')]},
    'escapes': {'messages': [user('tab\t nul\\u0000 quote" back\\slash / \x7f \x1b[0m \r\n end\r')]},
}
