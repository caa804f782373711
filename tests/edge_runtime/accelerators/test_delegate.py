"""A real external delegate in the real interpreter, in its own process: what it computes, and each way it fails."""

import dataclasses

import numpy as np
import pytest
import tiny_models

from edge_runtime.accelerators import child, choice, coral, diagnosis
from edge_runtime.accelerators.cpu import Cpu
from tflsplit import errors

MODEL = tiny_models.residual_model()
INPUTS = np.random.default_rng(0).integers(-128, 128, (20, 1, 4), dtype=np.int8)


def opened(library, options="", *, open_s=60.0, run_s=10.0):
    text = f"delegate:{library}" + (f"?{options}" if options else "")
    return choice.parse(text, limits=child.Limits(open_s, run_s)).open(MODEL, name="head of op002")


def test_a_delegate_computes_its_part_of_the_graph_as_the_cpu_does(library):
    on_delegate, on_cpu = opened(library), Cpu().open(MODEL, name="m")
    outputs = [on_delegate.run(array)[0].tolist() for array in INPUTS]
    expected = [on_cpu.run(array)[0].tolist() for array in INPUTS]
    on_delegate.close()
    on_cpu.close()

    assert outputs == expected
    assert (on_delegate._opened.delegated_parts, on_delegate.name) == (1, f"delegate:{library}")


def test_results_are_the_callers_own(library):
    device = opened(library)
    (first,) = device.run(INPUTS[0])
    kept = first.copy()
    device.run(INPUTS[1])
    device.close()

    assert np.array_equal(first, kept)


def test_arrays_that_do_not_fit_are_refused_and_harm_nobody(library):
    device = opened(library)
    with pytest.raises(errors.DataError, match=r"input 'x' is int8 \(1, 4\), got int8 \(1, 5\)"):
        device.run(np.zeros((1, 5), np.int8))
    device.run(INPUTS[0])
    device.close()


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ("claim=0", "takes over none of the operators of head of op002"),
        ("create=refuse", "gave no delegate: it did not say why; is its device there"),
        ("create=complain", "gave no delegate: all devices are busy"),
        ("create=crash", "its process was ended by SIGSEGV while it was loaded; most likely a build for another"),
        ("invoke=fail", "failed while it took over the model: the device is gone"),
        ("invoke=crash", "its process was ended by SIGABRT while it took over the model"),
    ],
)
def test_a_delegate_that_cannot_be_opened_is_refused_with_the_cause(library, options, reason):
    with pytest.raises(errors.DeviceError) as refused:
        opened(library, options)

    assert reason in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("options", ["create=hang", "invoke=hang"])
def test_a_delegate_that_hangs_at_opening_is_ended(library, options):
    with pytest.raises(errors.DeviceError, match=r"did not answer within 1.5 s while it .* and was ended"):
        opened(library, options, open_s=1.5)


@pytest.mark.parametrize(
    ("how", "limits", "reason"),
    [
        ("fail", {}, "failed during an inference: the device is gone"),
        ("crash", {}, "its process was ended by SIGABRT during an inference"),
        ("hang", {"run_s": 0.5}, "did not answer within 0.5 s during an inference and was ended"),
    ],
)
def test_the_inference_that_kills_a_device_says_how(library, how, limits, reason):
    device = opened(library, f"invoke={how}&from=2", **limits)  # the first inference belongs to the opening
    with pytest.raises(errors.DeviceError) as failed:
        device.run(INPUTS[0])
    device.close()

    assert reason in str(failed.value)
    assert "\n" not in str(failed.value)


def test_a_device_that_fails_and_then_hangs_in_its_library_is_not_waited_for(library, monkeypatch):
    """As one that is closed would be: a frame may be late by a fraction of a second."""
    monkeypatch.setattr(child, "_GOODBYE_S", 3600.0)
    device = opened(library, "invoke=fail&from=2&destroy=hang")
    with pytest.raises(errors.DeviceError, match="failed during an inference"):
        device.run(INPUTS[0])

    assert child._FAILED_GOODBYE_S < 0.5
    device.close()


def test_no_process_is_left_behind(library):
    device = opened(library)
    process = device._started._child._process
    device.close()

    assert process.returncode == 0


def test_a_library_that_is_not_there_is_named(tmp_path):
    with pytest.raises(errors.DeviceError, match=r"none\.so: not found: give the path of the delegate's library"):
        opened(tmp_path / "none.so")


def test_a_library_that_is_no_delegate_is_told_apart(compiler, tmp_path):
    (tmp_path / "plain.c").write_text("int one(void) { return 1; }\n")
    plain = compiler(tmp_path / "plain.c", tmp_path / "libplain.so")

    with pytest.raises(errors.DeviceError, match="is a library, but no TensorFlow Lite delegate"):
        opened(plain)


def test_a_library_that_a_delegate_needs_and_is_not_there_is_named(compiler, tmp_path):
    (tmp_path / "other.c").write_text("int other(void) { return 1; }\n")
    (tmp_path / "needs.c").write_text("int other(void); int one(void) { return other(); }\n")
    compiler(tmp_path / "other.c", tmp_path / "libother.so", "-Wl,-soname,libnowhere.so.1")
    delegate = compiler(tmp_path / "needs.c", tmp_path / "libneeds.so", f"-L{tmp_path}", "-lother")

    with pytest.raises(errors.DeviceError, match=r"needs libnowhere.so.1, which is not installed: install the package"):
        opened(delegate)


def test_missing_libusb_says_which_package_to_install():
    text = "libusb-1.0.so.0: cannot open shared object file: No such file or directory"
    failure = diagnosis.Failure(diagnosis.Stage.LOAD, "OSError", text)

    assert diagnosis.explain(failure, "libedgetpu.so.1", is_edge_tpu=True) == (
        "libedgetpu.so.1: needs libusb-1.0.so.0, which is not installed: apt install libusb-1.0-0"
    )


def test_the_edge_tpu_library_is_named_with_what_to_install():
    with pytest.raises(errors.DeviceError, match=r"not-there\.so: not found: install libedgetpu1-std"):
        coral.Coral(library="libedgetpu-not-there.so").open(MODEL, name="m")


def test_an_edge_tpu_library_that_declines_says_what_the_kernel_knows(compiler, tmp_path):
    (tmp_path / "declines.c").write_text(
        "void *tflite_plugin_create_delegate(char **k, char **v, int n, void (*r)(const char *))\n"
        "{ (void)k, (void)v, (void)n, (void)r; return 0; }\n"
        "void tflite_plugin_destroy_delegate(void *d) { (void)d; }\n"
    )
    library = compiler(tmp_path / "declines.c", tmp_path / "libdeclines.so")
    wanted = dataclasses.replace(coral.Coral("usb:0"), library=str(library))

    with pytest.raises(
        errors.DeviceError,
        match=r"gave no delegate: (no Edge TPU on USB or PCIe here; plug|the Edge TPU|coral:usb:0 did)",
    ):
        wanted.probe()


def test_a_model_for_the_edge_tpu_without_one_is_told_apart(shared_data):
    model = (shared_data / "mobilenet_v1_0.25_128_quant_edgetpu.tflite").read_bytes()

    with pytest.raises(errors.DeviceError, match="compiled for the Edge TPU and opened without one: use --accelerator"):
        Cpu().open(model, name="m")
