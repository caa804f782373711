"""Converting a stranger's file: what loads and runs it can do nothing else, and is not believed."""

import os
import pathlib
import subprocess
import sys

import pytest
import reaching_out

from converters import convert
from converters.loading import quiet
from tflsplit import errors
from tflsplit.confinement import rights

CHECKOUT = pathlib.Path(__file__).resolve().parents[2]
confined = pytest.mark.skipif(bool(rights.missing()), reason=f"this kernel has no {rights.missing()}")


@confined
def test_code_that_was_let_through_still_writes_nothing(keras, saved, tmp_path):
    marker = str(tmp_path / "ran")
    with quiet.silenced():
        entry = keras.Input((4,))
        layer = keras.layers.Lambda(lambda x: (open(marker, "w").close(), x)[1], output_shape=(4,))
        path = saved(keras.Model(entry, layer(entry)), "m.keras")
    pathlib.Path(marker).unlink(missing_ok=True)
    with pytest.raises(errors.ModelError, match=r"calling Lambda\.call"):
        convert.convert(path, tmp_path / "m.tflsplit", convert.Options(allow_unsafe=True))
    assert sorted(found.name for found in tmp_path.iterdir()) == ["m.keras"]


def test_a_process_that_crashes_is_told_with_the_file_and_leaves_nothing(tmp_path, monkeypatch):
    (tmp_path / "m.h5").write_bytes(b"\x89HDF\r\n\x1a\n")
    monkeypatch.setattr(convert.pipeline, "run", reaching_out.crashes)
    with pytest.raises(errors.ModelError, match=r"m\.h5: converting it ended by SIGSEGV"):
        convert.convert(tmp_path / "m.h5", tmp_path / "m.tflsplit", convert.Options())
    assert sorted(found.name for found in tmp_path.iterdir()) == ["m.h5"]


def test_the_operator_of_a_tflite_that_ends_the_process_is_named(residual_model, tmp_path, monkeypatch):
    (tmp_path / "m.tflite").write_bytes(residual_model)
    monkeypatch.setattr(convert.pipeline, "run", reaching_out.crashes)
    monkeypatch.setattr(convert.trial, "attempt_each", reaching_out.crashes_at_an_operator)
    with pytest.raises(errors.ModelError, match=r"m\.tflite: converting it ended by SIGSEGV.* at operator 1 \(SVDF\);"):
        convert.convert(tmp_path / "m.tflite", tmp_path / "m.tflsplit", convert.Options())
    assert sorted(found.name for found in tmp_path.iterdir()) == ["m.tflite"]


def test_a_model_file_whose_name_is_no_text_is_named_with_escapes(residual_model, tmp_path):
    source = tmp_path / os.fsdecode(b"caf\xe9.tflite")
    source.write_bytes(residual_model)
    made = convert.convert(source, tmp_path / "m.tflsplit", convert.Options())

    assert made.manifest.source.file == "caf\\udce9.tflite"


def test_a_package_whose_name_would_be_no_text_is_refused(tmp_path):
    with pytest.raises(errors.SettingsError, match="no UTF-8; give another"):
        convert.convert(tmp_path / "m.h5", tmp_path / os.fsdecode(b"caf\xe9.tflsplit"), convert.Options())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("task", "reason"),
    [
        (reaching_out.writes_nothing, r"m\.tflsplit: not a package"),
        (reaching_out.writes_another_package, "made the package of another model"),
        (reaching_out.writes_a_link, r"does not lie plainly inside"),
    ],
    ids=["nothing", "another", "link"],
)
def test_what_it_leaves_is_checked_before_it_takes_its_place(tmp_path, monkeypatch, task, reason):
    (tmp_path / "m.h5").write_bytes(b"\x89HDF\r\n\x1a\n")
    monkeypatch.setattr(convert.pipeline, "run", task)
    with pytest.raises(errors.PackageError, match=reason):
        convert.convert(tmp_path / "m.h5", tmp_path / "m.tflsplit", convert.Options())
    assert sorted(found.name for found in tmp_path.iterdir()) == ["m.h5"]


def test_tensorflow_is_imported_by_the_process_that_converts_alone(tmp_path):
    program = (
        "import pathlib, sys; from converters import convert\n"
        f"convert.convert(pathlib.Path({str(CHECKOUT / 'tflsplit/demo/digits.h5')!r}), pathlib.Path('d.tflsplit'), "
        "convert.Options(quick=True))\n"
        "sys.exit('tensorflow' in sys.modules)"
    )
    ended = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, check=False, timeout=120)
    assert ended.returncode == 0
    assert (tmp_path / "d.tflsplit").is_dir()


def test_options_come_through_unchanged(tmp_path):
    given = convert.Options(calibration=tmp_path, labels=("a", "b"), split_at=("op003",), input_shapes=[(1, 2)])
    assert convert.Options.from_json(given.as_json(tmp_path)).as_json(tmp_path) == given.as_json(tmp_path)
    assert convert.Options.from_json(given.as_json(tmp_path)).calibration == tmp_path
