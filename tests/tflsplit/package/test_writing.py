import contextlib
import dataclasses
import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest
import tiny_models
from tiny_models import describe

from tflsplit import errors
from tflsplit.graph import places
from tflsplit.package import manifest, reading, writing


@pytest.fixture
def written(tiny_package) -> reading.Package:
    return tiny_package


def test_an_existing_package_is_replaced_only_when_told(residual_model, written):
    again = describe(residual_model, labels=())
    with pytest.raises(errors.PackageError, match="--force"):
        writing.write(written.path, again, residual_model, ())
    writing.write(written.path, again, residual_model, (), replaces_existing=True)

    assert reading.open_package(written.path).manifest.labels == ()
    assert [path.name for path in written.path.parent.iterdir()] == [written.path.name]


def test_a_directory_of_the_users_is_never_replaced(residual_model, tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(errors.PackageError, match="is not a package"):
        writing.write(tmp_path, describe(residual_model), residual_model, (), replaces_existing=True)
    assert (tmp_path / "thesis.txt").exists()


KILLED_WRITER = """
import os, sys, signal
from pathlib import Path
sys.path.insert(0, sys.argv[3])
from tflsplit.package import reading, writing
import tiny_models
model = Path(sys.argv[1]).read_bytes()
write_file = writing._write_file
def dies_at_the_manifest(partial, name, data):
    if name == reading.MANIFEST:
        os.kill(os.getpid(), signal.SIGKILL)
    return write_file(partial, name, data)
writing._write_file = dies_at_the_manifest
made = tiny_models.describe(model)
writing.write(Path(sys.argv[2]), made, model, made.cuts)
"""


def test_a_killed_writer_leaves_no_package_and_the_next_one_cleans_up(residual_model, tmp_path):
    model = tmp_path / "model.tflite"
    model.write_bytes(residual_model)
    target = tmp_path / "out" / "tiny.tflsplit"
    target.parent.mkdir()
    command = [sys.executable, "-c", KILLED_WRITER, str(model), str(target), str(Path(tiny_models.__file__).parent)]
    killed = subprocess.run(command, check=False, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)})

    assert killed.returncode == -9
    assert not target.exists()
    assert len(list(target.parent.iterdir())) == 1
    writing.write(target, describe(residual_model), residual_model, ())
    assert [path.name for path in target.parent.iterdir()] == [target.name]


def test_no_room_leaves_nothing_behind(residual_model, tmp_path):
    # A file size limit stands in for a full disk: write() fails with an OSError in the middle either way.
    padded = describe(residual_model, labels=tuple(f"label {number}" for number in range(2000)))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))
    try:
        with pytest.raises(errors.DeviceError, match="cannot be written"):
            writing.write(tmp_path / "full.tflsplit", padded, residual_model, ())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list(tmp_path.iterdir()) == []


COMPILED = {"cuts/op000/head_edgetpu.tflite": b"compiled", "cuts/op000/head_edgetpu.log": b"log"}


def compile_twice(package_, heads):
    cut = package_.cut("op000")
    described = dataclasses.replace(
        package_.manifest, compilations={cut.id: manifest.Compilation("compiled", compiler="16", tpu_operators=1)}
    )
    return writing.update(package_, described, [cut], heads)


def test_a_compiled_head_is_added_without_changing_the_digest_and_can_be_dropped_again(written):
    made = compile_twice(written, COMPILED)
    opened = reading.open_package(written.path)

    assert made == opened
    assert opened.digest == written.digest
    assert opened.file(opened.cut("op000"), "head_edgetpu") == "cuts/op000/head_edgetpu.tflite"
    assert opened.file(opened.cut("op001"), "head_edgetpu") is None
    compile_twice(opened, {})
    assert not list(written.path.rglob("*edgetpu*"))
    assert reading.open_package(written.path).file(opened.cut("op000"), "head_edgetpu") is None


@pytest.mark.parametrize("death", range(1, 12))
def test_wherever_an_update_dies_the_package_opens_with_whole_files(written, monkeypatch, death):
    """Compiling again replaces files; the process dies before its n-th flush, rename or removal."""
    opened = compile_twice(written, COMPILED)
    steps = iter(range(1, 100))

    def dies(function):
        def step(*arguments, **options):
            if next(steps) == death:
                raise KeyboardInterrupt
            return function(*arguments, **options)

        return step

    monkeypatch.setattr(os, "fsync", dies(os.fsync))
    for name in ("replace", "unlink"):
        monkeypatch.setattr(Path, name, dies(getattr(Path, name)))
    with contextlib.suppress(KeyboardInterrupt):
        compile_twice(opened, {name: b"again " + data for name, data in COMPILED.items()})
    monkeypatch.undo()

    survived = reading.open_package(written.path)
    assert survived.digest == written.digest
    assert compile_twice(survived, COMPILED) == reading.open_package(written.path)


def test_a_tensor_on_many_boundaries_is_described_once(tiny_package):
    fields = json.loads((tiny_package.path / reading.MANIFEST).read_text())
    assert not any("boundary" in cut for cut in fields["cuts"])
    assert set(fields["tensors"]) == {str(index) for cut in tiny_package.cuts for index in cut.tensors}


def test_nothing_is_written_that_no_reader_would_take(tmp_path, residual_model, monkeypatch):
    monkeypatch.setattr(manifest, "MOST_BYTES", 1000)
    with pytest.raises(errors.PackageError, match=r"the model has 4 cuts, which take .* at most 1,000 are read again"):
        tiny_models.write_package(tmp_path / "m.tflsplit", residual_model)
    assert not (tmp_path / "m.tflsplit").exists()


@pytest.mark.parametrize(
    ("limit", "expected"),
    [
        ((manifest, "MOST_BYTES"), r"has 4 cuts, which take [\d,]+ bytes to describe; at most 3 are read again"),
        ((places, "MOST_CROSSINGS"), r"has 4 cuts with 5 tensors on their boundaries; at most 3 are read again"),
    ],
)
def test_what_no_reader_would_take_is_not_written(residual_model, tmp_path, monkeypatch, limit, expected):
    monkeypatch.setattr(*limit, 3)

    with pytest.raises(errors.PackageError, match=expected):
        writing.write(tmp_path / "large.tflsplit", describe(residual_model), residual_model, ())
    assert list(tmp_path.iterdir()) == []
