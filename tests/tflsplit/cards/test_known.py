"""What model files say of themselves, read as other tools read it."""

import model_metadata
import numpy as np
import pytest
import tiny_models
from ai_edge_litert.interpreter import Interpreter

from tflsplit.graph import flatgraph
from tflsplit.graph.meanings import Meaning
from tflsplit.inputs import preprocessing
from tflsplit.package import writing

LABELS = ("zero", "éins", "two", "three")


def picture_model():
    """(1, 2, 2, 3) pixels → x+x → flat → four classes."""
    made = tiny_models.Builder()
    x = made.tensor("serving_default_picture:0", (1, 2, 2, 3))
    doubled = made.add(x, x, "doubled;fused with a long name", (1, 2, 2, 3))
    weights = made.tensor("w", (4, 12), scale=0.1, data=np.ones((4, 12), np.int8))
    return made.build((x,), (made.dense(doubled, weights, "StatefulPartitionedCall:0", 4),))


def package(path, **changes):
    fields = {"labels": LABELS, "meanings": (Meaning.LOGITS,), "preprocessing": preprocessing.NAMED["symmetric"]}
    return tiny_models.write_package(path / "p.tflsplit", picture_model(), **fields | changes)


def test_a_head_runs_by_name_into_its_tail(tmp_path):
    made = package(tmp_path)
    cut = made.cut("op000")
    head, tail = (
        Interpreter(model_content=data).get_signature_runner() for data in (made.head_bytes(cut), made.tail_bytes(cut))
    )
    pixels = np.arange(12, dtype=np.int8).reshape(1, 2, 2, 3)
    whole = Interpreter(model_content=made.model_bytes())
    whole.allocate_tensors()
    whole.set_tensor(whole.get_input_details()[0]["index"], pixels)
    whole.invoke()

    found = tail(**head(picture=pixels))
    assert list(found) == ["StatefulPartitionedCall"]
    assert np.array_equal(found["StatefulPartitionedCall"], whole.get_tensor(whole.get_output_details()[0]["index"]))
    assert list(head.get_output_details()) == ["doubled"]


def test_a_head_says_how_pixels_are_scaled_and_carries_no_labels(tmp_path):
    made = package(tmp_path)
    head = made.head_bytes(made.cut("op000"))
    root = model_metadata.read(head)
    (part,) = root.tables(3)
    (picture,) = part.tables(2)
    (unit,) = picture.tables(4)

    assert (root.text(0), root.text(7)) == ("tiny: head of op000", "1.0.0")
    assert (picture.text(0), picture.text(1)) == ("picture", "pixels of 0 to 255, RGB")
    assert picture.table(3).byte(0) == 2  # ImageProperties
    assert picture.table(3).table(1).byte(0) == 1  # RGB
    assert unit.byte(0) == 1  # NormalizationOptions
    assert unit.table(1).floats(0) == pytest.approx([127.5])
    assert unit.table(1).floats(1) == pytest.approx([127.5])
    assert [each.text(0) for each in part.tables(3)] == ["doubled"]
    assert model_metadata.files(head) == {}


def test_a_tail_carries_the_labels_of_its_output(tmp_path):
    made = package(tmp_path)
    tail = made.tail_bytes(made.cut("op000"))
    (part,) = model_metadata.read(tail).tables(3)
    (scores,) = part.tables(3)
    (labels,) = scores.tables(6)

    assert (labels.text(0), labels.byte(2)) == ("labels.txt", 2)  # TENSOR_AXIS_LABELS
    assert model_metadata.files(tail) == {"labels.txt": "zero\néins\ntwo\nthree\n"}
    assert part.tables(2)[0].tables(4) == []  # a boundary is no picture


def test_pixels_in_bgr_are_said_to_be(tmp_path):
    made = package(tmp_path, preprocessing=preprocessing.NAMED["caffe"])
    (part,) = model_metadata.read(made.head_bytes(made.cut("op000"))).tables(3)
    (picture,) = part.tables(2)

    assert picture.text(1) == "pixels of 0 to 255, BGR"
    assert picture.table(3) is None  # the schema knows RGB and grey alone
    assert picture.tables(4)[0].table(1).floats(0) == pytest.approx([103.939, 116.779, 123.68])


def test_two_labels_of_a_sigmoid_belong_to_the_model_not_to_an_axis(tmp_path, builder):
    x = builder.tensor("x", (1, 2))
    weights = builder.tensor("w", (1, 2), data=np.ones((1, 2), np.int8))
    model = builder.build((x,), (builder.dense(x, weights, "share", 1),))
    made = tiny_models.write_package(tmp_path / "s.tflsplit", model, labels=("cat", "dog"), meanings=(Meaning.SIGMOID,))
    tail = flatgraph.pack(made.graph.source, made.known.whole())
    root = model_metadata.read(tail)

    assert [each.text(0) for each in root.tables(6)] == ["labels.txt"]
    assert root.tables(3)[0].tables(3)[0].tables(6) == []
    assert model_metadata.files(tail) == {"labels.txt": "cat\ndog\n"}


def test_the_same_slice_is_the_same_file_and_little_larger(tmp_path):
    made = package(tmp_path)
    cut, graph = made.cut("op000"), flatgraph.read(made.model_bytes())
    written = (made.path / "cuts/op000/head.tflite").read_bytes()
    bare = flatgraph.extract(graph, 0, cut.position, graph.inputs, cut.tensors)

    assert written == writing.cuts.head_bytes(made.graph, cut, made.known.head(cut))
    assert len(written) - len(bare) < 1024
