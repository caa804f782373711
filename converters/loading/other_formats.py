"""Files that are no model this project opens, told by their first bytes, each with the way from it to one that is."""

import zipfile
from pathlib import Path

_TORCH = "give torch.export's result to litert-torch, which writes a .tflite, and convert that"

# First bytes, what begins with them, and what to do.
_STARTS = (
    (b"version https://git-lfs.github.com/spec", "a Git LFS pointer, not the file itself", "run: git lfs pull"),
    (b"\x80\x02", "a pickle, as older PyTorch writes", _TORCH),
    (b"\x80\x04", "a pickle", _TORCH),
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
)

# For what no first bytes tell.
_ENDINGS = {
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
    if _is_onnx(start, path):
        return "an ONNX model; onnx2tf makes a .tflite of it, which can be converted"
    return _told_json(path) if start.lstrip()[:1] == b"{" else _ENDINGS.get(path.suffix)


def _told_json(path: Path) -> str:
    with path.open("rb") as file:
        is_of_javascript = b'"modelTopology"' in file.read(4096)
    if is_of_javascript:
        return "a TensorFlow.js model; give the Keras model or SavedModel it was made from"
    return "a text in JSON, which holds no weights; give the file of the whole model"


def told_zip(path: Path, names: list[str]) -> str | None:
    """The same for a zip archive with these members."""
    if any(name.endswith("/data.pkl") for name in names):
        return f"a PyTorch file; {_TORCH}"
    if any(name.endswith(".mlmodel") for name in names):
        return "a Core ML model; give the model it was made from"
    if "[Content_Types].xml" in names or "META-INF/MANIFEST.MF" in names:
        return "a document or program, not a model; give the model"
    models = [name for name in names if name.endswith((".h5", ".keras", ".tflite", "saved_model.pb"))]
    if models:
        return f"a zip archive with {len(models)} models ({', '.join(models[:3])}); unpack it, and give one of them"
    return None


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
