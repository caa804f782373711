"""`tflsplit rollout run`: begins a rollout, or goes on with it."""

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tflsplit import errors
from tflsplit.cli.commands.rollout import gates, steering
from tflsplit.cli.options import connection, units, updates
from tflsplit.cli.output import examples, screen
from tflsplit.package import reading
from tflsplit.values.classes import asdict

if TYPE_CHECKING:
    from broker.rollout.devices import Roster
    from broker.rollout.running import Ending
    from broker.rollout.statefile import Entry, Plan, StateFile
    from broker.rollout.terms import Terms
    from broker.rollout.visit import Means
    from broker.transport.protocol import Transport
    from tflsplit.package.reading import Package


@click.command(
    "run",
    epilog=examples.epilog(
        "tflsplit rollout run new.tflsplit --state new.rollout --all \\\n"
        "--sign models.key --credentials clients/operator",
        "tflsplit rollout run new.tflsplit --state new.rollout --devices shops.csv \\\n"
        "--canary 10 --wave 20% --most-latency 1.5 \\\n--sign models.key --credentials clients/operator",
    ),
)
@click.argument("pkg", type=click.Path(path_type=Path))
@click.option(
    "--state",
    "path",
    type=click.Path(path_type=Path),
    required=True,
    metavar="FILE",
    help="File in which the rollout keeps what has become of each device, on a disk of this machine.",
)
@connection.options
@click.option(
    "--devices",
    "listed",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Devices to update, in this order: a name on each line, or a CSV with a column `name`.",
)
@click.option("--group", help="Update the devices whose edges were started with this --group.")
@click.option("--all", "is_all", is_flag=True, help="Update every device that takes updates.")
@click.option(
    "--allow-unknown",
    is_flag=True,
    help="Go on although devices of the list were never there; they are updated when they appear.",
)
@updates.offered
@gates.options
@click.option(
    "--stay",
    "stay_s",
    type=units.TIME,
    help="How long it waits for devices that are off, when all others are done. Default: until all are done.",
)
@click.option("--json", "is_json", is_flag=True, help="Print the state at the end as JSON.")
def command(
    pkg: Path,
    *,
    path: Path,
    broker: connection.Broker,
    deployment: str,
    signing_key: Path,
    terms: "Terms",
    stay_s: float | None,
    name: str | None,
    is_json: bool,
    **chosen: Any,
) -> None:
    """Install another model on many devices, in waves, or go on with that.

    The canary gets the model first, the rest in waves when it did well. Devices that are off are passed over, and done
    when they appear. Each one checks, tests and tries the model as with `tflsplit push`. Where too many fail, the
    rollout halts, and says which.

    All is on disk: after Ctrl-C, a crash or a halt the same command goes on. `tflsplit rollout status FILE` shows it;
    pause, resume, abort and back steer it. Exit code 1 if any device has not got the model.

    First start a cloud that serves both packages: `tflsplit cloud OLD NEW`.
    """
    from broker.rollout import statefile
    from broker.rollout.visit import Means
    from broker.transport.credentials import Role
    from tflsplit.package import signing

    opened = reading.open_package(pkg)
    cut_id = _cut(opened, chosen.pop("cut_name"))
    names, is_forgiving = (
        _listed(**{key: chosen[key] for key in ("listed", "group", "is_all")}),
        chosen["allow_unknown"],
    )
    found_by = (names is not None, chosen["group"])
    plan = statefile.Plan(deployment, opened.digest, *found_by, cut_id, chosen["bundle_url"], terms)
    signer = signing.open_private(signing_key)
    with contextlib.ExitStack() as stack:
        state = stack.enter_context(_gone_on(path, plan, names)) if path.exists() else None
        speaker = (deployment, broker.name(name, default="operator"))
        connected = connection.connected(broker, *speaker, connection.new_boot(), role=Role.OPERATOR, is_second=True)
        online = stack.enter_context(connected)
        roster = _found(online, plan, tuple(state.entries) if state else names)
        if state is None:
            fresh = _selected(roster, names, chosen["group"], is_forgiving=is_forgiving)
            state = stack.enter_context(statefile.create(path, plan, fresh))
        ending = _run(Means(online, roster, signer), state, opened, stay_s, is_json=is_json)
        _put_out(state, ending, is_json=is_json)


