"""`tflsplit cloud`: the tails of a package, for every device of a deployment."""

from pathlib import Path

import click

from tflsplit.cli import connection, output, planned


@click.command()
@planned.argument
@planned.option
@connection.options
@click.option("--name", default="cloud", show_default=True, help="Name of this cloud on its status topic.")
@click.option("--count", type=click.IntRange(min=1), help="End after so many results. Default: serve until SIGTERM.")
@click.option("--threads", type=click.IntRange(min=1), default=1, show_default=True, help="CPU threads of a tail.")
@click.option("--json", "is_json", is_flag=True, help="Print the summary at the end as JSON.")
def command(
    pkg: Path | None,
    *,
    plan_path: Path | None,
    broker: connection.Broker,
    deployment: str,
    name: str,
    count: int | None,
    threads: int,
    is_json: bool,
) -> None:
    """Run the tail of whatever cut a frame was made at, and publish the result as JSON.

    \b
    Python: broker.subscriber.Cloud(tails, transport, deployment).run()
    """
    from broker import subscriber, tail

    opened, plan = planned.opened(pkg, plan_path)
    tails = tail.Tails(opened, threads=threads)
    if plan is not None:
        tails.warm(opened.cut(plan.cut))
    with connection.connected(broker, deployment, name, connection.new_boot()) as online:
        cloud = subscriber.Cloud(tails, online, deployment)
        with output.stopped_by_signals(cloud.stop):
            summary = cloud.run(count=count)
    if is_json:
        output.as_json(summary.as_json())
    else:
        click.echo(
            f"{summary.frames} frames, {summary.results} results, {summary.duplicates} duplicates, "
            f"{summary.refused.total() if summary.refused else 0} refused"
        )
