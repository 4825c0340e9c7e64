"""Each component of a tokenizer.json, with each of its options, does what `tokenizers` does.

Small tokenizers are put together in Python, saved, and given to `busbar tokenize` and `detokenize`
with fuzzed text of many scripts. Their vocabularies hold every piece that comes up, so that ids
tell where a text was cut and what became of it.
"""
import json
import random
import subprocess

import pytest

from sim_process import busbar_path

tk = pytest.importorskip("tokenizers", reason="the Python package tokenizers is not installed")
D, M, N, P = tk.decoders, tk.models, tk.normalizers, tk.pre_tokenizers
Regex = tk.Regex

POOLS = [
    "abc XYZ\t\n\r", "\u00e9\u00e8\u00fc\u00f1\u00c0\u00c7\u0130\u0131\u00df\u017f\ufb01",
    "e\u0301\u0302\u0316\u0334\u0327a\u030a\u0323", "\uac00\uac01\ud7a3\ud55c\uae00\u1100\u1161\u11a8\u3131",
    "\u65e5\u672c\u8a9e\u4e2d\u56fd\u6f22\u5b57\u3001\u3002", "\u03b1\u03b2\u03b3\u03a9\u03ac\u03a3\u03c2",
    "\u05d0\u05d1\u05d2\u05e9\u05bc\u05c1", "\u0939\u093f\u0928\u094d\u0926\u0940 \u0915\u093c\u093c",
    "\u0e44\u0e17\u0e22\u0e01\u0e33", "\u00a0\u2003\u3000\u200b\u200d\ufeff\u2028",
    "\uff21\uff22\uff11\uff12\u2460\u00bd\ufdfa\u3300",
    "\U0001f600\U0001f468\u200d\U0001f469\u200d\U0001f467\U0001f1e9\U0001f1ea",
    "\x01\x7f\x85\xad", "\ufffd\ue000\U000e0001", "\u2581\u0120\u010a", "\u01c4\u01c5\u01c6 \u1e9e",
    "\u1fb3\u0345\u03b1\u0345\u0301", "\u0958\u2126\u212b\uf900\U0002f800",
    "\u0f42\u0f71\u0f72\u0f74\u0f80", "0123456789\u00b2\u00b3\u00bc", "'s don't !?.,;:-_\"()[]{}", "\r\n\r\n",
    "\u0344\u0340\u0387", "\u1c89\ua7cb\U00010d50\U00016d40\U0001e5d0\U000105c9",
]


def make_texts(count, seed):
    r = random.Random(seed)
    out = []
    for _ in range(count):
        pools = [r.choice(POOLS) for _ in range(r.randrange(1, 4))]
        text = "".join(r.choice(r.choice(pools)) for _ in range(r.randrange(1, 24)))
        if r.random() < 0.15:
            ranges = [(0x20, 0x3000), (0x3000, 0xd800), (0xe000, 0x1ffff), (0x300, 0x370)]
            text = "".join(chr(r.randrange(*r.choice(ranges))) for _ in range(r.randrange(1, 24)))
        out.append(text)
    return out


TEXTS = make_texts(400, 1)
GPT4 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,4}| ?[^\s\p{L}\p{N}]+[\r\n]*"
        r"|\s*[\r\n]+|\s+(?!\S)|\s+")
BEHAVIORS = ["removed", "isolated", "merged_with_previous", "merged_with_next", "contiguous"]


def run(command, path, data, *options):
    return subprocess.run([busbar_path(), command, "--tokenizer", str(path), "--lines", *options], input=data,
                          capture_output=True, timeout=120)


def compare(tokenizer, tmp_path, items, options=()):
    path = tmp_path / "tokenizer.json"
    path.write_text(tokenizer.to_str(), encoding="utf-8")
    data = b"".join(json.dumps(t).encode() + b"\n" for t in items)
    done = run("tokenize", path, data, "--no-special", *options)
    assert done.returncode == 0, done.stderr.decode()
    got = [[int(i) for i in line.split()] for line in done.stdout.decode().split("\n")[:-1]]
    for text, ids in zip(items, got, strict=True):
        expected = tokenizer.encode(text, add_special_tokens=False)
        assert ids == expected.ids, f"{text!r}: {ids} is not {expected.ids} {expected.tokens}"


