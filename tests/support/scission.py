"""Scission's public traces as chains: per-block seconds on each platform, output bytes, and two sets of networks."""

import csv
import io
import itertools
import json
import pathlib
from typing import Any

from tflsplit.chains.chain import Chain, Hop, Stage

# What Scission takes the input picture for.
INPUT_BYTES = 150_000.0


class Traces:
    def __init__(self, file: pathlib.Path) -> None:
        self._fields = json.loads(file.read_text())

    @property
    def models(self) -> list[str]:
        return sorted(self._fields["platforms"]["device-raspi4"])

    def platforms(self, kind: str) -> list[str]:
        """Names of the platforms of a kind: device, edge or cloud."""
        names = self._fields["platforms"]
        return [name.removeprefix(f"{kind}-") for name in names if name.startswith(f"{kind}-")]

    def blocks(self, kind: str, platform: str, model: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self._fields["platforms"][f"{kind}-{platform}"][model]
        return found

    def hops(self, network: str) -> dict[tuple[str, str], Hop]:
        rows = csv.reader(io.StringIO(self._fields["networks"][network]), skipinitialspace=True)
        next(rows)
        return {
            (source, target): Hop(float(ping) / 1e3, float(megabits) * 1e6) for source, target, ping, megabits in rows
        }

    def chain(self, model: str, platforms: tuple[str, str, str], network: str) -> Chain:
        """Device, edge and cloud; a place is the number of the layer that comes next."""
        columns = [
            self.blocks(kind, name, model) for kind, name in zip(("device", "edge", "cloud"), platforms, strict=True)
        ]
        known = self.hops(network)
        pairs = itertools.combinations(range(3), 2)
        return Chain(
            places=(*(str(block["input_layer"]) for block in columns[0]), "end"),
            wire_bytes=(INPUT_BYTES, *(float(block["output_size"]) for block in columns[0])),
            parameter_bytes=(0.0,) * (len(columns[0]) + 1),
            stages=tuple(stage(name, column) for name, column in zip(platforms, columns, strict=True)),
            hops={pair: known[platforms[pair[0]], platforms[pair[1]]] for pair in pairs},
        )


def stage(name: str, blocks: list[dict[str, Any]]) -> Stage:
    return Stage(name, tuple(itertools.accumulate((block["second_prediction"] for block in blocks), initial=0.0)))


def step_of(chain: Chain, layer: int) -> int:
    """The step that runs a layer; a block may hold several."""
    return max(step for step, place in enumerate(chain.places[:-1]) if int(place) <= layer)
