#!/usr/bin/env python3
"""coverage.py: which lines the unit tests and the fuzz corpus run, by file and room.

    make coverage                                    builds, measures, prints rooms and the least covered files
    make coverage COVERAGE_ARGS="--files"            every file
    make coverage COVERAGE_ARGS="--lines wire"       the lines of a room, or of a file, that nothing ran
    python3 tools/coverage.py --keep --lines wire    the same from the last measurement

Needs build/cov (gcc's --coverage) and gcov, which comes with gcc. Lines are counted as gcov does:
a line with several statements counts as run when one of them was. A line of `BB_ASSERT` counts like
any other. Exits with 1 when a test fails or a room of FLOORS is covered less than it must be.
"""

import argparse
import collections
import concurrent.futures
import glob
import gzip
import json
import os
import subprocess
import sys
import tempfile

FOLDER = "build/cov"
# Rooms that meet bytes from outside, and the share of their lines that tests must run, in percent.
FLOORS = {"wire": 95.0}


def programs():
    """Every unit test, and every replay of a fuzz target with its corpus."""
    for path in sorted(glob.glob(f"{FOLDER}/unit/*/test_*")):
        if os.access(path, os.X_OK) and not os.path.splitext(path)[1]:
            yield [path]
    for path in sorted(glob.glob(f"{FOLDER}/replay/*")):
        if not os.path.splitext(path)[1]:
            yield [path, *sorted(glob.glob(f"tests/fuzz/corpus/{os.path.basename(path)}/*"))]


def run(command):
    """None, or what a program that failed said."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=300, check=False)
    except subprocess.TimeoutExpired:
        return f"{command[0]}: still running after 300 s"
    if done.returncode:
        return f"{command[0]}: exit {done.returncode}\n{(done.stdout + done.stderr)[-3000:]}"
    return None


def measure():
    """Runs everything from nothing; the number of programs that failed."""
    for path in glob.glob(f"{FOLDER}/**/*.gcda", recursive=True):
        os.unlink(path)
    commands = list(programs())
    if not commands:
        sys.exit(f"coverage: no tests in {FOLDER}: run `make coverage`")
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        failures = [text for text in pool.map(run, commands) if text]
    for text in failures:
        print(text)
    print(f"coverage: {len(commands) - len(failures)} passed, {len(failures)} failed")
    return len(failures)


def read_counts():
    """{source: {line: times run}} of src/; a line counts once, however often it was compiled."""
    notes = [os.path.abspath(p) for p in glob.glob(f"{FOLDER}/**/*.gcno", recursive=True)
             if not p.startswith(tuple(f"{FOLDER}/{other}/" for other in ("unit", "third", "replay", "torture")))]
    counts = collections.defaultdict(lambda: collections.defaultdict(int))
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["gcov", "--json-format", "--hash-filenames", *notes], cwd=folder, check=True,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for path in glob.glob(f"{folder}/*.gcov.json.gz"):
            with gzip.open(path) as file:
                data = json.load(file)
            for source in data["files"]:
                name = os.path.normpath(source["file"])
                if name.startswith("src/"):
                    for line in source["lines"]:
                        counts[name][line["line_number"]] += line["count"]
    if not counts:
        sys.exit(f"coverage: nothing was measured in {FOLDER}: run `make coverage`")
    return counts


def room_of(name):
    return name.split("/")[1]


def percent(run_lines, lines):
    """Rounded down: 95.0 means that 95 was reached."""
    return run_lines * 1000 // lines / 10 if lines else 100.0


def print_table(rows):
    for name, done, lines in rows:
        print(f"  {name:<32} {done:>6} of {lines:>6} lines  {percent(done, lines):>5.1f} %")


def ranges(numbers):
    """[3, 4, 5, 9] as '3-5, 9'."""
    parts = []
    for n in numbers:
        if parts and parts[-1][1] == n - 1:
            parts[-1][1] = n
        else:
            parts.append([n, n])
    return ", ".join(str(a) if a == b else f"{a}-{b}" for a, b in parts)


def print_lines(counts, wanted):
    for name in sorted(counts):
        if wanted in (room_of(name), name, os.path.basename(name)):
            missing = sorted(n for n, times in counts[name].items() if not times)
            if not missing:
                continue
            print(f"{name}: {ranges(missing)}")
            with open(name, encoding="utf-8") as file:
                text = file.read().split("\n")
            for n in missing:
                print(f"    {n:>4} {text[n - 1]}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keep", action="store_true", help="do not run the tests again")
    parser.add_argument("--files", action="store_true", help="every file")
    parser.add_argument("--lines", metavar="ROOM-OR-FILE", help="the lines that nothing ran")
    options = parser.parse_args()

    failed = 0 if options.keep else measure()
    counts = read_counts()
    files = [(name, sum(1 for times in lines.values() if times), len(lines)) for name, lines in counts.items()]
    rooms = collections.defaultdict(lambda: [0, 0])
    for name, done, lines in files:
        rooms[room_of(name)][0] += done
        rooms[room_of(name)][1] += lines
    files.sort(key=lambda row: percent(*row[1:]))
    if options.lines:
        print_lines(counts, options.lines)
    else:
        floor_files = [row for row in files if room_of(row[0]) in FLOORS]
        print_table(files if options.files else floor_files[:10])
    print_table([(f"room {name}", *rooms[name]) for name in sorted(rooms)])
    for name, least in FLOORS.items():
        if percent(*rooms[name]) < least:
            print(f"coverage: room {name} is below {least:g} %: "
                  f"`python3 tools/coverage.py --keep --lines {name}` shows what no test runs")
            failed += 1
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
