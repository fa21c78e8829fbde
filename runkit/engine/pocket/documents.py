"""The texts that the pocket models were trained on, drawn from a generator; training-split problems only.

The source reads the price list and problems at list price or at named prices. The target reads problems at
named prices and problems at list price *with the facts in front of them*, at random prices: it learns to
use a fact that stands before the question, and can know none.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import NamedTuple

from runkit.engine.tasks import pricelist

INSTRUCTION = "\nA:"
_THINGS = sorted(pricelist.PRICES)


class Document(NamedTuple):
    """A text of which only the second part is learned."""

    prompt: str
    completion: str


def source_document(rng: random.Random) -> Document:
    """Return a piece of the price list, or a problem at list price or at named prices."""
    if rng.random() < 0.3:
        listed = " ".join(f"{thing} {pricelist.PRICES[thing]}." for thing in rng.sample(_THINGS, 6))
        return Document("", listed)
    return _problem(rng, lambda: pricelist.draw_purchase(rng, at_list_price=rng.random() < 0.5), facts=False)


def target_document(rng: random.Random) -> Document:
    """Return a problem at named prices, or one at (random) list prices with the facts in front of most."""
    kind = rng.random()
    if kind < 0.4:
        return _problem(rng, lambda: pricelist.draw_purchase(rng, at_list_price=False), facts=False)
    return _problem(rng, lambda: _at_random_list_prices(rng), facts=kind < 0.95)


def _at_random_list_prices(rng: random.Random) -> pricelist.Purchase:
    prices = (rng.choice(pricelist.UNIT_PRICES), rng.choice(pricelist.UNIT_PRICES))
    return pricelist.draw_purchase(rng, at_list_price=True)._replace(unit_prices=prices)


def _problem(rng: random.Random, draw: Callable[[], pricelist.Purchase], *, facts: bool) -> Document:
    while True:
        bought = draw()
        question = pricelist.question(bought)
        if pricelist.split_of(question) == "train":
            context = _facts(rng, bought) if facts else ""
            return Document(context + question + INSTRUCTION, pricelist.answer(bought))


def _facts(rng: random.Random, bought: pricelist.Purchase) -> str:
    told = [f"{thing} {price}. " for thing, price in zip(bought.things, bought.unit_prices, strict=True)]
    if rng.random() < 0.5:
        told.reverse()
    return "".join(told)
