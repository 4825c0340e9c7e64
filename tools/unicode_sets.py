#!/usr/bin/env python3
"""unicode_sets.py: writes src/text/unicode_sets.c.

Hugging Face `tokenizers` sees characters through several tables of different Unicode versions
(its regular expressions, the standard library of Rust, two small libraries). busbar must see them
alike, whatever version the system's libutf8proc has. So each table is found here by asking
`tokenizers` about every code point; general categories come from `unicodedata2`.

Needs: pip install tokenizers==0.23.3 unicodedata2. Usage: tools/unicode_sets.py [OUTPUT]
"""
import os
import sys
import unicodedata
import unicodedata2
from tokenizers import Regex, normalizers, pre_tokenizers

CHARS = [c for c in range(0x110000) if not 0xd800 <= c < 0xe000]
HERE = os.path.dirname(os.path.abspath(__file__))
CATEGORIES = ('Cn Lu Ll Lt Lm Lo Mn Mc Me Nd Nl No Pc Pd Ps Pe Pi Pf Po Sm Sc Sk So Zs Zl Zp Cc Cf '
              'Co').split()
HEAD = """#include "text/unicode_sets.h"

/* Written by tools/unicode_sets.py; do not edit. */

/* clang-format off */
"""


def removed_by(pre_tokenizer):
    """The characters that a pre-tokenizer with the behaviour 'removed' removes."""
    out = set()
    for i in range(0, len(CHARS), 2048):
        part = CHARS[i:i + 2048]
        kept = set()
        for _, (begin, end) in pre_tokenizer.pre_tokenize_str(''.join(map(chr, part))):
            kept.update(part[begin:end])
        out.update(set(part) - kept)
    return out


def matched(pattern):
    return removed_by(pre_tokenizers.Split(Regex(pattern), 'removed'))


def dropped_by(normalizer):
    return {c for c in CHARS if normalizer.normalize_str('a%sa' % chr(c)) == 'aa'}


def bert(**options):
    off = dict(clean_text=False, handle_chinese_chars=False, strip_accents=False, lowercase=False)
    return normalizers.BertNormalizer(**dict(off, **options))


def ranges_of(chars):
    out = []
    for c in sorted(chars):
        if out and out[-1][1] == c - 1:
            out[-1][1] = c
        else:
            out.append([c, c])
    return out


def lower_runs():
    """(first, last, stride, delta) of the characters with another lower case of one character."""
    lower = normalizers.Lowercase()
    pairs = []
    for c in CHARS:
        low = lower.normalize_str(chr(c))
        if low != chr(c) and len(low) == 1:
            pairs.append((c, ord(low) - c))
    runs = []
    for c, delta in pairs:
        last = runs[-1] if runs else None
        if last and last[3] == delta:
            step = c - last[1]
            if step <= 2 and (last[0] == last[1] or last[2] == step):
                last[1], last[2] = c, step
                continue
        runs.append([c, c, 1, delta])
    return runs


def regex_categories():
    """The general category of each character as the regular expressions know it."""
    out = {}
    for name in CATEGORIES:
        out.update((c, name) for c in matched(r'\p{%s}' % name))
    return out


def late_runs():
    """(first, last, category) where tables of Unicode 14 and later may differ from the regexes'."""
    known = regex_categories()
    out = []
    for c in CHARS:
        seen = {unicodedata.category(chr(c)), unicodedata2.category(chr(c))}
        if seen == {known[c]}:
            continue
        if out and out[-1][1] == c - 1 and out[-1][2] == known[c]:
            out[-1][1] = c
        else:
            out.append([c, c, known[c]])
    return out


def late_normal():
    """Characters whose normal forms are newer than those of `tokenizers`."""
    nfd, nfkd = normalizers.NFD(), normalizers.NFKD()
    out = set()
    for c in CHARS:
        s = chr(c)
        if unicodedata2.normalize('NFD', s) != nfd.normalize_str(s):
            out.add(c)
        elif unicodedata2.normalize('NFKD', s) != nfkd.normalize_str(s):
            out.add(c)
        elif unicodedata2.combining(s):
            # A mark of another class next to it is put in order, or it is no mark there.
            other = '\u0334' if unicodedata2.combining(s) > 1 else '\u0301'
            before = 'a' + (s + other if other == '\u0334' else other + s)
            if nfd.normalize_str(before) == before:
                out.add(c)
    return out


def c_ranges(name, ranges):
    lines, line = [], '\t'
    for first, last in ranges:
        item = '{ 0x%x, 0x%x }, ' % (first, last)
        if len(line) + len(item) > 92:
            lines.append(line.rstrip())
            line = '\t'
        line += item
    lines.append(line.rstrip())
    return 'static const struct unicode_range %s[] = {\n%s\n};\n' % (name, '\n'.join(lines))


def c_rows(kind, name, rows, size_name):
    lines, line = [], '\t'
    for row in rows:
        item = '{ %s }, ' % ', '.join(row)
        if len(line) + len(item) > 92:
            lines.append(line.rstrip())
            line = '\t'
        line += item
    lines.append(line.rstrip())
    return ('const struct %s %s[] = {\n%s\n};\nconst size_t %s = sizeof(%s) / sizeof(%s[0]);\n'
            % (kind, name, '\n'.join(lines), size_name, name, name))


def main():
    out = sys.argv[1] if len(sys.argv) > 1 else os.path.join(HERE, '../src/text/unicode_sets.c')
    digits = pre_tokenizers.Digits(individual_digits=True)
    numeric = {c for c in CHARS if len(digits.pre_tokenize_str('a%sa' % chr(c))) > 1}
    punctuation = removed_by(pre_tokenizers.Punctuation('removed'))
    sets = [('numeric', numeric), ('punctuation', punctuation),
            ('bert_removed', dropped_by(bert(clean_text=True))),
            ('bert_accent', dropped_by(bert(strip_accents=True))),
            ('accent', dropped_by(normalizers.StripAccents())),
            ('normal_late', late_normal())]
    text = [HEAD]
    text += [c_ranges(name + '_ranges', ranges_of(chars)) for name, chars in sets]
    text.append(c_rows('unicode_lower', 'unicode_lowers',
                       [['0x%x' % r[0], '0x%x' % r[1], '%d' % r[2], '%d' % r[3]]
                        for r in lower_runs()], 'unicode_lower_count'))
    text.append(c_rows('unicode_late', 'unicode_lates',
                       [['0x%x' % r[0], '0x%x' % r[1], 'UNICODE_' + r[2].upper()]
                        for r in late_runs()], 'unicode_late_count'))
    text.append('/* clang-format on */\n')
    names = ''.join('\t[UNICODE_SET_%s] = { %s_ranges, sizeof(%s_ranges) / sizeof(%s_ranges[0]) },\n'
                    % (n.upper(), n, n, n) for n, _ in sets)
    text.append('const struct unicode_set_ranges unicode_sets[UNICODE_SET_COUNT] = {\n%s};\n' % names)
    with open(out, 'w', encoding='utf-8') as f:
        f.write('\n'.join(text))


main()
