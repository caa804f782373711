import contextlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tflsplit import errors
from tflsplit.graph import flatgraph
from tflsplit.graph.interpreter import Interpreter


def test_reading_gives_operators_and_tensors_in_file_order(residual_model):
    graph = flatgraph.read(residual_model)

    assert [operator.name for operator in graph.operators] == ["ADD", "ADD", "ADD"]
    assert [operator.version for operator in graph.operators] == [2, 2, 2]
    assert [tensor.name for tensor in graph.tensors] == ["x", "a", "b", "c"]
    assert graph.tensors[0].spec.scale == np.float32(0.1)
    assert (graph.inputs, graph.outputs) == ((0,), (3,))


def test_extracting_everything_computes_the_same(residual_model):
    graph = flatgraph.read(residual_model)
    again = flatgraph.extract(graph, 0, 3, graph.inputs, graph.outputs)
    x = np.array([[-128, -1, 5, 127]], np.int8)

    with Interpreter(residual_model) as whole, Interpreter(again) as copy:
        assert np.array_equal(whole.run(x)[0], copy.run(x)[0])


def test_extracting_leaves_the_source_untouched(residual_model):
    graph = flatgraph.read(residual_model)
    first = flatgraph.extract(graph, 1, 3, (1,), (3,))
    flatgraph.extract(graph, 0, 1, (0,), (1,))

    assert flatgraph.extract(graph, 1, 3, (1,), (3,)) == first


def test_a_slice_drops_weights_it_does_not_use(builder):
    x = builder.tensor("x", (1, 4))
    big = builder.tensor("big", (1, 4), data=np.ones((1, 4), np.int8))
    a = builder.add(x, big, "a", (1, 4))
    b = builder.add(a, a, "b", (1, 4))
    graph = flatgraph.read(builder.build((x,), (b,)))

    tail = flatgraph.read(flatgraph.extract(graph, 1, 2, (a,), (b,)))

    assert [tensor.name for tensor in tail.tensors] == ["a", "b"]
    assert not any(tensor.is_constant for tensor in tail.tensors)


def test_a_tensor_can_be_input_and_output_of_a_slice_without_operators(residual_model):
    graph = flatgraph.read(residual_model)
    x = np.array([[1, 2, 3, 4]], np.int8)

    with Interpreter(flatgraph.extract(graph, 0, 0, (0,), (0,))) as nothing:
        assert np.array_equal(nothing.run(x)[0], x)


@pytest.mark.parametrize("data", [b"", b"TFL3", b"\x00" * 100, b"not a model at all, but long enough"])
def test_what_is_no_flatbuffer_is_refused_by_name(data):
    with pytest.raises(errors.ModelError, match=r"thing\.tflite: not a TensorFlow Lite file"):
        flatgraph.read(data, name="thing.tflite")


@pytest.mark.parametrize("shape", [(1, 32768, 32769), (1, 2**31 - 1, 2**31 - 1), (1, *(2**31 - 1,) * 6)])
def test_a_shape_that_would_take_all_memory_is_refused_with_the_tensors_name(builder, shape):
    x = builder.tensor("x", (1, 4))
    y = builder.add(x, x, "huge", shape)

    with pytest.raises(errors.ModelError, match=r"tensor 'huge' of shape .* takes \d+ bytes, at most 1073741824"):
        flatgraph.read(builder.build((x,), (y,)))


@given(data=st.data())
@settings(max_examples=300)
def test_a_damaged_file_is_our_error_or_another_graph(data):
    model = _model()
    damaged = bytearray(model)
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(8, len(model) - 1))] = data.draw(st.integers(0, 255))
    stop = data.draw(st.integers(8, len(model)))

    with contextlib.suppress(errors.ModelError):
        flatgraph.read(bytes(damaged[:stop]))


def _model() -> bytes:
    # Not the fixture: hypothesis runs one test function many times.
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    tensor = schema.TensorT()
    tensor.name, tensor.shape, tensor.type = b"x", [1, 4], schema.TensorType.INT8
    output = schema.TensorT()
    output.name, output.shape, output.type = b"y", [1, 4], schema.TensorType.INT8
    code = schema.OperatorCodeT()
    operator = schema.OperatorT()
    operator.inputs, operator.outputs = [0, 0], [1]
    subgraph = schema.SubGraphT()
    subgraph.tensors, subgraph.inputs, subgraph.outputs, subgraph.operators = [tensor, output], [0], [1], [operator]
    model = schema.ModelT()
    model.subgraphs, model.buffers, model.operatorCodes = [subgraph], [schema.BufferT()], [code]
    builder = flatbuffers.Builder(256)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())
