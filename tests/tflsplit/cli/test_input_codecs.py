"""The cut `input` from the command line: a picture sent as pixels or as JPEG, by option or by plan."""

import os

import numpy as np
import pytest

from tflsplit.package import reading
from tflsplit.planning import planfile

FRAMES = 60


def labels_of(deployment, start, digits, edge_options, cloud_options=()):
    """What the cloud says to the demo's first pictures, in their order."""
    common = ("--broker", deployment.url, "--deployment", "d")
    cloud = start("cloud", *common, *(cloud_options or (digits,)))
    deployment.wait_for_cloud()
    given = len(deployment.results)
    source = ("--device", "n", "--source", digits.parent / "test.npy", "--count", FRAMES, "--json")
    edge = start("edge", *common, *source, *edge_options).done()
    assert (edge.json()["results"], edge.json()["refused"]) == (FRAMES, 0)
    deployment.wait_for_results(given + FRAMES)
    cloud.terminate()
    assert cloud.done().code == 0
    return [one.label for one in sorted(deployment.results[given:], key=lambda one: one.sequence)]


def test_pixels_give_the_labels_of_int8_and_a_good_jpeg_does_too(deployment, start, digits):
    said = {
        how: labels_of(deployment, start, digits, (digits, "--cut", "input", "--input-codec", how))
        for how in ("int8", "raw", "jpeg:95")
    }

    assert said["raw"] == said["int8"]
    assert len(set(said["int8"])) > 1
    assert np.mean([one == other for one, other in zip(said["jpeg:95"], said["int8"], strict=True)]) >= 0.98


def planned(digits, folder, input_codec):
    opened = reading.open_package(digits)
    made = planfile.Plan(
        package_digest=opened.digest,
        package_name=opened.manifest.name,
        package_path=os.path.relpath(digits, folder),
        cut="input",
        layer=None,
        input_codec=input_codec,
        rate_fps=None,
        window=4,
        reason="for this test",
    )
    path = folder / "plan.json"
    path.write_text(planfile.render(made))
    return path


def test_a_plan_that_sends_jpeg_runs(deployment, start, digits, tmp_path):
    path = planned(digits, tmp_path, "jpeg:75")
    labels = labels_of(deployment, start, digits, ("--plan", path), ("--plan", path))

    assert len(labels) == FRAMES
    assert (deployment.births["n"]["input_codec"], deployment.births["n"]["lossy"]) == ("jpeg:75", True)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--cut", "op001", "--input-codec", "raw"), "input codec raw is for the cut input, at op001 features travel"),
        (("--cut", "input", "--input-codec", "png"), "write raw, int8 or jpeg:QUALITY"),
        (("--cut", "input", "--input-codec", "jpeg:75"), "takes no picture"),
    ],
)
def test_what_cannot_be_sent_is_refused_in_one_line(typed, tiny_package, source, options, said):
    common = ("--broker", "mqtt://127.0.0.1:1", "--deployment", "d", "--device", "n", "--source", source)

    assert said in typed("edge", tiny_package.path, *common, *options).refusal()


def test_a_plan_and_an_input_codec_are_one_too_many(typed, tiny_package, source, tmp_path):
    path = planned(tiny_package.path, tmp_path, "raw")
    common = ("--broker", "mqtt://127.0.0.1:1", "--deployment", "d", "--device", "n", "--source", source)

    assert "both say what is sent" in typed("edge", "--plan", path, *common, "--input-codec", "raw").refusal()