def with_pieces(normalizer, pre_tokenizer, byte_level=False):
    """A tokenizer that knows every piece of the texts by its own id."""
    pieces = {"<unk>": 0}
    for text in TEXTS:
        text = normalizer.normalize_str(text) if normalizer else text
        for piece, _ in pre_tokenizer.pre_tokenize_str(text) if pre_tokenizer else [(text, None)]:
            pieces.setdefault(piece, len(pieces))
    if byte_level:
        for char in sorted(P.ByteLevel.alphabet()):
            pieces.setdefault(char, len(pieces))
        model = M.BPE(pieces, [], ignore_merges=True)
    else:
        model = M.WordLevel(pieces, unk_token="<unk>")
    tokenizer = tk.Tokenizer(model)
    if normalizer:
        tokenizer.normalizer = normalizer
    if pre_tokenizer:
        tokenizer.pre_tokenizer = pre_tokenizer
    return tokenizer


def bert(**options):
    return N.BertNormalizer(**dict(dict(clean_text=True, handle_chinese_chars=True, strip_accents=None,
                                        lowercase=True), **options))


NORMALIZERS = [
    N.NFC(), N.NFD(), N.NFKC(), N.NFKD(), N.Lowercase(), N.Strip(), N.Strip(left=True, right=False),
    N.Strip(left=False, right=True), N.StripAccents(), N.Replace("a", "xyz"), N.Replace(" ", "\u2581"),
    N.Replace(Regex(r"\s+"), " "), N.Replace(Regex(r"[^\w\s]"), ""), N.Replace(Regex("^"), "\u2581"),
    N.Replace(Regex(r"\b"), "|"), N.Prepend("\u2581"), N.Nmt(), bert(), bert(lowercase=False),
    bert(strip_accents=True, lowercase=False), bert(clean_text=False), bert(handle_chinese_chars=False),
    N.Sequence([N.Prepend("\u2581"), N.Replace(" ", "\u2581")]),
    N.Sequence([N.NFKD(), N.StripAccents(), N.Lowercase()]),
    N.Sequence([N.Nmt(), N.NFKC(), N.Replace(Regex(" {2,}"), " ")]), N.Sequence([]),
]


@pytest.mark.parametrize("normalizer", NORMALIZERS, ids=lambda n: repr(n)[:60])
def test_normalizer(normalizer, tmp_path):
    compare(with_pieces(normalizer, None), tmp_path, TEXTS)


PRE_TOKENIZERS = (
    [P.Split(Regex(r"\s+|\p{N}"), b, i) for b in BEHAVIORS for i in (False, True)]
    + [P.Split(" ", b, i) for b in BEHAVIORS for i in (False, True)]
    + [P.Split(Regex("a*"), b, False) for b in BEHAVIORS]
    + [P.Punctuation(b) for b in BEHAVIORS]
    + [P.Metaspace("\u2581", s, split) for s in ("always", "first", "never") for split in (True, False)]
    + [P.Split(Regex(GPT4), "isolated"), P.Split(Regex(GPT4), "removed", True), P.Digits(True), P.Digits(False),
       P.Whitespace(), P.WhitespaceSplit(), P.BertPreTokenizer(), P.CharDelimiterSplit("a"), P.FixedLength(3),
       P.Sequence([P.WhitespaceSplit(), P.Metaspace("\u2581", "first")]),
       P.Sequence([P.Metaspace("\u2581", "first"), P.Digits(True)]),
       P.Sequence([P.Whitespace(), P.Punctuation("contiguous")])])


