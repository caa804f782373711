"""In how many bits the features of each cut may travel, and what is lost: measured when the package was made.

precisions.json    {"schema": 1, "samples": 28, "measured_on": "unseen", "cuts": {"op004": {"4": {"levels": [[…], null],
                   "sqnr_db": 24.1, "top1_agreement": 0.97}}}}

`levels` has an entry for each tensor of the boundary, null where it travels as it is stored. The two figures compare
the model's first output with what frames without loss give. A bundle has the cuts that it runs. This module owns the
format.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from tflsplit import errors, strict_json
from tflsplit.coding import bit_codec, levels
from tflsplit.coding.bit_codec import Levels
from tflsplit.fidelity import Fidelity, MeasuredOn
from tflsplit.graph import tensors
from tflsplit.graph.cuts import Cut
from tflsplit.package.reading import PRECISIONS, Package

SCHEMA = 1


class Precision(NamedTuple):
    """The features of one cut in `bits` each. `fidelity` is against frames without loss."""

    cut: str
    bits: int
    levels: Levels
    fidelity: Fidelity

    def payload_bytes(self, cut: Cut, inputs: int = 1) -> int:
        """Of a frame with so many inputs."""
        return bit_codec.payload_bytes(tensors.widened(cut.boundary, inputs), self.levels, self.bits)


def of_package(opened: Package) -> tuple[Precision, ...]:
    """In the order of the cuts, most bits first; none in packages where that was not measured. PackageError for a file
    that does not fit the package."""
    if PRECISIONS not in opened.manifest.files:
        return ()
    cuts = {cut.id: cut for cut in opened.cuts}
    try:
        return tuple(_parsed(strict_json.parse((opened.path / PRECISIONS).read_text(encoding="utf-8")), cuts))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as cause:
        raise errors.PackageError(
            f"{opened.path}: {PRECISIONS} cannot be read ({errors.one_line(cause)}); make the package again"
        ) from cause


def of_cut(opened: Package, cut: Cut, bits: int) -> Precision:
    """DataError, with what there is, where the package does not have that one."""
    found = [each for each in of_package(opened) if each.cut == cut.id]
    for each in found:
        if each.bits == bits:
            return each
    has = ", ".join(str(each.bits) for each in found)
    raise errors.DataError(
        f"{opened.path}: features of {cut.id} in {bits} bits were not measured"
        + (f", only in {has}" if has else "; convert again, or bundle from a package where they were")
    )


def render(found: Iterable[Precision]) -> bytes:
    """The file of these, all measured on the same samples."""
    listed = list(found)
    cuts: dict[str, dict[str, object]] = {}
    for each in listed:
        cuts.setdefault(each.cut, {})[str(each.bits)] = {
            "levels": [None if own is None else list(own) for own in each.levels],
            "sqnr_db": each.fidelity.sqnr_db,
            "top1_agreement": each.fidelity.top1_agreement,
        }
    measured = listed[0].fidelity
    fields: dict[str, object] = {
        "schema": SCHEMA,
        "output": measured.output,
        "samples": measured.samples,
        "measured_on": measured.measured_on.value,
    }
    lines = ",\n  ".join(f"{json.dumps(cut)}: {json.dumps(entry)}" for cut, entry in cuts.items())
    return f'{json.dumps(fields)[:-1]}, "cuts": {{\n  {lines}\n }}}}\n'.encode()


def _parsed(fields: Any, cuts: Mapping[str, Cut]) -> Iterator[Precision]:
    if fields["schema"] != SCHEMA:
        raise ValueError(f"schema {fields['schema']!r}, this tflsplit reads {SCHEMA}")
    output, samples, measured_on = str(fields["output"]), int(fields["samples"]), MeasuredOn(fields["measured_on"])
    for name, by_bits in fields["cuts"].items():
        for bits, told in by_bits.items():
            chosen = tuple(None if own is None else tuple(own) for own in told["levels"])
            _check(cuts[name], chosen, int(bits))
            figures = (_figure(told["top1_agreement"]), _figure(told["sqnr_db"]))
            yield Precision(name, int(bits), chosen, Fidelity(output, samples, measured_on, *figures))


def _figure(told: Any) -> float | None:
    return None if told is None else float(told)


def _check(cut: Cut, chosen: Levels, bits: int) -> None:
    if bits not in levels.BITS or len(chosen) != len(cut.boundary):
        raise ValueError(f"{cut.id} in {bits} bits, with levels of {len(chosen)} tensors")
    for own, spec in zip(chosen, cut.boundary, strict=True):
        if own is None:
            continue
        is_ascending = list(own) == sorted(set(own)) and all(type(level) is int for level in own)
        if not (levels.can_be_coded(spec) and 1 <= len(own) <= 1 << bits and is_ascending):
            raise ValueError(f"{cut.id} in {bits} bits has {len(own)} levels that are none for {spec.name!r}")
        if not 0 <= own[0] <= own[-1] < 256:
            raise ValueError(f"{cut.id} in {bits} bits has levels from {own[0]} to {own[-1]}")
