"""The network of a plan's page, and where the cut lies."""

from tflsplit.planning.pipeline import Outcome
from tflsplit.report import strip

CAPTION = f"{strip.EXPLAINED}; those that the cut's line crosses travel too. Left of it is the edge's."


def drawing(outcome: Outcome) -> str:
    choice = outcome.decision.choice
    with strip.drawn(outcome.package.graph) as canvas:
        if choice is not None:
            strip.line(canvas.axes, choice.cost.candidate.cut.position, choice.id)
    return canvas.svg
