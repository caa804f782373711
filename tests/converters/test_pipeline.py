"""From a file to named cuts."""

from ai_edge_litert import schema_py_generated as schema

import tflsplit


def test_the_name_of_the_last_softmax_stands_for_the_output(builder, tmp_path, in_this_process):
    x = builder.tensor("x", (1, 4))
    a = builder.add(x, x, "a", (1, 4))
    soft = builder.tensor("soft", (1, 4), scale=1 / 256, zero_point=-128)
    y = builder.tensor("y", (1, 4), scale=1 / 256, kind="UINT8")
    builder.operator("SOFTMAX", (a,), (soft,), schema.SoftmaxOptionsT(), options_type="SoftmaxOptions", version=2)
    builder.operator("QUANTIZE", (soft,), (y,), version=2)
    (tmp_path / "m.tflite").write_bytes(builder.build((x,), (y,)))

    made = tflsplit.convert(tmp_path / "m.tflite", tmp_path / "m.tflsplit")

    assert [cut.id for cut in made.cuts] == ["input", "op000", "output"]
    assert made.cut("soft").id == "output"
