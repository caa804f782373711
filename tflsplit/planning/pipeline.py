"""The pipeline of `tflsplit plan`: files in, a decision and its plan out. Everything it calls is pure."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from tflsplit import errors
from tflsplit.coding.precisions import Precision
from tflsplit.graph.cuts import Cut
from tflsplit.package.reading import Package
from tflsplit.planning import bottlenecks, breakeven, candidates, decision, exactness, network, planfile, report_text
from tflsplit.planning.breakeven import BreakEven
from tflsplit.planning.candidates import ALL_FORMS, Candidate, InputForms
from tflsplit.planning.decision import Decision, Goal, Judged
from tflsplit.planning.planfile import Plan
from tflsplit.planning.scenario import Scenario
from tflsplit.planning.tradeoff import Tradeoff
from tflsplit.timings import profiles
from tflsplit.timings.links import Link
from tflsplit.timings.profiles import Origin, Profile, Side
from tflsplit.values.classes import asdict, dataclass


@dataclass(frozen=True, slots=True, repr=False)
class Outcome:
    """A decision with all that led to it: the candidates can be costed again for any other scenario. `gate` is what a
    gate at the edge would send and get right, where samples were given."""

    package: Package
    edge: Profile
    cloud: Profile
    scenario: Scenario
    candidates: tuple[Candidate, ...]
    decision: Decision
    break_even: Mapping[str, BreakEven | None]
    gate: Tradeoff | None = None

    def __repr__(self) -> str:
        return f"<plan of {self.package.manifest.name} over {self.scenario.link.name}: {self.reason}>"

    @property
    def cut(self) -> Cut | None:
        """The pick's cut; None where nothing meets the constraints."""
        return None if self.decision.choice is None else self.decision.choice.cost.candidate.cut

    @property
    def reason(self) -> str:
        """One sentence: what to do and why, or what stands in the way of everything."""
        return report_text.reason(self.decision)

    def as_json(self) -> dict[str, object]:
        filtered = bottlenecks.compare(self.decision)
        return report_text.as_json(self.decision, self.break_even) | {
            "natural_bottlenecks": asdict(filtered),
            "package": self.package.digest,
            "link": describe_link(self.scenario.link),
            "workload": asdict(self.scenario.workload),
            "batch": self.edge.batch,
            "int8_agreement": self.int8_agreement,
            "int8_measured_on": fidelity[0].measured_on if (fidelity := self.package.manifest.fidelity) else None,
            "exact_remark": report_text.exact_remark(self.decision) or None,
            "gate": self.gate.as_json() if self.gate else None,
        }

    @property
    def int8_agreement(self) -> float | None:
        """How often the int8 model, cut or not, agrees with the float one; None where that was not measured."""
        fidelity = self.package.manifest.fidelity
        return fidelity[0].top1_agreement if fidelity else None

    @property
    def remarks(self) -> tuple[str, ...]:
        """What to print beside the table, a line each."""
        fidelity = self.package.manifest.fidelity[:1]
        accuracy = tuple(f"int8 at every cut, against float: {entry.closeness}" for entry in fidelity)
        exact = report_text.exact_remark(self.decision)
        cut_count = sum(cut.head.operators > 0 and cut.tail.operators > 0 for cut in self.package.cuts)
        return (bottlenecks.summary(bottlenecks.compare(self.decision), cut_count), *accuracy, *filter(None, (exact,)))


def make(
    package: Package,
    edge: Profile,
    cloud: Profile,
    scenario: Scenario,
    goal: Goal,
    *,
    forms: InputForms = ALL_FORMS,
    lossy: Sequence[Precision] = (),
) -> Outcome:
    """Compare all candidates of `package` on these two devices; the profiles have been checked to fit it. `lossy` are
    the fewer bits in which features may travel."""
    found = candidates.gather(package.cuts, edge, cloud, forms, exactness.of_cuts(package, edge, cloud), lossy=lossy)
    return Outcome(
        package=package,
        edge=edge,
        cloud=cloud,
        scenario=scenario,
        candidates=tuple(found),
        decision=decision.decide(found, scenario, goal),
        break_even=breakeven.find(found, scenario, goal),
    )


