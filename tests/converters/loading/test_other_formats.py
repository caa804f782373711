"""Files and folders that are no model are told what they are, with the way to one that is."""

import zipfile

import pytest

from converters.loading import formats
from tflsplit import errors

ORIGIN = "give the Keras, SavedModel or float .tflite file of the model"
FILES = {
    "a.mlmodel": (b"\x08\x04\x12\x8a\x01", f"a Core ML model; {ORIGIN}"),
    "a.onnx": (b"\x08\x08\x12\x07pytorch", "an ONNX model; onnx2tf"),
    "a.engine": (b"ftrt\0\0\0", f"a TensorRT engine.*; {ORIGIN}"),
    "a.rknn": (b"RKNN\0\0\0", f"an RKNN model.*; {ORIGIN}"),
    "model.xml": (b'<?xml version="1.0"?><net/>', f"an XML text.*OpenVINO.*; {ORIGIN}"),
    "a.caffemodel": (b"\x0a\x04name", f"the weights of a Caffe network; {ORIGIN}"),
    "yolo.weights": (b"\0\0\0\0\2\0\0\0", f"weights of Darknet.*; {ORIGIN}"),
    "yolo.cfg": (b"[net]\n", "holds no weights; give the file of the whole model"),
    "frozen.pb": (b"\x0a\x20\x0a", "a frozen graph.*export it as a SavedModel"),
    "frozen.pbtxt": (b"node {\n", "a frozen graph as text.*export it as a SavedModel"),
    "train.py": (b"import keras\n", "a program; run it, save its model"),
    "train.ipynb": (b'{"cells": []}', "a notebook; run it, save its model"),
    "model.json": (b'{"format": "layers-model", "modelTopology": {}}', "a TensorFlow.js model"),
    "config.json": (b'{"class_name": "Functional"}', "a text in JSON, which holds no weights"),
    "forest.pkl": (b"\x80\x04\x95", "a pickle, which could run code; save the network with the library"),
    "old.pt": (b"\x80\x02\x8a", "a pickle, as older PyTorch writes; .*litert-torch"),
    "model.index": (b"\0\0\0\0", "a checkpoint: weights without a model; load it into its model"),
}


@pytest.mark.parametrize(("name", "data", "words"), [(name, *one) for name, one in FILES.items()], ids=FILES)
def test_a_file_is_told_what_it_is_and_what_to_do(tmp_path, name, data, words):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(errors.ModelError, match=words) as caught:
        formats.recognise(tmp_path / name)
    assert "\n" not in str(caught.value)


ARCHIVES = {
    "script.pt": ({"m/data.pkl": b"", "m/code/x.py": b""}, "a PyTorch file; .*litert-torch"),
    "exported.pt2": ({"archive/serialized_exported_program.json": b"{}"}, "a PyTorch file"),
    "web.zip": ({"model.json": b"{}", "weights.bin": b""}, "a TensorFlow.js model"),
    "arrays.npz": ({"a.npy": b"", "b.npy": b""}, "an archive of NumPy arrays.*--calibration"),
    "saved.zip": ({"m/saved_model.pb": b""}, r"a zip archive with 1 model \(m/saved_model.pb\); unpack it"),
    "pictures.zip": ({"a.jpg": b""}, r"a zip archive without a model \(a.jpg\)"),
}


@pytest.mark.parametrize(("name", "members", "words"), [(name, *one) for name, one in ARCHIVES.items()], ids=ARCHIVES)
def test_an_archive_is_told_what_is_in_it(tmp_path, name, members, words):
    with zipfile.ZipFile(tmp_path / name, "w") as made:
        for member, data in members.items():
            made.writestr(member, data)
    with pytest.raises(errors.ModelError, match=words):
        formats.recognise(tmp_path / name)


FOLDERS = {
    "checkpoint": (("checkpoint", "model-1.index"), "a checkpoint: weights without a model"),
    "TensorFlow.js": (("model.json", "group1-shard1of1.bin"), "a TensorFlow.js model"),
    "OpenVINO": (("model.xml", "model.bin"), "an OpenVINO model"),
    "Core ML": (("Manifest.json",), "a Core ML package"),
    "package": (("manifest.json",), "a package, converted already; see it with: tflsplit inspect"),
    "SavedModel cut off": (("variables",), "its saved_model.pb is missing; copy it whole"),
    "one level too high": (("export/saved_model.pb",), "its folder export is one; give that"),
    "with a model in it": (("notes.txt", "m.keras"), "give a file in it, as m.keras"),
    "empty": ((), "give .h5, .keras, .tflite or a SavedModel"),
}


@pytest.mark.parametrize(("names", "words"), FOLDERS.values(), ids=FOLDERS)
def test_a_folder_is_told_what_it_is(tmp_path, names, words):
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    with pytest.raises(errors.ModelError, match=words):
        formats.recognise(tmp_path)
