import tiny_models
from ai_edge_litert import schema_py_generated as schema

from tflsplit.graph import flatgraph, kinds
from tflsplit.graph.interpreter import Interpreter


def test_a_kind_is_named_by_the_types_that_are_computed_with():
    assert kinds.kind("CONV_2D", ("int8", "int8", "int32"), ("int8",)) == "CONV_2D/int8"
    assert kinds.kind("TRANSPOSE_CONV", ("int32", "int8", "int8"), ("int8",)) == "TRANSPOSE_CONV/int8"
    assert kinds.kind("QUANTIZE", ("int8",), ("uint8",)) == "QUANTIZE/int8>uint8"
    assert kinds.kind("SHAPE", ("int32",), ("int32",)) == "SHAPE/int32"


def test_graph_and_interpreter_name_the_same_kinds():
    made = tiny_models.Builder()
    x = made.tensor("x", (1, 4))
    a = made.add(x, x, "a", (1, 4))
    b = made.dense(a, made.tensor("w", (4, 4), data=bytes(range(16))), "b", 4)
    model = made.build((x,), (b,))

    assert kinds.of_graph(flatgraph.read(model)) == ("ADD/int8", "FULLY_CONNECTED/int8")
    assert kinds.each(flatgraph.read(model)) == ("ADD/int8", "FULLY_CONNECTED/int8")
    with Interpreter(model) as opened:
        assert opened.kinds() == (("ADD/int8", "FULLY_CONNECTED/int8"), ())


def test_without_xnnpack_the_runtime_runs_all(residual_model, without_xnnpack):
    with Interpreter(residual_model) as opened:
        assert opened.kinds() == ((), ("ADD/int8",))


def test_what_a_delegate_leaves_is_told_from_what_it_takes(builder):
    x = builder.tensor("x", (1, 4))
    a = builder.add(x, x, "a", (1, 4))
    b = builder.tensor("b", (1, 4), scale=1 / 256, zero_point=-128)
    options = schema.SoftmaxOptionsT()
    options.beta = 1.0
    builder.operator("SOFTMAX", (a,), (b,), options, options_type="SoftmaxOptions", version=2)
    c = builder.add(b, b, "c", (1, 4))

    with Interpreter(builder.build((x,), (c,))) as opened:
        assert opened.kinds() == (("ADD/int8",), ("SOFTMAX/int8",))
