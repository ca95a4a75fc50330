"""Damaged copies of files."""

import random


def mutate(content: bytes, rng: random.Random) -> bytes:
    """Flip, cut, double, swap or overwrite a part."""
    content = bytearray(content)
    for _ in range(rng.choice((1, 1, 1, 3, 30))):
        at, span = rng.randrange(len(content) or 1), rng.choice((1, 1, 8, 500))
        match rng.randrange(5):
            case 0:
                content[at : at + 1] = bytes(byte ^ 1 << rng.randrange(8) for byte in content[at : at + 1])
            case 1:
                del content[at : at + span]
            case 2:
                content[at:at] = content[at : at + span]
            case 3:
                content[at : at + span] = rng.randbytes(span)
            case 4:
                content = content[: max(at, 1)]
    return bytes(content)
