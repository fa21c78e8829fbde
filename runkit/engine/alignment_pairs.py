"""Which source token and which target token stand for the same characters; texts only, no model weights."""

from __future__ import annotations

from collections.abc import Callable, Sequence

Decode = Callable[[Sequence[int]], str]


def char_ends(token_ids: Sequence[int], decode: Decode) -> list[int]:
    """Return where each token ends in the text that the tokens spell."""
    return [len(decode(token_ids[: index + 1])) for index in range(len(token_ids))]


def paired_tokens(
    source_ids: Sequence[int],
    source_decode: Decode,
    target_ids: Sequence[int],
    target_decode: Decode,
    *,
    after: int = 0,
) -> list[tuple[int, int]]:
    """Return pairs (source index, target index): for each target token the source token that ends with it.

    The state of a causal source is about the text up to its token's end, so ends are matched, not
    beginnings; a target token whose end falls inside a source token has no pair, and neither has one that
    ends within the first *after* characters.
    """
    at_end = {end: index for index, end in enumerate(char_ends(source_ids, source_decode))}
    ends = char_ends(target_ids, target_decode)
    return [(at_end[end], index) for index, end in enumerate(ends) if end > after and end in at_end]
