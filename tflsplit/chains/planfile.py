"""A chain's plan on disk: which piece of the model to which machine, for which package, and what was expected of it.

This module owns the file's format. `tflsplit bundle` takes any such plan; `edge` and `cloud` take those that share the
model between two machines at most.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tflsplit import arguments, errors, strict_json
from tflsplit.planning import planfile
from tflsplit.planning.planfile import Plan
from tflsplit.planning.scenario import Workload
from tflsplit.values.classes import asdict, dataclass, field

KIND = "chain plan"


@dataclass(frozen=True, slots=True)
class Share:
    """A machine and the two cuts that its piece lies between: the same cut twice where it runs nothing of the model.

    The piece ends after `layer`. A machine without `takes_part` receives no frames either.
    """

    name: str
    start: str
    stop: str
    layer: str | None = None
    takes_part: bool = True
    device: Mapping[str, object] = field(default_factory=dict)

    @property
    def runs(self) -> bool:
        return self.start != self.stop


@dataclass(frozen=True, slots=True)
class ChainPlan:
    """`stages` are all machines in order, the camera's first. `package_path` is relative to the plan's own folder.

    `expected`, `explanation`, `runner_up` and `rivals` are as `plan --json` prints them. `two_machines` is the
    best partition with one cut, which `edge` and `cloud` can run.
    """

    package_digest: str
    package_name: str
    package_path: str
    stages: tuple[Share, ...]
    objective: str
    reason: str
    constraints: Mapping[str, object] = field(default_factory=dict)
    links: tuple[Mapping[str, object], ...] = ()
    expected: Mapping[str, object] = field(default_factory=dict)
    explanation: Mapping[str, object] = field(default_factory=dict)
    runner_up: Mapping[str, object] | None = None
    rivals: Mapping[str, object] = field(default_factory=dict)
    two_machines: Mapping[str, object] | None = None

    def share(self, name: str) -> Share:
        """The share of a stage; SettingsError names the stages of the plan if it is none of them."""
        found = next((share for share in self.stages if share.name == name), None)
        if found is None:
            raise errors.SettingsError(
                f"no stage {name!r}; the plan's are {', '.join(one.name for one in self.stages)}"
            )
        return found

    def as_plan(self) -> Plan:
        """The plan for `tflsplit edge` and `tflsplit cloud`; SettingsError where it takes more than two machines."""
        first, running = self.stages[0], [share for share in self.stages if share.runs]
        others = [share for share in running if share is not first]
        if len(others) > 1:
            raise errors.SettingsError(self._refusal(running))
        cut = others[0].start if others else first.stop
        fps = self.constraints.get("fps")
        return Plan(
            package_digest=self.package_digest,
            package_name=self.package_name,
            package_path=self.package_path,
            cut=cut,
            layer=first.layer if first.runs else None,
            input_codec=None if first.runs else "int8",
            rate_fps=float(str(fps)) if fps is not None else None,
            window=Workload().window,
            reason=self.reason,
            devices={share.name: share.device for share in self.stages},
            link=self.links[0] if len(self.links) == 1 else {},
            wish={"objective": self.objective, "constraints": self.constraints},
            expected=self.expected,
            runner_up=self.runner_up,
        )

    def _refusal(self, running: list[Share]) -> str:
        pieces = ", ".join(f"{share.name} {share.start} to {share.stop}" for share in running)
        instead = self.two_machines
        hint = (
            f"run the best single cut instead, {instead['cut']} between {instead['edge']} and {instead['cloud']} "
            f"({float(str(instead['latency_ms'])):.4g} ms): --cut {instead['cut']}"
            if instead
            else "plan two machines with --edge and --cloud"
        )
        count = len(running) + (not self.stages[0].runs)
        return f"the plan needs {count} machines ({pieces}), edge and cloud are two; {hint}"


def is_one(path: Path) -> bool:
    """Whether a file says that it is a chain's plan; `read` refuses it for anything else that is wrong with it."""
    try:
        fields = strict_json.parse(arguments.read(path).decode("utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(fields, dict) and fields.get("kind") == KIND


def render(plan: ChainPlan) -> str:
    return planfile.render_fields(KIND, asdict(plan))


def read(path: Path) -> ChainPlan:
    """Raises DataError for a file that is no chain's plan, of another schema, or damaged."""
    return planfile.read_as(path, KIND, ChainPlan.__slots__, ("objective", "reason"), _checked)


def _checked(fields: dict[str, Any]) -> ChainPlan:
    fields["stages"] = tuple(Share(**entry) for entry in fields["stages"])
    fields["links"] = tuple(fields["links"])
    if not fields["stages"]:
        raise ValueError("no stages")
    made = ChainPlan(**fields)
    for part in (made, *made.stages):
        arguments.check_fields(part)
    arguments.instance(made.constraints.get("fps"), float | None, "fps")  # type: ignore[arg-type]  # a type at run time
    if made.two_machines is not None:
        for name, kind in (("cut", str), ("edge", str), ("cloud", str), ("latency_ms", float)):
            arguments.instance(made.two_machines[name], kind, name)
    return made
