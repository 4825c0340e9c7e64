"""Goal: what is made of a build says the truth: the SBOM names everything that is linked and compiled in,
the same each time; the systemd unit is one that systemd takes and shuts what it says."""

import json
import pathlib
import re
import shutil
import subprocess
import sys

import pytest

from sim_process import busbar_path

ROOT = pathlib.Path(__file__).resolve().parents[2]
UNIT = ROOT / "packaging" / "systemd" / "busbar.service"


def sbom():
    done = subprocess.run([sys.executable, ROOT / "tools" / "sbom.py", busbar_path()], capture_output=True,
                          text=True, check=False)
    if "does not know its licence" in done.stderr and "san" in done.stderr:
        pytest.skip("a sanitizer's runtime is not released")
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def bom():
    return json.loads(sbom())


def needed():
    said = subprocess.run(["readelf", "-dW", busbar_path()], capture_output=True, text=True, check=True).stdout
    return re.findall(r"NEEDED.*\[(\S+)\]", said)


def test_sbom_is_cyclonedx(bom):
    assert bom["bomFormat"] == "CycloneDX" and bom["specVersion"] == "1.5"
    assert re.fullmatch(r"urn:uuid:[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", bom["serialNumber"])
    refs = [c["bom-ref"] for c in [bom["metadata"]["component"], *bom["components"]]]
    assert len(set(refs)) == len(refs)
    assert {d["ref"] for d in bom["dependencies"]} == set(refs)
    for component in bom["components"]:
        assert component["licenses"] and component["version"] != "unknown", component
        for entry in component.get("hashes", []):
            assert re.fullmatch("[0-9a-f]{64}", entry["content"])


def test_sbom_names_what_is_linked(bom):
    """Each library that the loader takes, with the digest of the very file."""
    rows = {c["name"]: c for c in bom["components"]}
    assert needed()
    for library in needed():
        assert library in rows, library
        assert rows[library]["hashes"][0]["alg"] == "SHA-256"


def test_sbom_names_what_is_compiled_in(bom):
    """Every source package that is fetched for the gateway, with the digest that it is checked against."""
    digests = {p["value"] for c in bom["components"] for p in c["properties"] if p["name"] == "busbar:source_sha256"}
    pinned = re.findall(r"^fetch (\S+) \S+ \S+ \\\n\s*([0-9a-f]{64})$", (ROOT / "tools" / "deps.sh").read_text(), re.M)
    assert len(pinned) >= 3
    for package, digest in pinned:
        assert (digest in digests) == (package != "llama-cpp-python"), package
    names = {c["name"] for c in bom["components"]}
    assert {"llhttp", "yyjson", "xxhash"} <= names
    assert any(n.startswith("libyaml") for n in names) and any(n.startswith("libcrypto") for n in names)


def test_sbom_is_the_same_each_time():
    assert sbom() == sbom()


def test_unit_shuts_what_it_says():
    settings = dict(line.split("=", 1) for line in UNIT.read_text().splitlines() if re.match(r"[A-Z]\w+=", line))
    assert settings["ProtectSystem"] == "strict" and settings["DynamicUser"] == "yes"
    assert settings["NoNewPrivileges"] == "yes" and settings["CapabilityBoundingSet"] == ""
    assert settings["MemoryDenyWriteExecute"] == "yes" and settings["PrivateTmp"] == "yes"
    assert settings["ExecReload"] == "/bin/kill -HUP $MAINPID"


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd is not installed")
def test_unit_is_one_that_systemd_takes(tmp_path):
    unit = tmp_path / "busbar.service"
    unit.write_text(UNIT.read_text().replace("/usr/local/bin/busbar", busbar_path())
                    .replace("Documentation=man:busbar-serve(1)\n", ""))
    done = subprocess.run(["systemd-analyze", "verify", unit], capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "busbar.service" not in done.stderr, done.stderr
    rated = subprocess.run(["systemd-analyze", "--offline=true", "security", unit], capture_output=True, text=True,
                           check=False)
    exposure = re.search(r"Overall exposure level for busbar.service: ([\d.]+)", rated.stdout)
    if not exposure:
        pytest.skip("this systemd does not rate units offline")
    assert float(exposure[1]) <= 2.0, rated.stdout