@pytest.mark.parametrize("pre_tokenizer", PRE_TOKENIZERS, ids=lambda p: repr(p)[:60])
def test_pre_tokenizer(pre_tokenizer, tmp_path):
    compare(with_pieces(None, pre_tokenizer), tmp_path, TEXTS)


@pytest.mark.parametrize("normalizer", [N.Strip(), N.NFKD(), N.Sequence([N.Replace("a", ""), N.Prepend("x")])],
                         ids=lambda n: repr(n)[:40])
@pytest.mark.parametrize("scheme", ["always", "first"])
def test_metaspace_behind_a_normalizer(normalizer, scheme, tmp_path):
    compare(with_pieces(normalizer, P.Metaspace("\u2581", scheme)), tmp_path, TEXTS)


BYTE_LEVELS = [
    P.ByteLevel(add_prefix_space=space, use_regex=regex) for space in (True, False) for regex in (True, False)
] + [
    P.Sequence([P.Split(Regex(GPT4), "isolated"), P.ByteLevel(add_prefix_space=False, use_regex=False)]),
    P.Sequence([P.Digits(True), P.ByteLevel(add_prefix_space=True, use_regex=False)]),
    # Steps behind ByteLevel see its characters, of which some are digits: as Falcon has it.
    P.Sequence([P.Punctuation(), P.ByteLevel(add_prefix_space=False), P.Digits(False),
                P.Split(Regex("[0-9][0-9][0-9]"), "isolated")]),
]


@pytest.mark.parametrize("pre_tokenizer", BYTE_LEVELS, ids=lambda p: repr(p)[:60])
def test_byte_level(pre_tokenizer, tmp_path):
    compare(with_pieces(None, pre_tokenizer, byte_level=True), tmp_path, TEXTS)


def random_vocabulary(r, count):
    entries = {"".join(r.choice("abcd\u00e9\u65e5") for _ in range(r.randrange(1, 6))) for _ in range(count)}
    return sorted(entries)


WORDS = ["".join(random.Random(i).choice("abcd\u00e9\u65e5") for _ in range(1 + i % 29)) for i in range(300)]


