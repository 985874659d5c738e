"""Archives of strangers: what is unpacked, and what is refused with nothing written outside."""

import gzip
import os
import random
import stat
import tarfile
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from conftest import call, make_photos, save_image

from benchmarks.attacks.archive_files import (
    make_seeds,
    make_tar,
    make_zip,
    mutate,
    special,
    zip_entry,
)
from pipeline.errors import DatasetError, FrostlineError
from pipeline.images.dataset import scan_dataset
from pipeline.images.fetch import fetch_archive
from pipeline.images.sources.archives import unpack_archive


def snapshot(folder):
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*")}


def refuse(archive, tmp_path, match):
    """Fetches through the command line; it must fail and leave the disk as it was."""
    before = snapshot(tmp_path)
    outcome = call("fetch", archive, "--output", tmp_path / "in" / "side" / "target")
    assert outcome.exit_code == 1, outcome.stdout
    assert "Traceback" not in outcome.stderr
    assert match in outcome.stderr
    assert snapshot(tmp_path) - before <= {"in", "in/side"}
    assert not (tmp_path / "in" / "side" / "target").exists()


@pytest.mark.parametrize("name", ["../evil.png", "a/../../evil.png", "/tmp/evil.png", "a/../b.png",
                                  "..\\evil.png", "C:\\evil.png", "C:/evil.png"])  # fmt: skip
@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_paths_that_lead_out_are_refused(tmp_path, name, kind):
    make = make_zip if kind == "zip" else make_tar
    archive = make(tmp_path / f"a.{kind}", ("red/1.png", b"x" * 300), (name, b"x" * 300))
    refuse(archive, tmp_path, "would be written outside")


@pytest.mark.parametrize(
    "member",
    [
        special("red/link", tarfile.SYMTYPE, "/etc/passwd"),
        special("red/link", tarfile.SYMTYPE, "../../etc"),
        special("red/link", tarfile.LNKTYPE, "../outside"),
        special("red/link", tarfile.LNKTYPE, "/etc/passwd"),
    ],
)
def test_links_that_lead_out_are_refused(tmp_path, member):
    refuse(make_tar(tmp_path / "a.tar", ("red/1.png", b"x"), member), tmp_path, "leads outside")


@pytest.mark.parametrize("kind", [tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE, b"9"])
def test_devices_pipes_and_unknown_kinds_are_refused(tmp_path, kind):
    archive = make_tar(tmp_path / "a.tar", ("red/1.png", b"x"), special("red/dev", kind))
    refuse(archive, tmp_path, "device or pipe")


def test_links_and_devices_in_a_zip_are_refused_alike(tmp_path):
    link = zip_entry("red/link", stat.S_IFLNK | 0o777)
    refuse(make_zip(tmp_path / "a.zip", (link, "../../etc/passwd")), tmp_path, "leads outside")
    device = zip_entry("red/dev", stat.S_IFCHR | 0o666)
    refuse(make_zip(tmp_path / "b.zip", (device, "")), tmp_path, "device or pipe")


def test_file_that_follows_a_link_of_its_own_name_stays_inside(tmp_path):
    """The classic: a link to a folder outside, then a file below it."""
    archive = make_tar(
        tmp_path / "a.tar",
        special("red", tarfile.SYMTYPE, "blue"),
        special("blue", tarfile.SYMTYPE, "."),
        ("red/1.png", b"x"),
    )
    unpacked = unpack_archive(archive, tmp_path / "out")
    assert snapshot(tmp_path / "out") == {"red", "red/1.png"}
    assert not any(path.is_symlink() for path in (tmp_path / "out").rglob("*"))
    assert unpacked.notes == ["Left out 2 link(s) to folders or to nothing."]


def test_links_to_files_inside_become_those_files(tmp_path):
    archive = make_tar(
        tmp_path / "a.tar",
        special("red/copy.png", tarfile.SYMTYPE, "../all/1.png"),
        special("red/hard.png", tarfile.LNKTYPE, "all/1.png"),
        special("red/chain.png", tarfile.SYMTYPE, "copy.png"),
        special("red/circle.png", tarfile.SYMTYPE, "circle.png"),
        ("all/1.png", b"picture"),
    )
    unpacked = unpack_archive(archive, tmp_path / "out")
    for name in ("all/1.png", "red/copy.png", "red/hard.png", "red/chain.png"):
        assert (tmp_path / "out" / name).read_bytes() == b"picture"
    assert unpacked.n_files == 4
    assert not (tmp_path / "out/red/circle.png").exists()


