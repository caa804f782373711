"""The pick for many scenarios in a row, for break-even values and for the map of a report.

Costing one candidate in full takes some 20 µs, so bounds are computed first, for all at once: no candidate can be
better than its bound. They are costed in the order of their bounds, and only while one of them could still be the pick.
A test compares this with costing all.
"""

import math
from collections.abc import Sequence

import numpy as np

from tflsplit.graph.tensors import Array
from tflsplit.planning import constraints, cost, decision, network
from tflsplit.planning.candidates import Candidate
from tflsplit.planning.cost import Cost
from tflsplit.planning.decision import NEARLY, WORTH_A_SPLIT, Goal, Objective
from tflsplit.planning.scenario import SECONDS_A_DAY, Scenario
from tflsplit.timings.links import Link


class Shortlist:
    """Candidates, and those of their figures that no scenario changes."""

    def __init__(self, candidates: Sequence[Candidate]) -> None:
        self._candidates = [candidate for candidate in candidates if not candidate.missing]
        # The figures of candidates are of frames, rates are of inputs.
        self._inputs = np.array([one.batch for one in self._candidates])
        self._edge_s = np.array([one.edge.mean_s for one in self._candidates])
        self._cloud_s = np.array([one.cloud.mean_s for one in self._candidates])
        self._computing_s = np.array([one.edge.p50_s + one.cloud.p50_s for one in self._candidates])
        self._wire_bytes = np.array([float(network.wire_bytes(one.frame_bytes)) for one in self._candidates])
        # Of the link asked about last: in a search over rates it is always the same.
        self._link: Link | None = None
        self._sending_s = self._busy_s = self._wire_bytes

    def pick(self, scenario: Scenario, goal: Goal) -> Cost | None:
        """What `decision.decide` picks of them, without a verdict on each of the others."""
        decision.check(scenario, goal)
        bounds = self._bounds(scenario, goal.objective)
        found: list[Cost] = []
        limit = math.inf
        for place in np.argsort(bounds, kind="stable"):
            if bounds[place] > limit or bounds[place] == math.inf:
                break
            entry = cost.of(self._candidates[place], scenario)
            if constraints.failures(entry, goal.constraints):
                continue
            found.append(entry)
            if goal.objective in decision.SCORES:
                # A candidate that does not split, or is exact, is picked although it is slightly worse.
                score = decision.SCORES[goal.objective](entry)
                limit = min(limit, score + max(WORTH_A_SPLIT, NEARLY) * abs(score))
        return decision.rank(found, goal)[0] if found else None

    def _bounds(self, scenario: Scenario, objective: Objective) -> Array:
        """A lower bound of each candidate's score; infinite where a stage cannot keep up with the frames that come."""
        work, prices, power = scenario.workload, scenario.prices, scenario.power
        self._look_at(scenario.link)
        cloud_s = self._cloud_s * work.devices / work.workers
        if objective is Objective.LATENCY:
            bounds: Array = self._computing_s + self._sending_s + 2 * network.hop(scenario.link).p50_s
        elif objective is Objective.THROUGHPUT:
            slowest_s = np.maximum(np.maximum(self._edge_s, cloud_s), self._busy_s)
            bounds = -self._inputs / np.maximum(slowest_s, 1e-12)
        elif objective is Objective.BYTES:
            bounds = self._wire_bytes.copy()
        elif objective is Objective.PRICE:
            frames_fps = scenario.counted_fps / self._inputs
            bytes_a_day = self._wire_bytes * frames_fps * SECONDS_A_DAY
            cloud_hours = self._cloud_s * frames_fps * 24
            bounds = bytes_a_day / 1e9 * (prices.per_gb or 0.0) + cloud_hours * (prices.per_cloud_hour or 0.0)
        elif objective is Objective.ENERGY and power is not None:
            bounds = power.active_w * self._edge_s
        else:
            bounds = np.full(len(self._candidates), -math.inf)
        if work.rate_fps is None:
            return bounds
        busiest_s = np.maximum(np.maximum(self._edge_s, cloud_s), self._sending_s)
        bounds[work.rate_fps / self._inputs * busiest_s >= 1.0] = math.inf
        return bounds

    def _look_at(self, link: Link) -> None:
        if link == self._link:
            return
        self._link = link
        if link.points:
            sizes = [one.frame_bytes for one in self._candidates]
            self._sending_s = np.array([network.sending(link, size).p50_s for size in sizes])
            self._busy_s = np.array([network.busy_s(link, size) for size in sizes])
        else:
            self._sending_s = self._busy_s = self._wire_bytes * 8 / network.usable_bps(link)
