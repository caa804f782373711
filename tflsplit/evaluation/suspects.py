"""What people most often get wrong between a model and its pictures: other ways to make its inputs and to name its
classes, each with one thing changed."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from tflsplit.inputs.preprocessing import NAMED, Preprocessing
from tflsplit.inputs.resizing import Resize
from tflsplit.values.classes import replace

Renamed = Callable[[int], int]


def preprocessings(own: Preprocessing, channels: int, *, are_files: bool) -> Iterator[tuple[str, Preprocessing]]:
    """Words for each other way, and the way. Only files have pictures of another size than the model's."""
    colours = (own.channel_order, "bgr" if own.channel_order == "rgb" else "rgb")
    for order in colours if channels == 3 else colours[:1]:
        if order != own.channel_order:
            yield f"--preprocess {own.name} with channels in {order.upper()} order", _reordered(own, order)
        for name, named in NAMED.items():
            if len(named.scale) in (1, channels) and not _are_alike(named, own):
                if name == "caffe" and order == own.channel_order:
                    yield f"--preprocess {name}", replace(named, resize=own.resize)
                elif name != "caffe":
                    words = "" if order == own.channel_order else f" with channels in {order.upper()} order"
                    yield f"--preprocess {name}{words}", replace(_reordered(named, order), resize=own.resize)
    for resize in Resize if are_files else ():
        if resize is not own.resize:
            yield f"--resize {resize.value}", replace(own, resize=resize)


def namings(labels: Sequence[str], classes: int) -> Iterator[tuple[str, Renamed]]:
    """Words for each other way to name classes, and which label a class then has, as its place among the labels."""
    yield (
        "labels with one more line at their beginning (the first line there is names class 1)",
        lambda found: found - 1,
    )
    yield "labels without their first line (it names no class of the model)", lambda found: found + 1
    names = list(labels[:classes])
    if len(names) == classes and names != sorted(names):
        places = [names.index(name) for name in sorted(names)]
        yield "labels in alphabetical order, as Keras numbers the folders of a data set", lambda found: places[found]


def _reordered(preprocessing: Preprocessing, order: str) -> Preprocessing:
    return replace(preprocessing, channel_order=order)


def _are_alike(one: Preprocessing, other: Preprocessing) -> bool:
    if one.channel_order != other.channel_order:
        return False
    return _is_near(one.offset, other.offset) and _is_near(_white(one), _white(other))


def _white(way: Preprocessing) -> Sequence[float]:
    return [255.0 * scale + offset for scale, offset in zip(way.scale, way.offset, strict=True)]


def _is_near(one: Sequence[float], other: Sequence[float]) -> bool:
    """As 127.5 and 128 are."""
    return bool(np.allclose(np.asarray(one), np.asarray(other), rtol=0.02, atol=0.02))