def test_bomb_is_refused_before_it_fills_the_disk(tmp_path):
    """As 42.zip: a small file that claims, and has, a thousand times its size."""
    archive = make_zip(tmp_path / "bomb.zip", ("red/1.png", bytes(20_000_000)))
    assert archive.stat().st_size < 30_000
    refuse(archive, tmp_path, "would expand to more than")
    for command in ("fetch", "extract"):  # of which one has a --max-bytes that means files
        assert "--max-bytes" not in call(command, archive).stderr
    packed = make_tar(tmp_path / "bomb.tar.gz", ("red/1.png", bytes(20_000_000)), mode="w:gz")
    refuse(packed, tmp_path, "would expand to more than")


def test_bomb_that_lies_about_its_size_is_refused(tmp_path):
    path = make_zip(tmp_path / "liar.zip", ("red/1.png", bytes(20_000_000)))
    data = bytearray(path.read_bytes())
    for start in (data.index(b"PK\x03\x04") + 22, data.index(b"PK\x01\x02") + 24):
        data[start : start + 4] = (1000).to_bytes(4, "little")
    path.write_bytes(data)
    refuse(path, tmp_path, "cannot be read")


def test_overlapping_entries_of_a_zip_are_counted_one_by_one(tmp_path):
    """As in D. Fifield's zip bomb: many names for one compressed stream."""
    content = bytes(50_000)
    packed = zlib.compressobj(9, wbits=-15)
    stream = packed.compress(content) + packed.flush()
    crc, name = zlib.crc32(content).to_bytes(4, "little"), b"a.png"
    numbers = len(stream).to_bytes(4, "little") + len(content).to_bytes(4, "little")
    common = b"\x14\0\0\0\x08\0\0\0\0\0" + crc + numbers + len(name).to_bytes(2, "little")
    local = b"PK\x03\x04" + common + b"\0\0" + name + stream
    entry = b"PK\x01\x02\x14\0" + common + bytes(16) + name
    count = (500).to_bytes(2, "little")
    end = b"PK\x05\x06\0\0\0\0" + count * 2
    end += (500 * len(entry)).to_bytes(4, "little") + len(local).to_bytes(4, "little") + b"\0\0"
    (tmp_path / "f.zip").write_bytes(local + entry * 500 + end)
    assert len(zipfile.ZipFile(tmp_path / "f.zip").infolist()) == 500
    refuse(tmp_path / "f.zip", tmp_path, "would expand to more than")


def test_bomb_in_a_tars_own_header_is_refused(tmp_path):
    """A pax header of a gigabyte, which tarfile would read into memory at once."""
    info = tarfile.TarInfo("header")
    info.type, info.size = tarfile.XHDTYPE, 1 << 30
    with gzip.open(tmp_path / "a.tar.gz", "wb", compresslevel=1) as file:
        file.write(info.tobuf())
        for _ in range(50):
            file.write(bytes(1 << 20))
    refuse(tmp_path / "a.tar.gz", tmp_path, "one of its headers is huge")


def test_max_bytes_is_the_limit_that_a_user_sets(tmp_path):
    noise = np.random.default_rng(0).bytes(10_000)
    archive = make_zip(tmp_path / "a.zip", ("red/1.png", noise), ("red/2.png", noise))
    with pytest.raises(DatasetError, match="more than 19,999 bytes"):
        unpack_archive(archive, tmp_path / "out", max_bytes=19_999)
    outcome = call("fetch", archive, "--max-bytes", 19_999)
    assert outcome.exit_code == 1
    assert f"`python cli.py fetch {archive} --max-bytes N`" in outcome.stderr
    assert unpack_archive(archive, tmp_path / "out2", max_bytes=20_000).n_bytes == 20_000


