#!/usr/bin/env python3
"""What texts that are made to be hard cost a tokenizer, beside prose of the same size.

    python3 bench/worst_texts.py                     the small tokenizers, one of each kind, 1 MB texts
    python3 bench/worst_texts.py --published gpt2,gemma   published ones of tools/tokenizers.sh instead
    python3 bench/worst_texts.py --check             and fails when one costs more than 20 times prose

Instructions in user space of tokenizer_encode alone, counted by valgrind: the same on a busy machine
as on a quiet one. One process a tokenizer, prose first, so that the caches know ordinary words.
"""
import argparse
import glob
import json
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
SMALL = os.path.join(ROOT, 'tests', 'data', 'tokenizers')
RATIO_MAX = 20
LETTERS = 'etaoinshrdlucmfwypvbgkjqxz'


# ---- tokenizers: one of each kind, out of the two small ones ----

def small(name):
    with open(os.path.join(SMALL, name + '.json'), encoding='utf-8') as f:
        return json.load(f)


def pcre2():
    """A pattern that nobody has compiled by hand."""
    t = small('byte_level')
    split = t['pre_tokenizer']['pretokenizers'][0]['pattern']
    split['Regex'] = split['Regex'].replace('{1,3}', '{1,4}')
    return t


def unigram():
    t = small('metaspace')
    pieces = sorted(t['model']['vocab'], key=t['model']['vocab'].get)
    scores = {piece: -8 - len(piece) * 0.5 for piece in pieces}
    t['model'] = {'type': 'Unigram', 'unk_id': pieces.index('<unk>'), 'byte_fallback': True,
                  'vocab': [[piece, scores[piece]] for piece in pieces]}
    return t


def wordpiece():
    pieces = [p for p in small('metaspace')['model']['vocab'] if not p.startswith('<')]
    words = dict.fromkeys(['[UNK]', *(p.replace('▁', '') for p in pieces if p != '▁'),
                           *('##' + p for p in pieces if '▁' not in p)])
    return {'version': '1.0', 'added_tokens': [], 'normalizer': {
        'type': 'BertNormalizer', 'clean_text': True, 'handle_chinese_chars': True, 'strip_accents': None,
        'lowercase': True}, 'pre_tokenizer': {'type': 'BertPreTokenizer'}, 'post_processor': None,
        'decoder': {'type': 'WordPiece', 'prefix': '##', 'cleanup': True}, 'model': {
            'type': 'WordPiece', 'unk_token': '[UNK]', 'continuing_subword_prefix': '##',
            'max_input_chars_per_word': 100, 'vocab': {w: i for i, w in enumerate(words)}}}


def normalized():
    """As Qwen has it: NFC ahead of everything."""
    t = small('byte_level')
    t['normalizer'] = {'type': 'NFC'}
    return t


KINDS = {'BPE by bytes': lambda: small('byte_level'), 'BPE, NFC': normalized, 'BPE, PCRE2 split': pcre2,
         'BPE, metaspace': lambda: small('metaspace'), 'Unigram': unigram, 'WordPiece': wordpiece}


# ---- texts ----

def cut(text, size):
    return text.encode()[:size].decode('utf-8', 'ignore')


