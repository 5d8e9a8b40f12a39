#!/usr/bin/env python3
"""Writes the seeds of the fuzz target `tar` into `tar/` beside this file: `python3 make_tar.py`.

Small archives of every form that the reader knows, and of attacks; standard library only.
"""

import gzip
import io
import os
import tarfile

HERE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "tar")


def archive(entries, form=tarfile.GNU_FORMAT, pax_headers=None):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form, pax_headers=pax_headers) as tar:
        for name, kind, extra in entries:
            info = tarfile.TarInfo(name)
            info.type, info.mode = kind, 0o644
            data = b""
            if kind == tarfile.REGTYPE:
                data = extra
                info.size = len(data)
            else:
                info.linkname = extra
            tar.addfile(info, io.BytesIO(data))
    # The zeros that fill the last record teach nothing.
    data = out.getvalue().rstrip(b"\0")
    return data + bytes(-len(data) % 512 + 1024)


F, D, S, H = tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE
LONG = "a" * 120 + "/" + "b" * 120


def checksum(block):
    block = block[:148] + b" " * 8 + block[156:]
    return block[:148] + b"%06o\0 " % sum(block) + block[156:]


def old_sparse():
    """A file with a hole in the old format of GNU (type S)."""
    header = bytearray(tarfile.TarInfo("sparse").tobuf(tarfile.GNU_FORMAT)[:512])
    header[156:157] = b"S"
    header[124:136] = b"%011o\0" % 512
    header[386:410] = b"%011o\0" % 4096 + b"%011o\0" % 512
    header[410:434] = b"%011o\0" % 8192 + b"%011o\0" % 0
    header[483:495] = b"%011o\0" % 8192
    return checksum(bytes(header)) + b"x" * 512 + bytes(1024)


def pax_sparse():
    info = tarfile.TarInfo("sparse")
    body = b"1\n4096\n512\n".ljust(512, b"\0") + b"x" * 512
    info.size = len(body)
    info.pax_headers = {
        "GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.name": "real", "GNU.sparse.realsize": "8192",
    }
    return info.tobuf(tarfile.PAX_FORMAT) + body + bytes(1024)


SEEDS = {
    "plain": archive([("a", F, b"text"), ("d", D, ""), ("d/b", F, b"x" * 600)]),
    "ustar_prefix": archive([("p" * 80 + "/" + "n" * 80, F, b"x")], tarfile.USTAR_FORMAT),
    "pax": archive([(LONG, F, b"x"), ("l", S, "t" * 150)], tarfile.PAX_FORMAT),
    "pax_global": archive([("a", F, b"x")], tarfile.PAX_FORMAT, {"comment": "all"}),
    "gnu_long": archive([(LONG, F, b"x"), ("l", S, "t" * 150)]),
    "links": archive([("d", D, ""), ("d/f", F, b"x"), ("d/s", S, "../d/f"), ("h", H, "d/f")]),
    "old_sparse": old_sparse(),
    "pax_sparse": pax_sparse(),
    "gzip": gzip.compress(archive([("a", F, b"text"), ("d/b", F, b"y")]), mtime=0),
    "up": archive([("../evil", F, b"x")]),
    "absolute": archive([("/tmp/evil", F, b"x")]),
    "through_link": archive([("l", S, ".."), ("l/evil", F, b"x")]),
    "link_chain": archive([("d", D, ""), ("d/l", S, ".."), ("m", S, "d/l/../..")]),
    "hard_out": archive([("h", H, "../canary"), ("h", F, b"x")]),
    "device": archive([("dev", tarfile.CHRTYPE, ""), ("pipe", tarfile.FIFOTYPE, "")]),
    "duplicates": archive([("a", F, b"1"), ("a", S, "b"), ("a", F, b"2"), ("a", D, "")]),
}

if __name__ == "__main__":
    os.makedirs(HERE, exist_ok=True)
    for name, data in SEEDS.items():
        with open(os.path.join(HERE, name), "wb") as file:
            file.write(data)
