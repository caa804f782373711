"""Searches a model file for code before anything in it may run.

A Keras file is not only data: Lambda layers carry bytecode that tf-keras runs while loading even with `safe_mode`,
configurations name Python functions to import, and HDF5 files can link to other files. Each is refused here, with its
place in the model. Nothing in this module imports Keras, TensorFlow or anything that the file names.
"""

import io
import json
import re
import stat
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from converters.loading import named, operations
from tflsplit import errors

# A .tflite holds 2 GB of int8 weights at most, that is 8 GB as the float32 that a Keras file holds.
LARGEST_MODEL_BYTES = 8 * 2**30
LARGEST_CONFIG_BYTES = 64 * 2**20  # the largest of keras.applications (EfficientNetV2-L) has 1.5 MB
MOST_MEMBERS = 10_000

# Layers whose configuration is a program, a pickle, or the name of a file to read.
_CODE_LAYERS = frozenset({"Lambda", "TorchModuleWrapper", "JaxLayer", "FlaxLayer", "TFSMLayer", "PyFunc"})

# The parts of Keras whose classes only compute. `keras.utils`, `keras.saving` and `keras.config` have functions that
# fetch files and switch checks off (CVE-2025-8747, CVE-2025-9906); `keras.applications` and `datasets` download.
_COMPUTING_MODULES = re.compile(
    r"(builtins|(tf_keras|keras|tensorflow\.keras|tensorflow\.python\.keras)(\.(src|_tf_keras|api|keras))*"
    r"(\.(layers|models|engine|initializers|regularizers|constraints|activations|losses|metrics|optimizers|ops|random"
    r"|dtype_policies|mixed_precision|quantizers)(\.\w+)*)?)"
)
_OF_APPLICATIONS = re.compile(r"(tf_keras|keras)(\.src)?\.applications\.(convnext|inception_resnet_v2)")
_BUILTINS = frozenset({"function", "dict", "list", "tuple", "set", "slice", "int", "float", "bool", "str", "NoneType"})

# TFOpLambda finds any exported TensorFlow function by name, `io.write_file` and `py_function` among them.
_COMPUTING_NAMESPACES = frozenset({"math", "nn", "linalg", "signal", "bitwise", "image", "__operators__", "dtypes"})
_COMPUTING_FUNCTIONS = frozenset(
    """abs acos add add_n argmax argmin argsort batch_to_space boolean_mask broadcast_to cast clip_by_norm clip_by_value
    complex concat constant convert_to_tensor cos cosh cumsum divide depth_to_space einsum equal exp expand_dims eye
    fill floor gather gather_nd greater greater_equal identity less less_equal logical_and logical_not logical_or matmul
    maximum minimum multiply negative norm not_equal one_hot ones ones_like pad pow range rank realdiv reduce_all
    reduce_any reduce_logsumexp reduce_max reduce_mean reduce_min reduce_prod reduce_sum repeat reshape reverse roll
    round rsqrt scalar_mul scatter_nd searchsorted sequence_mask shape sigmoid sign sin sinh size slice sort
    space_to_batch space_to_depth split sqrt square squeeze stack stop_gradient strided_slice subtract tan tanh
    tensor_scatter_nd_update tensordot tile transpose truediv unstack where zeros zeros_like""".split()  # noqa: SIM905 - a table of words, not one a line
)


def check_config(config: Any, name: str) -> None:
    """Raise ModelError if a model configuration (parsed JSON) holds or names code; `name` is the file's."""
    root = _layer_name(config) if isinstance(config, dict) else ""
    for place, entry in _dictionaries(config, ()):
        for check, remedy in _CHECKS:
            if reason := check(entry):
                inner = place[1:] if root and place[:1] == (root,) and len(place) > 1 else place
                where = " > ".join(inner) or "the model"
                raise errors.ModelError(
                    f"{name}: {where}: {reason}; refused, because loading it could run code: {remedy(entry)}"
                )


def _dictionaries(entry: Any, place: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], dict[str, Any]]]:
    """Every dictionary at any depth, with the names of the layers around it."""
    pending = [(entry, place)]
    while pending:  # not recursive: a file may be nested deeper than Python's stack
        entry, place = pending.pop()
        if isinstance(entry, dict):
            here = (*place, _layer_name(entry)) if _layer_name(entry) else place
            yield here, entry
            pending += [(value, here) for value in entry.values()]
        elif isinstance(entry, list):
            pending += [(value, place) for value in entry]


