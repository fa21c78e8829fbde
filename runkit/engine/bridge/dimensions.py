"""How large a bridge is: one record for all kinds of bridges, each of which uses what it has."""

from __future__ import annotations

from typing import NamedTuple


class Dimensions(NamedTuple):
    """The widths that a bridge stands between, and its own."""

    source_width: int
    """Of the states that it reads; where a map stands in front of it, of what the map returns."""
    target_width: int
    """Of the target's embeddings."""
    width: int
    """Of its own layers; a linear bridge has none."""
    depth: int
    """Number of layers."""
    heads: int
    """Of each attention."""
    num_soft_tokens: int
    """K; an adapter has no slots and speaks to as many tokens as the question has."""
