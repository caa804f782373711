"""`tflsplit verify` where one machine is not enough: bundles, records of a device, and records against this machine."""

from collections.abc import Sequence
from pathlib import Path

from tflsplit import errors, text
from tflsplit.api import packages
from tflsplit.cli.output import screen
from tflsplit.graph.tensors import Array
from tflsplit.kernels import keeping
from tflsplit.package import judging, recording
from tflsplit.package.judging import Verdict
from tflsplit.package.reading import Package
from tflsplit.package.steps import Apart

_EXIT = {Verdict.EQUAL: 0, Verdict.WRONG: 1, Verdict.ROUNDED: 3}


def of_machines(
    opened: Package, wanted: str, samples: str, record_to: Path | None, compared: Path | None, *, is_json: bool
) -> int:
    """Returns the exit code."""
    if compared is not None:
        return against(opened, compared, is_json=is_json)
    if record_to is None:
        return of_bundle(opened, wanted, is_json=is_json)
    given = int(samples) if samples.isdecimal() else packages.inputs_of(opened, samples)
    return record(opened, wanted, given, record_to, is_json=is_json)


def of_bundle(opened: Package, wanted: str, *, is_json: bool) -> int:
    """Runs the golden samples of a bundle here; returns the exit code."""
    found = judging.of_bundle(opened, wanted)
    here = keeping.here()
    verdict = max((each.verdict for each in found), key=list(Verdict).index)
    if is_json:
        told = {"verdict": verdict.value, "cuts": [each.as_json() for each in found]}
        screen.as_json(told | {"kernel_class": here.as_json()})
    else:
        for each in found:
            samples = text.counted(each.apart.samples, "golden sample")
            screen.write(f"{each.cut}: {samples} of {each.made_on or 'an earlier version'}: {each}")
        screen.write(f"kernel class {here}")
    return _EXIT[verdict]


def record(
    opened: Package, wanted: str, given: "Sequence[tuple[Array, ...]] | int", file: Path, *, is_json: bool
) -> int:
    """Records what this machine's heads give."""
    chosen = recording.heads_of(opened, wanted)
    with screen.progress("record", len(chosen)) as step:
        size = recording.write(file, opened, chosen, given, on_cut=step)
    here = keeping.here()
    samples = given if isinstance(given, int) else len(given)
    if is_json:
        cuts = [cut.id for cut in chosen]
        told = {"file": str(file), "bytes": size, "samples": samples, "cuts": cuts, "kernel_class": here.as_json()}
        screen.as_json(told)
    else:
        cuts_shown, samples_shown = text.counted(len(chosen), "cut"), text.counted(samples, "sample")
        screen.write(f"{file}: {cuts_shown} x {samples_shown} of {here}, {size:,} bytes")
    return 0


def against(opened: Package, file: Path, *, is_json: bool) -> int:
    """Compares a record with this machine; returns the exit code."""
    taken = recording.read(file, opened)
    with screen.progress("compare", len(taken.boundaries)) as step:
        pairs = recording.compare(taken, opened, on_cut=step)
    here = keeping.here()
    if is_json:
        screen.as_json(recording.as_json(taken, pairs, here))
    else:
        for pair in pairs:
            parts = [] if pair.boundary is None else [f"boundary {_shown(pair.boundary)}"]
            parts += [] if pair.result is None else [f"result {_shown(pair.result)}"]
            wrong = ", though these classes should be equal in this head" if pair.is_wrong else ""
            screen.write(f"{pair.cut}: {'; '.join(parts)}{wrong}")
        screen.write(f"{text.counted(len(taken.inputs), 'sample')} of {taken.kernel_class}, against {here}")
    if any(pair.is_wrong for pair in pairs):
        return _EXIT[Verdict.WRONG]
    return _EXIT[Verdict.EQUAL if all(pair.is_equal for pair in pairs) else Verdict.ROUNDED]


def _shown(found: Apart) -> str:
    return str(found) if found.is_equal else f"{found} ({found.share:.2%} of elements)"


def check_choice(record_to: Path | None, compared: Path | None, accelerator: str | None) -> None:
    """SettingsError for options that exclude each other."""
    given = [
        name
        for name, value in (("--record", record_to), ("--against", compared), ("--accelerator", accelerator))
        if value
    ]
    if len(given) > 1:
        raise errors.SettingsError(f"{' and '.join(given)}: give one of them")
