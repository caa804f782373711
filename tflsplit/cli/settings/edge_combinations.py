"""Finds what is wrong with an edge's options together."""

from typing import Any

from edge_runtime.delivery.settings import Settings
from tflsplit.api import adapting as api_adapting
from tflsplit.api import planfile as api_planfile
from tflsplit.cli.options import delivery, updates
from tflsplit.cli.options.moving import adapting, gate
from tflsplit.planning.planfile import Plan


def check(values: dict[str, Any], plan: Plan | None) -> None:
    """Refuses values of the edge's options that it cannot run with, alone or beside each other, by the checks that the
    edge itself makes when it starts."""
    planned, moves_models = 1 if plan is None else plan.batch, bool(values["models"])
    delivering = delivery.of(values)
    delivering.check_batch(moves_models=moves_models, planned=planned)
    own = {key: values[key] for key in ("count", "rate_fps", "group") if values[key] is not None}
    made = Settings("deployment", "device", **api_planfile.settings(plan) | delivering.settings() | own)
    if values["adapt"]:
        api_adapting.check(until=made.until.value, batch=made.batch, plan=plan)
    judging = gate.of(dict(values))
    moves = (values["adapt"], values["objective"], not values["no_probes"], values["hedge"])
    adapting.AdaptingOptions(*moves, gate=judging).check_models(moves_models=moves_models)
    updates.UpdateOptions(values["models"], values["update_key"], values["update_url_prefix"])
