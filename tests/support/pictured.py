"""A model that takes colour pictures, some of these, and what a cloud makes of them."""

import numpy as np
import tiny_models

from broker.cloud import tail
from broker.messages import wire

SHAPE = (16, 24, 3)
PIXELS = np.random.default_rng(0).integers(0, 256, (12, *SHAPE), dtype=np.uint8)


def pictures_package(builder, folder, **changes):
    """Takes colour pictures."""
    x = builder.tensor("x", (1, *SHAPE), scale=1.0, zero_point=-4)
    y = builder.add(x, x, "y", (1, *SHAPE), scale=2.0)
    return tiny_models.write_package(folder / "p.tflsplit", builder.build((x,), (y,)), codec="zstd", **changes)


def outputs_of(package, encoded):
    """The raw outputs that a cloud gives for a frame which an edge sent."""
    frame, arrays = wire.decode(encoded)
    tails = tail.Tails(package)
    cut = tails.cut_of(frame)
    outputs = tails.run(cut, tails.preprocess(frame, arrays))
    tails.close()
    return [output.tobytes() for output in outputs]
