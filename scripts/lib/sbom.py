"""Writes what the images were made of as CycloneDX 1.5 (JSON), from the lists that docker/lay-out leaves.

    sbom.py DIRECTORY VERSION    DIRECTORY has `packages` (Debian's: name, version, architecture) and `crates` (name,
                                 version; licence); VERSION is that of torus

The same lists make the same text: it has no time and no serial number.
"""

import json
import pathlib
import sys
from urllib.parse import quote


def main(directory, version):
    parts = pathlib.Path(directory)
    torus = {"type": "application", "bom-ref": "torus", "name": "torus", "version": version, "licenses": licence("MIT OR Apache-2.0")}
    crates = [crate(line) for line in (parts / "crates").read_text().splitlines() if not line.startswith("torus ")]
    packages = [package(line) for line in (parts / "packages").read_text().splitlines()]
    bom = {"bomFormat": "CycloneDX", "specVersion": "1.5", "version": 1, "metadata": {"component": torus}}
    json.dump(bom | {"components": crates + packages}, sys.stdout, indent=1)
    print()


def crate(line):
    what, _, terms = line.partition(";")
    name, version = what.split()[:2]
    part = component(name, version.removeprefix("v"), "pkg:cargo/{name}@{version}")
    return part | {"licenses": licence(terms.replace("/", " OR "))} if terms else part


def package(line):
    name, version, architecture = line.split()
    return component(name, version, "pkg:deb/debian/{name}@{version}") | {
        "purl": f"pkg:deb/debian/{quote(name)}@{quote(version)}?arch={architecture}"
    }


def component(name, version, purl):
    purl = purl.format(name=quote(name), version=quote(version))
    return {"type": "library", "bom-ref": purl, "name": name, "version": version, "purl": purl}


def licence(expression):
    return [{"expression": expression}]


if __name__ == "__main__":
    main(*sys.argv[1:])
