"""What is received is what was signed, or nothing; and it fits the disk before anything is taken."""

import dataclasses
import hashlib
import os

import in_bits
import pytest
import tiny_models
import updatable
from hypothesis import given
from hypothesis import strategies as st

from broker.messages.updates import Offer
from edge_runtime.updates.download import Download, check_manifest
from tflsplit import errors
from tflsplit.coding import precisions
from tflsplit.package import reading
from tflsplit.package.manifest import File, Role


def offered(made, **changes):
    text = (made.path / reading.MANIFEST).read_bytes()
    fields = {
        "deployment": "d",
        "device": "n",
        "package": made.digest,
        "name": "tiny",
        "cut": "op000",
        "manifest_sha256": hashlib.sha256(text).hexdigest(),
        "manifest_bytes": len(text),
        "total_bytes": len(text) + sum(file.bytes for file in made.manifest.files.values()),
        "serial": 1,
    }
    return Offer(**fields | changes)


@pytest.fixture
def made(field, tmp_path):
    return updatable.edge_bundle(field.new, tmp_path / "e.tflsplit")


def receive(made, offer, folder, *, held=None, chunk=1000):
    """Every file in chunks, as the download asks for them."""
    folder.mkdir(exist_ok=True)
    download = Download(folder, offer, held or {})
    while (lack := download.lack) is not None:
        data = (made.path / lack.path).read_bytes()
        download.append(data[lack.have : lack.have + chunk])
    return download


def test_what_comes_whole_is_the_bundle(made, tmp_path):
    download = receive(made, offered(made), tmp_path / "in")
    percent = download.percent
    found = reading.open_package(download.finish())

    assert percent == 100
    assert found.manifest == made.manifest


def test_what_is_known_of_features_in_fewer_bits_comes_with_the_bundle(tmp_path):
    """Whatever `tflsplit convert` with calibration data writes has it."""
    made = updatable.edge_bundle(in_bits.write_package(tmp_path / "p.tflsplit"), tmp_path / "e.tflsplit")
    found = reading.open_package(receive(made, offered(made), tmp_path / "in").finish())

    assert "precisions.json" in found.manifest.files
    assert precisions.of_package(found) == precisions.of_package(made)


def test_what_is_held_does_not_travel(made, tmp_path):
    held = {file.sha256: made.path / name for name, file in made.manifest.files.items()}
    (tmp_path / "in").mkdir()
    download = Download(tmp_path / "in", offered(made), held)

    assert download.lack.path == "manifest.json"
    download.append((made.path / "manifest.json").read_bytes())
    assert download.lack is None
    assert reading.open_package(download.finish()).digest == made.digest


def test_a_held_file_that_was_damaged_travels_all_the_same(made, tmp_path):
    (tmp_path / "bad").write_bytes(b"x" * made.manifest.files["golden.npz"].bytes)
    held = {made.manifest.files["golden.npz"].sha256: tmp_path / "bad"}
    download = receive(made, offered(made), tmp_path / "in", held=held)

    assert reading.open_package(download.finish()).digest == made.digest


def test_an_interrupted_download_goes_on_and_another_offer_takes_its_place(made, field, tmp_path):
    (tmp_path / "in").mkdir()
    first = Download(tmp_path / "in", offered(made), {})
    first.append((made.path / "manifest.json").read_bytes()[:500])

    assert Download(tmp_path / "in", offered(made), {}).lack.have == 500
    other = updatable.edge_bundle(field.old, tmp_path / "o.tflsplit")
    assert Download(tmp_path / "in", offered(other), {}).lack.have == 0
    assert len(os.listdir(tmp_path / "in")) == 1


def test_bytes_beyond_the_end_are_not_taken(made, tmp_path):
    (tmp_path / "in").mkdir()
    offer = offered(made)
    download = Download(tmp_path / "in", offer, {})
    download.append((made.path / "manifest.json").read_bytes() + b"x" * 100_000)

    assert download.lack.path != "manifest.json"
    assert (
        tmp_path / "in" / offer.manifest_sha256 / "parts" / offer.manifest_sha256
    ).stat().st_size == offer.manifest_bytes


def forged(made, names):
    """A manifest, sealed and signed as any, that lists other files."""
    file = made.manifest.files["cuts/op000/head.tflite"]
    return dataclasses.replace(made.manifest, files={**made.manifest.files, **dict.fromkeys(names, file)})


