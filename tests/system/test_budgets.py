"""Goal: a request and a streamed chunk cost no more instructions than bench/budgets.json allows.

Instructions, not time: they are the same on a busy machine as on a quiet one. A compiler of
another kind or major version makes other code, so the budgets say which one they are for.
"""
import shutil
import subprocess
import sys

import pytest

from sim_process import ROOT, busbar_path

BUSBAR = busbar_path()
sys.path.insert(0, str(ROOT / "bench"))

import instructions  # noqa: E402  (it lies in bench/)


def reason_to_skip():
    for tool in ("valgrind", "readelf"):
        if not shutil.which(tool):
            return f"{tool} is not installed"
    if b"release" not in subprocess.run([BUSBAR, "--version"], capture_output=True,
                                        check=True).stdout:
        return f"{BUSBAR} is not the release variant, which the budgets are for"
    built_by, budgeted = instructions.compiler_of(BUSBAR), instructions.read_budgets()["compiler"]
    if built_by != budgeted:
        return f"{BUSBAR} was built by {built_by}, the budgets are for {budgeted}"
    return None


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    why = reason_to_skip()
    if why:
        pytest.skip(why)
    done = subprocess.run(
        [sys.executable, str(ROOT / "bench" / "instructions.py"), "--check", "--busbar", BUSBAR,
         "--work", str(tmp_path_factory.mktemp("instructions"))],
        capture_output=True, text=True, timeout=600, check=False)
    print(done.stdout, done.stderr)
    return done


def test_every_work_was_measured(measured):
    for name in instructions.WORKS:
        assert f" {name} " in measured.stdout, measured.stdout + measured.stderr
        assert name in instructions.read_budgets()["instructions"]


def test_no_budget_is_exceeded(measured):
    assert measured.returncode == 0, measured.stdout + measured.stderr


def test_refused_requests_cost_less_than_served_ones():
    """Whoever sends what is refused (no key, no JSON, over a limit, too large) must not get the gateway to
    work harder than those whom it serves."""
    why = reason_to_skip()
    if why:
        pytest.skip(why)
    done = subprocess.run([sys.executable, str(ROOT / "bench" / "refused.py"), "--instructions", "--check",
                           "--busbar", BUSBAR], capture_output=True, text=True, timeout=280, check=False)
    print(done.stdout, done.stderr)
    assert done.returncode == 0, done.stdout + done.stderr
    assert all(kind in done.stdout for kind in ("401", "400", "429", "413"))
