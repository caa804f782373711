"""From a model file to a package: the stages of `tflsplit convert`, one after the other, in a process without rights.

load → samples → quantise once → rewrite for the target → flat graph and cuts → layers → float tails → fidelity →
codec → fewer bits → package
"""

from collections.abc import Callable, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from converters import (
    float_ends,
    fused_lstm,
    quantize,
    refusals,
    requantise,
    rewriting,
    static_shapes,
    tasks,
    unquantised,
)
from converters.calibration import first_layer, preparation
from converters.calibration.preparation import Prepared
from converters.edgetpu import target
from converters.float_model import biases, fidelity, layers, losses, tails
from converters.loading import formats, quiet
from converters.loading.formats import Format
from converters.loading.model import LoadedModel, stored_samples
from converters.mending import divisions, least_scales, sparse_weights
from converters.options import Options
from converters.payloads import precision, saving
from converters.payloads.precision import Samples
from converters.rewriting import Rewritten
from tflsplit import errors, text
from tflsplit.cards import names as card_names
from tflsplit.cards.known import Known
from tflsplit.fidelity import Fidelity
from tflsplit.graph import cuts, flatgraph, float_tail, kinds
from tflsplit.graph.cuts import Cut
from tflsplit.graph.flatgraph import Graph
from tflsplit.graph.tensors import Array, TensorSpec
from tflsplit.kernels.classes import KernelClass
from tflsplit.package import golden, manifest, writing
from tflsplit.values.classes import dataclass, replace


@dataclass(frozen=True, slots=True)
class _Quantised:
    """A full-integer model and everything known about it."""

    data: bytes
    loader: str
    prepared: Prepared
    model: LoadedModel | None
    rewrites: tuple[str, ...] = ()
    fidelity_cpu: tuple[Fidelity, ...] = ()
    fidelity: tuple[Fidelity, ...] = ()


def run(request: Mapping[str, Any], on_stage: Callable[[str], None]) -> None:
    """As `_run`; between stages what the last one has freed goes back to the system."""

    def stage(words: str) -> None:
        quiet.give_back_memory()
        on_stage(words)

    _run(request, stage)


def _run(request: Mapping[str, Any], on_stage: Callable[[str], None]) -> None:
    """Convert a model file and write its package; `converters.convert` makes the request and checks what is written.

    Raises ModelError, DataError, CutError or PackageError before anything is written, DeviceError if it cannot be.
    """
    source, destination = Path(request["source"]), Path(request["destination"])
    options = Options.from_json(request["options"])
    quantised = _described(_quantise(source, options, on_stage), request["name"], options)
    on_stage("read the graph and find its cuts")
    graph = flatgraph.read(quantised.data, name=str(source))
    refusals.after_quantising(source, graph, quantised.model, options)
    found, fused, aliases = _named_cuts(graph, quantised)
    aliases |= _edgetpu_alias(source, graph, found, options)
    float_tails = _float_tails(source, quantised, found, options, on_stage)
    chosen = _chosen_pairs(found, fused, aliases, options, float_tails)
    on_stage("compare int8 with float")
    found_fidelity = _fidelity(quantised, options)
    measured_tails = _measured_tails(quantised, float_tails, (found[0], *chosen), options)
    samples = _golden_inputs(quantised, graph.specs(graph.inputs))
    described = manifest.Manifest(
        name=request["name"],
        target=options.target,
        source=manifest.Source(
            text.printable(source.name), formats.recognise(source).value, quantised.loader, request["sha256"]
        ),
        calibration=_with_doubts(quantised, found_fidelity, measured_tails, options),
        inputs=graph.specs(graph.inputs),
        outputs=graph.specs(graph.outputs),
        operators=len(graph.operators),
        kinds=kinds.each(graph),
        meanings=tasks.meanings_of(graph, options),
        decoding=tasks.decoding_of(graph, options),
        cuts=found,
        codec=saving.codec(quantised.data, found, samples),
        preprocessing=quantised.prepared.preprocessing,
        labels=options.labels,
        fidelity=found_fidelity,
        fidelity_cpu=quantised.fidelity_cpu,
        rewrites=quantised.rewrites,
        float_tails=measured_tails,
        is_stateful=options.stateful,
        fused=fused,
        aliases=aliases,
        created_with=_versions(quantised.model),
    )
    precisions = _precisions(quantised, described, float_tails, options, on_stage)
    on_stage(f"write {text.counted(len(chosen), 'pair')}")
    writing.write(
        destination,
        described,
        quantised.data,
        chosen,
        float_model=float_tails.data if float_tails else None,
        golden=golden.of_model(quantised.data, found[-1], samples, KernelClass.from_json(request["kernel_class"])),
        precisions=precisions,
    )


