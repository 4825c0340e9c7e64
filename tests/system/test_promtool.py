"""Goal: what /metrics says is what Prometheus reads, by its own tool, before and after traffic."""

import shutil
import subprocess

import pytest

from gateway_process import Gateway
from sim_process import Sim

pytestmark = pytest.mark.skipif(not shutil.which("promtool"), reason="promtool is not installed")


def check(text):
    done = subprocess.run(["promtool", "check", "metrics"], input=text, text=True,
                          capture_output=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert not done.stderr.strip(), done.stderr


def test_the_gateway():
    with Sim(["org/a model: {odd}=,#"], ttft="1ms", itl="100us") as sim, \
            Gateway([sim]) as gateway:
        check(gateway.metrics_text())
        model = gateway.status()["models"][0]["name"]
        for stream in (False, True):
            status, _, _ = gateway.post("/v1/chat/completions", {
                "model": model, "stream": stream, "max_tokens": 4,
                "messages": [{"role": "user", "content": "x"}]})
            assert status == 200
        gateway.post("/v1/chat/completions", {"model": "nobody", "messages": []})
        gateway.post("/nowhere", {})
        check(gateway.metrics_text())

