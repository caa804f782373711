"""The retained `birth` of a device, as far as a cloud reads it: which head runs there, and with what kernels.

    {"boot": "00c0ffee00c0ffee", "package": "9f…", "cut": "op010", "kernel_class": {"id": "396b9812", …},
     "head_operators": ["ADD/int8", "CONV_2D/int8"], "lossy": false, "adapts": {"candidates": ["input", "op010"], …}, …}

`edge_runtime.delivery.birth` writes it, with much that is for people.
"""

from typing import Any

from broker.messages import wire
from tflsplit import errors, strict_json
from tflsplit.kernels.heads import HeadKernels
from tflsplit.values.classes import dataclass

_MOST_BYTES = 1 << 17
# As many tails as a cloud holds open at a time.
_MOST_CANDIDATES = 32


@dataclass(frozen=True, slots=True)
class Birth:
    """`package` is as much of the digest as a frame carries; `kernels` is None in births of older versions.
    `candidates` are the cuts that the device may move between, `is_lossy` says that frames lose detail on their way."""

    boot: int
    package: bytes
    cut: str
    kernels: HeadKernels | None
    candidates: tuple[str, ...] = ()
    is_lossy: bool = False


def parse(payload: bytes) -> Birth:
    """FrameError for anything that no device of ours would publish."""
    try:
        if len(payload) > _MOST_BYTES:
            raise ValueError(f"{len(payload)} bytes, at most {_MOST_BYTES} are accepted")
        fields: Any = strict_json.parse_object(payload)
        digest = bytes.fromhex(fields["package"])
        kernels = HeadKernels.from_json(fields)
        candidates = tuple(str(cut) for cut in (fields.get("adapts") or {}).get("candidates", ()))[:_MOST_CANDIDATES]
        run = int(fields["boot"], 16), digest[: wire.PACKAGE_BYTES], str(fields["cut"])
        return Birth(*run, kernels, candidates, bool(fields.get("lossy")))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as problem:
        raise errors.FrameError(f"birth is {bytes(payload[:60])!r}: {problem!r:.100}") from problem
