"""Opens a model file: recognises it by its content, searches it for code, and picks the loader that can read it.

Half of the `.h5` files in the wild open in Keras 3 only or in Keras 2 (tf-keras) only; the file says which wrote it.
"""

import tempfile
import zipfile
from collections.abc import Callable, Mapping
from enum import Enum
from importlib import metadata
from pathlib import Path
from typing import Any

from converters.amending import copies, recurrence
from converters.loading import named, other_formats, quiet, retyping, safety, saved_model
from converters.loading.inputs import InputShapes, given_shapes, static_input
from converters.loading.model import LoadedModel
from tflsplit import arguments, errors
from tflsplit.graph import flatgraph
from tflsplit.values.classes import dataclass, replace


class Format(Enum):
    HDF5 = "h5"
    KERAS = "keras"
    SAVED_MODEL = "saved_model"
    TFLITE = "tflite"


@dataclass(frozen=True, slots=True)
class _Description:
    """What a Keras file says of itself."""

    config: Any
    keras_version: str


def recognise(path: Path) -> Format:
    """The format by content, whatever the name ends in; ModelError for what is no model."""
    if path.is_dir():
        if (path / "saved_model.pb").is_file():
            return Format.SAVED_MODEL
        raise errors.ModelError(f"{path}: {other_formats.told_folder(path)}")
    try:
        start = arguments.read(path, 64)
    except OSError as cause:
        raise errors.ModelError(f"{path}: cannot be read ({cause.strerror}); give a model file") from cause
    if start[:8] == b"\x89HDF\r\n\x1a\n":
        return Format.HDF5
    if start[:4] == b"PK\x03\x04":
        names = other_formats.members(path)
        if "config.json" not in names and (what := other_formats.told_zip(path, names)):
            raise errors.ModelError(f"{path}: {what}")
        return Format.KERAS
    if start[4:8] == flatgraph.FILE_IDENTIFIER:
        return Format.TFLITE
    what = other_formats.told(path, start)
    expected = "not a model; expected .h5, .keras, .tflite or a SavedModel directory"
    raise errors.ModelError(f"{path}: {what or ('is empty; copy it again' if not start else expected)}")


def load(
    path: Path,
    *,
    input_shapes: InputShapes = (),
    allow_unsafe: bool = False,
    scales: Mapping[str, tuple[float, float]] | None = None,
    signature: str | None = None,
    stateful: bool = False,
) -> LoadedModel:
    """Open a Keras file or SavedModel, its inputs fixed to batch 1.

    `input_shapes` fixes dimensions that the model leaves open, without the batch, by input name or in input order.
    `scales` replaces Lambda layers, by name, by a factor and what is added. `signature` is that of a SavedModel.
    With `stateful` LSTM layers that keep their state are loaded as those that operators can keep it for.
    Raises ModelError for files that are damaged, hold code (unless `allow_unsafe`), or that no loader can open.
    """
    kind = recognise(path)
    if kind is Format.TFLITE:
        raise errors.ModelError(f"{path}: already a .tflite file; there is nothing to load for conversion")
    if kind is Format.SAVED_MODEL:
        if scales:
            raise errors.SettingsError(f"{path}: --replace is for Lambda layers of Keras files; a SavedModel has none")
        opened = saved_model.load(path, input_shapes=input_shapes, allow_unsafe=allow_unsafe, signature=signature)
        return retyping.with_numbers_it_computes_on(opened)
    if signature is not None:
        raise errors.SettingsError(f"{path}: --signature is for SavedModel folders; a Keras file has none")
    description = _describe_hdf5(path) if kind is Format.HDF5 else _describe_zip(path)
    with tempfile.TemporaryDirectory() as folder:
        made = copies.amended(
            path, description.config, is_zip=kind is Format.KERAS, folder=Path(folder), scales=scales or {}
        )
        if not allow_unsafe:
            safety.check_config(made.config, str(path))
        description = replace(description, config=made.config)
        model, library = _open_with_either(path, made.file, kind, description, allow_unsafe=allow_unsafe)
    if stateful:
        recurrence.leave_state_to_operators(model)
    opened = keras_model(path, kind.value, model, library, input_shapes)
    return retyping.with_numbers_it_computes_on(replace(opened, notes=made.notes))


def _describe_hdf5(path: Path) -> _Description:
    with safety.opened_hdf5(path, str(path)) as file:
        safety.check_hdf5(file, str(path))
        config = file.attrs.get("model_config")
        if config is None:
            raise errors.ModelError(
                f"{path}: holds weights but no model (no model_config); load them into their model, and save that with "
                "model.save()"
            )
        version = file.attrs.get("keras_version", "2")
        return _Description(safety.parsed_json(config, str(path)), _text(version))


def _text(attribute: Any) -> str:
    return attribute.decode("ascii", "replace") if isinstance(attribute, bytes) else str(attribute)


