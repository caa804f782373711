#!/usr/bin/env python3
"""Stands in for Google's `edgetpu_compiler`: its command line, its text, its failures, without its compiling.

The text and the figures are those that people posted of the real one, versions 2.1 to 16.0. What it writes in place of
a compiled model only carries the mark of one and runs nowhere. The case to play is in $EDGETPU_CASE; each run leaves a
line with its arguments in $EDGETPU_RUNS.
"""

import argparse
import os
import pathlib
import signal
import subprocess
import sys
import time

V16, V15, V14, V2 = "16.0.384591198", "15.0.340273435", "14.1.317412892", "2.1.302470888"
TIMER = "Started a compilation timeout timer of {timeout} seconds.\n"
PARTLY = (
    "Model successfully compiled but not all operations are supported by the Edge TPU. A percentage of the model will "
    "instead run on the CPU, which is slower. If possible, consider updating your model to use only operations "
    "supported by the Edge TPU. For details, visit g.co/coral/model-reqs.\n"
)
SUMMARY = """
Input model: {model}
Input size: {input_size}
Output model: {stem}_edgetpu.tflite
Output size: {output_size}
On-chip memory used for caching model parameters: {used}
On-chip memory remaining for caching model parameters: {remaining}
Off-chip memory used for streaming uncached model parameters: {off_chip}
Number of Edge TPU subgraphs: {subgraphs}
Total number of operations: {operations}
Operation log: {stem}_edgetpu.log
"""
SIZES = {
    "used": "4.21MiB",
    "remaining": "3.29MiB",
    "off_chip": "0.00B",
    "input_size": "4.24MiB",
    "output_size": "5.57MiB",
}
STREAMED = SIZES | {"used": "6.15MiB", "remaining": "5.75KiB", "off_chip": "7.03MiB"}
SMALL = SIZES | {"used": "21.75KiB", "remaining": "7.45MiB", "off_chip": "3.00KiB"}

MAPPED = "Mapped to Edge TPU"
WHOLE = (("ADD", 42, MAPPED), ("CONV_2D", 222, MAPPED), ("RESHAPE", 3, MAPPED))
PART = (
    ("ADD", 42, MAPPED),
    ("RESIZE_NEAREST_NEIGHBOR", 4, "Operation version not supported"),
    ("CUSTOM", 1, "Operation is working on an unsupported data type"),
    ("RESHAPE", 1, "Operation is otherwise supported, but not mapped due to some unspecified limitation"),
    ("DEPTHWISE_CONV_2D", 2, "Tensor has unsupported rank (up to 3 innermost dimensions mapped)"),
    ("CONV_2D", 12, "More than one subgraph is not supported"),
)
NONE = (("CONV_2D", 70, "Operation is working on an unsupported data type"),)

# Case → version, sizes, operator table. Each stands for a run that ended well.
SUCCESSES = {
    "whole": (V16, SIZES, WHOLE),
    "partial": (V16, SIZES, PART),
    "streamed": (V15, STREAMED, WHOLE),
    "old": (V2, SMALL, PART),
    "nothing-mapped": (V14, SIZES | {"used": "0.00B", "remaining": "0.00B"}, NONE),
}
# Case → what is printed, exit code. Each stands for a run that failed in so many words.
FAILURES = {
    "dynamic": (
        "ERROR: Attempting to use a delegate that only supports static-sized tensors with a graph that has "
        "dynamic-sized tensors.\nCompilation failed!\n",
        1,
    ),
    "internal": ("\nInternal compiler error. Aborting! \n", 1),
    "activations": ("Compilation failed due to large activation tensors in model.\nCompilation failed!\n", 1),
    "timed-out": ("Compilation timed out\nCompilation failed!\n", 1),
    "invalid": ("Invalid model: {model}\nModel could not be parsed.\n", 1),
    "new-operator": (
        "ERROR: Didn't find op for builtin opcode 'RESIZE_BILINEAR' version '3'\n\nERROR: Registration failed.\n",
        1,
    ),
    "odd-exit": ("Something nobody has posted yet\n", 3),
    "only-version": ("", 0),
}


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("-v", "--version", action="store_true")
    parser.add_argument("-o", "--out_dir", default=".", type=pathlib.Path)
    parser.add_argument("-s", "--show_operations", action="store_true")
    parser.add_argument("-m", "--min_runtime_version", type=int, default=14)
    case = os.environ.get("EDGETPU_CASE", "whole")
    version = SUCCESSES[case][0] if case in SUCCESSES else V16
    if version == V16:
        parser.add_argument("-t", "--timeout_sec", type=int, default=180)
    parser.add_argument("models", nargs="*", type=pathlib.Path)
    options = parser.parse_args()
    say(f"Edge TPU Compiler version {version}")
    if options.version:
        return 0
    run = count_run()
    if version == V16:
        say(TIMER.format(timeout=options.timeout_sec), end="")
    if case == "flaky":
        case = "internal" if run == 1 else "whole"
    return play(case, options)


