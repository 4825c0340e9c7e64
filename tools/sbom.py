#!/usr/bin/env python3
"""sbom.py: what a build is made of, as CycloneDX 1.5 (JSON).

    tools/sbom.py build/busbar [build/busbar-engine] >busbar.cdx.json

Everything is read from the build: libraries from the programs' own dynamic sections and from the
loader, versions from the package that owns a file, from pkg-config or from a header, sources that
are compiled in from tools/deps.sh with the SHA-256 that is pinned there. The same build gives the
same bytes: there is no time and no random number in it.
"""
import argparse
import hashlib
import json
import os
import pathlib
import re
import subprocess
import sys
import uuid

ROOT = pathlib.Path(__file__).resolve().parents[1]

# Sources that are compiled in: {package in deps.sh: what of it}.
COMPILED_IN = {
    "httptools": [("llhttp", "MIT", "HTTP/1.1 parser", "include/llhttp.h",
                   r"LLHTTP_VERSION_(?:MAJOR|MINOR|PATCH) (\d+)", "vendor/llhttp")],
    "yyjson": [("yyjson", "MIT", "JSON trees", "yyjson.h", r"YYJSON_VERSION_(?:MAJOR|MINOR|PATCH) +(\d+)",
                "yyjson")],
    "llama-cpp-python": [("llama.cpp", "MIT", "inference library, in busbar-engine only", None, None, "")],
}
# Licences of libraries that are linked, by the beginning of their names. A library that is not in
# here is an error: whoever adds one says under which licence it is.
LICENCES = {
    "libyaml": "MIT", "libssl": "Apache-2.0", "libcrypto": "Apache-2.0", "libseccomp": "LGPL-2.1-only",
    "libutf8proc": "MIT", "libpcre2-8": "BSD-3-Clause",
    "libc": "LGPL-2.1-or-later", "libm": "LGPL-2.1-or-later", "libpthread": "LGPL-2.1-or-later",
    "libdl": "LGPL-2.1-or-later", "ld-linux": "LGPL-2.1-or-later",
    "libstdc++": "GPL-3.0-or-later WITH GCC-exception-3.1", "libgcc_s": "GPL-3.0-or-later WITH GCC-exception-3.1",
    "libz": "Zlib", "libzstd": "BSD-3-Clause",
}
# Linked statically where the loader does not name them: (library, pkg-config's name, a symbol).
STATIC = [("libyaml", "yaml-0.1", "yaml_parser_parse"), ("libseccomp", "libseccomp", "seccomp_load"),
          ("libutf8proc", "libutf8proc", "utf8proc_category")]


def run(*command):
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else ""


def sha256(path):
    return hashlib.sha256(pathlib.Path(path).read_bytes()).hexdigest()


def cache_folder():
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return pathlib.Path(os.environ.get("BUSBAR_CACHE") or os.path.join(base, "busbar"))


def licence_of(name):
    for begin in sorted(LICENCES, key=len, reverse=True):
        if re.match(re.escape(begin) + r"([-.\d]|$)", name):
            return LICENCES[begin]
    raise SystemExit(f"sbom: {name} is linked, but tools/sbom.py does not know its licence")


def licence(identifier):
    key = "expression" if " " in identifier else "license"
    return [{key: identifier} if key == "expression" else {key: {"id": identifier}}]


def component(kind, name, version, what, spdx, digest, purl=None, **properties):
    made = {"type": kind, "name": name, "version": version or "unknown", "description": what,
            "licenses": licence(spdx)}
    if digest:
        made["hashes"] = [{"alg": "SHA-256", "content": digest}]
    if purl:
        made["purl"] = purl
    made["properties"] = [{"name": f"busbar:{k}", "value": str(v)} for k, v in sorted(properties.items())]
    made["bom-ref"] = f"{name}@{made['version']}"
    return made


def program_component(path):
    said = run(str(path), "--version").split()
    version = said[1] if len(said) > 1 else (ROOT / "VERSION").read_text().strip()
    return component("application", path.name, version, "a program of busbar", "Apache-2.0", sha256(path),
                     commit=said[2].strip("(,") if len(said) > 2 else "unknown")


# ---- libraries ----

def package_of(path):
    """(package, version) of the file's Debian package, or ("", "")."""
    for candidate in (path, os.path.realpath(path), os.path.realpath(path).removeprefix("/usr")):
        owner = run("dpkg-query", "-S", candidate).split(":")[0]
        if owner:
            return owner, run("dpkg-query", "-W", "-f", "${Version}", owner)
    return "", ""


