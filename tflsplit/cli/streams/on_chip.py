"""What it costs that several streams' models share an Edge TPU's memory for weights. Pure; computed, not measured.

An Edge TPU keeps the weights of the model that ran last. Models that were compiled together keep theirs beside each
other, as far as there is room; all others are loaded again at each change, and what has no room at every inference.
"""

from collections.abc import Collection, Sequence

from tflsplit.chains import machines
from tflsplit.graph.cuts import Cut
from tflsplit.package.reading import Package
from tflsplit.values.classes import dataclass


@dataclass(frozen=True, slots=True)
class OnEdgeTpu:
    """The head of the stream of that name, which an Edge TPU runs."""

    stream: str
    package: Package
    cut: Cut

    @property
    def model(self) -> tuple[str, str]:
        return self.package.digest, self.cut.id

    @property
    def weights_bytes(self) -> int:
        """As the compiler reported them, else those of the head's operators."""
        found = self.package.manifest.compilations.get(self.cut.id)
        if found is None or found.on_chip_used_bytes is None:
            return self.cut.head.parameter_bytes
        return found.on_chip_used_bytes + (found.off_chip_bytes or 0)


def remarks(heads: Sequence[OnEdgeTpu]) -> list[str]:
    """A line where models change on one device, with the price of each change."""
    models = {head.model: head for head in heads}
    if len(models) < 2:
        return []
    compilations = {str(key): one for head in heads for key, one in head.package.manifest.compilations.items()}
    cache = machines.cache_of(compilations)
    loaded = [min(head.weights_bytes, cache.bytes) for head in models.values()]
    whole = sum(head.weights_bytes for head in models.values())
    told = ", ".join(f"{head.stream} ({head.cut.id}) {_megabytes(head.weights_bytes)}" for head in models.values())
    beginning = f"models on one Edge TPU: {told}; {_megabytes(whole)} of weights, {_megabytes(cache.bytes)} on the chip"
    left_out_ms = max(0.0, whole - cache.bytes) / cache.stream_bytes_per_s * 1e3
    room = f"{left_out_ms:.1f} ms of streaming for an inference of each" if left_out_ms else "room for all of them"
    if _are_together(models.values()):
        return [f"{beginning}; compiled together: {room} (computed)"]
    prices = ", ".join(f"{size / cache.stream_bytes_per_s * 1e3:.1f}" for size in loaded)
    rate = f"{cache.stream_bytes_per_s / 1e6:.0f} MB/s"
    is_one = len({head.package.digest for head in models.values()}) == 1
    remedy = "`tflsplit compile --together`" if is_one else "cuts of one package, by `tflsplit compile --together`"
    return [
        f"{beginning}; each change of model loads its weights again: {prices} ms at {rate} (computed); compiled "
        f"together they have {room}: {remedy}"
    ]


def _are_together(heads: Collection[OnEdgeTpu]) -> bool:
    ids = {head.cut.id for head in heads}
    found = [head.package.manifest.compilations.get(head.cut.id) for head in heads]
    is_one = len({head.package.digest for head in heads}) == 1
    return is_one and all(one is not None and ids <= {*one.together} for one in found)


def _megabytes(size: float) -> str:
    return f"{size / 1e6:.1f} MB"