def _layer_name(entry: dict[str, Any]) -> str:
    config = entry.get("config")
    inner = config.get("name") if isinstance(config, dict) else None
    return f"layer {inner!r}" if isinstance(inner, str) and "class_name" in entry else ""


def _code_danger(entry: dict[str, Any]) -> str | None:
    class_name = entry.get("class_name")
    if isinstance(class_name, str) and class_name.rsplit(">", 1)[-1] in _CODE_LAYERS:
        return f"a {class_name} layer holds code"
    if class_name == "__lambda__" or entry.get("function_type") == "lambda":
        return "a Python lambda"
    if class_name == "function" and not isinstance(entry.get("config"), str):
        return "a function given by its source"
    return None


def _module_danger(entry: dict[str, Any]) -> str | None:
    class_name, module = entry.get("class_name"), entry.get("module")
    if isinstance(module, str) and class_name is not None and not _only_computes(module, str(class_name)):
        return f"{class_name!r} of Python module {module!r} is not a part of Keras that only computes"
    return None


def _only_computes(module: str, class_name: str) -> bool:
    if module == "builtins":
        return class_name in _BUILTINS
    if class_name in named.OF_APPLICATIONS:
        return _OF_APPLICATIONS.fullmatch(module) is not None
    if ".models" in module and class_name[:1].islower():  # `load_model` would read any other file
        return False
    return _COMPUTING_MODULES.fullmatch(module) is not None


def _custom_danger(entry: dict[str, Any]) -> str | None:
    for custom in (entry.get("class_name"), entry.get("registered_name")):
        if not isinstance(custom, str) or ">" not in custom:
            continue
        package, name = custom.rsplit(">", 1)
        if package not in ("keras", "Keras", "TensorFlow") and name not in named.OF_APPLICATIONS:
            return f"custom object {custom!r} needs its author's code"
    return None


def _operation_danger(entry: dict[str, Any]) -> str | None:
    config = entry.get("config")
    if not isinstance(config, dict):
        return None
    if entry.get("class_name") in ("TFOpLambda", "SlicingOpLambda"):
        return _function_danger(config.get("function"))
    if entry.get("class_name") == "TensorFlowOpLayer":
        return _node_danger(config)
    return None


def _vocabulary_danger(entry: dict[str, Any]) -> str | None:
    config = entry.get("config")
    is_lookup = entry.get("class_name") in ("StringLookup", "IntegerLookup", "TextVectorization")
    if is_lookup and isinstance(config, dict) and isinstance(config.get("vocabulary"), str):
        return f"its vocabulary is to be read from {config['vocabulary']!r}"
    return None


def _run_it(entry: dict[str, Any]) -> str:
    """What to do about code that is in the file."""
    config = entry.get("config")
    name = config.get("name") if isinstance(config, dict) else None
    is_lambda = entry.get("class_name") == "Lambda"
    scales = f"if it only scales, say --replace {name}=SCALE,OFFSET; else " if is_lambda else ""
    return f"{scales}{named.EXPORT}; --allow-unsafe runs it in the sandbox, if this Python can"


def _export(entry: dict[str, Any]) -> str:
    """What to do about code that is not in the file, so that nothing here can run it."""
    return named.EXPORT


def _trust(entry: dict[str, Any]) -> str:
    return "--allow-unsafe loads it all the same, if you trust where it came from"


_CHECKS: tuple[tuple[Callable[[dict[str, Any]], str | None], Callable[[dict[str, Any]], str]], ...] = (
    (_code_danger, _run_it),
    (_module_danger, _export),
    (_custom_danger, _export),
    (_operation_danger, _trust),
    (_vocabulary_danger, _trust),
)


def _function_danger(function: Any) -> str | None:
    parts = function.split(".") if isinstance(function, str) else []
    if parts[:2] == ["compat", "v1"]:
        parts = parts[2:]
    is_known = (len(parts) == 1 and parts[0] in _COMPUTING_FUNCTIONS) or (
        len(parts) == 2 and parts[0] in _COMPUTING_NAMESPACES
    )
    return None if is_known else f"TensorFlow function {function!r} is not known to only compute"


def _node_danger(config: dict[str, Any]) -> str | None:
    node = config.get("node_def")  # both Kerases write it as a dictionary; bytes or text cannot be looked at
    operation = node.get("op") if isinstance(node, dict) else None
    if isinstance(operation, str) and operation in operations.COMPUTING:
        return None
    return f"TensorFlow operation {operation or 'in a form that nobody can read'} is not known to only compute"