def shared_libraries(program):
    """{name: path} of everything that the loader maps, as it says itself."""
    found = {}
    for line in run("ldd", str(program)).splitlines():
        match = re.search(r"(\S+) => (/\S+)|^\s*(/\S+ld-linux\S+)", line)
        if match:
            path = match[2] or match[3]
            found[os.path.basename(match[1] or path)] = path
    return found


def library_component(name, path):
    package, version = package_of(path)
    purl = f"pkg:deb/debian/{package}@{version}" if package else None
    return component("library", name, version, "shared library" + (f" of package {package}" if package else ""),
                     licence_of(name), sha256(os.path.realpath(path)), purl, linkage="dynamic")


def static_components(program, shared):
    symbols = run("nm", str(program)) or ""
    made = []
    for name, pkg, symbol in STATIC:
        if any(s.startswith(name) for s in shared) or not re.search(rf" T {symbol}$", symbols, re.M):
            continue
        made.append(component("library", name, run("pkg-config", "--modversion", pkg), "static library",
                              licence_of(name), None, linkage="static"))
    return made


# ---- sources ----

def pinned():
    """{package: (version, file, sha256)} as tools/deps.sh fetches them."""
    text = (ROOT / "tools" / "deps.sh").read_text()
    rows = re.findall(r"^fetch (\S+) (\S+) (\S+) (?:\\\n\s*)?([0-9a-f]{64})$", text, re.M)
    if not rows:
        raise SystemExit("sbom: tools/deps.sh pins nothing that can be read")
    return {name: (version, file, digest) for name, version, file, digest in rows}


def source_components(programs):
    made = []
    has_engine = any(p.name == "busbar-engine" for p in programs)
    for package, (version, file, digest) in sorted(pinned().items()):
        for name, spdx, what, header, pattern, folder in COMPILED_IN.get(package, []):
            if package == "llama-cpp-python" and not has_engine:
                continue
            inner = version
            if header:
                text = (cache_folder() / f"{package}-{version}" / folder / header).read_text()
                inner = ".".join(re.findall(pattern, text)[:3])
            made.append(component("library", name, inner, what, spdx, None, f"pkg:pypi/{package}@{version}",
                                  linkage="static", source=file, source_sha256=digest))
        if package not in COMPILED_IN:
            raise SystemExit(f"sbom: {package} is fetched by tools/deps.sh, but tools/sbom.py does not know it")
    return made


def header_components():
    for folder in ("/usr/include", "/usr/local/include"):
        path = pathlib.Path(folder) / "xxhash.h"
        if path.exists():
            numbers = re.findall(r"XXH_VERSION_(?:MAJOR|MINOR|RELEASE) +(\d+)", path.read_text())
            return [component("library", "xxhash", ".".join(numbers[:3]), "hash, from a header", "BSD-2-Clause",
                              sha256(path), linkage="header")]
    return []


def compilers(programs):
    found = set()
    for program in programs:
        said = run("readelf", "-p", ".comment", str(program))
        found |= {line.split("]", 1)[1].strip() for line in said.splitlines() if "]" in line}
    return sorted(found)


def bom(programs):
    mains = [program_component(p) for p in programs]
    parts = {}
    for program in programs:
        shared = shared_libraries(program)
        for name, path in shared.items():
            parts[name] = library_component(name, path)
        for c in static_components(program, shared):
            parts[c["name"]] = c
    for c in source_components(programs) + header_components():
        parts[c["name"]] = c
    components = [parts[name] for name in sorted(parts)]
    refs = [c["bom-ref"] for c in components]
    made = {
        "bomFormat": "CycloneDX", "specVersion": "1.5", "version": 1,
        "metadata": {"component": mains[0], "tools": {"components": [
            {"type": "application", "name": t} for t in compilers(programs)]}},
        "components": mains[1:] + components,
        "dependencies": [{"ref": m["bom-ref"], "dependsOn": refs} for m in mains] + [{"ref": r} for r in refs],
    }
    digest = hashlib.sha256(json.dumps(made, sort_keys=True).encode()).hexdigest()
    made["serialNumber"] = "urn:uuid:" + str(uuid.uuid5(uuid.NAMESPACE_URL, digest))
    return made


def main():
    parser = argparse.ArgumentParser(description="Writes what a build is made of, as CycloneDX JSON.")
    parser.add_argument("program", nargs="+", type=pathlib.Path)
    settings = parser.parse_args()
    for program in settings.program:
        if not program.is_file():
            parser.error(f"{program} is missing: make")
    json.dump(bom([p.absolute() for p in settings.program]), sys.stdout, indent=1, sort_keys=True)
    print()


if __name__ == "__main__":
    main()