def _quantise(source: Path, options: Options, on_stage: Callable[[str], None]) -> _Quantised:
    opened = _open_tflite(source) if formats.recognise(source) is Format.TFLITE else None
    if opened is not None and not unquantised.is_float(flatgraph.read(opened.data)):
        return _already_quantised(source, opened, options)
    if options.requantise:
        raise errors.SettingsError(f"{source}: --requantise is for a uint8 .tflite; other models are quantised to int8")
    on_stage(f"load {source.name}")
    if opened is not None:
        refusals.check_labels_of(options, flatgraph.read(opened.data), options.labels_name)
        model: LoadedModel = unquantised.load(source, opened.data)
    else:
        model = formats.load(
            source,
            input_shapes=options.input_shapes,
            allow_unsafe=options.allow_unsafe,
            scales=options.scales,
            signature=options.signature,
            stateful=options.stateful,
        )
        refusals.before_quantising(model, options)
    prepared = _prepared(model, options, on_stage)
    first_layer.look_at.cache_clear()  # what was seen holds the model's constants
    on_stage("quantise to int8")
    io = options.io or "int8"
    data = quantize.quantise(model, prepared.calibrating, io_dtype=io, per_tensor_dense=options.target == "coral")
    usual = least_scales.raised(data, prepared.calibrating)
    # What is looked at only is never run.
    better = Rewritten(usual.data) if options.quick else biases.corrected(model, usual.data, prepared.calibrating)
    data = better.data
    came = opened.notes if opened is not None else (*model.notes, *model.trace.notes)
    notes = (*came, *fused_lstm.unrolled_note(model, data), *usual.notes, *divisions.note(data), *better.notes)
    quantised = _Quantised(data, model.loader, prepared, model, notes)
    if options.target != "coral":
        return quantised
    on_stage("rewrite for the Edge TPU, and see what that costs")
    has_labels = options.has_classes
    cost = () if options.quick else target.fidelity_of_cpu(model, data, prepared, io_dtype=io, has_labels=has_labels)
    return _rewritten(replace(quantised, fidelity_cpu=cost))


def _described(quantised: _Quantised, name: str, options: Options) -> _Quantised:
    """With names to run the model by, its labels and how pixels are scaled, in the file itself."""
    graph, model = flatgraph.read(quantised.data), quantised.model
    if model is None:
        names = card_names.of_graph(graph)
    elif isinstance(model, unquantised.FloatFile):
        names = card_names.of_graph(flatgraph.read(model.data))
    else:
        inputs = card_names.distinct([entry.name for entry in model.inputs])
        names = card_names.Names(inputs, card_names.distinct(model.output_names))
    known = Known(
        name=name,
        names=names,
        inputs=graph.specs(graph.inputs),
        outputs=graph.specs(graph.outputs),
        meanings=tasks.meanings_of(graph, options),
        labels=options.labels,
        preprocessing=quantised.prepared.preprocessing,
    )
    return replace(quantised, data=flatgraph.pack(graph.source, known.whole()))


def _rewritten(quantised: _Quantised) -> _Quantised:
    changed = target.rewritten(quantised.data, quantised.prepared.calibrating)
    return replace(quantised, data=changed.data, rewrites=(*quantised.rewrites, *changed.notes))


def _open_tflite(source: Path) -> Rewritten:
    """A `.tflite` for one sample at a time, and what was changed for that."""
    mended = static_shapes.with_axes_of_vectors(source.read_bytes(), str(source))
    graph = flatgraph.read(mended.data, name=str(source))
    target.refuse_compiled(graph, str(source))
    refusals.check_is_one_model(graph, str(source))
    refusals.check_has_no_branches(graph, str(source))
    static_shapes.check(graph, str(source))
    dense = sparse_weights.written_out(mended.data, str(source))
    opened = rewriting.rewrite(dense.data, static_shapes.PASSES, frees_kernels=True)
    return replace(opened, notes=(*mended.notes, *dense.notes, *opened.notes))


