"""`tflsplit profile` of heads on an accelerator: a real external delegate, built by the tests."""

import pytest
from click.testing import CliRunner

from tflsplit.cli.commands import profile
from tflsplit.timings import profiles


def invoke(package, *options):
    return CliRunner().invoke(profile.command, [str(package.path), *map(str, options)], catch_exceptions=False)


def test_heads_are_timed_on_the_delegate_that_is_named(tiny_package, library, tmp_path):
    written = tmp_path / "edge.json"
    done = invoke(tiny_package, "--side", "edge", "--accelerator", f"delegate:{library}", "--budget", 1, "-o", written)

    assert done.exit_code == 0
    made = profiles.read(written)
    assert library in made.accelerator or "delegate" in made.accelerator
    assert {entry.cut for entry in made.cuts} == {cut.id for cut in tiny_package.cuts}


def test_tails_are_not_timed_on_a_delegate(tiny_package, library, tmp_path):
    from tflsplit import errors

    with pytest.raises(errors.SettingsError, match="tails run on the CPU"):
        invoke(tiny_package, "--side", "cloud", "--accelerator", f"delegate:{library}", "-o", tmp_path / "c.json")
