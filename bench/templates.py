#!/usr/bin/env python3
"""templates.py: rendering chat templates, busbar beside Jinja2, in one run.

Both get a request as JSON text and give the prompt: Jinja2 with json.loads and a compiled template,
busbar with its check of the JSON, by `busbar render --repeat`. Rounds take turns; the figure of each
is the median of its rounds. One thread, CPU time of that thread, so that a busy machine disturbs less.

  --rounds N     rounds of each (9)
  --templates A,B  names of published templates, of llama.cpp's collection
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


def main():
    parser = argparse.ArgumentParser(description=__doc__.split('\n', maxsplit=1)[0])
    parser.add_argument('--rounds', type=int, default=9)
    parser.add_argument('--templates', default=','.join(TEMPLATES))
    parser.add_argument('--json')
    args = parser.parse_args()
    published = {name: (source, tokens) for name, _, source, tokens in reference.published()}
    rows = []
    print('| template | conversation | prompt, characters | Jinja2, µs | busbar, µs | ratio |\n|---|---|---|---|---|---|')
    for name in args.templates.split(','):
        if name not in published:
            print(f'{name} is not at hand: sh tools/deps.sh llama fetches the templates', file=sys.stderr)
            continue
        source, tokens = published[name]
        template = reference.Reference(source, tokens)
        with tempfile.TemporaryDirectory() as folder:
            with open(os.path.join(folder, 'chat_template.jinja'), 'w', encoding='utf-8', newline='') as f:
                f.write(source)
            with open(os.path.join(folder, 'tokenizer_config.json'), 'w', encoding='utf-8') as f:
                json.dump(tokens, f)
            for kind, conversation in conversations().items():
                if isinstance(template.render(conversation), Exception):
                    continue
                theirs, ours, size = measure(folder, template, json.dumps(conversation), args.rounds)
                rows.append((name, kind, size, theirs, ours))
                print(f'| {name} | {kind} | {size:,} | {theirs:,.1f} | {ours:,.1f} | {theirs / ours:.1f} |', flush=True)
    print(f'\nmedian ratio {statistics.median(r[3] / r[4] for r in rows):.1f}')
    if args.json:
        with open(args.json, 'w', encoding='utf-8') as f:
            json.dump(rows, f, indent=1)


if __name__ == '__main__':
    main()