@contextmanager
def opened_hdf5(source: Path | io.BytesIO, name: str) -> Iterator[Any]:
    """An HDF5 file, its structure checked; ModelError if it is damaged."""
    import h5py

    try:
        file = h5py.File(source, "r")
    except OSError as cause:
        raise errors.ModelError(
            f"{name}: damaged or truncated HDF5 file ({errors.one_line(cause)}); copy it again"
        ) from cause
    with file:
        yield file


def check_hdf5(file: Any, name: str) -> None:
    """Raise ModelError for links and data that lie outside the file, and for sizes no model has."""
    import h5py

    total_bytes = 0
    seen: set[int] = set()
    pending = [file]
    while pending:
        group = pending.pop()
        for key in group:
            link = group.get(key, getlink=True)
            if not isinstance(link, h5py.HardLink):
                raise errors.ModelError(
                    f"{name}: {group.name.rstrip('/')}/{key} is {_link_words(link)}; refused, Keras writes none"
                )
            member = group[key]
            address = h5py.h5o.get_info(member.id).addr
            if address in seen:
                continue
            seen.add(address)
            if isinstance(member, h5py.Group):
                pending.append(member)
            elif isinstance(member, h5py.Dataset):
                total_bytes += _checked_bytes(member, name)
    if total_bytes > LARGEST_MODEL_BYTES:
        raise errors.ModelError(
            f"{name}: declares {total_bytes:,} bytes of weights; no .tflite holds more than {LARGEST_MODEL_BYTES:,}"
        )


def _link_words(link: Any) -> str:
    file = getattr(link, "filename", None)
    return f"an external link to {file!r}" if file else f"a soft link to {link.path!r}"


def _checked_bytes(dataset: Any, name: str) -> int:
    if dataset.external or dataset.is_virtual:
        raise errors.ModelError(
            f"{name}: {dataset.name} keeps its data in another file; refused, Keras never does that"
        )
    return int(dataset.size or 0) * int(dataset.dtype.itemsize)


def check_hdf5_member(archive: zipfile.ZipFile, member: str, name: str) -> None:
    """`check_hdf5` for an HDF5 file inside a `.keras` archive."""
    with opened_hdf5(io.BytesIO(archive.read(member)), f"{name}: {member}") as file:
        check_hdf5(file, f"{name}: {member}")


def check_zip(archive: zipfile.ZipFile, name: str) -> None:
    """Raise ModelError for members that lie outside the archive, are links, or are larger than any model."""
    members = archive.infolist()
    for member in members:
        path = member.filename.replace("\\", "/")
        if path.startswith("/") or ".." in path.split("/") or ":" in path.split("/")[0]:
            raise errors.ModelError(f"{name}: member {member.filename!r} climbs out of the archive; refused")
        if stat.S_ISLNK(member.external_attr >> 16):
            raise errors.ModelError(f"{name}: member {member.filename!r} is a link; refused, Keras writes none")
    declared_bytes = sum(member.file_size for member in members)
    if declared_bytes > LARGEST_MODEL_BYTES or len(members) > MOST_MEMBERS:
        raise errors.ModelError(
            f"{name}: {len(members):,} members of {declared_bytes:,} bytes; a model has at most {MOST_MEMBERS:,} "
            f"of {LARGEST_MODEL_BYTES:,}"
        )


def json_member(archive: zipfile.ZipFile, member: str, name: str) -> Any:
    """The parsed JSON of an archive's member; KeyError if there is no such member."""
    declared_bytes = archive.getinfo(member).file_size
    if declared_bytes > LARGEST_CONFIG_BYTES:
        raise errors.ModelError(f"{name}: {member} has {declared_bytes:,} bytes (at most {LARGEST_CONFIG_BYTES:,})")
    return parsed_json(archive.read(member), name)


def parsed_json(text: Any, name: str) -> Any:
    """JSON out of a model file; ModelError if it is too large or no JSON."""
    if len(text) > LARGEST_CONFIG_BYTES:
        raise errors.ModelError(f"{name}: a configuration of {len(text):,} bytes (at most {LARGEST_CONFIG_BYTES:,})")
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as cause:
        raise errors.ModelError(f"{name}: its configuration is no JSON ({cause}); save the model again") from cause
