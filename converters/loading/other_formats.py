"""Files that are no model this project opens, told by their first bytes, each with the way from it to one that is."""

import re
import zipfile
from collections.abc import Callable
from pathlib import Path

from tflsplit import text

_TORCH = "give torch.export's result to litert-torch, which writes a .tflite, and convert that"
_ORIGIN = "give the Keras, SavedModel or float .tflite file of the model it was made from"
_CHECKPOINT = "a checkpoint: weights without a model; load it into its model, save that with model.save(), and give it"
_TEXTS = "a text that describes a network and holds no weights; give the file of the whole model"

# First bytes, what begins with them, and what to do.
_STARTS = (
    (b"version https://git-lfs.github.com/spec", "a Git LFS pointer, not the file itself", "run: git lfs pull"),
    (b"\x80\x02", "a pickle, as older PyTorch writes", _TORCH),
    (b"\x80", "a pickle, which could run code", "save the network with the library that it is of"),
    (b"\x1f\x8b", "a gzip archive", "unpack it, and give the model in it"),
    (b"BZh", "a bzip2 archive", "unpack it, and give the model in it"),
    (b"\xfd7zXZ", "an xz archive", "unpack it, and give the model in it"),
    (b"7z\xbc\xaf", "a 7z archive", "unpack it, and give the model in it"),
    (b"Rar!", "a RAR archive", "unpack it, and give the model in it"),
    (b"\x7fELF", "a program", "give the model that it was built from"),
    (b"<!DOCTYPE", "a web page, not a model: a download that went wrong", "download the file itself"),
    (b"<html", "a web page, not a model: a download that went wrong", "download the file itself"),
    (b"\xff\xd8\xff", "a JPEG picture", "give the model; pictures go to --calibration"),
    (b"\x89PNG", "a PNG picture", "give the model; pictures go to --calibration"),
    (b"\x93NUMPY", "a NumPy array", "give the model; arrays go to --calibration"),
    (b"%PDF", "a PDF document", "give the model"),
    (b"GGUF", "a language model in GGUF", _ORIGIN),
    (b"ftrt", "a TensorRT engine, compiled for one kind of GPU", _ORIGIN),
    (b"RKNN", "an RKNN model, compiled for one kind of chip", _ORIGIN),
    (b"\x01HEF", "a Hailo model, compiled for one kind of chip", _ORIGIN),
    (b"7767517", "a description of an ncnn network", _ORIGIN),
    (b"<?xml", "an XML text, as OpenVINO's models are described in", _ORIGIN),
)

# For what no first bytes tell.
_ENDINGS = {
    ".mlmodel": f"a Core ML model; {_ORIGIN}",
    ".pbtxt": "a frozen graph as text, which does not say its inputs; export it as a SavedModel",
    ".prototxt": f"a description of a Caffe network; {_ORIGIN}",
    ".caffemodel": f"the weights of a Caffe network; {_ORIGIN}",
    ".pdmodel": f"a Paddle model; {_ORIGIN}",
    ".weights": f"weights of Darknet, without their network; {_ORIGIN}",
    ".cfg": _TEXTS,
    ".yaml": _TEXTS,
    ".yml": _TEXTS,
    ".py": "a program; run it, save its model with model.save(), and give that file",
    ".cc": "a program text; give the .tflite that it was made from",
    ".tar": "a tar archive; unpack it, and give the model in it",
    ".ckpt": _CHECKPOINT,
    ".index": _CHECKPOINT,
    ".safetensors": f"weights without a model; {_TORCH}",
    ".pb": "a frozen graph, which does not say its inputs; export it as a SavedModel",
}


def told(path: Path, start: bytes) -> str | None:
    """What the file is and what to do, in one line; None where its bytes tell nothing."""
    for mark, what, remedy in _STARTS:
        if start.startswith(mark):
            return f"{what}; {remedy}"
    if start[4:8] in (b"TFL1", b"TFL2"):
        return "a TensorFlow Lite file of a version that nothing reads any more; convert the model it was made from"
    if _is_onnx(start, path) and path.suffix not in _ENDINGS:
        return "an ONNX model; onnx2tf makes a .tflite of it, which can be converted"
    return _told_json(path) if start.lstrip()[:1] == b"{" else _ENDINGS.get(path.suffix)