def many(piece, size):
    return cut(piece * (size // len(piece.encode()) + 1), size)


def any_of(pieces, size, seed):
    rng, out, length = random.Random(seed), [], 0
    while length < size:
        piece = rng.choice(pieces)
        out.append(piece)
        length += len(piece.encode())
    return cut(''.join(out), size)


def prose(size):
    """This repository's documents, as sentences."""
    text = ''
    for path in sorted(glob.glob(os.path.join(ROOT, 'docs', '*.md'))):
        with open(path, encoding='utf-8') as f:
            text += re.sub(r'\s+', ' ', re.sub(r'(?m)^[|`].*$', '', f.read())) + '\n'
    return many(text, size)


def plain_pieces(tokenizer):
    """The vocabulary's letters-only entries, the longest first: words made of them merge all the way."""
    vocab = tokenizer['model']['vocab']
    names = [v[0] for v in vocab] if isinstance(vocab, list) else list(vocab)
    words = [n for n in names if n.isascii() and n.isalpha()]
    return sorted(words, key=len, reverse=True)[:200] or ['the']


def texts(tokenizer, size):
    pieces = plain_pieces(tokenizer)
    return {
        'prose': prose(size),
        'one letter': many('a', size),
        'random letters': any_of(LETTERS, size, 1),
        'two letters in turn': many('ab', size),
        'letters, spelled cases': any_of(LETTERS + LETTERS.upper(), size, 2),
        'spaces': many(' ', size),
        'newlines': many('\n', size),
        'spaces and newlines': any_of(' \n\t', size, 3),
        'digits': any_of('0123456789', size, 4),
        'one sign': many('-', size),
        'two signs in turn': many('-=', size),
        'long rows of one letter or sign': any_of([c * n for c in ' -=a#' for n in (127, 300, 1000)], size, 14),
        'signs': any_of('!"#$%&()*+,-./:;<=>?@[]^_`{|}~', size, 5),
        'apostrophes': many("'s't're", size),
        'entries of the vocabulary': any_of(pieces, size, 6),
        'the longest entry': many(pieces[0], size),
        'entries that lack their end': any_of([p[:-1] for p in pieces if len(p) > 2] or ['th'], size, 7),
        'combining marks': 'a' + any_of(['\u0301', '\u0323', '\u0308', '\u0330', '\u0345', '\u0591'], size - 1, 8),
        'letters with marks': any_of(['e\u0301', 'a\u0323\u0308', 'o\u0302\u0323'], size, 9),
        'joined emoji': many('\U0001f468\u200d\U0001f469\u200d\U0001f467\u200d\U0001f466\u200d', size),
        'Chinese': any_of([chr(c) for c in range(0x4e00, 0x9000, 7)], size, 10),
        'Hangul, taken apart': any_of([chr(c) for c in [*range(0x1100, 0x1112), *range(0x1161, 0x1175)]], size, 11),
        'Thai': any_of([chr(c) for c in range(0xe01, 0xe2f)], size, 12),
    }


def malformed(size):
    rng = random.Random(13)
    return bytes(rng.choice(b'\xff\xc3\xe2\xf0\x80\xbf') for _ in range(size))


# ---- counting ----

def total_of(path):
    with open(path, encoding='utf-8') as f:
        return int(re.search(r'(?m)^(?:totals|summary): (\d+)', f.read()).group(1))


def counted(busbar, tokenizer, options, data, folder):
    """Instructions of each call of tokenizer_encode, in turn."""
    base = os.path.join(folder, 'counted')
    for old in glob.glob(base + '*'):
        os.remove(old)
    subprocess.run(['valgrind', '-q', '--tool=callgrind', '--callgrind-out-file=' + base,
                    '--toggle-collect=tokenizer_encode', '--dump-after=tokenizer_encode', busbar, 'tokenize',
                    '--tokenizer', tokenizer, '--no-special', *options, '-'], input=data, check=True,
                   stdout=subprocess.DEVNULL)
    parts = glob.glob(base + '.*')
    return [total_of(p) for p in sorted(parts, key=lambda p: int(p.rsplit('.', 1)[1]))]


def measure(busbar, path, size):
    """{text: instructions a byte}"""
    with open(path, encoding='utf-8') as f:
        named = texts(json.load(f), size)
    with tempfile.TemporaryDirectory() as folder:
        lines = ''.join(json.dumps(t) + '\n' for t in named.values()).encode()
        costs = counted(busbar, path, ['--lines'], lines, folder)
        raw = malformed(size)
        costs += counted(busbar, path, [], raw, folder)[:1]
    sizes = [len(t.encode()) for t in named.values()] + [len(raw)]
    if len(costs) < len(sizes):
        sys.exit(f'{path}: {len(costs)} of {len(sizes)} texts were counted')
    return {name: cost / size for name, cost, size in zip([*named, 'malformed UTF-8'], costs, sizes)}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split('\n', maxsplit=1)[0])
    parser.add_argument('--size', type=int, default=1_000_000, help='bytes of a text')
    parser.add_argument('--published', help='names of tools/tokenizers.sh, with commas')
    parser.add_argument('--kinds', default=';'.join(KINDS), help='of the small ones, with semicolons')
    parser.add_argument('--check', action='store_true')
    parser.add_argument('--busbar', default=os.path.join(ROOT, 'build', 'busbar'))
    args = parser.parse_args()
    if not shutil.which('valgrind'):
        sys.exit('valgrind is not installed')
    worst = {}
    print('| tokenizer | prose, instructions a byte | the hardest texts, times prose |\n|---|---|---|')
    with tempfile.TemporaryDirectory() as folder:
        paths = {}
        if args.published:
            home = subprocess.run(['sh', os.path.join(ROOT, 'tools', 'tokenizers.sh'), '--dir'], check=True,
                                  capture_output=True, text=True).stdout.strip()
            paths = {n: os.path.join(home, n, 'tokenizer.json') for n in args.published.split(',')}
        for kind in [] if args.published else args.kinds.split(';'):
            paths[kind] = os.path.join(folder, re.sub(r'\W+', '_', kind) + '.json')
            with open(paths[kind], 'w', encoding='utf-8') as f:
                json.dump(KINDS[kind](), f)
        for name, path in paths.items():
            costs = measure(args.busbar, path, args.size)
            ratios = sorted(((c / costs['prose'], t) for t, c in costs.items()), reverse=True)
            worst[name] = ratios[0]
            print(f'| {name} | {costs["prose"]:.1f} | '
                  + ', '.join(f'{t} {r:.1f}' for r, t in ratios[:4]) + ' |', flush=True)
    over = {n: w for n, w in worst.items() if w[0] > RATIO_MAX}
    for name, (ratio, text) in over.items():
        print(f'{name}: {text} costs {ratio:.1f} times prose, more than {RATIO_MAX}', file=sys.stderr)
    return 1 if args.check and over else 0


if __name__ == '__main__':
    sys.exit(main())