@pytest.mark.parametrize("name", ["a.zip", "a.tar", "a.tar.gz", "a.tar.xz", "a.tar.bz2"])
def test_what_is_cut_short_or_no_archive_is_refused(tmp_path, name):
    noise = [(f"red/{n}.png", np.random.default_rng(n).bytes(50_000)) for n in range(3)]
    if name == "a.zip":
        archive = make_zip(tmp_path / name, *noise)
    else:
        mode = "w" if name == "a.tar" else f"w:{name.rsplit('.')[-1]}"
        archive = make_tar(tmp_path / name, *noise, mode=mode)
    data = archive.read_bytes()
    for cut in (len(data) * 2 // 3, 40, 0):
        archive.write_bytes(data[:cut])
        refuse(archive, tmp_path, "Received")
    archive.write_bytes(b"this is no archive" * 100)
    refuse(archive, tmp_path, "cannot be read")


@pytest.mark.parametrize("kind", ["zip", "gz", "bz2", "xz"])
def test_flipped_byte_is_found(tmp_path, kind):
    noise = ("red/1.png", np.random.default_rng(0).bytes(50_000))
    if kind == "zip":
        archive = make_zip(tmp_path / "a.zip", noise)
    else:
        archive = make_tar(tmp_path / f"a.tar.{kind}", noise, mode=f"w:{kind}")
    data = bytearray(archive.read_bytes())
    data[25_000] ^= 1
    archive.write_bytes(data)
    refuse(archive, tmp_path, "cannot be read")


def test_encrypted_zip_says_so(tmp_path):
    path = make_zip(tmp_path / "a.zip", ("red/1.png", b"x" * 100))
    data = bytearray(path.read_bytes())
    for start in (data.index(b"PK\x03\x04") + 6, data.index(b"PK\x01\x02") + 8):
        data[start] |= 1
    path.write_bytes(data)
    refuse(path, tmp_path, "encrypted")


def test_file_and_folder_of_one_name_are_refused(tmp_path):
    archive = make_tar(tmp_path / "a.tar", ("red", b"x"), ("red/1.png", b"x"))
    refuse(archive, tmp_path, "is a file and a folder")
    archive = make_tar(tmp_path / "b.tar", ("red/1.png", b"x"), ("red", b"x"))
    refuse(archive, tmp_path, "is a file and a folder")


@pytest.mark.parametrize("suffix", [".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz"])
def test_data_set_survives_packing_and_unpacking(tmp_path, suffix):
    photos = make_photos(tmp_path / "photos", n_per_class=2)
    save_image(photos / "red" / "caf\u00e9 'x'.png", 5)
    archive = tmp_path / f"photos{suffix}"
    files = [path for path in sorted(photos.rglob("*")) if path.is_file()]
    if suffix == ".zip":
        with zipfile.ZipFile(archive, "w") as file:
            for path in files:
                file.write(path, path.relative_to(tmp_path))
            file.writestr("__MACOSX/photos/red/._000.png", "x")
            file.writestr("photos/.DS_Store", "x")
    else:
        kind = {"tgz": "gz", "tar": ""}.get(suffix.rsplit(".")[-1], suffix.rsplit(".")[-1])
        with tarfile.open(archive, f"w:{kind}") as file:
            file.add(photos, "photos")
    outcome = call("fetch", archive)
    assert outcome.exit_code == 0, outcome.stderr
    assert outcome.stdout == f"data{os.sep}photos\n"
    unpacked = scan_dataset(tmp_path / "data" / "photos")
    assert unpacked.paths == scan_dataset(photos).paths
    assert unpacked.notes == []
    for path in unpacked.paths:
        assert (unpacked.root / path).read_bytes() == (photos / path).read_bytes()


@pytest.mark.parametrize("make", [make_zip, make_tar])
def test_empty_files_and_folders_are_left_out_and_counted(tmp_path, make):
    names = [f"none/{number}.png" for number in range(50)]
    empty = [(name, b"") for name in names]
    with_folders = [] if make is make_tar else [(f"folder/{n}/", b"") for n in range(50)]
    archive = make(tmp_path / "a", ("red/1.png", b"x" * 300), *empty, *with_folders)
    unpacked = unpack_archive(archive, tmp_path / "out")
    assert snapshot(tmp_path / "out") == {"red", "red/1.png"}
    assert unpacked.notes == ["Left out 50 empty file(s)."]
    refuse(make(tmp_path / "b", *empty), tmp_path, "There is no file in this archive.")
    assert "Left out 50 empty file(s)." in call("fetch", tmp_path / "b").stderr


def test_archives_in_an_archive_stay_packed_and_are_named(tmp_path):
    """As in Kaggle's dogs-vs-cats.zip."""
    inner = make_zip(tmp_path / "train.zip", ("red/1.png", b"x" * 300))
    archive = make_zip(
        tmp_path / "pets.zip",
        ("pets/train.zip", inner.read_bytes()), ("pets/blue/1.png", b"y" * 300),
    )  # fmt: skip
    outcome = call("fetch", archive)
    assert outcome.exit_code == 0, outcome.stderr
    path = Path("data", "pets", "train.zip")
    assert (
        f"1 file(s) in it are archives, too. To unpack them: `python cli.py fetch {path}`."
        in outcome.stderr
    )
    assert call("fetch", path).stdout == f"{Path('data', 'train')}\n"


@pytest.mark.parametrize("make", [make_zip, make_tar])
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_of_two_entries_of_one_name_the_last_counts_and_it_is_said(tmp_path, make):
    archive = make(tmp_path / "a", ("red/1.png", b"old" * 100), ("red/1.png", b"new" * 90))
    unpacked = unpack_archive(archive, tmp_path / "out")
    assert (tmp_path / "out/red/1.png").read_bytes() == b"new" * 90
    assert unpacked.n_files == 1
    assert unpacked.notes == ["1 file(s) are in it more than once; the last counts."]


def test_names_that_differ_in_case_stay_apart_or_are_refused(tmp_path):
    archive = make_zip(tmp_path / "a.zip", ("Red/1.png", b"x" * 300), ("red/1.png", b"y" * 300))
    unpack_archive(archive, tmp_path / "out")
    assert (tmp_path / "out/Red/1.png").read_bytes() == b"x" * 300
    assert (tmp_path / "out/red/1.png").read_bytes() == b"y" * 300
    # A file system that takes both for one has the second already when it comes.
    (tmp_path / "one/red").mkdir(parents=True)
    (tmp_path / "one/red/1.png").write_bytes(b"x" * 300)
    with pytest.raises(DatasetError, match="differs in case or spelling only"):
        unpack_archive(archive, tmp_path / "one")
    assert (tmp_path / "one/red/1.png").read_bytes() == b"x" * 300


@pytest.mark.parametrize("make", [make_zip, make_tar])
def test_folders_deeper_than_any_data_set_has_are_refused(tmp_path, make):
    archive = make(tmp_path / "a", ("d/" * 2000 + "1.png", b"x" * 300))
    refuse(archive, tmp_path, "folders more than 100 deep in each other")


def test_windows_zip_with_backslashes_is_unpacked_into_folders(tmp_path):
    archive = make_zip(tmp_path / "a.zip", ("red\\1.png", b"x" * 300), ("blue\\1.png", b"x" * 300))
    unpack_archive(archive, tmp_path / "out")
    assert snapshot(tmp_path / "out") == {"red", "red/1.png", "blue", "blue/1.png"}


def test_damaged_archives_are_unpacked_or_refused_with_nothing_left(tmp_path):
    seeds, n_refused = make_seeds(), 0
    for number in range(400):
        suffix, data = seeds[number % len(seeds)]
        archive = tmp_path / f"{number}{suffix}"
        archive.write_bytes(mutate(data, random.Random(number)))
        folder = tmp_path / "out" / str(number)
        try:
            fetch_archive(archive, folder)
        except FrostlineError:
            n_refused += 1
            assert not folder.exists()
    assert 100 < n_refused < 400
    left = {path for path in tmp_path.rglob("*") if ".frostline-tmp" in path.name}
    assert not left
    assert {path.name for path in tmp_path.iterdir()} == {"out"} | {
        f"{number}{seeds[number % len(seeds)][0]}" for number in range(400)
    }


def test_names_and_numbers_that_make_no_sense_are_refused(tmp_path):
    path = make_zip(tmp_path / "a.zip", ("red/caf\u00e9.png", b"x" * 300))
    path.write_bytes(path.read_bytes().replace("caf\u00e9".encode(), b"caf\xff\xff"))
    refuse(path, tmp_path, "cannot be read")
    path = make_zip(tmp_path / "b.zip", ("r", b"x" * 300))
    data = bytearray(path.read_bytes())
    central = data.index(b"PK\1\2")
    data[central + 28 : central + 30] = b"\0\0"  # the length of the name
    data[central + 32 : central + 34] = b"\1\0"  # of the comment
    path.write_bytes(data)
    refuse(path, tmp_path, "Received")
    info = tarfile.TarInfo("red/1.png")
    header = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    header[124:136] = b"\xff" * 11 + b"\x9c"  # -100 in base 256
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    (tmp_path / "c.tar").write_bytes(bytes(header) + bytes(10_240))
    refuse(tmp_path / "c.tar", tmp_path, "has a size below 0")
    info = tarfile.TarInfo("red/2.png")
    info.pax_headers = {"GNU.sparse.map": "0,x", "GNU.sparse.size": "300"}
    refuse(make_tar(tmp_path / "d.tar", info), tmp_path, "cannot be read")
