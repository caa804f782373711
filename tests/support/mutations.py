"""Files that were right before somebody changed them: `.tflite` mutated by structure, and byte for byte."""

import copy
import os
import signal
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import tiny_models
from ai_edge_litert import schema_py_generated as schema

from tflsplit import errors
from tflsplit.graph import flatgraph
from tflsplit.graph.interpreter import Interpreter

ODD = (-(2**31), -7, -2, -1, 0, 1, 2, 3, 5, 8, 127, 255, 4096, 65536, 2**31 - 1)


def varied_model() -> bytes:
    """Pad, convolutions, pooling, a branch, means, reshape, dense, softmax: what int8 networks are made of."""
    made = tiny_models.Builder()
    randomness = np.random.default_rng(0)

    def constant(name, shape, *, kind="INT8", scale=0.01):
        data = randomness.integers(-9, 10, shape).astype(kind.lower())
        return made.tensor(name, shape, scale=scale, data=data, kind=kind)

    def numbers(name, values):
        array = np.array(values, np.int32)
        return made.tensor(name, array.shape, scale=None, data=array, kind="INT32")

    def then(name, inputs, shape, options=None, *, version=1, scale=0.1, zero_point=0):
        output = made.tensor(name.lower(), shape, scale=scale, zero_point=zero_point)
        options_type = type(options).__name__.removesuffix("T") if options else "NONE"
        made.operator(name, inputs, (output,), options, options_type=options_type, version=version)
        return output

    def strides(options, step):
        options.strideW = options.strideH = step
        return options

    def bias(name, count):
        return constant(name, (count,), kind="INT32", scale=0.001)

    x, pads = made.tensor("x", (1, 8, 8, 3)), numbers("pads", [[0, 0], [1, 1], [1, 1], [0, 0]])
    padded = then("PAD", (x, pads), (1, 10, 10, 3), schema.PadOptionsT(), version=2)
    conv = strides(schema.Conv2DOptionsT(), 2)
    conv.padding = schema.Padding.VALID
    a = then(
        "CONV_2D",
        (padded, constant("cw", (4, 3, 3, 3)), bias("cb", 4)),
        (1, 4, 4, 4),
        conv,
        version=3,
    )
    depthwise = strides(schema.DepthwiseConv2DOptionsT(), 1)
    depthwise.depthMultiplier = 1
    b = then(
        "DEPTHWISE_CONV_2D",
        (a, constant("dw", (1, 3, 3, 4)), bias("db", 4)),
        (1, 4, 4, 4),
        depthwise,
        version=3,
    )
    pool = strides(schema.Pool2DOptionsT(), 1)
    pool.filterWidth = pool.filterHeight = 3
    c = then("MAX_POOL_2D", (a,), (1, 4, 4, 4), pool, version=2)
    joined = schema.ConcatenationOptionsT()
    joined.axis = 3
    d = then("CONCATENATION", (b, c), (1, 4, 4, 8), joined, version=2)
    e = then("MEAN", (d, numbers("axes", [1, 2])), (1, 8), schema.ReducerOptionsT(), version=2)
    f = then("RESHAPE", (e, numbers("shape", [1, 8])), (1, 8), schema.ReshapeOptionsT())
    g = then(
        "FULLY_CONNECTED",
        (f, constant("fw", (5, 8)), bias("fb", 5)),
        (1, 5),
        schema.FullyConnectedOptionsT(),
        version=4,
    )
    options = schema.SoftmaxOptionsT()
    options.beta = 1.0
    return made.build((x,), (then("SOFTMAX", (g,), (1, 5), options, version=2, scale=1 / 256, zero_point=-128),))


def mutants(model: bytes, seed: int, count: int) -> Iterator[bytes]:
    """The same for the same seed; every fourth has flipped bytes, the others changed fields."""
    randomness = np.random.default_rng(seed)
    whole = schema.ModelT.InitFromObj(schema.Model.GetRootAs(bytearray(model), 0))
    for number in range(count):
        if number % 4 == 0:
            yield _flipped(model, randomness)
            continue
        changed = copy.deepcopy(whole)
        for _ in range(randomness.integers(1, 4)):
            _change(changed, randomness)
        try:
            yield flatgraph.pack(changed)
        except Exception:  # noqa: BLE001 - what no file can hold is no file
            yield _flipped(model, randomness)


def _flipped(model: bytes, randomness: np.random.Generator) -> bytes:
    damaged = bytearray(model)
    for _ in range(randomness.integers(1, 6)):
        damaged[randomness.integers(8, len(damaged))] = randomness.integers(0, 256)
    return bytes(damaged)