def play(case: str, options: argparse.Namespace) -> int:
    if case == "hang":
        hang_with_a_grandchild()
    if case == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    if case == "silent":
        return 0
    if case in FAILURES:
        text, code = FAILURES[case]
        say(text.format(model=options.models[0]), end="")
        return code
    succeed(options, *SUCCESSES[case])
    return 0


def succeed(options: argparse.Namespace, version: str, sizes: dict[str, str], table) -> None:
    many = len(options.models) > 1
    say(f"\nModel{'s' if many else ''} compiled successfully in 4035 ms.")
    on_tpu = sum(count for _, count, status in table if status == MAPPED)
    on_cpu = sum(count for _, count, _ in table) - on_tpu
    for model in options.models:
        fields = sizes | {
            "model": model,
            "stem": model.stem,
            "subgraphs": int(on_tpu > 0),
            "operations": on_tpu + on_cpu,
        }
        say(SUMMARY.format(**fields))
        if on_cpu:
            say(PARTLY + f"Number of operations that will run on Edge TPU: {on_tpu}")
            say(f"Number of operations that will run on CPU: {on_cpu}")
        rows = "".join(f"{name:<30} {count:<10} {status}\n" for name, count, status in table)
        text = f"\nOperator                       Count      Status\n\n{rows}"
        (options.out_dir / f"{model.stem}_edgetpu.log").write_text(f"Edge TPU Compiler version {version}\n{text}")
        if options.show_operations:
            say(text, end="")
        (options.out_dir / f"{model.stem}_edgetpu.tflite").write_bytes(
            marked(model.read_bytes(), is_compiled=on_tpu > 0)
        )
    if version == V16:
        say("Compilation child process completed within timeout period.\nCompilation succeeded! ")


def marked(model: bytes, *, is_compiled: bool) -> bytes:
    """A model of one `edgetpu-custom-op` with the inputs and outputs of the one given; or that one itself."""
    if not is_compiled:
        return model
    # PYTHONSAFEPATH, under which the suite tries the installed wheel, keeps a script's own folder off the path.
    sys.path.insert(0, str(pathlib.Path(__file__).parent))
    import tiny_models

    from tflsplit.graph import flatgraph

    graph, builder = flatgraph.read(model), tiny_models.Builder()
    inputs, outputs = (
        [builder.tensor(s.name, s.shape, scale=s.scale, zero_point=s.zero_point, kind=s.dtype.upper()) for s in specs]
        for specs in (graph.specs(graph.inputs), graph.specs(graph.outputs))
    )
    builder.operator("CUSTOM", inputs, outputs)
    builder.codes[0].customCode = b"edgetpu-custom-op"
    return builder.build(inputs, outputs)


def hang_with_a_grandchild() -> None:
    """The real one compiles in a child process of its own; both have to go. A test finds its process id."""
    grandchild = subprocess.Popen(["sleep", "1000"])
    runs = pathlib.Path(os.environ["EDGETPU_RUNS"])
    runs.with_suffix(".grandchild").write_text(str(grandchild.pid))
    time.sleep(1000)


def count_run() -> int:
    place = os.environ.get("EDGETPU_RUNS")
    if not place:
        return 1
    with open(place, "a") as runs:
        runs.write(" ".join(sys.argv[1:]) + "\n")
    return len(pathlib.Path(place).read_text().splitlines())


def say(text: str, end: str = "\n") -> None:
    print(text, end=end, flush=True)


if __name__ == "__main__":
    sys.exit(main())
