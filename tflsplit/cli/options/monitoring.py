"""The options that let others see what an edge does, and what they switch on."""

import functools
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tflsplit.cli.options import connection
from tflsplit.cli.options import metrics as options_metrics

if TYPE_CHECKING:  # an edge that nobody observes starts without any of it
    from broker.transport.protocol import Transport
    from edge_runtime.delivery.observer import Observer
    from edge_runtime.loop import Edge
    from edge_runtime.monitoring.frame_trace import Trace
    from edge_runtime.monitoring.metrics import EdgeMetrics

# Where nothing else is said: often enough for Home Assistant, one small message a device.
_TELEMETRY_S = 10.0


@dataclass(frozen=True, slots=True)
class MonitoringOptions:
    """How an edge was asked to be seen."""

    metrics: str | None
    telemetry_s: float | None
    trace: Path | None
    trace_limit_mb: int
    home_assistant: str | None

    @contextmanager
    def started(self) -> "Iterator[Monitoring]":
        """From before the head is loaded until the edge has ended."""
        with ExitStack() as stack:
            watch = trace = None
            if self.metrics or self.telemetry_s:
                from edge_runtime.monitoring import metrics as watches

                watch = watches.EdgeMetrics()
                stack.enter_context(options_metrics.served(self.metrics, watch.families, watch.health))
            if self.trace is not None:
                from edge_runtime.monitoring import frame_trace as traces

                trace = stack.enter_context(traces.Trace(self.trace, limit_bytes=self.trace_limit_mb << 20))
            yield Monitoring(self, watch, trace)


@dataclass(frozen=True, slots=True)
class Monitoring:
    """What of it is under way."""

    asked: MonitoringOptions
    watch: "EdgeMetrics | None"
    trace: "Trace | None"

    @property
    def observers(self) -> "Sequence[Observer]":
        return tuple(each for each in (self.watch, self.trace) if each is not None)

    @contextmanager
    def at(self, edge: "Edge", online: "Transport", broker: connection.Broker) -> Iterator[None]:
        """While the edge runs."""
        telemetry_s, prefix = self.asked.telemetry_s, self.asked.home_assistant
        with ExitStack() as stack:
            if self.watch is not None:
                self.watch.attach(edge, online)
            if self.watch is not None and telemetry_s:
                from edge_runtime.monitoring import telemetry as monitoring_telemetry

                stack.enter_context(
                    monitoring_telemetry.TelemetryPublisher(self.watch, edge, online, every_s=telemetry_s)
                )
            if prefix and telemetry_s:
                from edge_runtime.monitoring import home_assistant as monitoring_home_assistant

                ours = (edge.settings.deployment, edge.settings.device)
                message = monitoring_home_assistant.config(edge.package, *ours, expire_after_s=int(3 * telemetry_s))
                ears = connection.connected(broker, *ours, edge.settings.boot, is_second=True, waits=False)
                stack.enter_context(
                    monitoring_home_assistant.Announcer(stack.enter_context(ears), prefix, *ours, message)
                )
            yield


def options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Gives the command `observed`."""

    @functools.wraps(function)  # and with it the options that it has already
    def command(
        *args: Any,
        metrics: str | None,
        telemetry: float | None,
        trace: Path | None,
        trace_limit: int,
        home_assistant: str | None,
        **others: Any,
    ) -> Any:
        if home_assistant and telemetry is None:  # its rate and latency come with telemetry
            telemetry = _TELEMETRY_S
        return function(
            *args, observed=MonitoringOptions(metrics, telemetry, trace, trace_limit, home_assistant), **others
        )

    file = click.Path(path_type=Path, dir_okay=False, writable=True)
    for option in (
        click.option(
            "--home-assistant",
            metavar="[PREFIX]",
            is_flag=False,
            flag_value="homeassistant",
            help="Announce this device to Home Assistant, under its discovery prefix: homeassistant if left out.",
        ),
        click.option(
            "--trace-limit",
            type=click.IntRange(min=1),
            default=100,
            show_default=True,
            help="Megabytes that the trace may take, the older half of it in FILE.1.",
        ),
        click.option(
            "--trace", type=file, metavar="FILE", help="Write a JSON line for each answered frame: where its time went."
        ),
        click.option(
            "--telemetry",
            type=click.FloatRange(min=1),
            metavar="SECONDS",
            help="Publish the metrics on the device's telemetry topic. Default: 10 with --home-assistant, else never.",
        ),
    ):
        command = option(command)
    return options_metrics.option(command)
