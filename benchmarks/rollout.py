"""A rollout to a thousand devices at 0.1 frames a second, one in ten switched off, three wrong ones among the canary.

    python benchmarks/rollout.py [DEVICES [SPEED]]

The devices are those of `tests/support/light_devices.py`: real messages through a real Mosquitto, made-up answers. A
second of theirs takes 1/SPEED s (default 1: nothing is compressed). The rollout is the command, in a process of its
own. It has to halt at the canary and to name the three; resumed, it has to install the model on all that are on, and
then on those that are switched on. Prints what it took as JSON.
"""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "support"))

import light_devices
import tiny_models

from broker.local import server
from tflsplit.package import signing

TFLSPLIT = (sys.executable, "-m", "tflsplit.cli.main", "rollout")
WRONG = {3: "rolled_back", 5: "slow", 8: "otherwise"}


def main() -> None:
    given = dict(enumerate(sys.argv))
    count, speed = int(given.get(1, 1000)), float(given.get(2, 1.0))
    with tempfile.TemporaryDirectory() as made, server.run(port=0) as broker:
        print(json.dumps(measured(Path(made), broker.url, count, speed), indent=1))


def measured(folder: Path, url: str, count: int, speed: float) -> dict[str, object]:
    old = tiny_models.write_package(folder / "old.tflsplit", tiny_models.residual_model())
    new = tiny_models.write_package(folder / "new.tflsplit", tiny_models.residual_model(), labels=("x", "y"))
    verifier = signing.open_public(signing.make(folder / "key.pem"))
    names = [f"cam{number:04d}" for number in range(count)]
    off = set(names[9::10])
    (folder / "names").write_text("\n".join(names))
    run = (
        *(*TFLSPLIT, "run", new.path, "--state", folder / "state", "--broker", url, "--deployment", "d"),
        *("--devices", folder / "names", "--sign", folder / "key.pem", "--canary", "2%", "--wave", "100%"),
        *("--most-latency", "1.5", "--least-agreement", "80%", "--soak", f"{600 / speed}s", "--stay", "5s", "--json"),
    )
    fleet = light_devices.Fleet(url, "d", verifier, old.digest, old.cuts[1].id, speed=speed)
    for place, name in enumerate(names):
        fleet.add(name, wrong=WRONG.get(place), is_on=name not in off)
    with fleet:
        canary_s, canary = timed(run)
        untouched = len(fleet.running(old.digest))
        subprocess.run([*map(str, TFLSPLIT), "resume", folder / "state"], check=True, stdout=sys.stderr)
        rest_s, rest = timed(run)
        for name in off:
            fleet.switch(name, is_on=True)
        late_s, late = timed(run)
    bad = {each["name"]: each["reason"] for each in late["devices"] if each["state"] in ("failed", "unhealthy")}
    return {
        "devices": count,
        "speed": speed,
        "canary_s": round(canary_s * speed, 1),
        "halted": canary["halted"],
        "on_the_old_model_then": untouched,
        "rest_s": round(rest_s * speed, 1),
        "rest": rest["counts"],
        "those_that_were_off_s": round(late_s * speed, 1),
        "counts": late["counts"],
        "bad": bad,
    }


def timed(command: tuple[object, ...]) -> tuple[float, dict[str, object]]:
    began_s = time.monotonic()
    said = subprocess.run([str(word) for word in command], check=False, stdout=subprocess.PIPE, text=True)
    return time.monotonic() - began_s, json.loads(said.stdout)


if __name__ == "__main__":
    main()