def matching(made, described):
    """An offer that such a manifest agrees with in everything but its files' names."""
    total = len((made.path / reading.MANIFEST).read_bytes()) + sum(file.bytes for file in described.files.values())
    return offered(made, total_bytes=total)


BAD = [
    "../../etc/cron.d/x",
    "/etc/passwd",
    "cuts/../../x",
    "cuts/op000/head.so",
    "current",
    "cuts/op000/../x",
    "",
    "C:\\x",
]


@pytest.mark.parametrize("name", BAD)
def test_a_path_that_is_none_of_a_bundles_is_refused(made, name):
    described = forged(made, [name])
    with pytest.raises(errors.PackageError, match="is no file of an edge's bundle"):
        check_manifest(described, matching(made, described))


@given(st.text(max_size=40))
def test_no_other_text_is_a_path(name):
    described = forged_once(name)
    allowed = name in ("model.tflite", "golden.npz", "precisions.json") or name.startswith("cuts/")
    try:
        check_manifest(*described)
    except errors.PackageError:
        return
    assert allowed
    assert ".." not in name


def forged_once(name):
    model = tiny_models.residual_model()
    file = File("0" * 64, 10)
    described = tiny_models.describe(
        model, role=Role.EDGE, files={name: file}, absent={"model.tflite": File("1" * 64, 5)}
    )
    fields = {"deployment": "d", "device": "n", "package": described.digest, "name": "x", "cut": "op000"}
    return described, Offer(**fields, manifest_sha256="2" * 64, manifest_bytes=1, total_bytes=11, serial=1)


@pytest.mark.parametrize(
    "file", [File("zz", 10), File("0" * 64, -5), File("0" * 64, 0), File("0" * 64, "10"), File(5, 10)]
)
def test_a_file_without_a_digest_or_a_size_is_refused(made, file):
    described = dataclasses.replace(made.manifest, files={"golden.npz": file})
    with pytest.raises(errors.PackageError, match="offered bundle: golden"):
        check_manifest(described, offered(made))


def test_sizes_that_are_not_what_was_signed_are_refused(made):
    """Or a manifest could state more than the disk was asked for."""
    files = dict(made.manifest.files) | {"golden.npz": File("0" * 64, 1 << 50)}
    with pytest.raises(errors.PackageError, match="its files make"):
        check_manifest(dataclasses.replace(made.manifest, files=files), offered(made))


def test_another_role_or_another_package_is_refused(made, field):
    with pytest.raises(errors.PackageError, match="is for the whole side"):
        check_manifest(field.new.manifest, offered(made))
    with pytest.raises(errors.PackageError, match="offered was the edge side of 000000"):
        check_manifest(made.manifest, offered(made, package="0" * 64))


@pytest.mark.parametrize("text", [b"{", b"\xff", b"[" * 20_000, b"{}"])
def test_what_is_no_manifest_is_refused(made, tmp_path, text):
    offer = offered(made, manifest_sha256=hashlib.sha256(text).hexdigest(), manifest_bytes=len(text), total_bytes=10**5)
    (tmp_path / "in").mkdir()
    download = Download(tmp_path / "in", offer, {})
    with pytest.raises(errors.PackageError, match="manifest"):
        download.append(text)


def test_a_bundle_without_the_head_it_was_offered_for_is_refused(made, tmp_path):
    download = receive(made, offered(made, cut="op001"), tmp_path / "in")
    with pytest.raises(errors.PackageError, match="without the head of op001"):
        download.finish()


def test_a_disk_without_room_is_refused_before_anything_is_taken(made, mounted):
    with pytest.raises(errors.DeviceError, match="no room for the model"):
        Download(mounted("size=64k"), offered(made), {})


def test_a_disk_that_fills_up_during_the_download_is_an_error_of_the_device(made, mounted):
    """As when somebody else takes the room that was there."""
    small = mounted("size=17m")
    download = Download(small, offered(made), {})
    with (small / "other").open("wb") as other, pytest.raises(OSError, match="No space"):
        other.write(bytes(64 << 20))
    with pytest.raises(errors.DeviceError, match="No space left"):
        download.append((made.path / download.lack.path).read_bytes())
