#!/usr/bin/env python3
"""tokenizer_speed.py: busbar's tokenizer beside others, on the same texts, in one run on one thread.

Each engine encodes each text in pieces of 32 KiB that it sees for the first time (a fresh tokenizer
each round); the figure is MB of UTF-8 per second of CPU time, the median of the rounds. Engines take
turns, so that a slow minute of the machine meets all of them. Ids are compared with the library's.

  --tokenizers A,B   names in the folder of tools/tokenizers.sh (llama3_1,qwen3)
  --rounds N         (5)
  --size MB          of each text (2)

What is not installed is said and left out: the Python packages tokenizers, fastokens and tiktoken.
"""
import argparse
import glob
import importlib
import json
import os
import pathlib
import random
import statistics
import subprocess
import sys
import tempfile
import time

os.environ["TOKENIZERS_PARALLELISM"] = "false"
ROOT = pathlib.Path(__file__).resolve().parents[1]
# This folder goes out of the way: this file has the name of the library that it measures.
sys.path[0] = str(ROOT / "tests" / "system")
import token_texts  # noqa: E402

PIECE = 32768
LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
          r"|\s*[\r\n]+|\s+(?!\S)|\s+")


def read_some(patterns, size, rng):
    """Files of this machine, shuffled; the repository's own where there are none."""
    paths = sorted(p for pattern in patterns for p in glob.glob(pattern, recursive=True)
                   if os.path.isfile(p) and not p.endswith(".gz"))
    rng.shuffle(paths)
    out, total = [], 0
    for path in paths + sorted(map(str, ROOT.glob("docs/*.md"))) * 50:
        if total >= size:
            break
        try:
            text = pathlib.Path(path).read_text(encoding="utf-8")[:200000]
        except (OSError, UnicodeDecodeError):
            continue
        out.append(text)
        total += len(text)
    return "".join(out)[:size]


def chat(prose, size):
    lines = [line for line in prose.split("\n") if len(line) > 40]
    out, total, n = [], 0, 0
    while total < size:
        role = ("system", "user", "assistant")[n % 3]
        part = f"<|im_start|>{role}\n" + "\n".join(lines[n % len(lines):][:4]) + "<|im_end|>\n"
        out.append(part)
        total += len(part)
        n += 3
    return "".join(out)[:size]


def make_texts(size):
    rng = random.Random(4)
    prose = read_some(["/usr/share/doc/**/*.txt", "/usr/share/doc/**/*.md", "/usr/share/doc/**/README*"], size, rng)
    code = read_some(["/usr/lib/python3*/**/*.py", "/usr/include/**/*.h"], size, rng)
    words = [w for s in token_texts.SENTENCES for w in s.split(" ")]
    mixed, total = [], 0
    while total < size:
        mixed.append(" ".join(rng.choice(words) for _ in range(12)) + rng.choice(". \n"))
        total += len(mixed[-1].encode())
    return {"prose": prose, "code": code, "chat": chat(prose, size), "mixed": "".join(mixed)}


def pieces(text):
    """As `busbar bench tokenizer` cuts: up to the line end behind each 32 KiB."""
    data, out, at = text.encode(), [], 0
    while at < len(data):
        end = data.find(b"\n", at + PIECE)
        end = len(data) if end < 0 else end + 1
        out.append(data[at:end].decode())
        at = end
    return out


class Library:
    name, package = "tokenizers", "tokenizers"

    def __init__(self, path):
        self.path = path

    def fresh(self):
        engine = importlib.import_module(self.package).Tokenizer.from_file(str(self.path))
        return lambda text: engine.encode(text, add_special_tokens=False).ids


class Fastokens(Library):
    name, package = "fastokens", "fastokens"


class Tiktoken:
    name, package = "tiktoken", "tiktoken"

    def __init__(self, path):
        """Only for a vocabulary with Llama 3's pattern: ranks are the ids of its byte-level tokens."""
        whole = json.loads(path.read_text())
        if LLAMA3 not in json.dumps(whole["pre_tokenizer"]).encode().decode("unicode_escape"):
            raise ValueError("another pattern")
        printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
        chars = {chr(b): b for b in printable}
        chars.update({chr(256 + i): b for i, b in enumerate(b for b in range(256) if b not in printable)})
        added = {t["content"]: t["id"] for t in whole["added_tokens"]}
        self.ranks = {bytes(chars[c] for c in token): rank for token, rank in whole["model"]["vocab"].items()
                      if token not in added and all(c in chars for c in token)}
        self.special = added

    def fresh(self):
        engine = importlib.import_module(self.package).Encoding(
            "t", pat_str=LLAMA3, mergeable_ranks=self.ranks, special_tokens=self.special)
        return lambda text: engine.encode(text, allowed_special="all")


