#!/usr/bin/env python3
"""Archives for tests: `python3 tar_server.py DIRECTORY`. It serves nothing, but makes files in DIRECTORY with the
programs that people make such files with, and hostile ones by hand:

    READY tar=DIRECTORY

Compressed data: data.gz .xz .zst .bz2, all of data.txt. Archives: see below.
"""

import gzip
import io
import os
import subprocess
import sys
import tarfile
import threading

FILE, DIRECTORY, LINK, HARD = tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE

TEXT = b"the quick brown fox jumps over the lazy dog\n" * 5000


def run(*command, **options):
    subprocess.run(command, check=True, stderr=subprocess.DEVNULL, **options)


def pack(path):
    """PATH.gz and so on, by the real programs; PATH stays."""
    for extension, command in {
        "gz": ["gzip", "-nc"], "xz": ["xz", "-c"], "zst": ["zstd", "-qc"], "bz2": ["bzip2", "-c"],
    }.items():
        with open(f"{path}.{extension}", "wb") as out:
            run(*command, path, stdout=out)


def archive(path, entries, form=tarfile.GNU_FORMAT):
    """Entries are name, type, and the content or what a link leads to."""
    with tarfile.open(path, "w", format=form) as tar:
        for name, kind, extra, *mode in entries:
            info = tarfile.TarInfo(name)
            info.type, info.mode, info.mtime = kind, mode[0] if mode else 0o644, 1_000_000_000
            data = None
            if kind == FILE:
                info.size, data = len(extra), io.BytesIO(extra)
            else:
                info.linkname = extra
            tar.addfile(info, data)


def tree(directory):
    """What people archive: names that are long and strange, links, an empty directory, a file with holes."""
    def put(name, data, mode=0o644):
        path = os.path.join(directory, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(data)
        os.chmod(path, mode)

    put("README", TEXT)
    put("bin/tool", bytes(range(256)) * 40, 0o755)
    put("empty", b"")
    put("with blank/ünïcode", b"x")
    put("l" * 120 + "/" + "n" * 200, b"long")
    os.symlink("../README", os.path.join(directory, "bin/link"))
    os.link(os.path.join(directory, "bin/tool"), os.path.join(directory, "same"))
    os.makedirs(os.path.join(directory, "hollow"))
    with open(os.path.join(directory, "holes"), "wb") as file:
        file.seek(1_000_000)
        file.write(b"end")
        file.truncate(2_000_000)


def zeros(path, size):
    with gzip.GzipFile(path, "wb", 9, mtime=0) as out:
        for _ in range(size >> 20):
            out.write(bytes(1 << 20))


HOSTILE = {
    "upwards": [("../evil", FILE, b"x")],
    "upwards-deep": [("a/b/../../../evil", FILE, b"x")],
    "absolute": [("/tmp/assay-evil", FILE, b"x")],
    "link-upwards": [("link", LINK, "..")],
    "link-absolute": [("link", LINK, "/etc/passwd")],
    "link-chain": [("d", DIRECTORY, "", 0o755), ("d/l", LINK, ".."), ("m", LINK, "d/l/../..")],
    "write-through": [("link", LINK, ".."), ("link/evil", FILE, b"x")],
    "write-through-inside": [("d", DIRECTORY, "", 0o755), ("link", LINK, "d"), ("link/evil", FILE, b"x")],
    "hard-upwards": [("hard", HARD, "../canary")],
    "hard-absolute": [("hard", HARD, "/etc/passwd")],
    "hard-then-write": [("hard", HARD, "../canary"), ("hard", FILE, b"overwritten")],
    "device": [("dev", tarfile.CHRTYPE, "")],
    "block-device": [("dev", tarfile.BLKTYPE, "")],
    "pipe": [("pipe", tarfile.FIFOTYPE, "")],
}


def main():
    directory = os.path.abspath(sys.argv[1])
    os.makedirs(directory, exist_ok=True)

    def path(name):
        return os.path.join(directory, name)

    with open(path("data.txt"), "wb") as file:
        file.write(TEXT)
    pack(path("data.txt"))
    tree(path("tree"))
    for form in ["gnu", "oldgnu", "posix"]:
        run("tar", "--format", form, "-S", "-C", path("tree"), "-cf", path(f"{form}.tar"), ".")
    pack(path("gnu.tar"))
    for name, entries in HOSTILE.items():
        archive(path(f"{name}.tar"), entries)
    archive(path("setuid.tar"), [("tool", FILE, b"x", 0o6755), ("d", DIRECTORY, "", 0o3777)])
    archive(path("twice.tar"), [("a", FILE, b"first"), ("a", FILE, b"second")])
    archive(path("many.tar"), [(f"f{n:04}", FILE, b"") for n in range(1000)])
    archive(path("sizes.tar"), [(f"f{n}", FILE, bytes(1000)) for n in range(10)])
    archive(path("bytes.tar"), [("a\udcffb", FILE, b"x"), ("ok", FILE, b"x")])
    with open(path("gnu.tar"), "rb") as whole, open(path("cut.tar"), "wb") as cut:
        cut.write(whole.read(3000))
    zeros(path("zeros.gz"), 64 << 20)
    # An archive that is small and says that it is large, really is, or has an endless name.
    header = tarfile.TarInfo("large")
    header.size = 64 << 20
    with gzip.open(path("bomb.tar.gz"), "wb", 9) as out:
        out.write(header.tobuf(tarfile.GNU_FORMAT))
        for _ in range(64):
            out.write(bytes(1 << 20))
        out.write(bytes(1024))
    header.size = 1 << 50
    with open(path("lie.tar"), "wb") as out:
        out.write(header.tobuf(tarfile.GNU_FORMAT))
    header.size, header.type = 1 << 30, tarfile.GNUTYPE_LONGNAME
    with open(path("long-name.tar"), "wb") as out:
        out.write(header.tobuf(tarfile.GNU_FORMAT))
    open(path("nothing"), "wb").close()
    print(f"READY tar={directory}", flush=True)
    threading.Event().wait()


if __name__ == "__main__":
    main()