def _cut(opened: "Package", name: str | None) -> str | None:
    if name is None:
        return None
    opened.check_has_tail(opened.cut(name))
    return opened.cut(name).id


def _listed(listed: Path | None, group: str | None, *, is_all: bool) -> tuple[str, ...] | None:
    """The devices of a list; None for those that are to be found."""
    from broker.deploy import name_lists

    if sum((listed is not None, group is not None, is_all)) != 1:
        raise click.UsageError("Say which devices: one of --devices FILE, --group NAME and --all.")
    return None if listed is None else name_lists.read(listed)


def _gone_on(path: Path, plan: "Plan", names: tuple[str, ...] | None) -> "StateFile":
    """The state of a rollout that was begun before. SettingsError if it was another one, or is over."""
    from broker.rollout import statefile

    state = statefile.open_file(path, runs=True)
    try:
        begun, asked = asdict(state.plan), asdict(plan)
        other = [key for key in begun if begun[key] != asked[key]]
        if other or (names is not None and set(names) != state.entries.keys()):
            what = ", ".join(other) or "its devices"
            raise errors.SettingsError(
                f"{path} is of a rollout that was begun otherwise ({what}): give the same options, or another --state"
            )
        steering.check_may_run(path, state)
    except errors.TflsplitError:
        state.close()
        raise
    return state


def _found(online: "Transport", plan: "Plan", names: tuple[str, ...] | None) -> "Roster":
    from broker.rollout import finding

    if plan.is_listed and names is not None:
        return finding.named(online, plan.deployment, names, wait_s=finding.LIST_S)
    return finding.every(online, plan.deployment)


def _selected(
    roster: "Roster", names: tuple[str, ...] | None, group: str | None, *, is_forgiving: bool
) -> tuple[str, ...]:
    from broker.rollout import devices, finding

    if names is None:
        return finding.selected(roster, group)
    unknown = [name for name in names if not roster.has_birth(name)]
    if unknown and not is_forgiving:
        raise errors.PeerError(
            f"{len(unknown)} of {len(names)} devices were never there: {devices.some(unknown)}; nothing was done. "
            "--allow-unknown updates them when they appear"
        )
    return names


def _run(means: "Means", state: "StateFile", opened: "Package", stay_s: float | None, *, is_json: bool) -> "Ending":
    from broker.rollout.bundles import Bundles
    from broker.rollout.running import Rollout

    def bundles_to(path: Path) -> Bundles:
        return stack.enter_context(contextlib.closing(Bundles(reading.open_package(path))))

    def show(entry: "Entry") -> None:
        if not is_json:
            screen.write(steering.in_words(entry))

    with contextlib.ExitStack() as stack:
        bundles = stack.enter_context(contextlib.closing(Bundles(opened, cut=state.plan.cut)))
        running = Rollout(means, state, bundles, bundles_to, stay_s=stay_s, on_change=show)
        with screen.stopped_by_signals(running.stop):
            return running.run()


def _put_out(state: "StateFile", ending: "Ending", *, is_json: bool) -> None:
    from broker.rollout.statefile import State

    if is_json:
        screen.as_json(steering.as_json(state))
    else:
        screen.write(steering.summary(state))
    counts = state.counts()
    if state.course.halted is not None:
        raise errors.PeerError(f"halted: {state.course.halted}; {steering.after_halt(state.path)}")
    if counts[State.INSTALLED] + counts[State.SPARED] < len(state.entries):
        raise errors.PeerError(f"{ending.value}: {steering.summary(state)}")
