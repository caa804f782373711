"""The only door to LiteRT's quantizer (ai-edge-quantizer): a float `.tflite` and samples in, one int8 `.tflite` out."""

from collections.abc import Collection, Mapping, Sequence
from types import SimpleNamespace
from typing import Any

from converters import rewriting
from converters.loading import quiet
from converters.loading.model import samples_of
from converters.mending import float_forms, float_islands
from converters.unquantised import FloatFile
from tflsplit import errors, extras
from tflsplit.graph import flatgraph
from tflsplit.graph.edit import Edit
from tflsplit.graph.interpreter import Interpreter
from tflsplit.graph.tensors import Array

_SIGNATURE = "serving_default"


def quantise(model: FloatFile, samples: Sequence[Array]) -> bytes:
    """Full-integer weights, activations, inputs and outputs, calibrated on `samples`: (samples, …) for each input.

    ModelError where the quantizer refuses the model. What it leaves in float is the caller's to look for.
    """
    named = _with_signature(rewriting.rewrite(model.data, float_forms.PASSES).data)
    names = [f"input_{place}" for place in range(len(model.inputs))]
    rows = [
        {
            name: array.astype(entry.dtype).reshape(entry.shape)
            for name, array, entry in zip(names, row, model.inputs, strict=True)
        }
        for row in samples_of(samples)
    ]
    with quiet.silenced():
        library = _library()
        recipe = library.recipe.static_wi8_ai8()
        try:
            made = library.quantizer.Quantizer(named, recipe).quantize(_ranges(named, recipe, rows)).quantized_model
        except (ValueError, RuntimeError, KeyError, NotImplementedError) as cause:
            raise errors.ModelError(
                f"{model.path}: LiteRT's quantizer refuses this model ({errors.one_line(cause)}); "
                "convert the Keras model it was made from, if there is one"
            ) from cause

    def ranges(names: Collection[str]) -> Mapping[str, tuple[float, float]]:
        return _observed(named, names, [list(row.values()) for row in rows])

    return float_islands.in_int8(bytes(made), ranges)


def _with_signature(data: bytes) -> bytes:
    """The quantizer feeds a model by the names of a signature, which many files have not, or have for another use."""
    graph = flatgraph.read(data)
    # Tensors that nothing makes, which rewrites leave behind, have no data: the quantizer reads them all.
    used = flatgraph.extract(graph, 0, len(graph.operators), graph.inputs, graph.outputs)
    edited = Edit(flatgraph.read(used))
    signature = edited.schema.SignatureDefT()
    signature.signatureKey, signature.subgraphIndex = _SIGNATURE.encode(), 0
    signature.inputs = [_entry(edited, f"input_{place}", index) for place, index in enumerate(edited.graph.inputs)]
    signature.outputs = [_entry(edited, f"output_{place}", index) for place, index in enumerate(edited.graph.outputs)]
    edited.source.signatureDefs = [signature]
    return flatgraph.pack(edited.source)


def _entry(edited: Edit, name: str, index: int) -> Any:
    made = edited.schema.TensorMapT()
    made.name, made.tensorIndex = name.encode(), index
    return made


def _ranges(model: bytes, recipe: Any, rows: Sequence[dict[str, Array]]) -> Any:
    """Lowest and highest value of each tensor over all samples, as TensorFlow takes them.

    The quantizer's own way is a moving average over the samples: their order would count, and what is rare be cut off.
    """
    library = _library()
    rules = library.recipe_manager.RecipeManager()
    rules.load_quantization_recipe(recipe)
    mode = library.calibrator.CalibrationMode.CALIBRATION_PRESERVE_ALL_TENSORS
    calibrator = library.calibrator.Calibrator(model, mode=mode, qsv_update_func=library.qsv_utils.min_max_update)
    calibrator.calibrate({_SIGNATURE: rows}, rules)
    return calibrator.get_model_qsvs()


def _observed(
    model: bytes, names: Collection[str], rows: Sequence[Sequence[Array]]
) -> Mapping[str, tuple[float, float]]:
    """The range of tensors that the quantizer does not look at, over all samples."""
    graph = flatgraph.read(model)
    wanted = {tensor.name: tensor.index for tensor in graph.tensors if tensor.name in names}
    found: dict[str, list[Array]] = {name: [] for name in wanted}
    with quiet.silenced(), Interpreter(model, threads=2, keeps_intermediates=True) as opened:
        for row in rows:
            opened.run(*row)
            for name, index in wanted.items():
                found[name].append(opened.tensor(index))
    return {
        name: (float(min(each.min() for each in arrays)), float(max(each.max() for each in arrays)))
        for name, arrays in found.items()
    }


def _library() -> Any:
    """The quantizer's modules, as attributes of one; DeviceError where it is not installed."""
    try:
        import ai_edge_quantizer
        from ai_edge_quantizer import calibrator, quantizer, recipe, recipe_manager  # noqa: F401
        from ai_edge_quantizer.utils import qsv_utils
    except ImportError as missing:
        raise errors.DeviceError(extras.need("quantising a float .tflite", "ai_edge_quantizer")) from missing
    return SimpleNamespace(**vars(ai_edge_quantizer), qsv_utils=qsv_utils)
