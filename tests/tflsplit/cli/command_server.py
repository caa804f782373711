"""Runs commands as typed, one after the other in one process, so that a session of tests imports TensorFlow once.

Each line on standard input is a request {"argv", "cwd"} for a command, or {"script", "argv", "cwd"} for a Python file;
each line on standard output is its answer {"code", "out", "err"}. What is captured are the file descriptors: TensorFlow
and LiteRT write past Python.
"""

import json
import os
import runpy
import sys
import tempfile
import traceback

from tflsplit.cli import main


def serve():
    replies = os.fdopen(os.dup(1), "w")
    for line in sys.stdin:
        print(json.dumps(answer(json.loads(line))), file=replies, flush=True)


def answer(request):
    os.chdir(request["cwd"])
    sys.argv = ["tflsplit", *request["argv"]]
    kept = [os.dup(1), os.dup(2)]
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        os.dup2(out.fileno(), 1)
        os.dup2(err.fileno(), 2)
        try:
            code = exit_code(request.get("script"))
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            for place, original in enumerate(kept, 1):
                os.dup2(original, place)
                os.close(original)
        return {"code": code, "out": read(out), "err": read(err)}


def exit_code(script):
    try:
        if script:
            runpy.run_path(script, run_name="__main__")
        else:
            main.main()
    except SystemExit as leaving:
        return leaving.code or 0
    except Exception:  # noqa: BLE001 - the test that asked is told
        traceback.print_exc()
        return 1
    return 0


def read(file):
    file.seek(0)
    return file.read().decode()


if __name__ == "__main__":
    serve()
