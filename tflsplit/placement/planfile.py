"""A placement on disk: which machine runs which piece of which package. This module owns the file's format."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tflsplit import arguments, errors
from tflsplit.placement import addresses, stated
from tflsplit.placement.machines import Cluster, Machine
from tflsplit.placement.placement import Placement, Stage
from tflsplit.placement.rewriting.boxes import Box
from tflsplit.planning import planfile
from tflsplit.values.classes import asdict, dataclass, field

KIND = "placement"
STATED = "stated"


@dataclass(frozen=True, slots=True)
class PlacementPlan:
    """`machines` are names; `stages` say by machine what it makes: for each tensor, by its number in the model, the
    first index and the one after the last of each dimension. `expected` is what was computed of it. `files` are the
    SHA-256 digests of the pieces beside it, by path; `cluster` has what was stated of the machines and their links."""

    package_digest: str
    package_name: str
    package_path: str
    machines: tuple[str, ...]
    source: int
    sink: int
    stages: tuple[Mapping[str, object], ...]
    objective: str
    reason: str
    expected: Mapping[str, object] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    cluster: Mapping[str, object] | None = None

    @property
    def digest(self) -> str:
        """Equal where machines have the same placement of the same package."""
        told = [self.package_digest, self.machines, self.source, self.sink, self.stages]
        return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()

    @property
    def stated(self) -> Cluster | None:
        """None where the plan was made of profiles, as a chain's is."""
        return None if self.cluster is None else stated.from_json(self.cluster)

    def paced(self, machine: int, pace: str | float | None) -> Machine | None:
        """The machine that emulates one: of that many multiply-accumulates a second, or the one that was `stated`.
        SettingsError where none was, or for what is no speed."""
        if pace is None:
            return None
        if pace == STATED:
            cluster = self.stated
            if cluster is None:
                raise errors.SettingsError("this placement states no speeds of its machines; give one")
            return cluster.machines[machine]
        try:
            return Machine(self.machines[machine], float(pace))
        except ValueError as problem:
            raise errors.SettingsError(
                f"pace is {pace!r}, expected multiply-accumulates a second or {STATED!r}"
            ) from problem

    def url(self, machine: int) -> str | None:
        """Where its worker meets the others without a broker; None where that was not stated."""
        cluster = self.stated
        return None if cluster is None else addresses.url([each.address for each in cluster.machines], machine)

    def placement(self) -> Placement:
        return Placement(len(self.machines), tuple(map(stage_of, self.stages)), self.source, self.sink)


def stages_of(placed: Placement) -> tuple[dict[str, Any], ...]:
    """As a plan has them."""
    return tuple(
        {
            "start": stage.start,
            "stop": stage.stop,
            "makes": [{str(tensor): box for tensor, box in made.items()} for made in stage.makes],
            "adds": list(stage.adds),
        }
        for stage in placed.stages
    )


def render(plan: PlacementPlan) -> str:
    return planfile.render_fields(KIND, asdict(plan))


def read(path: Path) -> PlacementPlan:
    """Raises DataError for a file that is no placement, of another schema, or damaged."""
    return planfile.read_as(
        path, KIND, PlacementPlan.__slots__, ("objective", "reason"), _checked, command="distribute"
    )


def _checked(fields: dict[str, Any]) -> PlacementPlan:
    for name in ("machines", "stages"):
        arguments.instance(fields[name], list, name)
    made = PlacementPlan(**fields | {name: tuple(fields[name]) for name in ("machines", "stages")})
    arguments.check_fields(made)
    count = len(made.machines)
    if not all(0 <= place < count for place in (made.source, made.sink)):
        raise ValueError(f"source {made.source} or sink {made.sink} is none of {count} machines")
    made.placement()
    if made.stated is not None and tuple(each.name for each in made.stated.machines) != made.machines:
        raise ValueError("its cluster is of other machines")
    return made


def stage_of(entry: Any) -> Stage:
    """One out of `stages`; ValueError, KeyError or TypeError where it is none."""
    makes = tuple({int(tensor): _box(box) for tensor, box in made.items()} for made in entry["makes"])
    adds = tuple(None if box is None else _box(box) for box in entry["adds"])
    return Stage(int(entry["start"]), int(entry["stop"]), makes, adds)


def _box(given: Sequence[Sequence[int]]) -> Box:
    return tuple((int(start), int(stop)) for start, stop in given)