def _already_quantised(source: Path, opened: Rewritten, options: Options) -> _Quantised:
    """A `.tflite` is changed only as its target needs; its own scales are its calibration. Samples only measure."""
    inner = float_ends.cut_off(opened.data)
    changed = target.rewritten(inner.data, ()) if options.target == "coral" else Rewritten(inner.data)
    changed = replace(changed, notes=(*opened.notes, *inner.notes, *changed.notes))
    graph = flatgraph.read(changed.data, name=str(source))
    quantize.check_is_integer(graph, str(source))
    _check_taken_as_it_is(source, graph, options)
    refusals.check_pixels_are_told(source, graph, options)
    stated = options.preprocessing, options.resize
    prepared = preparation.for_quantised(options.calibration, graph.specs(graph.inputs), *stated)
    described = prepared.described
    described = replace(described, warnings=(*described.warnings, *fused_lstm.doubts(graph)))
    quantised = _Quantised(changed.data, "tflsplit", replace(prepared, described=described), None, changed.notes)
    return _requantised(source, quantised, options) if options.requantise else quantised


def _requantised(source: Path, quantised: _Quantised, options: Options) -> _Quantised:
    """int8 instead of uint8; pixels are stored as the same steps, 128 lower."""
    per_tensor_dense = options.target == "coral"
    made = requantise.requantise(
        quantised.data, name=str(source), samples=quantised.prepared.measuring, per_tensor_dense=per_tensor_dense
    )
    return replace(quantised, data=made.data, rewrites=(*quantised.rewrites, made.note), fidelity=made.recorded())


def _check_taken_as_it_is(source: Path, graph: Graph, options: Options) -> None:
    advice = "it is taken as it is; convert the model it was made from"
    if options.requantise and options.io == "uint8":
        raise errors.SettingsError("--requantise makes int8 inputs and outputs; leave --io uint8 out")
    if options.tail != "int8":
        raise errors.ModelError(f"{source}: came quantised and has no float weights for {options.tail} tails; {advice}")
    for spec in graph.specs((*graph.inputs, *graph.outputs)):
        if not options.requantise and options.io not in (None, spec.dtype) and spec.is_quantised:
            raise errors.ModelError(f"{source}: {spec.name!r} is {spec.dtype}, {options.io} was asked for; {advice}")


def _named_cuts(graph: Graph, quantised: _Quantised) -> tuple[tuple[Cut, ...], dict[str, int], dict[str, str]]:
    """Every cut with the layer it follows; layers that end inside an operator; other names of layers.

    Without a Keras model, the names of the file's tensors stand for layers.
    """
    found = cuts.enumerate_cuts(graph)
    if quantised.model is None or not quantised.model.layers:
        names = {operator.index: graph.tensors[operator.outputs[0]].name for operator in graph.operators}
        fused: dict[str, int] = {}
        aliases: dict[str, str] = {}
    else:
        mapped = layers.map_layers(quantised.model, quantised.data, quantised.prepared.calibrating)
        names = {entry.operator: entry.layer for entry in mapped.operators if entry.layer is not None}
        fused = mapped.fused
        aliases = {alias: entry.layer for entry in mapped.operators if entry.layer for alias in entry.aliases}
    behind = cuts.behind_the_last_softmax(graph)
    aliases |= {names[place - 1]: found[-1].id for place in behind if place - 1 in names}
    return tuple(replace(cut, layer=names.get(cut.after_operator)) for cut in found), fused, aliases


def _edgetpu_alias(source: Path, graph: Graph, found: Sequence[Cut], options: Options) -> dict[str, str]:
    """The name `edgetpu` for the cut where the Edge TPU's part ends."""
    if target.CUT in options.split_at:
        target.check_has_cut(graph, found, str(source))
    elif options.target != "coral":
        return {}
    cut = target.cut_of_edgetpu(graph, found)
    return {target.CUT: cut.id} if cut is not None else {}


def _float_tails(
    source: Path, quantised: _Quantised, found: Sequence[Cut], options: Options, on_stage: Callable[[str], None]
) -> tails.Made | None:
    if options.tail != "float32" or quantised.model is None:
        return None
    on_stage("find the cuts in the float model")
    made = tails.make(quantised.model, quantised.data, found, quantised.prepared.calibrating)
    if len(made.described.problems) == len(found):
        reason = next(iter(made.described.problems.values()))
        raise errors.ModelError(f"{source}: no cut can have a float tail ({reason}); convert with int8 tails")
    return made


def _chosen_pairs(
    found: Sequence[Cut],
    fused: dict[str, int],
    aliases: Mapping[str, str],
    options: Options,
    float_tails: tails.Made | None,
) -> tuple[Cut, ...]:
    """The interior cuts to write pairs for, in operator order. `input` and `output` need none: they are the model."""
    wanted = {cuts.find(found, aliases.get(name, name), fused).id for name in options.split_at}
    pairs = options.pairs or ("none" if options.split_at else "useful")
    problems = float_tails.described.problems if float_tails else {}
    for cut in sorted(wanted.intersection(problems)):
        raise errors.CutError(f"cut {cut} has no float tail: {problems[cut]}; take another, or int8 tails")
    interior = [cut for cut in found if cut.id not in ("input", "output", *problems)]
    return tuple(cut for cut in interior if cut.id in wanted or pairs == "all" or (pairs == "useful" and cut.is_useful))


