"""What streams' models cost each other on one Edge TPU, from what its compiler said."""

import dataclasses

import pytest
import tiny_models

from tflsplit.cli.streams import on_chip
from tflsplit.package import manifest, writing


@pytest.fixture
def compiled(tmp_path):
    """A package whose heads have so many bytes of weights of 8 MB, compiled with the cuts `together`."""

    def make(name, model=tiny_models.residual_model, together=(), **sizes):
        package = tiny_models.write_package(tmp_path / name, model())
        found = {
            cut: manifest.Compilation(
                "compiled", on_chip_used_bytes=size, on_chip_remaining_bytes=8_000_000 - size, together=together
            )
            for cut, size in sizes.items()
        }
        described = dataclasses.replace(package.manifest, compilations=found)
        return writing.update(package, described, [], {})

    return make


def head(stream, package, cut):
    return on_chip.OnEdgeTpu(stream, package, package.cut(cut))


def test_streams_of_one_model_change_nothing(compiled):
    package = compiled("m", op000=4_000_000)

    assert on_chip.remarks([head("door", package, "op000"), head("yard", package, "op000")]) == []


def test_models_that_do_not_fit_beside_each_other_are_priced(compiled):
    people, animals = compiled("people", op000=4_000_000), compiled("animals", tiny_models.wide_model, op000=6_000_000)
    (said,) = on_chip.remarks([head("door", people, "op000"), head("yard", animals, "op000")])

    assert "door (op000) 4.0 MB, yard (op000) 6.0 MB; 10.0 MB of weights, 8.0 MB on the chip" in said
    assert "each change of model loads its weights again: 10.0, 15.0 ms at 400 MB/s (computed)" in said
    assert "compiled together they have 5.0 ms of streaming for an inference of each: cuts of one package" in said


def test_models_that_would_fit_are_said_to_where_they_were_not_compiled_together(compiled):
    package = compiled("m", op000=2_000_000, op001=4_000_000)
    (said,) = on_chip.remarks([head("door", package, "op000"), head("yard", package, "op001")])

    assert "5.0, 10.0 ms" in said
    assert said.endswith("compiled together they have room for all of them: `tflsplit compile --together`")


def test_models_that_were_compiled_together_are_not_loaded_again(compiled):
    package = compiled("m", together=("op000", "op001"), op000=2_000_000, op001=4_000_000)
    (said,) = on_chip.remarks([head("door", package, "op000"), head("yard", package, "op001")])

    assert said.endswith("compiled together: room for all of them (computed)")


def test_what_was_not_compiled_counts_its_operators_weights(tiny_package):
    (cut,) = (each for each in tiny_package.cuts if each.id == "op000")

    assert on_chip.OnEdgeTpu("door", tiny_package, cut).weights_bytes == cut.head.parameter_bytes
