"""What sending a picture as it is takes, and that a plan counts it. Clocks are invented: no timing decides a test."""

import itertools

import numpy as np
import pytest
import tiny_models

from edge_runtime.accelerators.cpu import Cpu
from edge_runtime.profiling import pixel_costs, profiler
from edge_runtime.sources import frames
from tflsplit.coding import jpeg
from tflsplit.inputs import preprocessing
from tflsplit.planning import candidates
from tflsplit.planning.candidates import InputForms, Picture
from tflsplit.timings import profiles
from tflsplit.timings.profiles import Origin, Side

SHAPE = (16, 24, 3)
PIXELS = np.repeat(np.arange(8, dtype=np.uint8)[:, None, None, None] * 30, SHAPE[0], axis=1) + np.zeros(
    (1, 1, *SHAPE[1:]), np.uint8
)


@pytest.fixture
def pictures(builder, tmp_path):
    """A package that takes colour pictures."""
    x = builder.tensor("x", (1, *SHAPE), scale=1.0, zero_point=-4)
    y = builder.add(x, x, "y", (1, *SHAPE), scale=2.0)
    model = builder.build((x,), (y,))
    return tiny_models.write_package(
        tmp_path / "p.tflsplit", model, codec="zstd", preprocessing=preprocessing.NAMED["unit"]
    )


def profiled(package, side, journal, **options):
    clock = itertools.count(0.0, 0.001).__next__
    task = profiler.Task(package, side, Cpu(), **options)
    return profiler.profile(task, journal, profiler.Settings(budget_s=1e6), clock=clock)


def given(package, **changes):
    return {
        "source": frames.from_arrays((PIXELS,), package.manifest, name="pictures"),
        "pixels": frames.from_arrays((PIXELS,), package.manifest, name="pictures", as_pixels=True),
    } | changes


def test_raw_and_jpeg_are_timed_on_either_side_and_survive_the_file(pictures, tmp_path):
    for side in Side:
        made = profiled(pictures, side, tmp_path / side.value, **given(pictures, jpeg_quality=80))
        (tmp_path / "profile.json").write_text(profiles.render(made))

        assert [way.input_codec for way in made.pixels] == ["raw", "jpeg:80"]
        assert all((way.capture is not None) == (side is Side.EDGE) for way in made.pixels)
        assert all(way.coding.p50_s == pytest.approx(0.001) for way in made.pixels)
        assert all(way.coding.origin is Origin.MEASURED for way in made.pixels)
        assert profiles.read(tmp_path / "profile.json") == made


def test_coded_bytes_are_those_of_the_pictures_without_headers(pictures, tmp_path):
    raw, coded = profiled(pictures, Side.EDGE, tmp_path / "journal", **given(pictures)).pixels
    coder = jpeg.Jpeg(SHAPE, 75)

    assert raw.coded_bytes == PIXELS[0].nbytes
    assert coded.coded_bytes == np.mean([len(coder.encode(picture.data)) for picture in PIXELS])


def test_a_jpeg_of_noise_has_no_size_and_its_times_are_estimates(pictures, tmp_path):
    raw, coded = profiled(pictures, Side.CLOUD, tmp_path / "journal").pixels

    assert (coded.coded_bytes, coded.coding.origin) == (None, Origin.ESTIMATED)
    assert (raw.coded_bytes, raw.coding.origin) == (PIXELS[0].nbytes, Origin.MEASURED)


def test_a_model_that_takes_no_pictures_has_none_to_send(tiny_package, tmp_path):
    assert profiled(tiny_package, Side.EDGE, tmp_path / "journal").pixels == ()
    assert pixel_costs.open_pixels("camera:0", tiny_package) is None


def test_a_plan_counts_what_was_measured_and_the_edge_s_load_of_it(pictures, tmp_path):
    edge = profiled(pictures, Side.EDGE, tmp_path / "e", **given(pictures))
    cloud = profiled(pictures, Side.CLOUD, tmp_path / "c", **given(pictures))
    measured, raw, _ = candidates.gather(pictures.cuts, edge, cloud)[:3]

    assert (measured.id, measured.payload_bytes) == ("input:jpeg:75", edge.pixels[1].coded_bytes)
    for entry in (measured, raw):
        assert {entry.encode.origin, entry.decode.origin, entry.payload_origin} == {Origin.MEASURED}
        # Capture and coding, a millisecond each.
        assert entry.edge.mean_s == pytest.approx(0.002)


def test_a_quality_that_was_not_timed_is_estimated_from_the_one_that_was(pictures, tmp_path):
    edge = profiled(pictures, Side.EDGE, tmp_path / "e", **given(pictures))
    cloud = profiled(pictures, Side.CLOUD, tmp_path / "c", **given(pictures))
    ways = InputForms(pictures=(Picture(40, 100.0, Origin.STATED),))
    other = candidates.gather(pictures.cuts, edge, cloud, ways)[0]

    assert (other.id, other.encode.origin) == ("input:jpeg:40", Origin.ESTIMATED)
    assert other.encode.p50_s == pytest.approx(edge.pixels[1].coding.p50_s)