def _fidelity(quantised: _Quantised, options: Options) -> tuple[Fidelity, ...]:
    if quantised.model is None:
        return quantised.fidelity
    samples = quantised.prepared.measuring
    measured = fidelity.measure(quantised.model, quantised.data, samples, has_labels=options.has_classes)
    return fidelity.recorded(measured, quantised.prepared.measured_on)


def _with_doubts(
    quantised: _Quantised, int8: Sequence[Fidelity], tails: manifest.FloatTails | None, options: Options
) -> manifest.Calibration:
    """With a warning where what runs is far from float; of float tails, those of the worst cut."""
    calibration = quantised.prepared.described

    def worst() -> str | None:
        if quantised.model is None or options.quick:
            return None
        return losses.advice(quantised.model, quantised.data, quantised.prepared.measuring)

    if tails is None:
        found = fidelity.warnings(int8, has_float_tails=False, worst=worst)
    else:
        of_cuts = [fidelity.warnings(measured, has_float_tails=True) for measured in tails.fidelity.values()]
        found = max(of_cuts, key=len, default=())
    return replace(calibration, warnings=(*calibration.warnings, *found))


def _prepared(model: LoadedModel, options: Options, on_stage: Callable[[str], None]) -> Prepared:
    if options.requires_calibration and options.calibration is None:
        # Of a float .tflite, which looks like any other until it is read.
        raise errors.DataError(
            f"{model.path}: --require-calibration, but no data; give --calibration a folder, .npy, .npz or .csv"
        )
    stated = options.preprocessing, options.resize
    return preparation.for_float(model, options.calibration, *stated, distils=not options.quick, on_stage=on_stage)


def _golden_inputs(quantised: _Quantised, inputs: Sequence[TensorSpec]) -> Sequence[tuple[Array, ...]]:
    """The first calibration samples as the model stores them; none where it was not calibrated."""
    if not quantised.prepared.calibrating:
        return ()
    return stored_samples([array[: golden.MOST_SAMPLES] for array in quantised.prepared.calibrating], inputs)


def _measured_tails(
    quantised: _Quantised, float_tails: tails.Made | None, chosen: Sequence[Cut], options: Options
) -> manifest.FloatTails | None:
    if float_tails is None or quantised.model is None:
        return None
    served = [cut for cut in chosen if cut.id in float_tails.described.counterparts]
    samples, has_labels = quantised.prepared.measuring, options.has_classes
    measured = tails.measure(quantised.model, quantised.data, float_tails, served, samples, has_labels=has_labels)
    kind = quantised.prepared.measured_on
    return replace(
        float_tails.described, fidelity={cut: fidelity.recorded(found, kind) for cut, found in measured.items()}
    )


def _precisions(
    quantised: _Quantised,
    described: manifest.Manifest,
    float_tails: tails.Made | None,
    options: Options,
    on_stage: Callable[[str], None],
) -> bytes | None:
    """What fewer bits lose at the cuts worth having; None where nothing tells it."""
    prepared, graph = quantised.prepared, flatgraph.read(quantised.data)
    if options.quick or not prepared.measuring:
        return None
    on_stage("measure features in fewer bits")
    float_graph = None if float_tails is None else flatgraph.read(float_tails.data)
    counterparts = None if float_tails is None else float_tails.described.counterparts
    measuring = stored_samples(prepared.measuring, described.inputs)
    is_same = prepared.calibrating is prepared.measuring
    return precision.measure(
        quantised.data,
        [cut for cut in described.cuts if cut.is_useful and (counterparts is None or cut.id in counterparts)],
        lambda cut: (
            cuts.tail_bytes(graph, cut)
            if float_graph is None or counterparts is None
            else float_tail.tail_bytes(float_graph, cut.boundary, counterparts[cut.id])
        ),
        Samples(
            measuring if is_same else stored_samples(prepared.calibrating, described.inputs),
            measuring,
            prepared.measured_on,
        ),
        described.meanings[0],
    )


def _versions(model: LoadedModel | None) -> dict[str, str]:
    tool = [] if model is None else ["ai-edge-quantizer" if isinstance(model, unquantised.FloatFile) else "tensorflow"]
    names = ["tflsplit", "ai-edge-litert", *tool]
    return {name: metadata.version(name) for name in names}
