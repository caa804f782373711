"""When an answer is overdue, so that the device computes it too: after how many times its expected way.

Apart from the controller, which an edge whose cut stays need not load for its options.
"""

from tflsplit import errors

# Overdue by half. Sooner hedges make the mean smaller by half a percent, and compute every third frame twice.
DEFAULT = 1.5


def check(factor: float) -> float:
    """Returns it; SettingsError where no answer could be overdue by it, or none ever would be."""
    if not 0 <= factor <= 100:
        raise errors.SettingsError(f"hedge of {factor:g}: give how many times the expected way, from 0 to 100, as 1.5")
    return factor
