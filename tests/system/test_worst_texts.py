"""Goal: no text, however it is made, costs a tokenizer of any kind more than 20 times prose of its size.

Instructions are counted (bench/worst_texts.py), so that this says the same on a busy machine as on a
quiet one. The texts are large enough that whatever grows with the square of a length is far over.
"""
import shutil
import subprocess
import sys

import pytest

from sim_process import ROOT, busbar_path

BUSBAR = busbar_path()
sys.path.insert(0, str(ROOT / "bench"))

import worst_texts  # noqa: E402  (it lies in bench/)

pytestmark = pytest.mark.release_only


@pytest.mark.parametrize("kind", worst_texts.KINDS)
def test_hard_texts_cost_at_most_20_times_prose(kind):
    if not shutil.which("valgrind"):
        pytest.skip("valgrind is not installed")
    if b"release" not in subprocess.run([BUSBAR, "--version"], capture_output=True, check=True).stdout:
        pytest.skip(f"{BUSBAR} is not the release variant")
    done = subprocess.run([sys.executable, str(ROOT / "bench" / "worst_texts.py"), "--check", "--size", "50000",
                           "--kinds", kind, "--busbar", BUSBAR], capture_output=True, text=True, timeout=280,
                          check=False)
    print(done.stdout, done.stderr)
    assert done.returncode == 0, done.stdout + done.stderr
    assert kind in done.stdout
