"""Vocabularies of GGUF files give the ids that llama.cpp gives.

Its source package, which tools/deps.sh unpacks, holds vocabularies with texts (.inp) and their ids
(.out), made without begin and end tokens. The tiny model of this repository is always there.
"""
import json
import os
import pathlib
import subprocess

import pytest

from sim_process import busbar_path

ROOT = pathlib.Path(__file__).resolve().parents[2]
CACHE = pathlib.Path(os.environ.get("BUSBAR_CACHE") or pathlib.Path(
    os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache") / "busbar")
GOLDEN = sorted(CACHE.glob("llama-cpp-*/vendor/llama.cpp/models/ggml-vocab-*.gguf.inp"))
TINY = ROOT / "tests" / "data" / "gguf-tiny" / "tiny.gguf"
BREAK = "\n__ggml_vocab_test__\n"


def run(command, path, data, *options):
    return subprocess.run([busbar_path(), command, "--tokenizer", str(path), *options], input=data,
                          capture_output=True, timeout=120)


def ids_of(path, texts, *options):
    data = b"".join(json.dumps(t).encode() + b"\n" for t in texts)
    done = run("tokenize", path, data, "--lines", *options)
    assert done.returncode == 0, done.stderr.decode()
    return [[int(i) for i in line.split()] for line in done.stdout.decode().split("\n")[:-1]]


@pytest.mark.skipif(not GOLDEN, reason="llama.cpp's source package is not there (tools/deps.sh llama)")
@pytest.mark.parametrize("texts_path", GOLDEN, ids=lambda p: p.name[len("ggml-vocab-"):-len(".gguf.inp")])
def test_golden_ids(texts_path):
    path = texts_path.with_suffix("")
    texts = texts_path.read_bytes().decode().split(BREAK)
    expected = path.with_suffix(".gguf.out").read_text().split("\n")
    for text, got, line in zip(texts, ids_of(path, texts, "--no-special"), expected):
        assert got == [int(i) for i in line.split()], repr(text)


def test_tiny_encodes_and_decodes():
    texts = ["Hello world", " two  spaces", "caf\u00e9 \u65e5\u672c", "", "line\nline"]
    for text, ids in zip(texts, ids_of(TINY, texts, "--no-special")):
        done = run("detokenize", TINY, " ".join(map(str, ids)).encode())
        assert done.returncode == 0, done.stderr.decode()
        assert done.stdout.decode().strip() == text.strip()


@pytest.mark.parametrize("size", [3, 4, 23, 24, 100, 1000, 5000])
def test_cut_off_is_an_error_with_words(size, tmp_path):
    path = tmp_path / "cut.gguf"
    path.write_bytes(TINY.read_bytes()[:size])
    done = run("tokenize", path, b"a")
    assert done.returncode == 2
    assert b"GGUF" in done.stderr
