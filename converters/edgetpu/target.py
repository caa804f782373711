"""What `--target coral` does to a conversion: exact rewrites, the cut where the Edge TPU's part ends, what it costs."""

from collections.abc import Sequence

from converters import quantize
from converters.calibration.preparation import Prepared
from converters.edgetpu import heads, rewrite, rules
from converters.edgetpu.compiler import Compiler
from converters.float_model import biases, fidelity
from converters.loading.model import LoadedModel
from converters.rewriting import Rewritten
from tflsplit import errors
from tflsplit import fidelity as kept_fidelity
from tflsplit.graph import flatgraph
from tflsplit.graph.cuts import Cut
from tflsplit.graph.flatgraph import Graph
from tflsplit.graph.tensors import Array
from tflsplit.package.reading import Package

CUT = "edgetpu"  # the name that --split-at and --cut know the cut by


def refuse_compiled(graph: Graph, name: str) -> None:
    """ModelError for a file that has been through the compiler: its operators are gone."""
    if rules.is_compiled(graph):
        raise errors.ModelError(
            f"{name}: compiled for the Edge TPU already ({rules.COMPILED}), so it cannot be cut, only run whole on an "
            "Edge TPU; give the .tflite it was compiled from"
        )


def rewritten(data: bytes, samples: Sequence[Array]) -> Rewritten:
    """The model rewritten for the compiler where that changes no result; unchanged if it is not 8-bit."""
    graph = flatgraph.read(data)
    kinds = {graph.tensors[index].type_name for index in (*graph.inputs, *graph.outputs)}
    return rewrite.rewrite(data, samples) if kinds <= {"int8", "uint8"} else Rewritten(data)


def cut_of_edgetpu(graph: Graph, found: Sequence[Cut]) -> Cut | None:
    """The last cut whose head runs wholly on the Edge TPU; None where not even the first operator maps."""
    return rules.tpu_cut(rules.judge(graph), found)


def check_has_cut(graph: Graph, found: Sequence[Cut], name: str) -> None:
    """CutError with the reason where `--split-at edgetpu` has nowhere to cut."""
    first = rules.first_unmapped(rules.judge(graph))
    if first is not None and cut_of_edgetpu(graph, found) is None:
        raise errors.CutError(
            f"{name}: no head runs on the Edge TPU: operator {first.index} ({first.op}) does not map: {first.reason}"
        )


def fidelity_of_cpu(
    model: LoadedModel, data: bytes, prepared: Prepared, *, io_dtype: str, has_labels: bool
) -> tuple[kept_fidelity.Fidelity, ...]:
    """How well the same conversion for `--target cpu` tracks float, where the targets differ: in dense weights.

    It takes a second conversion, on the same samples.
    """
    if not any(operator.name == "FULLY_CONNECTED" for operator in flatgraph.read(data).operators):
        return ()
    other = quantize.quantise(model, prepared.calibrating, io_dtype=io_dtype)
    other = biases.corrected(model, other, prepared.calibrating).data
    measured = fidelity.measure(model, other, prepared.measuring, has_labels=has_labels)
    return fidelity.recorded(measured, prepared.measured_on)


def compiled(made: Package, tool: Compiler | None, timeout_s: float) -> Package:
    """The package with its heads compiled, or marked as not compiled where there is no compiler."""
    return heads.compile_heads(made, heads.default_cuts(made), tool, heads.Settings(timeout_s=timeout_s))
