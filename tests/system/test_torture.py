"""Goal: a short run of the torture (tests/torture): allocations of a start and of a mix of requests
fail in turn. `make torture` goes on to the last one, under AddressSanitizer."""

import re
import shutil
import subprocess

import pytest

from sim_process import ROOT, busbar_path


def variant():
    """Which build is under test; its objects are there already."""
    words = subprocess.run([busbar_path(), "--version"], capture_output=True, text=True, check=True).stdout
    found = re.search(r"\b(release|debug|asan|cov)\b", words)
    return found.group(1) if found else None


def test_allocations_fail_in_turn():
    build = variant()
    if not build or not shutil.which("make"):
        pytest.skip("the torture is built with make from the objects of release, debug, asan or cov")
    program = f"build/{build}/torture/torture_gateway"
    made = subprocess.run(["make", "-s", f"B={build}", program], cwd=ROOT, capture_output=True,
                          text=True, timeout=600, check=False)
    assert made.returncode == 0, made.stdout + made.stderr
    done = subprocess.run([str(ROOT / program), "1", "300"], capture_output=True, text=True,
                          timeout=240, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-6000:]
    counts = [int(n) for n in re.findall(r": (\d+) allocations failed in turn", done.stdout)]
    assert len(counts) == 3 and min(counts) >= 40, done.stdout
