"""Documents that were right before somebody changed them: what stands at random places becomes what is odd there."""

import contextlib
import copy
import hashlib
import json
import random
from collections.abc import Iterator
from typing import Any

from tflsplit.package import manifest as package_manifest

TEXTS = ("../../x", "/etc/passwd", "a\0b", "-x", "--help", "..", "", "\x1b[2J", "\u202e", "a/b/../../x", "x" * 300)
TEXTS += ("x" * 5000, "\ud800", "nan", "input", "op000", "op999", "jpeg:0")
NUMBERS = (0, -1, 1, 7, 2**31, 2**63, 2**64 - 1, -(2**63), 1e-320, 1e300, -1e300, 0.5, True, None)
OTHERS: tuple[Any, ...] = ([], {}, [[]], [None], {"a": 1}, [0] * 50, ["x"] * 3, [1e300])


def mutants(document: Any, seed: int, count: int) -> Iterator[Any]:
    """The same for the same seed."""
    chance = random.Random(seed)
    for _ in range(count):
        changed = copy.deepcopy(document)
        for _ in range(chance.choice((1, 1, 2, 3))):
            _change(changed, chance)
        yield changed


def text(document: Any) -> bytes:
    return json.dumps(document).encode()


def damaged(data: bytes, seed: int, count: int) -> Iterator[bytes]:
    """Bytes changed, left out and put in."""
    chance = random.Random(seed)
    for _ in range(count):
        changed = bytearray(data)
        for _ in range(chance.randint(1, 6)):
            place = chance.randrange(len(changed)) if changed else 0
            how = chance.randrange(3)
            if how == 0 and changed:
                changed[place] = chance.randrange(256)
            elif how == 1:
                del changed[place : place + chance.randint(1, 20)]
            else:
                changed[place:place] = chance.randbytes(chance.randint(1, 8))
        yield bytes(changed)


def sealed(fields: dict[str, Any]) -> bytes:
    """A manifest as its forger would write it: the digest and the seal are right."""
    with contextlib.suppress(Exception):
        fields["digest"] = package_manifest._manifest(dict(fields)).digest
    text = json.dumps(fields, ensure_ascii=False).encode("utf-8", "surrogatepass")
    whole = fields | {"seal": hashlib.sha256(text).hexdigest()}
    return package_manifest._text(whole).encode("utf-8", "surrogatepass")


def _change(document: Any, chance: random.Random) -> None:
    places = list(_places(document))
    if not places:
        return
    holder, key = chance.choice(places)
    how = chance.randrange(6)
    if how == 0 and isinstance(holder, dict):
        del holder[key]
    elif how == 1 and isinstance(holder, dict):
        holder[chance.choice(TEXTS)] = holder.pop(key)
    elif how == 2 and isinstance(holder, list):
        holder.insert(key, copy.deepcopy(holder[key]))
    elif how == 3:
        other, at = chance.choice(places)
        holder[key] = copy.deepcopy(other[at])
    elif isinstance(holder[key], str):
        holder[key] = chance.choice(TEXTS)
    elif isinstance(holder[key], int | float):
        holder[key] = chance.choice(NUMBERS)
    else:
        holder[key] = copy.deepcopy(chance.choice((*TEXTS, *NUMBERS, *OTHERS)))


def _places(document: Any) -> Iterator[tuple[Any, Any]]:
    keys = document.keys() if isinstance(document, dict) else range(len(document))
    for key in list(keys):
        yield document, key
        if isinstance(document[key], dict | list):
            yield from _places(document[key])
