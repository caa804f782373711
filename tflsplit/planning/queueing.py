"""How long frames wait in front of a busy stage, computed from how often they come and how long each takes.

    wait = C / (w (1 - rho)) · (ca² + cs²) / 2 · service

with w workers, load rho = rate · service / w, the chance C that all are busy (Erlang's C; rho for one worker) and the
squared coefficients of variation of arrivals (ca²) and service (cs²). One worker and Poisson arrivals (ca² = 1) make it
the Pollaczek–Khinchine formula of M/G/1, which is exact; one worker and other arrivals make it Kingman's approximation,
several workers that of Allen and Cunneen.
"""

import math

from tflsplit.timings.distribution import NEVER, NOTHING, Distribution
from tflsplit.timings.profiles import Origin

# Frames of many independent devices come as a Poisson process.
POISSON = 1.0
# Frames of one device come at a steady pace.
PACED = 0.0


def load(rate_fps: float, service: Distribution, workers: int = 1) -> float:
    """Share of the time that a stage is busy; from 1 on, its queue grows for ever."""
    return rate_fps * service.mean_s / workers


def wait(rate_fps: float, service: Distribution, *, arrivals: float, workers: int = 1) -> Distribution:
    """`distribution.NEVER` where frames come faster than they are served.

    For the percentiles, the wait of the frames that do wait is assumed exponential: exact for exponential service.
    """
    rho = load(rate_fps, service, workers)
    if rho >= 1.0:
        return NEVER
    if rho <= 0.0:
        return NOTHING
    service_scv = service.variance_s2 / service.mean_s / service.mean_s  # whose square may be too small
    busy = _all_busy(rho, workers)
    mean_s = busy / (workers * (1 - rho)) * (arrivals + service_scv) / 2 * service.mean_s
    of_those_who_wait_s = mean_s / busy
    return Distribution(
        _exceeded(0.50, busy, of_those_who_wait_s),
        _exceeded(0.05, busy, of_those_who_wait_s),
        mean_s,
        # Second moment of a wait that is 0 with chance 1 - busy and exponential else, less the square of its mean.
        2 * busy * of_those_who_wait_s**2 - mean_s**2,
        Origin.ESTIMATED,
    )


def _all_busy(rho: float, workers: int) -> float:
    """Erlang's C, from his B by the usual recursion over the workers."""
    blocked = 1.0
    for worker in range(1, workers + 1):
        offered = rho * workers * blocked
        blocked = offered / (worker + offered)
    return blocked / (1 - rho * (1 - blocked))


def _exceeded(share: float, busy: float, mean_s: float) -> float:
    """The wait that a share of all frames exceeds."""
    return mean_s * math.log(busy / share) if busy > share else 0.0
