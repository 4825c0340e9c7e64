"""`busbar tokenize` and `detokenize` give what the `tokenizers` library gives.

Published tokenizers come from packages by tools/tokenizers.sh; the small one of this repository is
always there. Each is compared over text that token_texts makes: a few hundred KB in all, or, with
BUSBAR_TOKEN_BYTES (`make tokens-full`), so many for each. A tokenizer that cannot be had is skipped
by name. What HF's own library does not load is no difference.
"""
import json
import os
import pathlib
import random
import subprocess

import pytest

from sim_process import busbar_path
from token_texts import malformed, texts

tokenizers = pytest.importorskip("tokenizers", reason="the Python package tokenizers is not installed")

ROOT = pathlib.Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "tools" / "tokenizers.sh"
SIZE = int(os.environ.get("BUSBAR_TOKEN_BYTES", "40000"))
NAMES = [line.split()[0] for line in SCRIPT.read_text().split("list='\n")[1].split("'")[0].splitlines()]
# One process reads so many bytes at once.
SLICE = 4_000_000


@pytest.fixture(scope="session")
def cache():
    """The folder of published tokenizers; for the long run filled as far as the package managers give
    them, while tools/test.sh has fetched what the ordinary one needs."""
    folder = pathlib.Path(subprocess.run(["sh", SCRIPT, "--dir"], capture_output=True, text=True,
                                         check=True).stdout.strip())
    if any(not (folder / name / "tokenizer.json").exists() for name in NAMES):
        if "BUSBAR_TOKEN_BYTES" in os.environ:
            subprocess.run(["sh", SCRIPT], timeout=900, check=False)
    return folder


def own():
    return sorted((ROOT / "tests" / "data" / "tokenizers").glob("*.json"))


def load(path):
    reference = tokenizers.Tokenizer.from_file(str(path))
    reference.no_truncation()
    reference.no_padding()
    return reference


def run(command, path, data, *options):
    done = subprocess.run([busbar_path(), command, "--tokenizer", str(path), *options], input=data,
                          capture_output=True, timeout=600)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


def lines(items):
    return b"".join(json.dumps(i, ensure_ascii=False).encode() + b"\n" for i in items)


def first_difference(text, ours, theirs, reference):
    at = next((i for i, (a, b) in enumerate(zip(ours, theirs)) if a != b), min(len(ours), len(theirs)))

    def shown(ids):
        return [(i, reference.id_to_token(i)) for i in ids[max(0, at - 2):at + 4]]
    return f"{text!r:.600}: id {at}: busbar {shown(ours)}, library {shown(theirs)}"


def compare_encode(path, reference, items, special):
    ours = run("tokenize", path, lines(items), "--lines", *([] if special else ["--no-special"]))
    got = [[int(i) for i in line.split()] for line in ours.decode().split("\n")[:-1]]
    assert len(got) == len(items)
    expected = [e.ids for e in reference.encode_batch(items, add_special_tokens=special)]
    for text, a, b in zip(items, got, expected):
        assert a == b, first_difference(text, a, b, reference)
    return expected


def compare_decode(path, reference, id_lists):
    data = b"".join(" ".join(map(str, ids)).encode() + b"\n" for ids in id_lists)
    for skip, options in ((False, []), (True, ["--no-special"])):
        got = [json.loads(line) for line in
               run("detokenize", path, data, "--lines", *options).decode().split("\n")[:-1]]
        expected = reference.decode_batch(id_lists, skip_special_tokens=skip)
        for ids, a, b in zip(id_lists, got, expected):
            assert a == b, f"ids {ids[:60]}, skip_special_tokens {skip}: {a!r:.600} is not {b!r:.600}"


def random_ids(reference, seed):
    rng = random.Random(seed)
    size = reference.get_vocab_size()
    return [[rng.randrange(size + 10) for _ in range(rng.randint(1, 40))] for _ in range(200)]


