"""The subcommands of `tflsplit rollout` that look at the state of one, or steer it."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tflsplit import errors, text
from tflsplit.cli.output import examples, screen
from tflsplit.cli.output.tables import Column, Kind
from tflsplit.package import reading

if TYPE_CHECKING:
    from broker.rollout.statefile import Entry, StateFile, Wish

COLUMNS = (
    Column("device", Kind.NAME),
    Column("state"),
    Column("phase", rank=2),
    Column("cut", rank=3),
    Column("said last", rank=1),
    Column("reason", Kind.NOTE),
)
_argument: Callable[[Any], Any] = click.argument("path", metavar="FILE", type=click.Path(path_type=Path))


@click.command("status", epilog=examples.epilog("tflsplit rollout status new.rollout"))
@_argument
@click.option("--all", "is_all", is_flag=True, help="List all devices. Default: those on their way, and that failed.")
@screen.wide_option
@click.option("--json", "is_json", is_flag=True, help="Print all that is known as JSON.")
def status(path: Path, *, is_all: bool, is_json: bool) -> None:
    """Show how far a rollout is, also while it runs."""
    from broker.rollout import statefile
    from broker.rollout.devices import some

    is_running = path.exists() and statefile.is_running(path)
    with statefile.open_file(path) as state:
        if is_json:
            screen.as_json(as_json(state) | {"is_running": is_running})
            return
        shown = [each for each in state.entries.values() if is_all or each.is_under_way or each.state.is_bad]
        title = f"{summary(state)}; {'running' if is_running else 'not running'}"
        screen.table(title, COLUMNS, [_row(each) for each in shown]) if shown else screen.write(title)
        if state.course.ended is None and (away := state.away()):
            devices = text.counted(len(away), "device")
            screen.write(f"waits for {devices} to be there: {some(away)}")
        if state.course.halted is not None:
            screen.write(f"halted: {state.course.halted}; {after_halt(path)}")


@click.command("pause", epilog=examples.epilog("tflsplit rollout pause new.rollout"))
@_argument
def pause(path: Path) -> None:
    """Take no more devices; those on their way are served until they are done."""
    from broker.rollout.statefile import Wish

    _steer(path, Wish.PAUSE)


@click.command("resume", epilog=examples.epilog("tflsplit rollout resume new.rollout"))
@_argument
def resume(path: Path) -> None:
    """Go on after a pause, or although a rollout has halted.

    Devices that failed stay as they are, and the next wave begins.
    """
    from broker.rollout.statefile import Wish

    _steer(path, Wish.GO_ON)


@click.command("abort", epilog=examples.epilog("tflsplit rollout abort new.rollout"))
@_argument
def abort(path: Path) -> None:
    """End a rollout; devices keep the model that they run."""
    from broker.rollout.statefile import Wish

    _steer(path, Wish.ABORT)


@click.command("back", epilog=examples.epilog("tflsplit rollout back new.rollout old.tflsplit"))
@_argument
@click.argument("old", metavar="PKG", type=click.Path(path_type=Path))
def back(path: Path, *, old: Path) -> None:
    """Give all devices that a rollout has reached the model of before.

    PKG is the package that they ran. Devices that still have it take it from their disk. Those that the rollout did not
    reach are left alone.
    """
    from broker.rollout.statefile import Wish

    _steer(path, Wish.BACK, reading.open_package(old))


COMMANDS = (status, pause, resume, abort, back)


def _steer(path: Path, wish: "Wish", old: reading.Package | None = None) -> None:
    from broker.rollout import statefile

    is_running = path.exists() and statefile.is_running(path)
    with statefile.open_file(path) as state:
        course = state.course
        if old is None and course.ended is not None:
            raise errors.SettingsError(f"{path}: the rollout is over ({course.ended}); `back` is what can be done")
        if old is not None and course.is_back:
            raise errors.SettingsError(f"{path}: the rollout goes back already")
        if old is not None and old.digest == state.plan.package:
            raise errors.SettingsError(f"{old.path} is the package of this rollout: give the one of before")
        state.want(wish, None if old is None else old.path.resolve())
    screen.write(
        f"{path}: {wish.value}" + ("" if is_running else "; it does not run: start `tflsplit rollout run` again")
    )


def check_may_run(path: Path, state: "StateFile") -> None:
    """SettingsError if it is over, PeerError if it has halted and nobody said that it is to go on."""
    from broker.rollout.statefile import Wish

    wish, _ = state.wish
    if wish is Wish.BACK and not (state.course.is_back and state.course.ended):
        return
    if state.course.ended is not None:
        raise errors.SettingsError(f"{path}: the rollout is over ({state.course.ended}); {summary(state)}")
    if state.course.halted is not None and wish is not Wish.GO_ON:
        raise errors.PeerError(f"{path}: halted: {state.course.halted}; {after_halt(path)}")


def after_halt(path: Path | None) -> str:
    return f"`tflsplit rollout resume {path}` lets it go on, `tflsplit rollout back {path} OLD` takes the model back"


def summary(state: "StateFile") -> str:
    from broker.rollout.statefile import State

    counts, course = state.counts(), state.course
    told = ", ".join(f"{counts[each]:,} {each.value}" for each in State if counts[each])
    what = "back to the model of before" if course.is_back else f"phase {course.phase}"
    wish = state.wish[0].value
    how = course.ended or ("halted" if course.halted else wish)
    return f"{state.plan.deployment}, {len(state.entries):,} devices, {what} ({how}): {told}"


def in_words(entry: "Entry") -> str:
    seconds = f" in {entry.ended_s - entry.began_s:.1f} s" if entry.ended_s and entry.began_s else ""
    why = f": {entry.reason}" if entry.reason else ""
    return f"{entry.name}: {entry.state.value}{why}, {entry.sent_bytes:,} bytes{seconds}, cut at {entry.cut or '?'}"


def as_json(state: "StateFile") -> dict[str, Any]:
    from tflsplit.values.classes import asdict

    return {
        **asdict(state.plan),
        **asdict(state.course),
        "wish": state.wish[0].value,
        "away": state.away(),
        "counts": {each.value: count for each, count in state.counts().items()},
        "devices": [entry.as_json() for entry in state.entries.values()],
    }


def _row(entry: "Entry") -> tuple[object, ...]:
    return (entry.name, entry.state.value, entry.phase or None, entry.cut, entry.said, entry.reason)
