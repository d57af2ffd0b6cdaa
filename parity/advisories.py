"""Advisories of the RustSec database about packages that Cargo.lock holds, as assets/advisories.json.

    python parity/advisories.py DATABASE.git > assets/advisories.json

DATABASE.git is a clone of https://github.com/rustsec/advisory-db (with or without a work tree).
Standard library only. The test `supply` compares the list with Cargo.lock.
"""
import json
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def git(database, *words):
    return subprocess.run(["git", "-C", database, *words], check=True, capture_output=True, text=True).stdout


def main(database):
    locked = tomllib.loads((ROOT / "Cargo.lock").read_text())["package"]
    # What comes from a registry; our own crates have no source.
    names = sorted({package["name"] for package in locked if "source" in package})
    files = git(database, "ls-tree", "-r", "--name-only", "HEAD", "crates/").splitlines()
    advisories = []
    for file in files:
        folder = file.split("/")[1]
        if folder not in names or not file.endswith(".md"):
            continue
        text = git(database, "show", f"HEAD:{file}")
        found = tomllib.loads(text.split("```toml\n", 1)[1].split("\n```", 1)[0])
        advisory, versions = found["advisory"], found.get("versions", {})
        if "withdrawn" in advisory:
            continue
        advisories.append({
            "id": advisory["id"],
            "package": advisory["package"],
            "kind": advisory.get("informational", "vulnerability"),
            "patched": versions.get("patched", []),
            "unaffected": versions.get("unaffected", []),
        })
    record = {
        "database": "https://github.com/rustsec/advisory-db",
        "commit": git(database, "rev-parse", "HEAD").strip(),
        "date": git(database, "log", "-1", "--format=%cs").strip(),
        "packages": names,
        "advisories": sorted(advisories, key=lambda a: a["id"]),
    }
    print(json.dumps(record, indent=1))


if __name__ == "__main__":
    main(sys.argv[1])
