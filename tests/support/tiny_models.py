"""Tiny int8 models built straight from the schema: exact graphs in a millisecond, without TensorFlow."""

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

from tflsplit.graph import cuts, flatgraph
from tflsplit.inputs import preprocessing
from tflsplit.package import manifest, reading, writing


@dataclass
class Builder:
    """Adds tensors and operators one by one; `build()` gives the `.tflite` bytes."""

    tensors: list = field(default_factory=list)
    operators: list = field(default_factory=list)
    codes: list = field(default_factory=list)
    buffers: list = field(default_factory=lambda: [schema.BufferT()])

    def tensor(self, name, shape, *, scale=0.1, zero_point=0, data=None, variable=False, kind="INT8") -> int:
        made = schema.TensorT()
        made.name = name.encode()
        made.shape = list(shape)
        made.type = getattr(schema.TensorType, kind)
        made.isVariable = variable
        if scale is not None:
            made.quantization = schema.QuantizationParametersT()
            made.quantization.scale = [scale]
            made.quantization.zeroPoint = [zero_point]
        if data is not None:
            buffer = schema.BufferT()
            buffer.data = np.frombuffer(np.ascontiguousarray(data).tobytes(), np.uint8)
            self.buffers.append(buffer)
            made.buffer = len(self.buffers) - 1
        self.tensors.append(made)
        return len(self.tensors) - 1

    def operator(self, name, inputs, outputs, options=None, *, options_type="NONE", version=1) -> None:
        code = schema.OperatorCodeT()
        code.builtinCode = getattr(schema.BuiltinOperator, name)
        code.deprecatedBuiltinCode = min(code.builtinCode, 127)
        code.version = version
        self.codes.append(code)
        made = schema.OperatorT()
        made.opcodeIndex = len(self.codes) - 1
        made.inputs, made.outputs = list(inputs), list(outputs)
        made.builtinOptionsType = getattr(schema.BuiltinOptions, options_type)
        for parameter in ("strideW", "strideH", "filterWidth", "filterHeight"):
            if getattr(options, parameter, 1) == 0:  # the schema's default, by which kernels would divide
                setattr(options, parameter, 1)
        made.builtinOptions = options
        self.operators.append(made)

    def add(self, left: int, right: int, name: str, shape, scale=0.2) -> int:
        """An int8 ADD; version 2 is the first that takes int8."""
        output = self.tensor(name, shape, scale=scale)
        self.operator("ADD", (left, right), (output,), schema.AddOptionsT(), options_type="AddOptions", version=2)
        return output

    def dense(self, source: int, weights: int, name: str, extent: int, scale=0.4) -> int:
        """An int8 FULLY_CONNECTED without biases."""
        output = self.tensor(name, (1, extent), scale=scale)
        options = schema.FullyConnectedOptionsT()
        self.operator(
            "FULLY_CONNECTED",
            (source, weights, -1),
            (output,),
            options,
            options_type="FullyConnectedOptions",
            version=4,
        )
        return output

    def memory(self, source: int, name: str, seed: int, *, units=4, steps=3, scale=0.1) -> int:
        """An int8 SVDF, which keeps what came in the last `steps` runs, and mixes it with weights of that seed."""
        randomness = np.random.default_rng(seed)
        features = randomness.integers(-127, 128, (units, self.tensors[source].shape[-1]), dtype=np.int8)
        times = randomness.integers(-32767, 32768, (units, steps), dtype=np.int16)
        inputs = (
            source,
            self.tensor(f"{name}_features", features.shape, scale=0.01, data=features),
            self.tensor(f"{name}_times", times.shape, scale=1 / 32768, data=times, kind="INT16"),
            self.tensor(f"{name}_bias", (units,), scale=0.01, data=np.zeros(units, np.int32), kind="INT32"),
            self.tensor(f"{name}_state", (1, units * steps), scale=0.001, kind="INT16", variable=True),
        )
        output = self.tensor(name, (1, units), scale=scale, zero_point=-128)
        options = schema.SVDFOptionsT()
        options.rank, options.fusedActivationFunction = 1, schema.ActivationFunctionType.RELU
        self.operator("SVDF", inputs, (output,), options, options_type="SVDFOptions", version=3)
        return output

    def build(self, inputs, outputs) -> bytes:
        subgraph = schema.SubGraphT()
        subgraph.tensors, subgraph.operators = self.tensors, self.operators
        subgraph.inputs, subgraph.outputs = list(inputs), list(outputs)
        model = schema.ModelT()
        model.version = 3
        model.operatorCodes, model.subgraphs, model.buffers = self.codes, [subgraph], self.buffers
        builder = flatbuffers.Builder(1024)
        builder.Finish(model.Pack(builder), b"TFL3")
        return bytes(builder.Output())


def residual_model() -> bytes:
    """x → a=x+x → b=a+a → c=a+b: `a` is needed twice, so the cut after b carries two tensors."""
    made = Builder()
    x = made.tensor("x", (1, 4))
    a = made.add(x, x, "a", (1, 4))
    b = made.add(a, a, "b", (1, 4), scale=0.4)
    c = made.add(a, b, "c", (1, 4), scale=0.6)
    return made.build((x,), (c,))


