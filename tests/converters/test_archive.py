"""The zip that Teachable Machine downloads is taken as it is; other archives and files are told the way."""

import io
import zipfile

import pytest

import tflsplit
from converters import archive, convert
from converters.loading import formats
from tflsplit import errors


def _zip(path, **members):
    with zipfile.ZipFile(path, "w") as made:
        for name, data in members.items():
            made.writestr(name.replace("__", "/").replace("_dot_", "."), data)
    return path


def test_a_model_and_its_labels_are_taken_out_of_their_zip(tmp_path, residual_model):
    source = _zip(tmp_path / "converted.zip", model_dot_tflite=residual_model, labels_dot_txt="0 a\n1 b\n2 c\n3 d\n")
    made = tflsplit.convert(source, tmp_path / "m.tflsplit", pairs="none")
    assert made.manifest.labels == ("a", "b", "c", "d")
    assert tflsplit.verify(made.path).is_bit_exact


def test_a_zip_whose_model_is_refused_is_named_by_its_own_name(tmp_path):
    source = _zip(tmp_path / "converted.zip", keras_model_dot_h5=b"\x89HDF\r\n\x1a\n broken")
    with pytest.raises(errors.ModelError, match=r"^[^ ]*converted\.zip: "):
        tflsplit.convert(source, tmp_path / "m.tflsplit")
    assert not (tmp_path / "m.tflsplit").exists()


def test_a_member_that_climbs_out_is_refused(tmp_path):
    source = _zip(tmp_path / "bad.zip", **{"..__model_dot_h5": b"x"})
    with pytest.raises(errors.ModelError, match="climbs out of the archive"):
        archive.unpacked(source, tmp_path)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "a Git LFS pointer.*run: git lfs pull"),
        (b"\x08\x08\x12\x07pytorch\x1a\x051.13.0", "an ONNX model; onnx2tf"),
        (b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.", "a pickle, as older PyTorch writes; .*litert-torch"),
        (b'{"format": "layers-model", "modelTopology": {}}', "TensorFlow.js"),
        (b'{"class_name": "Sequential"}', "JSON, which holds no weights"),
        (b"<!DOCTYPE html><html>", "a web page"),
        (b"", "is empty"),
        (b"what is this", "not a model; expected"),
    ],
)
def test_a_file_of_another_kind_is_told_what_it_is_and_what_to_do(tmp_path, content, told):
    (tmp_path / "model.bin").write_bytes(content)
    with pytest.raises(errors.ModelError, match=told):
        formats.recognise(tmp_path / "model.bin")


@pytest.mark.parametrize(
    ("members", "told"),
    [
        ({"archive__data_dot_pkl": b"", "archive__version": b"3"}, "a PyTorch file; .*litert-torch"),
        ({"a_dot_h5": b"", "b_dot_h5": b""}, "a zip archive with 2 models"),
    ],
)
def test_a_zip_of_another_kind_is_told_what_it_is(tmp_path, members, told):
    with pytest.raises(errors.ModelError, match=told):
        formats.recognise(_zip(tmp_path / "m.pt", **members))


@pytest.mark.parametrize(
    ("text", "labels"),
    [
        ("\ufeffrock\r\npaper\r\nscissors\r\n\r\n", ("rock", "paper", "scissors")),
        ("0 rock\n1 paper\n", ("rock", "paper")),
        ("0  person\n1  bicycle\n3  car\n", ("person", "bicycle", "2", "car")),
        ("1 euro\n2 euro\n5 euro\n", ("1 euro", "2 euro", "5 euro")),
        ("0\n1\n2\n", ("0", "1", "2")),
    ],
)
def test_labels_are_read_as_their_tools_write_them(tmp_path, text, labels):
    (tmp_path / "labels.txt").write_text(text, encoding="utf-8", newline="")
    assert convert.read_labels(tmp_path / "labels.txt") == labels


def test_labels_that_are_no_text_are_told_as_that(tmp_path):
    (tmp_path / "labels.txt").write_bytes(b"\xd0\x00\xff")
    with pytest.raises(errors.DataError, match=r"labels\.txt: no labels: it is no UTF-8 text"):
        convert.read_labels(tmp_path / "labels.txt")


def _with_files(model, **files):
    stream = io.BytesIO(model)
    with zipfile.ZipFile(stream, "a") as made:
        for name, data in files.items():
            made.writestr(f"{name}.txt", data)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("files", "labels"),
    [
        ({"labelmap": "a\nb\nc\nd\n"}, ("a", "b", "c", "d")),
        ({"labels": "a\nb\n"}, ()),  # they do not fit four classes
        ({"labels": "a\nb\nc\nd\n", "labels-de": "e\nf\ng\nh\n"}, ()),
        ({}, ()),
    ],
)
def test_labels_that_a_tflite_carries_are_its_labels_if_they_fit(tmp_path, residual_model, files, labels):
    (tmp_path / "m.tflite").write_bytes(_with_files(residual_model, **files))
    made = tflsplit.convert(tmp_path / "m.tflite", tmp_path / "m.tflsplit", pairs="none")
    assert made.manifest.labels == labels


def test_labels_that_are_given_come_before_those_of_the_file(tmp_path, residual_model):
    (tmp_path / "m.tflite").write_bytes(_with_files(residual_model, labels="a\nb\nc\nd\n"))
    made = tflsplit.convert(tmp_path / "m.tflite", tmp_path / "m.tflsplit", pairs="none", labels=("1", "2", "3", "4"))
    assert made.manifest.labels == ("1", "2", "3", "4")
