#!/usr/bin/env python3
"""templates.py: rendering chat templates, busbar beside Jinja2, in one run.

Both get a request as JSON text and give the prompt: Jinja2 with json.loads and a compiled template,
busbar with its check of the JSON, by `busbar render --repeat`. Rounds take turns; the figure of each
is the median of its rounds. One thread, CPU time of that thread, so that a busy machine disturbs less.
The first table has conversations that are hard in one way each, the second what people send.

  --rounds N     rounds of each (9)
  --templates A,B  names of published templates, of llama.cpp's collection; or all
  --json FILE    writes the figures
"""
import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(ROOT, 'tests', 'system'))
import template_reference as reference  # noqa: E402

TEMPLATES = ('Qwen-Qwen3-0.6B', 'Qwen3-Coder', 'meta-llama-Llama-3.1-8B-Instruct', 'openai-gpt-oss-120b',
             'deepseek-ai-DeepSeek-V3.1', 'GLM-4.6', 'mistralai-Mistral-Nemo-Instruct-2407', 'MiniMax-M2')
ROUND_S = 0.15


def conversations():
    text = ('The quick brown fox jumps over the lazy dog, and says: "never mind".\n' * 20)
    turns = [m for i in range(200) for m in (
        reference.user(f'Question {i}.\n{text}'), reference.assistant(f'Answer {i}.\n\n{text}'))]
    return {
        'tools': reference.CONVERSATIONS['tool call, then text'],
        '81 turns': reference.CONVERSATIONS['long'],
        '550 KB': {'messages': turns + [reference.user('And now?')]},
    }


PROSE = ('A gateway stands between clients and engines. It reads each request once, decides where it '
         'goes, and hands the answer on as it comes.\n\nWhat it must not do is wait: a slow client '
         'holds memory, and a slow engine holds clients. ')


def weather_turns(city):
    result = {'city': city, 'hours': [{'hour': h, 'celsius': 12.5 + h % 7, 'sky': 'clear'} for h in range(6)]}
    return [reference.user(f'What will the weather be like in {city} today? Tell me in two sentences.'),
            reference.assistant('', tool_calls=[reference.call('get_weather', json.dumps({'city': city}), 'call_12345')]),
            reference.tool(json.dumps(result), tool_call_id='call_12345', name='get_weather'),
            reference.assistant(f'In {city} it stays clear. ' + PROSE[:200])]


def ordinary():
    """Requests of 2 to 10 KB."""
    chat = [reference.system('You are a careful assistant. ' + PROSE)]
    for i in range(6):
        chat += [reference.user(f'Question {i}: how is that done? ' + PROSE[:120]), reference.assistant(PROSE * 2)]
    tools = [reference.WEATHER, reference.SUM]
    turns = [m for city in ('Turin', 'Oslo', 'Lima') for m in weather_turns(city)]
    return {
        'first turn': {'messages': [chat[0], reference.user('Please summarise this:\n\n' + PROSE * 6)]},
        'sixth turn': {'messages': [*chat, reference.user('And now?')]},
        'agent': {'messages': [chat[0], *turns, reference.user('And in Rome?')], 'tools': tools},
    }


def jinja_us(template, body, count):
    begin = time.thread_time()
    for _ in range(count):
        template.prompt(json.loads(body))
    return (time.thread_time() - begin) / count * 1e6


def busbar_us(folder, body, count):
    program = os.environ.get('BUSBAR', os.path.join(ROOT, 'build', 'busbar'))
    r = subprocess.run([program, 'render', '--tokenizer', folder, '--repeat', str(count), '-'],
                       input=body.encode(), capture_output=True, check=True)
    return float(r.stderr.decode().split()[0]), r.stdout.decode()


def measure(folder, template, body, rounds):
    expected = template.prompt(json.loads(body))
    us, got = busbar_us(folder, body, 1)
    if got != expected:
        sys.exit('the prompts differ')
    theirs = jinja_us(template, body, 1)
    counts = max(1, int(ROUND_S * 1e6 / theirs)), max(1, int(ROUND_S * 1e6 / us))
    a, b = [], []
    for _ in range(rounds):
        a.append(jinja_us(template, body, counts[0]))
        b.append(busbar_us(folder, body, counts[1])[0])
    return statistics.median(a), statistics.median(b), len(expected)


def table(templates, kinds, rounds):
    """Prints the rows, and gives them."""
    rows = []
    print('| template | conversation | prompt, characters | Jinja2, µs | busbar, µs | ratio |\n|---|---|---|---|---|---|')
    for name, source, tokens in templates:
        template = reference.Reference(source, tokens)
        with tempfile.TemporaryDirectory() as folder:
            with open(os.path.join(folder, 'chat_template.jinja'), 'w', encoding='utf-8', newline='') as f:
                f.write(source)
            with open(os.path.join(folder, 'tokenizer_config.json'), 'w', encoding='utf-8') as f:
                json.dump(tokens, f)
            for kind, conversation in kinds.items():
                if isinstance(template.render(conversation), Exception):
                    continue
                theirs, ours, size = measure(folder, template, json.dumps(conversation), rounds)
                rows.append((name, kind, size, theirs, ours))
                print(f'| {name} | {kind} | {size:,} | {theirs:,.1f} | {ours:,.1f} | {theirs / ours:.1f} |', flush=True)
    ratios = [r[3] / r[4] for r in rows]
    if ratios:
        print(f'\nmedian ratio {statistics.median(ratios):.1f}, from {min(ratios):.1f} to {max(ratios):.1f}\n')
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__.split('\n', maxsplit=1)[0])
    parser.add_argument('--rounds', type=int, default=9)
    parser.add_argument('--templates', default=','.join(TEMPLATES), help="names, or 'all'")
    parser.add_argument('--json')
    args = parser.parse_args()
    published = {name: (source, tokens) for name, _, source, tokens in reference.published()}
    names = list(published) if args.templates == 'all' else args.templates.split(',')
    for name in names:
        if name not in published:
            print(f'{name} is not at hand: sh tools/deps.sh llama fetches the templates', file=sys.stderr)
    templates = [(name, *published[name]) for name in names if name in published]
    rows = table(templates, conversations(), args.rounds)
    rows += table(templates, ordinary(), args.rounds)
    if args.json:
        with open(args.json, 'w', encoding='utf-8') as f:
            json.dump(rows, f, indent=1)


if __name__ == '__main__':
    main()
