"""How often each picture is seen in an epoch: pure rules."""

from collections.abc import Sequence

PICTURES_AN_EPOCH = 400
"""What a plain folder aims at, held-out photos not counted."""


def plain_repeats(photos: int) -> int:
    """How often each of ``photos`` is seen where nothing says so: about 400 pictures an epoch, each at least once."""
    return max(1, round(PICTURES_AN_EPOCH / photos))


def spread_repeats(repeats: Sequence[int], total: int, *, passing: bool = False) -> tuple[int, ...]:
    """Repeats of regularisation pictures raised, or cut, until they add up to ``total``.

    As in sd-scripts (``library/train_util.py``, DreamBoothDataset): pictures are taken in turn with the repeats of
    their folder until ``total`` is reached, so that the last of too many are left out (0); of too few, each is raised
    by one in turn. Unlike there the picture that reaches ``total`` does not pass it.

    Args:
        repeats: of each picture as its folder says, 1 or more.
        total: the subject's pictures an epoch.
        passing: let that picture keep all its repeats, exactly as sd-scripts does.
    """
    spread: list[int] = []
    for wanted in repeats:
        left = max(0, total - sum(spread))
        spread.append(wanted if passing and left else min(wanted, left))
    short = max(0, total - sum(spread))
    each, rest = divmod(short, len(spread)) if spread else (0, 0)
    return tuple(count + each + (place < rest) for place, count in enumerate(spread))