def _describe_zip(path: Path) -> _Description:
    name = str(path)
    try:
        with zipfile.ZipFile(path) as archive:
            safety.check_zip(archive, name)
            config = safety.json_member(archive, "config.json", name)
            metadata = safety.json_member(archive, "metadata.json", name)
            for member in archive.namelist():
                if member.endswith((".h5", ".hdf5")):
                    safety.check_hdf5_member(archive, member, name)
    except KeyError as cause:
        raise errors.ModelError(
            f"{name}: a zip file without config.json and metadata.json is no .keras model"
        ) from cause
    except (zipfile.BadZipFile, EOFError, OSError, NotImplementedError, RuntimeError) as cause:
        raise errors.ModelError(f"{name}: damaged or truncated .keras file ({cause}); copy it again") from cause
    return _Description(config, str(metadata.get("keras_version", "3")) if isinstance(metadata, dict) else "3")


def _open_with_either(
    path: Path, file: Path, kind: Format, description: _Description, *, allow_unsafe: bool
) -> tuple[Any, Any]:
    """The model and the Keras that opened it; ModelError with both reasons if neither can."""
    order = ["keras", "tf_keras"] if description.keras_version.startswith("3") else ["tf_keras", "keras"]
    quiet.tensorflow()  # says itself what to install where it is missing
    first: Exception | None = None
    for library_name in order:
        try:
            library = _library(library_name)
            return _open(file, kind, library, allow_unsafe=allow_unsafe), library
        except Exception as cause:  # noqa: BLE001 - a loader raises anything at all; its reason is shown
            first = first or cause  # of the Keras that wrote the file; the other one knows nothing of its modules
    said = named.told(description.config, [_library(name) for name in order])
    reason = f"{order[0]}: {quiet.reason(first or ValueError(), 200)}"
    written = f"written by Keras {description.keras_version}, no loader opens it ({reason})"
    advice = _advice_on_version(description.keras_version) or f"; {named.EXPORT}"
    raise errors.ModelError(f"{path}: {said or written + advice}") from first


def _advice_on_version(written_by: str) -> str:
    """A file of a newer Keras than is installed is the commonest reason; Python 3.10 gets no newer one than 3.12."""
    installed = metadata.version("keras")
    numbers = [[int(part) for part in version.split(".")[:2] if part.isdigit()] for version in (written_by, installed)]
    return f"; Keras {installed} is installed here, update it (Python 3.11 or later)" if numbers[0] > numbers[1] else ""


def _library(name: str) -> Any:
    with quiet.silenced():
        if name == "keras":
            import keras

            return keras
        import tf_keras

        return tf_keras


def _open(path: Path, kind: Format, library: Any, *, allow_unsafe: bool) -> Any:
    suffix = ".h5" if kind is Format.HDF5 else ".keras"
    with tempfile.TemporaryDirectory() as folder, quiet.silenced():
        link = path.resolve()
        if path.suffix != suffix:  # both loaders go by the ending of the name
            link = Path(folder) / f"model{suffix}"
            link.symlink_to(path.resolve())
        known = named.objects(library)
        return library.models.load_model(str(link), custom_objects=known, compile=False, safe_mode=not allow_unsafe)


def keras_model(path: Path, kind: str, model: Any, library: Any, input_shapes: InputShapes = ()) -> LoadedModel:
    """A Keras model that is already in memory, as `load` would give it."""
    tensors = tuple(getattr(model, "inputs", None) or ())
    if not tensors:
        raise _without_input(path, model)
    names = [_input_name(tensor, index) for index, tensor in enumerate(tensors)]
    given = given_shapes(input_shapes, names, str(path))
    inputs = tuple(
        static_input(
            name, tuple(tensor.shape), str(getattr(tensor.dtype, "name", tensor.dtype)), given.get(name), str(path)
        )
        for name, tensor in zip(names, tensors, strict=True)
    )
    recurrence.prepare(model, quiet.tensorflow())
    bases: tuple[type, ...] = (library.layers.Layer,)
    if hasattr(library, "Operation"):
        bases = (library.layers.Layer, library.Operation)
    return LoadedModel(
        path=path,
        format=kind,
        loader=f"{library.__name__} {library.__version__}",
        inputs=inputs,
        output_names=_output_names(model),
        call=_caller(model),
        keras_model=model,
        bases=bases,
    )


def _without_input(path: Path, model: Any) -> errors.ModelError:
    """A Sequential that was never called, or another model that was saved before it knew what it takes."""
    bare = next((layer.name for layer in model.layers if not layer.built), None)
    if bare is None:
        return errors.ModelError(f"{path}: the model says nothing of its input; {named.EXPORT}")
    return errors.ModelError(
        f"{path}: the model has no input, and its layer {bare!r} no weights yet; make it with keras.Input(shape=…) as "
        "its first layer, and save it once it is trained, or has its weights"
    )


def _input_name(tensor: Any, index: int) -> str:
    return str(getattr(tensor, "name", None) or f"input_{index}").split(":")[0]


def _output_names(model: Any) -> tuple[str, ...]:
    names = getattr(model, "output_names", None)
    # A Sequential of Keras 3 has no names; its output is its last layer's.
    return tuple(str(name) for name in names) if names else (str(model.layers[-1].name),)


def _caller(model: Any) -> Callable[..., Any]:
    """Calls the model with its inputs in order, in whatever structure it takes them."""
    structure = getattr(model, "input", model.inputs)  # a Sequential of Keras 3 has no `input` until it is called

    def call(*tensors: Any) -> Any:
        tf = quiet.tensorflow()
        return model(tf.nest.pack_sequence_as(structure, list(tensors)), training=False)

    return call
