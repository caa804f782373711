"""A cluster as a placement's file states it: what people said of machines and links, and what was measured of them."""

import math
from collections.abc import Mapping
from typing import Any

from tflsplit import arguments, errors
from tflsplit.kernels.classes import KernelClass
from tflsplit.placement.machines import Cluster, Machine, Medium
from tflsplit.values.classes import asdict


def as_json(cluster: Cluster) -> dict[str, Any]:
    """What there is no bound for is left out, for JSON has no infinity."""
    return {
        "machines": [_machine(each) for each in cluster.machines],
        "medium": _finite(asdict(cluster.medium)),
        "source": cluster.source,
        "sink": cluster.sink,
    }


def from_json(given: Mapping[str, Any]) -> Cluster:
    """ValueError, KeyError or TypeError for what is none."""
    try:
        medium = arguments.instance(given["medium"], dict, "medium")
        machines = tuple(
            Machine(**_described(each)) for each in arguments.instance(given["machines"], list, "machines")
        )
        made = Cluster(machines, Medium(**{"bandwidth_bps": math.inf, **medium}), given["source"], given["sink"])
        for each in (made, made.medium, *machines):
            arguments.check_fields(each)
    except errors.SettingsError as problem:
        raise ValueError(str(problem)) from problem
    return made


def _machine(machine: Machine) -> dict[str, Any]:
    fields = {name: getattr(machine, name) for name in machine.__slots__}
    fields["operator_s"] = list(machine.operator_s)
    fields["kernel_class"] = None if machine.kernel_class is None else machine.kernel_class.as_json()
    return _finite(fields)


def _finite(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value != math.inf}


def _described(entry: Mapping[str, Any]) -> dict[str, Any]:
    told = entry.get("kernel_class")
    return {
        **entry,
        "operator_s": tuple(entry.get("operator_s", ())),
        "kernel_class": None if told is None else KernelClass.from_json(told),
    }
