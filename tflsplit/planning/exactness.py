"""Which cuts are exact: the edge's kernels against the cloud's, for the operators of each head."""

from collections.abc import Mapping

from tflsplit.kernels import exactness
from tflsplit.kernels.exactness import Exactness
from tflsplit.kernels.heads import HeadKernels, Standing
from tflsplit.package.reading import Package
from tflsplit.timings.profiles import Profile

Judgement = tuple[Standing, str]
"""And why it is not exact, or not known to be; empty where it is."""

UNJUDGED: Judgement = (Standing.UNKNOWN, "its kernels were not compared")


def of_cuts(package: Package, edge: Profile, cloud: Profile) -> Mapping[str, Judgement]:
    """By cut. Of a bundle's missing heads nothing is known."""
    found = {}
    for cut in package.cuts:
        if cut.position == 0:
            found[cut.id] = (Standing.EXACT, "")
        elif package.has(cut, "head"):
            found[cut.id] = _of_head(package.head_kinds(cut), edge, cloud)
    return found


def _of_head(kinds: tuple[str, ...], edge: Profile, cloud: Profile) -> Judgement:
    if edge.accelerator.partition("?")[0] != "cpu":
        return Standing.INEXACT, f"{edge.accelerator} rounds in its own way"
    if edge.kernel_class is not None and cloud.kernel_class is not None:
        compared = HeadKernels(edge.kernel_class, kinds).against(cloud.kernel_class)
        return compared.standing, "" if compared.is_exact else str(compared)
    return _by_runtimes(kinds, edge, cloud)


def _by_runtimes(kinds: tuple[str, ...], edge: Profile, cloud: Profile) -> Judgement:
    """Of profiles that tell no kernel class: by what was measured of all machines with their runtimes."""
    verdict = exactness.of_kinds(kinds)
    runtimes = [profile.machine.get("runtime", "") for profile in (edge, cloud)]
    are_litert = [runtime.startswith("ai-edge-litert") for runtime in runtimes]
    if verdict.exact_on is Exactness.EVERYWHERE or (verdict.exact_on is Exactness.LITERT and all(are_litert)):
        return Standing.EXACT, ""
    because = ", ".join(verdict.because)
    if verdict.exact_on is Exactness.LITERT and any(are_litert) and all(runtimes):
        return Standing.INEXACT, f"{because} may differ by a step or more between {' and '.join(runtimes)}"
    return Standing.UNKNOWN, f"the profiles tell no kernel class, and {because} is {verdict.exact_on.value}"
