"""Small detectors that end as SSDs do: integers as far as the boxes, then TFLite's own post-processing in float."""

import numpy as np
import tiny_models
from ai_edge_litert import schema_py_generated as schema
from flatbuffers import flexbuffers

SIZE, COUNT, CLASSES = 8, 5, 3
_BOXES = SIZE * SIZE


def detector(kind="INT8", then=None):
    """In int8 the post-processing is given real values, as TensorFlow 2 exports it; in uint8 it takes the integers, as
    files of TensorFlow 1 have it. An operator `then` makes integers of the scores."""
    zero = -128 if kind == "INT8" else 0
    random = np.random.default_rng(1)
    net = tiny_models.Builder()

    def integers(name, shape, **more):
        return net.tensor(name, shape, **{"scale": 1 / 255, "zero_point": zero, "kind": kind} | more)

    def reshaped(given, name):
        options = schema.ReshapeOptionsT()
        options.newShape = [1, _BOXES, 4]
        shape = net.tensor(f"{name}_shape", (3,), scale=None, data=np.array(options.newShape, np.int32), kind="INT32")
        made = integers(name, (1, _BOXES, 4))
        net.operator("RESHAPE", (given, shape), (made,), options, options_type="ReshapeOptions")
        return made

    picture = integers("picture", (1, SIZE, SIZE, 3))
    weights = random.integers(-100, 100, (4, 1, 1, 3))
    stored = weights.astype(np.int8) if kind == "INT8" else (weights + 128).astype(np.uint8)
    filters = integers("filters", (4, 1, 1, 3), scale=0.01, zero_point=zero + 128, data=stored)
    bias = net.tensor("bias", (4,), scale=0.01 / 255, zero_point=0, data=np.zeros(4, np.int32), kind="INT32")
    features = integers("features", (1, SIZE, SIZE, 4))
    options = schema.Conv2DOptionsT()
    options.strideW = options.strideH = options.dilationWFactor = options.dilationHFactor = 1
    net.operator("CONV_2D", (picture, filters, bias), (features,), options, options_type="Conv2DOptions")
    found = [reshaped(features, name) for name in ("boxes", "scores")]
    if kind == "INT8":
        real = [net.tensor(f"real_{name}", (1, _BOXES, 4), scale=None, kind="FLOAT32") for name in ("boxes", "scores")]
        for given, made in zip(found, real, strict=True):
            net.operator("DEQUANTIZE", (given,), (made,))
        places = random.uniform(0.2, 0.6, (_BOXES, 4)).astype(np.float32)
        anchors = net.tensor("anchors", (_BOXES, 4), scale=None, data=places, kind="FLOAT32")
    else:
        real, places = found, random.integers(50, 150, (_BOXES, 4)).astype(np.uint8)
        anchors = integers("anchors", (_BOXES, 4), data=places)
    shapes = {"found_boxes": (1, COUNT, 4), "classes": (1, COUNT), "found_scores": (1, COUNT), "count": (1,)}
    outputs = [net.tensor(name, shape, scale=None, kind="FLOAT32") for name, shape in shapes.items()]
    net.operator("CUSTOM", (*real, anchors), outputs)
    net.codes[-1].customCode = b"TFLite_Detection_PostProcess"
    net.operators[-1].customOptions = np.frombuffer(_options(), np.uint8)
    if then is not None:
        outputs.append(integers("again", (1, COUNT)))
        net.operator(then, (outputs[2],), (outputs[-1],))
    return net.build((picture,), outputs)


def _options():
    made = flexbuffers.Builder()
    counts = {"max_detections": COUNT, "max_classes_per_detection": 1, "num_classes": CLASSES}
    scales = {"y_scale": 10.0, "x_scale": 10.0, "h_scale": 5.0, "w_scale": 5.0}
    with made.Map():
        for name, value in (counts | {"detections_per_class": 100}).items():
            made.Key(name)
            made.Int(value)
        for name, value in (scales | {"nms_score_threshold": 0.1, "nms_iou_threshold": 0.6}).items():
            made.Key(name)
            made.Float(value, 4)
        made.Key("use_regular_nms")
        made.Bool(False)
    return bytes(made.Finish())