def slices(items):
    part, size = [], 0
    for item in items:
        part.append(item)
        size += len(item)
        if size > SLICE:
            yield part
            part, size = [], 0
    if part:
        yield part


def compare(path, seed):
    reference = load(path)
    specials = [t.content for t in reference.get_added_tokens_decoder().values()]
    for part in slices(texts(seed, SIZE, specials)):
        ids = compare_encode(path, reference, part, special=False)
        compare_decode(path, reference, ids)
    compare_encode(path, reference, texts(seed + 1, 12000, specials), special=True)
    compare_decode(path, reference, random_ids(reference, seed))


def compare_malformed(path, folder):
    """Bytes that are no UTF-8 count as what Python's "replace" makes of them."""
    reference = load(path)
    file = folder / "text"
    for data in malformed(7, 25):
        file.write_bytes(data)
        ours = [int(i) for i in run("tokenize", path, b"", "--no-special", str(file)).split()]
        text = data.decode("utf-8", "replace")
        theirs = reference.encode(text, add_special_tokens=False).ids
        assert ours == theirs, first_difference(data, ours, theirs, reference)


@pytest.mark.release_only
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", NAMES)
def test_published(cache, name):
    path = cache / name / "tokenizer.json"
    if not path.exists():
        pytest.skip(f"{name}: its package cannot be had (tools/tokenizers.sh)")
    compare(path, seed=NAMES.index(name))


@pytest.mark.parametrize("path", own(), ids=lambda p: p.stem)
def test_own(path, folder):
    compare(path, seed=99)
    compare_malformed(path, folder)


@pytest.mark.release_only
@pytest.mark.parametrize("name", ["llama3_1", "gpt2", "llama2"])
def test_malformed(cache, folder, name):
    path = cache / name / "tokenizer.json"
    if not path.exists():
        pytest.skip(f"{name}: its package cannot be had (tools/tokenizers.sh)")
    compare_malformed(path, folder)


def test_command_line(folder):
    """Counts, standard input, and messages that say what is wrong."""
    path = own()[0]
    text = "Hello, world! It's 2026.\n"
    ids = run("tokenize", path, text.encode(), "--no-special").split()
    assert run("tokenize", path, text.encode(), "--no-special", "--count").split() == [str(len(ids)).encode()]
    assert run("detokenize", path, b" ".join(ids)).decode() == text
    (folder / "tokenizer.json").write_bytes(path.read_bytes())
    assert run("tokenize", folder, text.encode(), "--no-special", "-").split() == ids

    def fails(code, *arguments, data=b""):
        done = subprocess.run([busbar_path(), *map(str, arguments)], input=data, capture_output=True, timeout=60)
        assert done.returncode == code, (arguments, done)
        return done.stderr.decode()
    assert "--tokenizer is needed" in fails(2, "tokenize")
    assert "No such file" in fails(1, "tokenize", "--tokenizer", folder / "none.json")
    assert ":2: " in fails(1, "tokenize", "--lines", "--tokenizer", path, data=b'"a"\nb\n')
    assert "whole numbers" in fails(1, "detokenize", "--tokenizer", path, data=b"1 x")
    broken = folder / "broken.json"
    whole = json.loads(path.read_text())
    whole["pre_tokenizer"] = {"type": "Foo"}
    broken.write_text(json.dumps(whole))
    assert "'Foo'" in fails(2, "tokenize", "--tokenizer", broken).replace('"', "'")
    broken.write_text("{}")
    assert "model" in fails(2, "tokenize", "--tokenizer", broken)


def test_bench(folder):
    """`busbar bench tokenizer` tells figures that fit together."""
    (folder / "text").write_text("some words to be counted\n" * 100)
    done = subprocess.run([busbar_path(), "bench", "tokenizer", "--tokenizer", str(own()[0]), "--passes", "1",
                           "--json", str(folder / "text")], capture_output=True, timeout=60, check=True)
    figures = json.loads(done.stdout)
    assert figures["bytes"] == 2500 and figures["tokens"] > 100 and figures["cold_mb_s"] > 0
