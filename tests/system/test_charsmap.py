"""Goal: the precompiled character maps that SentencePiece publishes (T5, XLM-R and mBART have nmt_nfkc) are
applied as `tokenizers` applies them, to every assigned character and to random texts.

The maps come out of the Python package `sentencepiece`, which has them built in; without it this is skipped.
`BUSBAR_CHARSMAP_STEP=1` takes each character instead of every 11th.
"""
import base64
import json
import os
import random
import subprocess
import unicodedata

import pytest

from sim_process import busbar_path
from token_texts import texts

pytestmark = pytest.mark.release_only

sentencepiece = pytest.importorskip("sentencepiece", reason="the Python package sentencepiece is not installed")
tokenizers = pytest.importorskip("tokenizers", reason="the Python package tokenizers is not installed")

STEP = int(os.environ.get("BUSBAR_CHARSMAP_STEP", "11"))
NORMALIZER_SPEC, PRECOMPILED_CHARSMAP = 3, 2
RANGES = ((0x20, 0x7f), (0xa0, 0x250), (0x300, 0x370), (0x1100, 0x1200), (0x3040, 0x3100), (0xac00, 0xac80),
          (0xfb00, 0xfe00), (0xff00, 0xfff0))
SINGLE = (0x200d, 0x1f468, 0x1f1e9, 0x1f1ea, 0xfe0f, 0x200b, 0xad, 0x2028, 0x85, 0xfeff)


def varint(data, at):
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return value, at


def field(message, wanted):
    """The last field of that number whose wire type is `bytes`, of a protobuf message."""
    at, found = 0, None
    while at < len(message):
        key, at = varint(message, at)
        if key & 7 == 2:
            size, at = varint(message, at)
            if key >> 3 == wanted:
                found = message[at:at + size]
            at += size
        elif key & 7 == 0:
            _, at = varint(message, at)
        else:
            at += 4 if key & 7 == 5 else 8
    return found


def charsmap(rule, folder):
    lines = folder / "lines.txt"
    words = " ".join(texts(1, 60000, [])).replace("\0", " ").split()
    lines.write_text("\n".join(" ".join(words[i:i + 20]) for i in range(0, len(words), 20)), encoding="utf-8")
    sentencepiece.SentencePieceTrainer.train(
        input=str(lines), model_prefix=str(folder / "model"), vocab_size=3000, character_coverage=0.98,
        normalization_rule_name=rule, minloglevel=2, hard_vocab_limit=False)
    return field(field((folder / "model.model").read_bytes(), NORMALIZER_SPEC), PRECOMPILED_CHARSMAP)


def tokenizer_of(normalizer):
    """Each byte of the normalized text is a token."""
    pieces = ["<unk>", *(f"<0x{b:02X}>" for b in range(256))]
    return {"version": "1.0", "truncation": None, "padding": None, "added_tokens": [], "normalizer": normalizer,
            "pre_tokenizer": None, "post_processor": None, "decoder": None,
            "model": {"type": "Unigram", "unk_id": 0, "byte_fallback": True, "vocab": [[p, -1.0] for p in pieces]}}


def cases():
    for code in range(1, 0x110000, STEP):
        c = chr(code)
        if not 0xd800 <= code < 0xe000 and unicodedata.category(c) not in ("Cn", "Co"):
            yield f"a{c}b {c}\u0301{c}"
    rng = random.Random(7)
    letters = [chr(c) for first, end in RANGES for c in range(first, end)] + [chr(c) for c in SINGLE]
    for _ in range(30000 // STEP):
        yield "".join(rng.choice(letters) for _ in range(rng.randint(1, 40)))
    yield from texts(3, 40000, [])


@pytest.mark.parametrize("rule", ["nmt_nfkc", "nfkc", "nmt_nfkc_cf", "nfkc_cf"])
def test_published_maps_are_applied_as_the_library_does(rule, tmp_path):
    encoded = base64.b64encode(charsmap(rule, tmp_path)).decode()
    assert len(encoded) > 100_000
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps(tokenizer_of({"type": "Precompiled", "precompiled_charsmap": encoded})))
    reference = tokenizers.Tokenizer.from_file(str(path))
    given = list(cases())
    done = subprocess.run([busbar_path(), "tokenize", "--tokenizer", path, "--lines", "-"], check=True, timeout=600,
                          input="".join(json.dumps(c) + "\n" for c in given).encode(), capture_output=True)
    got = done.stdout.decode().split("\n")
    for text, ids in zip(given, got):
        assert ids.split() == [str(i) for i in reference.encode(text).ids], ascii(text)
    assert len(got) == len(given) + 1
