import dataclasses
import os
import tracemalloc

import numpy as np
import pytest
from tiny_models import describe

from tflsplit import bundle, errors
from tflsplit.graph import flatgraph
from tflsplit.kernels import keeping
from tflsplit.package import manifest, reading, verify, writing
from tflsplit.package.manifest import Role


@pytest.fixture
def written(tiny_package) -> reading.Package:
    return tiny_package


def check_refused(package, match):
    with pytest.raises(errors.PackageError, match=match):
        reading.open_package(package.path)


def test_what_is_written_opens_with_the_same_manifest_and_digest(written):
    opened = reading.open_package(written.path)

    assert opened.manifest == written.manifest
    assert opened.digest == written.digest
    assert sorted(path.name for path in (written.path / "cuts").iterdir()) == ["op000", "op001"]


def test_pairs_change_no_digest_and_labels_do(residual_model, tmp_path, written):
    bare = writing.write(tmp_path / "bare.tflsplit", describe(residual_model), residual_model, ())
    other = writing.write(tmp_path / "o.tflsplit", describe(residual_model, labels=("a", "b")), residual_model, ())

    assert bare.digest == written.digest != other.digest


def test_every_changed_byte_anywhere_is_found(written):
    for path in sorted(path for path in written.path.rglob("*") if path.is_file()):
        original = path.read_bytes()
        for position in {0, len(original) // 3, len(original) // 2, len(original) - 1}:
            changed = bytearray(original)
            changed[position] ^= 0x01
            path.write_bytes(changed)
            with pytest.raises(errors.PackageError):
                reading.open_package(written.path)
        path.write_bytes(original)
    reading.open_package(written.path)


def test_an_added_and_a_missing_file_are_found(written):
    (written.path / "extra").write_text("x")
    check_refused(written, "extra is not listed")
    (written.path / "extra").unlink()
    (written.path / "model.tflite").unlink()
    check_refused(written, r"model\.tflite cannot be read")


def test_a_newer_schema_is_refused_with_what_to_do(written):
    text = (written.path / "manifest.json").read_text().replace('"schema": 4', '"schema": 99')
    (written.path / "manifest.json").write_text(text)
    check_refused(written, "package schema 99, this tflsplit reads schema 4; upgrade")


@pytest.mark.parametrize("name", ["../outside", "/etc/hostname", "cuts/../../outside"])
def test_a_manifest_that_points_out_of_the_package_is_refused(written, name):
    listed = dict(written.manifest.files)
    forged = dataclasses.replace(written.manifest, files=listed | {name: listed["model.tflite"]})
    (written.path / "manifest.json").write_text(manifest.render(forged))
    check_refused(written, "does not lie plainly inside")


def forged(written, name, **changes):
    """The package's manifest with another file listed, or one described otherwise; its seal is right."""
    listed = dict(written.manifest.files)
    entry = dataclasses.replace(listed.get(name, listed["model.tflite"]), **changes)
    made = dataclasses.replace(written.manifest, files=listed | {name: entry})
    (written.path / "manifest.json").write_text(manifest.render(made))


def link_to_a_file(place, outside):
    (outside / "model.tflite").write_bytes(place.read_bytes())
    place.unlink()
    place.symlink_to(outside / "model.tflite")


def link_to_its_folder(place, outside):
    place.parent.rename(outside / "moved")
    place.parent.symlink_to(outside / "moved")


@pytest.mark.parametrize("make", [link_to_a_file, link_to_its_folder], ids=lambda make: make.__name__)
def test_links_in_a_package_are_refused_though_what_they_lead_to_is_right(written, tmp_path, make):
    (tmp_path / "outside").mkdir()
    make(next(written.path.glob("cuts/*/head.tflite")), tmp_path / "outside")
    check_refused(written, "does not lie plainly inside")


def test_a_link_that_nothing_lists_is_refused(written, tmp_path):
    (written.path / "more").symlink_to(tmp_path)
    check_refused(written, r"more is not listed in manifest\.json")


def test_a_pipe_in_place_of_a_file_is_refused_and_not_waited_for(written):
    (written.path / "model.tflite").unlink()
    os.mkfifo(written.path / "model.tflite")
    check_refused(written, "no plain file")


def test_a_file_that_is_larger_than_stated_is_refused_unread(written):
    """A hundred gigabytes of hole: read or summed, it would take minutes and all memory."""
    with (written.path / "model.tflite").open("r+b") as file:
        file.truncate(100 << 30)
    check_refused(written, "was changed after it was written")


def test_a_file_is_summed_piece_by_piece_however_large(written):
    """The forger states the size rightly; its sum would take memory only if it was read whole."""
    large = 256 << 20
    with (written.path / "model.tflite").open("r+b") as file:
        file.truncate(large)
    forged(written, "model.tflite", bytes=large)
    tracemalloc.start()
    try:
        with pytest.raises(errors.PackageError, match="was changed after it was written"):
            reading.open_package(written.path)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert peak_bytes < 16 << 20


def test_a_name_with_a_zero_byte_is_refused(written):
    forged(written, "cuts/\0")
    check_refused(written, "does not lie plainly inside")


@pytest.mark.parametrize(
    "text",
    ["[" * 100_000, '{"schema":1,"a":' + "[" * 100_000, '{"schema":' + "9" * 5000 + "}"],
    ids=["a list in a list", "deep within", "a huge number"],
)
def test_a_manifest_made_to_exhaust_its_reader_is_refused(written, text):
    (written.path / "manifest.json").write_text(text)
    check_refused(written, r"manifest\.json cannot be read")


def test_an_enormous_manifest_is_refused_unread(written):
    with (written.path / "manifest.json").open("r+b") as file:
        file.truncate(100 << 30)
    check_refused(written, "is larger than")


def test_a_directory_that_is_no_package_is_refused_by_name(tmp_path):
    with pytest.raises(errors.PackageError, match="not a package"):
        reading.open_package(tmp_path)


def test_a_slice_not_in_the_package_equals_the_one_written(residual_model, tmp_path, written):
    bare = writing.write(tmp_path / "bare.tflsplit", describe(residual_model), residual_model, ())
    cut = bare.cut("op000")

    assert (bare.file(cut, "head"), written.file(cut, "head")) == (None, "cuts/op000/head.tflite")
    assert bare.head_bytes(cut) == written.head_bytes(cut)
    assert bare.tail_bytes(cut) == written.tail_bytes(cut)


def test_verify_finds_every_cut_bit_exact(written):
    report = verify.verify(written, written.cuts, verify.random_samples(written.manifest.inputs, 20))

    assert report.as_json() == {
        "samples": 20,
        "stream": False,
        "cuts_checked": 4,
        "bit_exact": True,
        "mismatches": [],
        "kernel_class": keeping.here().as_json(),
    }


def test_verify_finds_a_tail_that_computes_something_else(builder, residual_model, tmp_path, written):
    x = builder.tensor("a", (1, 4), scale=0.2)
    b = builder.add(x, x, "b", (1, 4), scale=0.4)
    wrong = builder.add(b, b, "c", (1, 4), scale=0.6)
    tail = builder.build((x,), (wrong,))
    (written.path / "cuts/op000/tail.tflite").write_bytes(tail)
    report = verify.verify(written, (written.cut("op000"),), verify.random_samples(written.manifest.inputs, 20))

    (found,) = report.mismatches
    assert found.cut == "op000"
    assert found.samples > 0
    assert found.max_lsb > 0


def test_verify_refuses_a_pair_whose_sides_do_not_fit(written):
    (written.path / "cuts/op000/tail.tflite").write_bytes((written.path / "cuts/op001/tail.tflite").read_bytes())
    with pytest.raises(errors.PackageError, match="cut op000: the tail's inputs"):
        verify.open_pair(written, written.cut("op000"))


def test_random_samples_cover_the_whole_range(written):
    (sample,) = verify.random_samples(written.manifest.inputs, 1)
    many = np.concatenate([array.ravel() for (array,) in verify.random_samples(written.manifest.inputs, 2000)])

    assert sample[0].dtype == np.int8
    assert (many.min(), many.max()) == (-128, 127)


def test_an_edge_told_nothing_cuts_at_the_first_small_pair_else_the_smallest(tiny_package):
    assert tiny_package.default_cut().id == "op000"


def test_an_edge_bundle_of_the_whole_model_keeps_its_input_at_home(tiny_package, tmp_path):
    kept = bundle.write(tmp_path / "edge.tflsplit", tiny_package, manifest.Role.EDGE, (tiny_package.cut("output"),))

    assert reading.open_package(kept.path).default_cut().id == "output"


@pytest.mark.parametrize("cut_id", ["a/b/../../x", "..", "op001", "output", "op1", "OP000", "op000/", ""])
def test_a_cut_whose_id_is_not_its_place_is_refused(written, cut_id):
    """Ids become paths, of bundles too."""
    first, second, *others = written.manifest.cuts
    made = dataclasses.replace(written.manifest, cuts=(first, dataclasses.replace(second, id=cut_id), *others))
    (written.path / "manifest.json").write_text(manifest.render(made))
    check_refused(written, "is no id of the cut after operator 0")


HOSTILE = (
    "a/b/../../x",
    "..",
    "/etc/passwd",
    "-x",
    ".hidden",
    "a\0b",
    "x" * 300,
    "\x1b[2J",
    "",
    "cuts/../../x",
    "a//b",
)


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("field", ["files", "absent", "compilations"])
def test_whatever_becomes_a_path_is_checked_where_it_is_parsed(written, field, name):
    described = written.manifest
    entry = manifest.Compilation("not compiled") if field == "compilations" else manifest.File("0" * 64, 1)
    changed = dataclasses.replace(described, **{field: {**getattr(described, field), name: entry}})

    with pytest.raises(errors.PackageError, match=r"manifest\.json is damaged"):
        manifest.parse(manifest.render(changed), name="p")


@pytest.mark.parametrize("field", ["name", "target", "operators"])
def test_a_field_of_another_type_is_refused(written, field):
    changed = dataclasses.replace(written.manifest, **{field: 1.5})

    with pytest.raises(errors.PackageError, match=r"manifest\.json is damaged"):
        manifest.parse(manifest.render(changed), name="p")


def test_a_boundary_that_the_model_has_not_is_refused_before_it_is_sliced(written):
    first, second, *others = written.cuts
    changed = dataclasses.replace(second, tensors=(999,))
    opened = reading.Package(
        written.path,
        dataclasses.replace(written.manifest, cuts=(first, changed, *others), files=written.manifest.files),
    )

    with pytest.raises(errors.PackageError, match=f"another boundary at {second.id}"):
        opened.graph  # noqa: B018 - it is read when it is asked for


def test_an_edge_without_the_schema_of_the_file_knows_the_kinds_of_its_head(tiny_package, tmp_path, monkeypatch):
    """tflite-runtime alone has an interpreter and no schema."""
    made = bundle.write(tmp_path / "edge.tflsplit", tiny_package, Role.EDGE, (tiny_package.cut("op001"),))
    expected = made.head_kinds(made.cut("op001"))

    def missing():
        raise errors.DeviceError("no schema here")

    monkeypatch.setattr(flatgraph, "schema", missing)
    assert made.head_kinds(made.cut("op001")) == expected
