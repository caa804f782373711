"""A bundle holds what one side needs of a package, and is that package to every frame."""

import json
from pathlib import Path

import pytest

from broker.cloud import tail
from broker.messages import wire
from edge_runtime import head
from tflsplit import bundle, errors
from tflsplit.package import reading, verify
from tflsplit.package.manifest import Role


@pytest.fixture
def edge(tiny_package, tmp_path):
    return bundle.write(tmp_path / "edge.tflsplit", tiny_package, Role.EDGE, (tiny_package.cut("op000"),))


@pytest.fixture
def cloud(tiny_package, tmp_path):
    return bundle.write(tmp_path / "cloud.tflsplit", tiny_package, Role.CLOUD, (tiny_package.cut("op000"),))


def files_in(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_an_edge_has_its_head_and_no_tail_and_no_model(edge):
    assert files_in(edge.path) == ["cuts/op000/head.tflite", "golden.npz", "manifest.json"]


def test_a_cloud_has_its_tail_and_no_head(cloud):
    assert files_in(cloud.path) == ["cuts/op000/tail.tflite", "manifest.json"]


def test_both_open_with_the_digest_of_the_package(tiny_package, edge, cloud):
    for made, role in ((edge, Role.EDGE), (cloud, Role.CLOUD)):
        opened = reading.open_package(made.path)
        assert (opened.digest, opened.manifest.role) == (tiny_package.digest, role)
        assert opened.manifest == made.manifest
        listed = set(opened.manifest.files) | set(opened.manifest.absent)
        assert listed - {"golden.npz"} == set(tiny_package.manifest.files)


def test_the_two_halves_give_what_the_whole_model_gives(tiny_package, edge, cloud):
    cut = edge.cut("op000")
    (sample,) = verify.random_samples(tiny_package.manifest.inputs, 1)
    tails = tail.Tails(reading.open_package(cloud.path))
    with head.Head(reading.open_package(edge.path), cut) as ready:
        halves = tails.run(cut, ready.run(sample))
    tails.close()
    whole = tail.Tails(tiny_package)

    assert [array.tolist() for array in halves] == [
        array.tolist() for array in whole.run(tiny_package.cut("input"), sample)
    ]
    whole.close()


def test_what_is_not_in_a_bundle_is_refused_by_name(edge, cloud):
    with pytest.raises(errors.PackageError, match=r"without the head of op001 \(heads in it: op000\)"):
        edge.head_bytes(edge.cut("op001"))
    with pytest.raises(errors.PackageError, match=r"without the tail of op000 \(tails in it: none\)"):
        edge.tail_bytes(edge.cut("op000"))
    with pytest.raises(errors.PackageError, match="a bundle for the cloud side, without the whole model"):
        cloud.model_bytes()


def test_a_frame_for_a_tail_that_the_cloud_lacks_is_refused_and_no_crash(cloud):
    cut = cloud.cut("op001")
    frame = wire.Frame(bytes.fromhex(cloud.digest)[:16], cut.position, 1, 1, 0, 0, tail._unnamed(cut.boundary))
    with pytest.raises(errors.FrameError, match="frame cut at op001, whose tail is not in this cloud's bundle"):
        tail.Tails(cloud).cut_of(frame)


@pytest.mark.parametrize(
    ("cut", "role", "expected"),
    [
        ("input", Role.EDGE, []),
        ("input", Role.CLOUD, ["model.tflite"]),
        ("output", Role.EDGE, ["golden.npz", "model.tflite"]),
        ("output", Role.CLOUD, ["cuts/output/tail.tflite"]),
    ],
)
def test_not_splitting_can_be_bundled_too(tiny_package, tmp_path, cut, role, expected):
    made = bundle.write(tmp_path / "b.tflsplit", tiny_package, role, (tiny_package.cut(cut),))

    assert files_in(made.path) == sorted([*expected, "manifest.json"])
    assert reading.open_package(made.path).digest == tiny_package.digest


def test_a_changed_byte_in_a_bundle_is_found(edge):
    half = edge.path / "cuts/op000/head.tflite"
    half.write_bytes(half.read_bytes()[:-1] + b"\xff")
    with pytest.raises(errors.PackageError, match="was changed after it was written"):
        reading.open_package(edge.path)


def test_a_digest_that_was_changed_with_what_is_absent_is_found(edge):
    text = (edge.path / "manifest.json").read_text()
    sha256 = json.loads(text)["absent"]["model.tflite"]["sha256"]
    (edge.path / "manifest.json").write_text(text.replace(sha256, "0" * 64))
    with pytest.raises(errors.PackageError, match="was changed after it was written"):
        reading.open_package(edge.path)


def test_a_bundle_that_is_made_twice_is_one_bundle(tiny_package, tmp_path, edge):
    again = bundle.write(tmp_path / "again.tflsplit", tiny_package, Role.EDGE, (tiny_package.cut("op000"),))

    assert (again.path / "manifest.json").read_bytes() == (edge.path / "manifest.json").read_bytes()


def test_a_bundle_of_a_bundle_is_refused(edge, tmp_path):
    with pytest.raises(errors.PackageError, match="give the package that it was made of"):
        bundle.write(tmp_path / "again.tflsplit", edge, Role.EDGE, (edge.cut("op000"),))


@pytest.mark.parametrize("role", [Role.EDGE, Role.CLOUD])
def test_a_destination_that_is_taken_is_refused_before_anything_is_cut(tiny_package, tmp_path, monkeypatch, role):
    def cut(*_):
        raise AssertionError("was cut all the same")

    monkeypatch.setattr(reading.Package, "head_bytes", cut)
    monkeypatch.setattr(reading.Package, "tail_bytes", cut)
    (tmp_path / "made").mkdir()
    with pytest.raises(errors.PackageError, match="exists already"):
        bundle.write(tmp_path / "made", tiny_package, role, tiny_package.cuts[1:2])


def test_paths_and_cuts_are_taken_as_texts_too(tiny_package, tmp_path):
    made = bundle.write(str(tmp_path / "text.tflsplit"), tiny_package, "edge", "op000")

    assert made.path == tmp_path / "text.tflsplit"
    assert (made.manifest.role, made.cut("op000").id) == (Role.EDGE, "op000")


@pytest.mark.parametrize(
    "wrong", [{"path": 3}, {"whole": "a.tflsplit"}, {"role": Role.MIDDLE}, {"role": "all"}, {"cuts": ("nowhere",)}]
)
def test_what_is_no_bundle_is_refused_in_our_words(tiny_package, tmp_path, wrong):
    right = {"path": tmp_path / "made.tflsplit", "whole": tiny_package, "role": Role.EDGE, "cuts": ("op000",)}

    with pytest.raises(errors.UserError):
        bundle.write(**(right | wrong))
    assert not list(tmp_path.glob("made*"))


def moving(package, folder, role, *cuts):
    return bundle.write(folder / "moving.tflsplit", package, role, cuts, moves=True)


def test_what_is_all_in_the_whole_model_needs_no_file_of_its_own(tiny_package, tmp_path):
    made = moving(tiny_package, tmp_path, Role.EDGE, "op000", "input", "op001", "output")
    assert files_in(made.path) == ["golden.npz", "manifest.json", "model.tflite"]


def test_without_the_output_an_edge_holds_no_weight_of_a_tail(tiny_package, tmp_path):
    made = moving(tiny_package, tmp_path, Role.EDGE, "op000", "input", "op001")
    heads = ["cuts/op000/head.tflite", "cuts/op001/head.tflite"]
    assert files_in(made.path) == [*heads, "golden.npz", "manifest.json"]


@pytest.mark.parametrize(
    ("cuts", "files"),
    [
        (("op000", "input", "op001"), ["manifest.json", "model.tflite"]),
        (("op000", "op001"), ["cuts/op000/tail.tflite", "cuts/op001/tail.tflite", "manifest.json"]),
    ],
)
def test_a_clouds_bundle_serves_each_candidate(tiny_package, tmp_path, cuts, files):
    made = moving(tiny_package, tmp_path, Role.CLOUD, *cuts)

    assert files_in(made.path) == files
    assert all(made.has(made.cut(cut), "tail") for cut in cuts)