def others(path):
    out = []
    for kind in (Library, Fastokens, Tiktoken):
        try:
            importlib.import_module(kind.package)
            out.append(kind(path))
        except ImportError:
            print(f"{kind.name}: not installed, left out", file=sys.stderr)
        except (ValueError, KeyError) as why:
            print(f"{kind.name}: {path.parent.name}: {why}, left out", file=sys.stderr)
    return out


def measure_other(engine, parts, loads):
    begin = time.process_time()
    encode = engine.fresh()
    loads.append((time.process_time() - begin) * 1e3)
    encode("What is made at the first call does not count.")
    begin = time.process_time()
    ids = [encode(part) for part in parts]
    return time.process_time() - begin, ids


def measure_busbar(path, file):
    done = subprocess.run([str(ROOT / "build" / "busbar"), "bench", "tokenizer", "--tokenizer", str(path), "--passes",
                           "3", "--json", file], check=True, capture_output=True, text=True)
    return json.loads(done.stdout)


def run(path, texts, rounds):
    engines = others(path)
    load, memory, loads = [], [], {e.name: [] for e in engines}
    print(f"\n{path.parent.name}: MB/s of CPU time, first pass over new text, median of {rounds}\n")
    print("| text | busbar | " + " | ".join(f"{e.name} (x)" for e in engines) + " | ids |")
    print("|---|---|" + "---|" * (len(engines) + 1))
    for kind, text in texts.items():
        size, parts = len(text.encode()) / 1e6, pieces(text)
        ours, theirs, equal = [], {e.name: [] for e in engines}, "not compared"
        with tempfile.NamedTemporaryFile("w", suffix=".txt", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            for n in range(rounds):
                figures = measure_busbar(path, file.name)
                ours.append(figures["cold_mb_s"])
                load.append(figures["load_ms"])
                memory.append(figures["memory_mb"])
                for engine in engines:
                    if n and engine.name == "tokenizers":
                        continue  # it is so slow that one round says enough
                    seconds, ids = measure_other(engine, parts, loads[engine.name])
                    theirs[engine.name].append(size / seconds)
                    if engine.name == "tokenizers":
                        equal = "equal" if same_ids(path, parts, ids) else "DIFFERENT"
        mine = statistics.median(ours)
        cells = [f"{statistics.median(v):.1f} ({mine / statistics.median(v):.1f})" for v in theirs.values()]
        print(f"| {kind} | {mine:.1f} | " + " | ".join(cells) + f" | {equal} |", flush=True)
    other = "".join(f", {name} {statistics.median(v):.0f} ms" for name, v in loads.items())
    print(f"\nload: busbar {statistics.median(load):.0f} ms{other}; memory of busbar's {statistics.median(memory):.1f} MB")


def same_ids(path, parts, ids):
    lines = "".join(json.dumps(p) + "\n" for p in parts)
    out = subprocess.run([str(ROOT / "build" / "busbar"), "tokenize", "--lines", "--no-special", "--tokenizer",
                          str(path)], input=lines, check=True, capture_output=True, text=True).stdout
    return [[int(i) for i in line.split()] for line in out.splitlines()] == ids


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokenizers", default="llama3_1,qwen3")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--size", type=float, default=2)
    options = parser.parse_args()
    script = ROOT / "tools" / "tokenizers.sh"
    folder = pathlib.Path(subprocess.run(["sh", script, "--dir"], check=True, capture_output=True,
                                         text=True).stdout.strip())
    names = options.tokenizers.split(",")
    subprocess.run(["sh", script, *names], check=True)
    texts = make_texts(int(options.size * 1e6))
    for name in names:
        path = folder / name / "tokenizer.json"
        if path.exists():
            run(path, texts, options.rounds)


if __name__ == "__main__":
    main()
