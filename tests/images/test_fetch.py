import hashlib
import json
import os
import tarfile
import threading
import zipfile
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest
from conftest import call, make_photos, save_image

from pipeline.errors import DatasetError
from pipeline.images import fetch as sources
from pipeline.images.dataset import scan_dataset
from pipeline.images.fetch import Download, fetch_archive, unpack_if_archive
from pipeline.system import disk

LITE0 = ("--backbone", "efficientnet-lite0", "--image-size", 32, "--weights", "random")


def pack(archive, folder, name):
    with zipfile.ZipFile(archive, "w") as file:
        for path in sorted(folder.rglob("*")):
            file.write(path, f"{name}/{path.relative_to(folder).as_posix()}".lstrip("/"))
    return archive


@pytest.fixture
def flowers_server(tmp_path, monkeypatch):
    """A server on this machine with an archive like flower_photos; gives its `Download`."""
    make_photos(tmp_path / "flower_photos", n_per_class=2, classes=("daisy", "roses", "tulips"))
    (tmp_path / "flower_photos/LICENSE.txt").write_text("CC BY")
    (tmp_path / "www").mkdir()
    archive = tmp_path / "www" / "flower_photos.tgz"
    with tarfile.open(archive, "w:gz") as file:
        file.add(tmp_path / "flower_photos", "flower_photos")
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    handler = partial(SimpleHTTPRequestHandler, directory=tmp_path / "www")
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield Download(
        f"http://127.0.0.1:{server.server_port}/flower_photos.tgz",
        hashlib.sha256(archive.read_bytes()).hexdigest(),
        archive.stat().st_size,
    )
    server.shutdown()
    server.server_close()


@pytest.fixture
def keras_cache(tmp_path, monkeypatch):
    """Keras reads KERAS_HOME when it is imported, so its download is told the folder."""
    import keras

    get_file = partial(keras.utils.get_file, cache_dir=str(tmp_path / "keras"))
    monkeypatch.setattr(keras.utils, "get_file", get_file)


@pytest.mark.usefixtures("keras_cache")
def test_flowers_are_downloaded_checked_and_unpacked(flowers_server, monkeypatch, tmp_path):
    monkeypatch.setattr(sources, "FLOWERS", flowers_server)
    outcome = call("fetch", "flowers")
    assert outcome.exit_code == 0, outcome.stderr
    assert outcome.stdout == "data/flowers\n"
    dataset = scan_dataset(tmp_path / "data/flowers")
    assert dataset.class_names == ["daisy", "roses", "tulips"]
    assert len(dataset) == 6


@pytest.mark.usefixtures("keras_cache")
def test_flowers_with_another_hash_are_refused(flowers_server, monkeypatch, tmp_path):
    wrong = Download(flowers_server.url, "0" * 64, flowers_server.n_bytes)
    monkeypatch.setattr(sources, "FLOWERS", wrong)
    outcome = call("fetch", "flowers")
    assert outcome.exit_code == 1
    assert "cannot be downloaded" in outcome.stderr
    assert "hash" in outcome.stderr.lower()
    assert not (tmp_path / "data/flowers").exists()


@pytest.mark.usefixtures("keras_cache")
def test_flowers_without_a_network_name_the_ways_out(monkeypatch, tmp_path):
    nobody = Download("http://127.0.0.1:9/flower_photos.tgz", "0" * 64, 228_813_984)
    monkeypatch.setattr(sources, "FLOWERS", nobody)
    outcome = call("fetch", "flowers")
    assert outcome.exit_code == 1
    for words in ("127.0.0.1:9", "229 MB", "fetch flower_photos.tgz", "fetch digits"):
        assert words in outcome.stderr
    assert "Traceback" not in outcome.stderr
    assert not (tmp_path / "data").exists() or not any((tmp_path / "data").iterdir())


def test_unknown_source_names_the_known_ones():
    outcome = call("fetch", "flours")
    assert outcome.exit_code == 1
    for words in ("digits", "flowers", "tfds:NAME", ".tar.gz", "flours"):
        assert words in outcome.stderr


def test_existing_folder_is_kept_without_force(tmp_path):
    photos = make_photos(tmp_path / "photos", n_per_class=1)
    archive = pack(tmp_path / "a.zip", photos, "")
    save_image(tmp_path / "data/a/mine/1.png", 1)
    outcome = call("fetch", archive)
    assert outcome.exit_code == 1
    assert "--force" in outcome.stderr
    assert (tmp_path / "data/a/mine/1.png").exists()


