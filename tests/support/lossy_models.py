"""Tiny int8 models whose operators lose a known amount."""

import tiny_models
from ai_edge_litert import schema_py_generated as schema

BOXES, SCORES = 5.0, 1 / 256  # scales: boxes up to 635, scores up to 1


def coarse_model():
    """x → a=2x → b=4x, in steps of 20 → c=8x → d=16x, in steps that fit."""
    made = tiny_models.Builder()
    x = made.tensor("x", (1, 400))
    before = x
    for name, scale in (("a", 0.2), ("b", 20.0), ("c", 0.8), ("d", 1.6)):
        before = made.add(before, before, name, (1, 400), scale=scale)
    return made.build((x,), (before,))


def mixing_model():
    """Four columns of boxes and two of scores, which take the scale of the boxes to lie beside them."""
    made = tiny_models.Builder()
    boxes = made.tensor("boxes", (1, 4, 9), scale=BOXES)
    scores = made.tensor("scores", (1, 2, 9), scale=SCORES)
    rescaled = made.tensor("scores/rescaled", (1, 2, 9), scale=BOXES)
    made.operator(
        "QUANTIZE", (scores,), (rescaled,), schema.QuantizeOptionsT(), options_type="QuantizeOptions", version=2
    )
    output = made.tensor("predictions", (1, 6, 9), scale=BOXES)
    options = schema.ConcatenationOptionsT()
    options.axis = 1
    made.operator(
        "CONCATENATION", (boxes, rescaled), (output,), options, options_type="ConcatenationOptions", version=2
    )
    return made.build((boxes, scores), (output,))