def told_folder(path: Path) -> str:
    """The same for a folder that is no SavedModel."""
    try:
        entries = sorted(path.iterdir())
        inside = next((entry.name for entry in entries if (entry / "saved_model.pb").is_file()), None)
    except OSError as cause:
        return f"cannot be read ({cause.strerror}); give a model file"
    for is_one, what in _FOLDERS:
        if any(is_one(entry.name) for entry in entries):
            return what
    if inside is not None:
        return f"no SavedModel itself, but its folder {inside} is one; give that"
    models = [entry.name for entry in entries if entry.name.endswith((".h5", ".keras", ".tflite"))]
    which = f"give a file in it, as {models[0]}" if models else "give .h5, .keras, .tflite or a SavedModel"
    return f"a directory without saved_model.pb is no model; {which}"


_FOLDERS: tuple[tuple[Callable[[str], object], str], ...] = (
    (re.compile(r"checkpoint|.*\.index").fullmatch, _CHECKPOINT),
    (re.compile(r"group\d+-shard.*|model\.json").fullmatch, f"a TensorFlow.js model; {_ORIGIN}"),
    (re.compile(r".*\.xml").fullmatch, f"an OpenVINO model; {_ORIGIN}"),
    (re.compile(r"Manifest\.json").fullmatch, f"a Core ML package; {_ORIGIN}"),
    (re.compile(r"manifest\.json").fullmatch, "a package, converted already; see it with: tflsplit inspect"),
    (re.compile(r"variables").fullmatch, "a part of a SavedModel, its saved_model.pb is missing; copy it whole"),
    (re.compile(r".*\.safetensors|pytorch_model.*\.bin").fullmatch, f"a model of PyTorch; {_TORCH}"),
)


def _told_json(path: Path) -> str:
    with path.open("rb") as file:
        begun = file.read(4096)
    if b'"cells"' in begun:
        return "a notebook; run it, save its model with model.save(), and give that file"
    if b'"modelTopology"' in begun:
        return "a TensorFlow.js model; give the Keras model or SavedModel it was made from"
    return "a text in JSON, which holds no weights; give the file of the whole model"


def told_zip(path: Path, names: list[str]) -> str | None:
    """The same for a zip archive with these members."""
    for is_one, what in _ARCHIVES:
        if is_one(path, names):
            return what
    models = [name for name in names if name.endswith((".h5", ".keras", ".tflite", "saved_model.pb"))]
    if models:
        counted, which = text.counted(len(models), "model"), "one of them" if len(models) > 1 else "it"
        return f"a zip archive with {counted} ({', '.join(models[:3])}); unpack it, and give {which}"
    if not names or "metadata.json" in names:
        return None
    return f"a zip archive without a model ({', '.join(names[:3])}); give .h5, .keras, .tflite or a SavedModel"


def _holds(*endings: str) -> Callable[[Path, list[str]], bool]:
    return lambda path, names: path.suffix in endings or any(name.endswith(endings) for name in names)


_ARCHIVES: tuple[tuple[Callable[[Path, list[str]], bool], str], ...] = (
    (_holds("/data.pkl", "exported_program.json", ".mar"), f"a PyTorch file; {_TORCH}"),
    (_holds(".mlmodel"), f"a Core ML model; {_ORIGIN}"),
    (_holds("[Content_Types].xml", "META-INF/MANIFEST.MF"), "a document or program, not a model; give the model"),
    (
        lambda _, names: bool(names) and all(name.endswith(".npy") for name in names),
        "an archive of NumPy arrays; give the model, arrays go to --calibration",
    ),
    (_holds("model.json"), f"a TensorFlow.js model; {_ORIGIN}"),
)


def members(path: Path) -> list[str]:
    """Names of what is in a zip archive; none where it is damaged."""
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        return []


def _is_onnx(start: bytes, path: Path) -> bool:
    """A ModelProto begins with its version (field 1, a small number), then mostly the name of what made it."""
    is_proto = len(start) > 2 and start[0] == 0x08 and start[1] < 32 and start[2] in (0x12, 0x3A, 0x42)
    return is_proto or path.suffix == ".onnx"
