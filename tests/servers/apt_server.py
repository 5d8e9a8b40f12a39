"""A system of Debian packages below a directory: an empty dpkg database, and a repository with two versions of a few
packages, made by dpkg-deb. Nothing listens; the files are removed with the directory of the test."""

import hashlib
import signal
import subprocess
import sys
from pathlib import Path

# Name, version, further fields. The second version of the lists is what a vendor publishes later.
PACKAGES = [
    ("assay-demo", "1.0", ["Depends: assay-dep", "Recommends: assay-extra"]),
    ("assay-demo", "2.0~rc1", ["Depends: assay-dep", "Recommends: assay-extra"]),
    ("assay-demo", "2.0", ["Depends: assay-dep", "Recommends: assay-extra"]),
    ("assay-dep", "1:1.0-1", []),
    ("assay-dep", "1:1.0-1.1", []),
    ("assay-extra", "1.0", []),
    ("assay-rival", "1.0", ["Conflicts: assay-demo"]),
]
FIRST = {("assay-demo", "1.0"), ("assay-dep", "1:1.0-1"), ("assay-extra", "1.0"), ("assay-rival", "1.0")}


def build(directory, name, version, fields):
    """Makes one package and gives its paragraph of the list."""
    tree = directory / "build" / f"{name}_{version}"
    (tree / "DEBIAN").mkdir(parents=True)
    share = tree / "usr" / "share" / name
    share.mkdir(parents=True)
    (share / "version").write_text(version + "\n")
    control = "\n".join(
        [f"Package: {name}", f"Version: {version}", "Architecture: all", "Maintainer: Test <test@example.com>"]
        + fields + ["Description: for tests"])
    (tree / "DEBIAN" / "control").write_text(control + "\n")
    # The epoch is not part of file names.
    file = directory / "repository" / f"{name}_{version.split(':')[-1]}_all.deb"
    subprocess.run(["dpkg-deb", "--root-owner-group", "-Znone", "--build", str(tree), str(file)], check=True,
                   stdout=subprocess.DEVNULL)
    data = file.read_bytes()
    return f"{control}\nFilename: ./{file.name}\nSize: {len(data)}\nSHA256: {hashlib.sha256(data).hexdigest()}\n"


def main():
    directory = Path(sys.argv[1]).resolve()
    (directory / "repository").mkdir(parents=True)
    lists = {"Packages": [], "Packages.later": []}
    for name, version, fields in PACKAGES:
        paragraph = build(directory, name, version, fields)
        lists["Packages.later"].append(paragraph)
        if (name, version) in FIRST:
            lists["Packages"].append(paragraph)
    for name, paragraphs in lists.items():
        (directory / "repository" / name).write_text("\n".join(paragraphs))
    root = directory / "root"
    for path in ["var/lib/dpkg/info", "var/lib/dpkg/updates", "var/lib/dpkg/triggers", "var/lib/apt/lists/partial",
                 "var/cache/apt/archives/partial", "var/log/apt", "etc/apt/preferences.d"]:
        (root / path).mkdir(parents=True)
    for path in ["var/lib/dpkg/status", "var/lib/dpkg/available"]:
        (root / path).write_text("")
    print(f"READY apt_root={root} apt_repository={directory / 'repository'}", flush=True)
    signal.pause()


main()
