"""The options of `tflsplit plan` for several machines in a row, and which of the others go with them."""

import click
from click.core import ParameterSource

from tflsplit import errors

OPTIONS = (
    click.option(
        "--stage",
        "stages",
        multiple=True,
        metavar="NAME=FILE",
        help="A machine of a chain and its profile, instead of --edge and --cloud; repeated, the camera's first.",
    ),
    click.option(
        "--hop", "hops", multiple=True, metavar="FILE|NAME", help="The link after each stage. Default: --link for all."
    ),
    click.option(
        "--pin", "pins", multiple=True, metavar="STAGE=LAYER", help="What ends at this layer must run on this stage."
    ),
    click.option(
        "--memory", multiple=True, metavar="STAGE=BYTES", help="Weights that a stage can hold. Default: any number."
    ),
    click.option("--use-all", "uses_all", is_flag=True, help="Leave no stage of the chain out."),
)
# The other options of `plan` that a chain takes; what is said of the link is among them.
_TAKEN = {
    *("pkg", "stages", "hops", "pins", "memory", "uses_all", "objective", "fps", "link", "bandwidth", "rtt", "loss"),
    *("destination", "report", "is_json"),
}
ONLY = ("hops", "pins", "memory", "uses_all")


def check_options(context: click.Context, *, is_chain: bool) -> None:
    """SettingsError for what was said on the command line and would not be heard."""
    said = {
        parameter.name: parameter.opts[0]
        for parameter in context.command.params
        if parameter.name and context.get_parameter_source(parameter.name) is ParameterSource.COMMANDLINE
    }
    if is_chain and (unheard := [option for name, option in said.items() if name not in _TAKEN]):
        raise errors.SettingsError(f"a chain of --stage is planned without {', '.join(unheard)}; leave it out")
    if not is_chain and (unheard := [said[name] for name in ONLY if name in said]):
        raise errors.SettingsError(f"{', '.join(unheard)}: for a chain; name its machines with --stage")