def read_profile(path: Path, package: Package, side: Side, batch: int = 1) -> Profile:
    """A profile that fits the package and batch; DataError says what is wrong with any other."""
    profile = profiles.read(path)
    profiles.check_fits(profile, package.digest, side, [cut.id for cut in package.cuts], path=path, batch=batch)
    return profile


def plan_of(outcome: Outcome, folder: Path) -> Plan:
    """The file of a decision, to stand in `folder`. SettingsError where there is nothing to run."""
    decided, scenario = outcome.decision, outcome.scenario
    if decided.choice is None:
        raise errors.SettingsError(report_text.reason(decided))
    candidate = decided.choice.cost.candidate
    return Plan(
        **planfile.naming(outcome.package, folder),
        cut=candidate.cut.id,
        layer=candidate.cut.layer,
        input_codec=candidate.input_codec,
        bits=candidate.bits,
        batch=candidate.batch,
        rate_fps=scenario.workload.rate_fps,
        window=scenario.workload.window,
        reason=report_text.reason(decided),
        devices={"edge": describe_device(outcome.edge), "cloud": describe_device(outcome.cloud)},
        link=describe_link(scenario.link),
        wish={"objective": decided.goal.objective.value, "constraints": decided.goal.constraints.as_json()},
        expected=report_text.candidate(decided.choice, decided),
        runner_up=report_text.candidate(decided.runner_up, decided) if decided.runner_up else None,
        break_even=report_text.break_even_as_json(outcome.break_even),
        candidates=tuple(
            figures(each.cost.candidate) for each in decided.judged if each is decided.choice or _may_serve(each)
        ),
    )


def figures(candidate: Candidate) -> dict[str, object]:
    """What an edge that moves its cut needs to know of one: means in seconds, and bytes with every header. `head_s` is
    the part of `edge_s` that the head takes."""
    return {
        "cut": candidate.cut.id,
        "bits": candidate.bits,
        "input_codec": candidate.input_codec,
        "edge_s": round(candidate.edge.mean_s, 7),
        "head_s": round(candidate.head.mean_s, 7),
        "cloud_s": round(candidate.cloud.mean_s, 7),
        "wire_bytes": round(network.wire_bytes(candidate.frame_bytes)),
        "load_s": round(candidate.load_s, 7),
        "exact": candidate.is_exact,
    }


def _may_serve(judged: Judged) -> bool:
    """Whether frames may be cut there under another link or load: bounds that depend on neither hold for ever."""
    candidate = judged.cost.candidate
    if candidate.missing:
        return False
    is_worth_it = candidate.cut.is_useful or not candidate.is_split
    return is_worth_it and all(failure.constraint in _OF_THE_MOMENT for failure in judged.failures)


# Constraints that a cut fails only while the link or the server is as it was planned for.
_OF_THE_MOMENT = ("rate", "fps", "max_latency")


def describe_device(profile: Profile) -> dict[str, object]:
    return {"name": profile.name, "accelerator": profile.accelerator, "machine": dict(profile.machine)}


def describe_link(link: Link) -> dict[str, object]:
    return {
        "name": link.name,
        "origin": link.origin.value,
        "bandwidth_bps": link.bandwidth_bps,
        "rtt_s": link.rtt_s,
        "loss": link.loss,
        "source": link.source,
    }


def link_of(made: Plan) -> Link:
    """The link that a plan was made for, as stated. SettingsError for a plan of several links, DataError for damage."""
    if not made.link:
        raise errors.SettingsError("the plan is for more links than one; give --link, or --bandwidth and --rtt")
    try:
        bandwidth_bps, rtt_s, loss = (float(str(made.link[key])) for key in ("bandwidth_bps", "rtt_s", "loss"))
        return Link(str(made.link["name"]), Origin.STATED, bandwidth_bps, rtt_s, loss, source="the plan")
    except (KeyError, ValueError) as cause:
        raise errors.DataError(f"plan for {made.package_name}: its link is damaged ({cause!r}); plan again") from cause