def remembering_model() -> bytes:
    """x → a → b=a+a → c: a and c keep what came in the last three runs, so a cut at b has state on both sides."""
    made = Builder()
    x = made.tensor("x", (1, 4))
    a = made.memory(x, "a", 1)
    b = made.add(a, a, "b", (1, 4))
    return made.build((x,), (made.memory(b, "c", 2, scale=0.2),))


def float_twin() -> bytes:
    """The residual model as it was before it was quantised: the same names, and tensors in the same places."""
    made = Builder()
    x, a, b, c = (made.tensor(name, (1, 4), scale=None, kind="FLOAT32") for name in "xabc")
    for left, right, output in ((x, x, a), (a, a, b), (a, b, c)):
        made.operator("ADD", (left, right), (output,), schema.AddOptionsT(), options_type="AddOptions")
    return made.build((x,), (c,))


def wide_model(width: int = 5000) -> bytes:
    """x → a=x+x → c, from a wide boundary to four numbers."""
    made = Builder()
    x = made.tensor("x", (1, width))
    a = made.add(x, x, "a", (1, width))
    weights = np.random.default_rng(0).integers(-127, 128, (4, width), dtype=np.int8)
    return made.build((x,), (made.dense(a, made.tensor("w", (4, width), scale=0.01, data=weights), "c", 4),))


def heavy_model(width: int = 1 << 20, passes: int = 3) -> bytes:
    """x → a=x+x → a few times wide and back: a small boundary before a tail of some 6 ms, in 8 MB."""
    made = Builder()
    randomness = np.random.default_rng(0)
    a = made.tensor("x", (1, 4))
    x, a = a, made.add(a, a, "a", (1, 4))
    # The sum of a million products must not leave the range.
    out, back = (
        made.tensor(name, shape, scale=scale, data=randomness.integers(-127, 128, shape, dtype=np.int8))
        for name, shape, scale in (("out", (width, 4), 0.01), ("back", (4, width), 0.01 / width**0.5))
    )
    for number in range(passes):
        for weights, extent in ((out, width), (back, 4)):
            a = made.dense(a, weights, f"{'bc'[extent == 4]}{number}", extent)
    return made.build((x,), (a,))


def steps_model(steps: int) -> bytes:
    """As a recurrent layer is unrolled: all steps split apart, then one after the other added to a state."""
    made = Builder()
    x = made.tensor("x", (1, steps * 4))
    parts = [made.tensor(f"part{number}", (1, 4)) for number in range(steps)]
    axis = made.tensor("axis", (1,), data=np.array([1], np.int32), scale=None, kind="INT32")
    options = schema.SplitOptionsT()
    options.numSplits = steps
    made.operator("SPLIT", (axis, x), parts, options, options_type="SplitOptions")
    state = parts[0]
    for number, part in enumerate(parts[1:]):
        state = made.add(state, part, f"state{number}", (1, 4))
    return made.build((x,), (state,))


def describe(model: bytes, **changes) -> manifest.Manifest:
    """A manifest for a model that was made here; `changes` are fields of it."""
    graph = flatgraph.read(model)
    fields = {
        "name": "tiny",
        "target": "cpu",
        "source": manifest.Source("tiny.tflite", "tflite", "none", "0" * 64),
        "calibration": manifest.Calibration("model", 0, "came quantised"),
        "inputs": graph.specs(graph.inputs),
        "outputs": graph.specs(graph.outputs),
        "operators": len(graph.operators),
        "cuts": cuts.enumerate_cuts(graph),
        "preprocessing": preprocessing.NAMED["unit"],
        "labels": ("zero", "éins"),
    }
    return manifest.Manifest(**fields | changes)


def write_package(path: Path, model: bytes, **changes) -> reading.Package:
    """A package of a tiny model with the pairs of all its interior cuts."""
    described = describe(model, **changes)
    return writing.write(path, described, model, described.cuts[1:-1])


def with_compiled(package: reading.Package, *cuts: str) -> reading.Package:
    """It, with heads of these cuts as if they were compiled: a stand-in for the accelerator runs them on the CPU."""
    found = [package.cut(cut) for cut in cuts]
    made = {cut.id: manifest.Compilation("compiled", tpu_operators=1) for cut in found}
    heads = {f"cuts/{cut.id}/head_edgetpu.tflite": package.head_bytes(cut) for cut in found}
    return writing.update(package, dataclasses.replace(package.manifest, compilations=made), found, heads)


def write_float_package(path: Path, *, without: str | None = None, **changes) -> reading.Package:
    """A package of the residual model with float tails for all its cuts, or all but one."""
    described = describe(residual_model(), **changes)
    tails = manifest.FloatTails(
        {cut.id: cut.tensors for cut in described.cuts if cut.id != without},
        {without: "fused differently"} if without else {},
    )
    pairs = [cut for cut in described.cuts[1:-1] if cut.id != without]
    described = dataclasses.replace(described, float_tails=tails)
    return writing.write(path, described, residual_model(), pairs, float_model=float_twin())
