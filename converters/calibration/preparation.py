"""Before a model is quantised: how it takes pixels, samples to calibrate on, and samples to measure on."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar

from converters.calibration import inference, synthesis
from converters.calibration import samples as calibration_samples
from converters.calibration.inference import Inference, Measure
from converters.loading import quiet
from converters.loading.model import LoadedModel
from tflsplit import errors
from tflsplit.fidelity import MeasuredOn
from tflsplit.graph.tensors import Array, TensorSpec
from tflsplit.inputs import pictures
from tflsplit.inputs.preprocessing import NAMED, Preprocessing
from tflsplit.inputs.resizing import Resize
from tflsplit.package.manifest import Calibration
from tflsplit.values.classes import dataclass, replace

_Found = TypeVar("_Found")
Source = Path | tuple[Array, ...] | None


@dataclass(frozen=True, slots=True)
class Prepared:
    """Samples are real values, an array (samples, …) for each input, or none at all. `preprocessing` is None where it
    is unknown, or the model takes no pixels."""

    preprocessing: Preprocessing | None
    calibrating: tuple[Array, ...]
    measuring: tuple[Array, ...]
    measured_on: MeasuredOn
    described: Calibration


def for_float(
    model: LoadedModel,
    source: Source,
    stated: Preprocessing | None,
    resize: Resize,
    *,
    distils: bool,
    on_stage: Callable[[str], None],
) -> Prepared:
    """From the user's data, or with synthetic inputs and a warning that says how they were made."""
    on_stage("see how the model takes its inputs")
    warnings: list[str] = []
    nothing = Inference(None, NAMED["unit"], "measuring it failed")
    inferred = _looked("how it takes pixels", partial(inference.infer, model), nothing, warnings)
    preprocessing = _resizing(_preprocessing(model, stated, inferred, warnings, has_data=source is not None), resize)
    if source is not None:
        name = calibration_samples.name_of(source)
        on_stage(f"read calibration data from {name}")
        samples = calibration_samples.read(source, model.inputs, preprocessing)
        about = partial(calibration_samples.warnings, samples, model, preprocessing)
        warnings += _looked("how the data fit the model", about, (), warnings)
        calibrating, measuring = calibration_samples.hold_out(samples)
        measured_on = MeasuredOn.CALIBRATION if measuring is calibrating else MeasuredOn.UNSEEN
        described = Calibration("data", len(calibrating[0]), Path(name).name, tuple(warnings))
        return Prepared(preprocessing, calibrating, measuring, measured_on, described)
    on_stage("no calibration data: synthesise inputs")
    assumed = preprocessing or inferred.nearest
    distilled = partial(synthesis.synthesise, model, assumed, distils=distils)
    found = _looked("its statistics, to distil inputs from,", distilled, None, warnings)
    samples, origin = found or synthesis.synthesise(model, assumed, distils=False)
    guessed = "" if preprocessing else f", pixels taken as {assumed.name!r} by guess"
    doubt = f"calibrated on synthetic inputs ({origin.value}{guessed}); accuracy may suffer, give --calibration DATA"
    described = Calibration("synthetic", len(samples[0]), origin.value, (doubt, *warnings))
    return Prepared(preprocessing, samples, samples, MeasuredOn.SYNTHETIC, described)


def for_quantised(
    source: Source, inputs: Sequence[TensorSpec], stated: Preprocessing | None, resize: Resize
) -> Prepared:
    """For a file whose own scales are its calibration: samples only measure, and there may be none."""
    preprocessing, doubts = stated, tuple[str, ...]()
    if stated is None and len(inputs) == 1 and pictures.is_picture(inputs[0].shape) and inputs[0].is_quantised:
        inferred = inference.of_stored(inputs[0])
        preprocessing, doubts = inferred.preprocessing, () if inferred.preprocessing else (_unknown(inferred),)
    preprocessing = _resizing(preprocessing, resize)
    samples = () if source is None else calibration_samples.read_quantised(source, inputs, preprocessing)
    measured_on = MeasuredOn.UNSEEN if samples else MeasuredOn.SYNTHETIC
    described = Calibration("model", 0, "the file came quantised", doubts)
    return Prepared(preprocessing, samples, samples, measured_on, described)


def _preprocessing(
    model: LoadedModel, stated: Preprocessing | None, inferred: Inference, warnings: list[str], *, has_data: bool
) -> Preprocessing | None:
    """What the user states, else what was measured; with a warning if it was measured, is unknown or contradicts."""
    measured = inferred.preprocessing
    if not any(entry.is_picture for entry in model.inputs):
        return stated or NAMED["raw"]
    if stated is None:
        warnings.append(
            f"preprocessing not stated; took {measured.name!r}: {inferred.reason}" if measured else _unknown(inferred)
        )
        return measured
    # Data of the user tell more than pictures of ours do, where there are statistics to hold them against.
    is_told_by_data = has_data and inferred.measure is Measure.STATISTICS
    if measured is not None and not is_told_by_data and not inference.are_alike(stated, measured):
        warnings.append(
            f"preprocessing {stated.name!r} is stated, the model looks made for {measured.name!r}: {inferred.reason}"
        )
    return stated


def _resizing(found: Preprocessing | None, resize: Resize) -> Preprocessing | None:
    """A preprocessing that was passed as such may say it itself."""
    return found if found is None or resize is Resize.STRETCH else replace(found, resize=resize)


def _looked(what: str, look: Callable[[], _Found], otherwise: _Found, warnings: list[str]) -> _Found:
    """What a look at a model finds. It may only warn: where it fails that is said, and the conversion goes on."""
    try:
        return look()
    except errors.TflsplitError:
        raise
    except Exception as cause:  # noqa: BLE001 - it runs any model's own layers, which raise anything at all
        warnings.append(f"{what} could not be looked at ({quiet.reason(cause)})")
        return otherwise


def _unknown(inferred: Inference) -> str:
    return (
        f"preprocessing is unknown ({inferred.reason}): the package takes real values only and refuses pictures; say "
        f"how it takes them with --preprocess ({', '.join(NAMED)} or SCALE,OFFSET)"
    )
