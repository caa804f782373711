"""What `inspect` and `convert` print of a package's outputs, its calibration, and how close int8 is to float."""

from tflsplit.cli.output import screen
from tflsplit.graph.meanings import Meaning
from tflsplit.package import outputs, reading
from tflsplit.package.manifest import FloatTails


def show(opened: reading.Package) -> None:
    """The calibration, and how close the int8 model is to the float model."""
    described = opened.manifest
    for spec, meaning in zip(described.outputs, outputs.told(described), strict=True):
        words = _UNTOLD if meaning is Meaning.LOGITS and not described.labels else _MEANINGS[meaning]
        screen.write(f"output {spec.name} {spec.shape}: {words}{_labelled(described.labels, meaning)}")
    if described.decoding is not None:
        task, form = described.decoding.task.value, described.decoding.form.value
        least = f", objects from score {described.decoding.min_score:g} on" if described.decoding.min_score else ""
        screen.write(f"outputs are read as: {task} ({form}){least}")
    screen.write(f"calibration: {described.calibration.kind} ({described.calibration.detail})")
    for entry in described.fidelity:
        screen.write(f"{entry.output}, int8: {entry.closeness}")
    for entry in described.fidelity_cpu:
        screen.write(f"{entry.output}, with --target cpu: {entry.closeness}; dense layers have one scale a unit there")
    for words in described.rewrites:
        screen.write(f"rewritten: {words}")
    if described.float_tails is not None:
        _print_float_tails(described.float_tails)


_MEANINGS = {
    Meaning.SOFTMAX: "shares of classes (softmax)",
    Meaning.LOGITS: "scores of classes (logits)",
    Meaning.SIGMOID: "the share of the second of two classes (sigmoid)",
    Meaning.MULTI_LABEL: "independent shares, any number of labels at once (sigmoids)",
    Meaning.VALUES: "plain values",
}
# Of a network that ends in a linear layer and has no labels.
_UNTOLD = "taken as scores of classes (logits); plain values end in such a layer too, and only labels tell"


def _labelled(labels: tuple[str, ...], meaning: Meaning) -> str:
    if not labels or meaning is Meaning.VALUES:
        return ""
    shown = ", ".join(labels[:3]) + (f", … ({len(labels)} labels)" if len(labels) > 3 else "")
    return f": {shown}"


def _print_float_tails(tails: FloatTails) -> None:
    for cut, measured in tails.fidelity.items():
        for entry in measured:
            screen.write(f"{entry.output}, int8 head and float tail at {cut}: {entry.closeness}")
    for cut, reason in tails.problems.items():
        screen.write(f"no float tail at {cut}: {reason}")