@pytest.mark.parametrize("byte_fallback", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_unigram(byte_fallback, seed, tmp_path):
    r = random.Random(seed)
    vocabulary = [("<unk>", 0.0)] + [(t, -r.choice([1, 2, 2.5, 3, 10 * r.random()]))
                                     for t in random_vocabulary(r, 10 * 4 ** seed)]
    if byte_fallback:
        vocabulary += [("<0x%02X>" % b, -20.0) for b in range(256)]
    compare(tk.Tokenizer(M.Unigram(vocabulary, 0, byte_fallback)), tmp_path, WORDS + TEXTS)


@pytest.mark.parametrize("chars_max", [100, 5])
@pytest.mark.parametrize("prefix", ["##", ""])
def test_wordpiece(chars_max, prefix, tmp_path):
    r = random.Random(7)
    vocabulary = {"[UNK]": 0}
    for entry in random_vocabulary(r, 200):
        vocabulary.setdefault(("##" if r.random() < 0.5 else "") + entry, len(vocabulary))
    model = M.WordPiece(vocabulary, unk_token="[UNK]", max_input_chars_per_word=chars_max,
                        continuing_subword_prefix=prefix)
    compare(tk.Tokenizer(model), tmp_path, WORDS + TEXTS)


TOKENS = ["\u2581Hello", "\u2581", "\u2581\u2581a", "##ing", "un", "##", ".", " .", "n't", " n't", "<0xE6>", "<0x97>",
          "<0xA5>", "<0xFF>", "<0x41>", "<0x+5>", "<0xZZ>", "\u0120He", "\u0120", "\u00e6\u0139", "\u00a5",
          "\u00f0\u0141\u013a", "\u0122", "\u65e5\u672c", "</w>", "lo</w>", "<pad>", "|", "a|b", "a", "  ", " ",
          "\u00e9", "x ", " do not", "'s", " 's", "\u010a", "  y", "\ufffd", "ab\u2581c"]
DECODERS = [
    D.ByteLevel(), D.Metaspace(), D.Metaspace(prepend_scheme="never"), D.Replace("\u2581", " "),
    D.Replace(Regex(r"\s+"), "_"), D.ByteFallback(), D.Fuse(), D.Strip(" ", 1, 0), D.WordPiece(),
    D.WordPiece(cleanup=False), D.BPEDecoder(), D.CTC(), D.CTC(cleanup=False),
    D.Sequence([D.Replace("\u2581", " "), D.ByteFallback(), D.Fuse(), D.Strip(" ", 1, 0)]),
    D.Sequence([D.Replace("\u2581", " "), D.ByteFallback(), D.Fuse()]),
    D.Sequence([D.Fuse(), D.Strip(" ", 2, 0), D.Replace(Regex("o$"), "0")]),
    D.Sequence([D.ByteLevel(), D.Strip(" ", 1, 0)]), D.Sequence([]), None,
]


@pytest.mark.parametrize("decoder", DECODERS, ids=lambda d: repr(d)[:60])
def test_decoder(decoder, tmp_path):
    tokenizer = tk.Tokenizer(M.WordLevel({t: i for i, t in enumerate(TOKENS)}, unk_token="a"))
    if decoder:
        tokenizer.decoder = decoder
    path = tmp_path / "tokenizer.json"
    path.write_text(tokenizer.to_str(), encoding="utf-8")
    r = random.Random(3)
    rows = [[r.randrange(len(TOKENS)) for _ in range(r.randrange(1, 9))] for _ in range(600)]
    done = run("detokenize", path, "".join(" ".join(map(str, row)) + "\n" for row in rows).encode())
    assert done.returncode == 0, done.stderr.decode()
    for row, line in zip(rows, done.stdout.decode().split("\n"), strict=False):
        expected = tokenizer.decode(row, skip_special_tokens=False)
        assert json.loads(line) == expected, [TOKENS[i] for i in row]


PATTERNS = [r"\w+", r"[^\w\s]+", r"\d+", r"\h+", r"(?i)abc", r"\p{N}{1,2}+", r"a{2}?", r"a{,2}b?", r"\p{^L}+", r"^.",
            r".$", r"(?m).+", r"(?<=a)b", r"[\p{L}&&[^\p{Han}]]+", r"\x41|\u00e9", r" ?[^\s\p{L}\p{N}]++", r"a|b|",
            r"[\p{P}\p{S}]", r"\A\s+|\s+\z", r"\p{Han}|\p{Hiragana}", r"[\P{L}a]+", r"[\D]", r"\p{Letter}+", r"{"]


@pytest.mark.parametrize("pattern", PATTERNS)
def test_pattern(pattern, tmp_path):
    compare(with_pieces(N.Replace(Regex(pattern), "<>"), None), tmp_path, TEXTS)


@pytest.mark.parametrize("part, value, named", [
    ("normalizer", {"type": "Lowercaser"}, "Lowercaser"),
    ("pre_tokenizer", {"type": "UnicodeScripts"}, "UnicodeScripts"),
    ("decoder", {"type": "Sequence", "decoders": [{"type": "Foo"}]}, "Foo"),
    ("model", {"type": "Bar", "vocab": {}}, "Bar"),
    ("normalizer", {"type": "Replace", "pattern": {"Regex": r"\X"}, "content": ""}, "\\X"),
    ("pre_tokenizer", {"type": "Split", "pattern": {"Regex": "(a"}, "behavior": "Isolated", "invert": False},
     "not closed"),
])
def test_unsupported_is_named(part, value, named, tmp_path):
    content = json.loads(tk.Tokenizer(M.WordLevel({"a": 0}, unk_token="a")).to_str())
    content[part] = value
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps(content))
    done = run("tokenize", path, b'"a"\n')
    assert done.returncode == 2 and not done.stdout
    assert named in done.stderr.decode()
