"""Archives as strangers make them: members as they are written, and damage at random places."""

import gzip
import io
import stat
import tarfile
import zipfile

import numpy as np


def make_tar(path, *members, mode="w"):
    """A tar of (name, content) files and of TarInfo objects as they are."""
    with tarfile.open(path, mode) as file:
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                file.addfile(member)
            else:
                info = tarfile.TarInfo(member[0])
                info.size = len(member[1])
                file.addfile(info, io.BytesIO(member[1]))
    return path


def make_zip(path, *members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in members:
            file.writestr(name, content)
    return path


def special(name, kind, target=""):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def zip_entry(name, mode):
    info = zipfile.ZipInfo(name)
    info.create_system, info.external_attr = 3, mode << 16
    return info


def make_seeds():
    """Small archives of all kinds, as bytes by suffix."""
    noise = [np.random.default_rng(n).bytes(300) for n in range(3)]
    seeds = []
    for compression in (zipfile.ZIP_DEFLATED, zipfile.ZIP_STORED):
        stream = io.BytesIO()
        with zipfile.ZipFile(stream, "w", compression) as file:
            for number, content in enumerate(noise):
                file.writestr(f"red/caf\u00e9{number}.png", content)
            file.writestr(zip_entry("red/link.png", stat.S_IFLNK | 0o777), "caf\u00e90.png")
        seeds.append((".zip", stream.getvalue()))
    sparse = {"GNU.sparse.map": "0,100,200,100", "GNU.sparse.size": "300"}
    for form in (tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT):
        stream = io.BytesIO()
        with tarfile.open(fileobj=stream, mode="w", format=form) as file:
            for number, content in enumerate(noise):
                info = tarfile.TarInfo(f"red/{'long' * 20 if number else ''}{number}.png")
                info.size, info.pax_headers = len(content), sparse if number == 2 else {}
                file.addfile(info, io.BytesIO(content))
            file.addfile(special("red/link.png", tarfile.SYMTYPE, "0.png"))
            file.addfile(special("red/hard.png", tarfile.LNKTYPE, "red/0.png"))
        seeds += [(".tar", stream.getvalue()), (".tar.gz", gzip.compress(stream.getvalue()))]
    return seeds


def mutate(data, rng):
    """Bytes changed, copied or cut off; a tar's checksums are made right again."""
    data = bytearray(data)
    for _ in range(rng.choice([1, 2, 5])):
        way, place = rng.random(), rng.randrange(len(data))
        if way < 0.7:
            data[place] = rng.choice([0, 45, 55, 128, 255, rng.randrange(256)])
        elif way < 0.95:
            source = rng.randrange(len(data))
            data[place : place + 50] = data[source : source + 50]
        else:
            del data[max(place, 9) :]
    for start in range(0, len(data) - 511, 512):
        if data[start + 257 : start + 262] == b"ustar":
            header = data[start : start + 512]
            header[148:156] = b" " * 8
            data[start + 148 : start + 156] = b"%06o\0 " % sum(header)
    return bytes(data)