def _change(model: schema.ModelT, randomness: np.random.Generator) -> None:
    subgraph = model.subgraphs[0]

    def one_of(entries):
        return entries[randomness.integers(len(entries))]

    def odd(limit=None):
        return int(one_of([*ODD, *range(limit or 0)]))

    tensor, operator = one_of(subgraph.tensors), one_of(subgraph.operators)

    def vector(owner, field, limit=None):
        values = [int(value) for value in getattr(owner, field)] if getattr(owner, field) is not None else []
        what = randomness.integers(4)
        if what == 0 and values:
            del values[randomness.integers(len(values))]
        elif what == 1:
            values.insert(int(randomness.integers(len(values) + 1)), odd(limit))
        elif values:
            values[randomness.integers(len(values))] = odd(limit)
        setattr(owner, field, values)

    def data(buffer):
        kept = buffer.data if buffer.data is not None else np.zeros(0, np.uint8)
        length = one_of([0, len(kept) // 2, max(0, len(kept) - 1), len(kept), len(kept) + 4])
        changed = np.resize(np.asarray(kept, np.uint8), length) if len(kept) else np.zeros(length, np.uint8)
        if length and randomness.integers(2):
            changed = changed.copy()
            changed[: min(4, length)] = randomness.integers(0, 256, min(4, length))
        buffer.data = changed if length else None

    def parameter():
        options = operator.builtinOptions
        fields = (
            [name for name, value in vars(options or object()).items() if isinstance(value, int)] if options else []
        )
        if fields:
            setattr(
                options, one_of(fields), abs(odd()) % 256 if randomness.integers(2) else one_of([-1, 0, 1, 2, 3, 100])
            )

    def quantisation():
        if tensor.quantization is None or tensor.quantization.scale is None:
            return
        scales = [float(scale) for scale in tensor.quantization.scale]
        what = randomness.integers(5)
        if what == 0:
            tensor.quantization = None
        elif what == 1:
            tensor.quantization.scale = scales * int(one_of([2, 3, 8]))
            tensor.quantization.zeroPoint = [0] * len(tensor.quantization.scale)
        elif what == 2:
            tensor.quantization.zeroPoint = [odd()]
        elif what == 3:
            tensor.quantization.quantizedDimension = odd()
        else:
            tensor.quantization.scale = [float(one_of([0.0, -1.0, 1e-30, 1e30, np.inf, np.nan]))]

    def code():
        kind = one_of(model.operatorCodes)
        kind.builtinCode = int(randomness.integers(0, 160))
        kind.deprecatedBuiltinCode = min(127, kind.builtinCode)

    changes = (
        lambda: vector(operator, "inputs", len(subgraph.tensors)),
        lambda: vector(operator, "inputs", len(subgraph.tensors)),
        lambda: vector(operator, "outputs", len(subgraph.tensors)),
        lambda: vector(tensor, "shape", 9),
        lambda: vector(subgraph, "inputs", len(subgraph.tensors)),
        lambda: vector(subgraph, "outputs", len(subgraph.tensors)),
        lambda: setattr(tensor, "type", int(randomness.integers(0, 20))),
        lambda: setattr(tensor, "buffer", odd(len(model.buffers))),
        lambda: setattr(tensor, "isVariable", not tensor.isVariable),
        lambda: setattr(operator, "opcodeIndex", odd(len(model.operatorCodes))),
        lambda: setattr(one_of(model.operatorCodes), "version", odd(9)),
        lambda: (
            subgraph.operators.pop(int(randomness.integers(len(subgraph.operators))))
            if len(subgraph.operators) > 1
            else None
        ),
        lambda: setattr(operator, "builtinOptions", None),
        lambda: data(one_of(model.buffers)),
        parameter,
        quantisation,
        code,
    )
    one_of(changes)()


@dataclass(frozen=True)
class Outcome:
    """What became of one file in a process of its own: refused by our checks, run, or ended the process."""

    kind: str
    detail: str = ""


def tried(data: bytes) -> Outcome:
    """Reads, allocates and runs a file in a forked process; nothing it does can reach this one."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reading)
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 1)
        os.dup2(null, 2)
        signal.alarm(20)
        os.write(writing, _run(data).encode()[:4000])
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as answer:
        said = answer.read().decode()
    _, status = os.waitpid(pid, 0)
    if os.WIFSIGNALED(status):
        return Outcome("crashed", signal.Signals(os.WTERMSIG(status)).name)
    kind, _, detail = said.partition(" ")
    return Outcome(kind, detail)


def _run(data: bytes) -> str:
    try:
        graph = flatgraph.read(data)
    except errors.ModelError as refused:
        return f"refused {refused}"
    except BaseException as cause:  # noqa: BLE001 - what must not be
        return f"traceback {cause!r}"
    try:
        with Interpreter(data) as interpreter:
            interpreter.run(*(np.zeros(spec.shape, spec.dtype) for spec in interpreter.inputs))
    except errors.TflsplitError as refused:
        return f"unrunnable {refused}"
    except BaseException as cause:  # noqa: BLE001 - what must not be
        return f"traceback {cause!r}"
    return f"ran {len(graph.operators)}"


def outcomes(files: Iterable[bytes]) -> Counter[str]:
    return Counter(tried(data).kind for data in files)