@pytest.mark.parametrize("source", ["digits", "a.zip"])
def test_only_what_was_fetched_is_fetched_anew_with_force(tmp_path, monkeypatch, source):
    monkeypatch.setattr(disk, "fsync", lambda descriptor: None)  # 1,797 digits take a while
    photos = make_photos(tmp_path / "photos", n_per_class=1)
    pack(tmp_path / "a.zip", photos, "")
    outcome = call("fetch", source, "--output", photos, "--force")
    assert outcome.exit_code == 1
    assert (
        "was not made by `python cli.py fetch`, so it is not replaced. Expected" in outcome.stderr
    )
    assert len(list(photos.rglob("*.png"))) == 3
    assert call("fetch", source, "--output", "new").exit_code == 0
    (tmp_path / "new" / "mine.png").touch()
    assert call("fetch", source, "--output", "new", "--force").exit_code == 0
    assert not (tmp_path / "new" / "mine.png").exists()


@pytest.mark.parametrize("name", ["", "photos", "photos/photos", "seg_train/seg_train"])
def test_folders_around_everything_are_taken_away(tmp_path, name):
    photos = make_photos(tmp_path / "x", n_per_class=1)
    (photos / "README.md").write_text("inner")
    archive = pack(tmp_path / "photos.zip", photos, name)
    with zipfile.ZipFile(archive, "a") as file:
        file.writestr("README.txt", "outer")
    folder = fetch_archive(archive).folder
    assert scan_dataset(folder).class_names == ["blue", "green", "red"]
    assert (folder / "README.txt").read_text() == "outer"


def test_folder_of_one_class_is_not_taken_away(tmp_path):
    save_image(tmp_path / "x" / "red" / "1.png", 1)
    folder = fetch_archive(pack(tmp_path / "one.zip", tmp_path / "x", "")).folder
    assert scan_dataset(folder).class_names == ["red"]


@pytest.mark.usefixtures("stand_in_backbone")
def test_extract_unpacks_an_archive_once_and_says_so(tmp_path):
    archive = pack(tmp_path / "photos.zip", make_photos(tmp_path / "x", n_per_class=2), "photos")
    outcome = call("extract", archive, *LITE0)
    assert outcome.exit_code == 0, outcome.stderr
    assert "Unpacked 6 files to data/photos/" in outcome.stderr
    again = call("extract", archive, *LITE0)
    assert "was unpacked to data/photos/ before" in again.stderr
    assert "6 kept" in again.stderr
    assert again.stdout == outcome.stdout


def test_archive_is_not_mistaken_for_another_of_its_name(tmp_path):
    archive = pack(tmp_path / "photos.zip", make_photos(tmp_path / "x", n_per_class=2), "")
    folder, _ = unpack_if_archive(archive)
    note = json.loads((folder / ".frostline-archive.json").read_text())
    assert note["sha256"] == hashlib.sha256(archive.read_bytes()).hexdigest()
    pack(archive, make_photos(tmp_path / "y", n_per_class=3), "")
    with pytest.raises(DatasetError, match="came from elsewhere"):
        unpack_if_archive(archive)


def test_archive_of_equal_size_and_time_is_not_mistaken_either(tmp_path):
    make_photos(tmp_path / "x", n_per_class=2)
    archives = [tmp_path / "photos.tar", tmp_path / "others.tar"]
    for archive, text in zip(archives, ("one", "two"), strict=True):
        (tmp_path / "x" / "note.txt").write_text(text)
        pack(archive, tmp_path / "x", "")
        os.utime(archive, (1_600_000_000, 1_600_000_000))
    assert len({archive.stat().st_size for archive in archives}) == 1
    unpack_if_archive(archives[0])
    archives[1].rename(archives[0])
    with pytest.raises(DatasetError, match="came from elsewhere"):
        unpack_if_archive(archives[0])


def test_other_commands_say_how_to_unpack_an_archive(tmp_path):
    archive = pack(tmp_path / "photos.zip", make_photos(tmp_path / "x", n_per_class=2), "")
    with pytest.raises(DatasetError, match=rf"`frostline.fetch\('{archive}'\)`"):
        scan_dataset(archive)
