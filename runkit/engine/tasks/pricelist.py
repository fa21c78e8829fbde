"""The pocket task: shopping problems, of which a share can only be solved by who knows the price list.

``Tom buys 3 pens and 2 cups at list price.`` needs a fact (a pen costs 4) that the pocket source has
learned and the pocket target has not; ``Tom buys 3 pens at 4 each and …`` needs arithmetic only.
Splits are disjoint by construction: a hash of the question text decides which split may hold it, so
no question of one split can occur in another, whatever the seed. A quarter of the things is never bought
at list price in training, so that a bridge which learned the list from the answers, instead of reading it
from the source, is found out.
"""

from __future__ import annotations

import hashlib
import random
import re
from typing import NamedTuple

from runkit.engine.tasks.base import INVALID, Item, Split, Wording

PRICES: dict[str, int] = {
    "pens": 4, "cups": 2, "hats": 7, "mugs": 5, "bags": 9, "maps": 3, "keys": 6, "jars": 8,
    "pots": 7, "fans": 9, "toys": 5, "pies": 3, "nuts": 2, "figs": 4, "eggs": 2, "buns": 3,
    "caps": 6, "ties": 8, "rugs": 9, "beds": 8, "nets": 4, "pins": 2, "cards": 5, "books": 7,
    "lamps": 9, "forks": 3, "bells": 6, "dolls": 8, "kites": 5, "boots": 6, "plums": 4,
}  # fmt: skip
"""The list: 31 things and what one costs. Part of the task, never printed in a list-price problem."""

NAMES = ("Tom", "Ann", "Ben", "Eva", "Sam", "Mia", "Leo", "Kim", "Max", "Ida", "Jon", "Zoe")
QUANTITIES = range(2, 6)
UNIT_PRICES = range(2, 10)
LIST_SHARE_PERCENT: dict[Split, int] = {"train": 80, "dev": 30, "test": 30}
"""Share of problems that need the list. The bridge learns nothing from the others, so training has few."""

UNTAUGHT = frozenset(sorted(PRICES)[::4])
"""Things that no training problem buys at list price: what a bridge knows of them it has from its source."""

_SPLIT_BUCKETS: dict[Split, range] = {"test": range(10), "dev": range(10, 20), "train": range(20, 100)}
_ANSWER = re.compile(r"#### (-?[0-9.,]+)")


class Purchase(NamedTuple):
    """What one problem is about, before it is put into words."""

    name: str
    things: tuple[str, str]
    quantities: tuple[int, int]
    unit_prices: tuple[int, int]
    at_list_price: bool


class PriceList:
    """The task as the engine sees it; it has no state."""

    name = "pricelist"
    stops: tuple[str, ...] = ()

    def item(self, *, seed: int, split: Split, index: int) -> Item:
        """Return problem *index* of *split*, see :class:`runkit.engine.tasks.base.Task`."""
        rng = random.Random(_stable_seed(f"pricelist|{seed}|{split}|{index}"))
        at_list_price = rng.randrange(100) < LIST_SHARE_PERCENT[split]
        while True:
            bought = draw_purchase(rng, at_list_price=at_list_price)
            text = question(bought)
            if split_of(text) == split and not (split == "train" and untaught(bought)):
                return Item(
                    id=f"{split}-{index}", question=text, answer=answer(bought), gold=str(total(bought))
                )

    def wording(self, *, seed: int) -> Wording:
        """Return nothing: a question stands alone."""
        return Wording(prefix="", opening="")

    def extract_flexibly(self, text: str) -> None:
        """Return None: answers have one form only."""

    def extract(self, text: str) -> str:
        """Return the first ``#### n`` without commas and trailing dot, or ``[invalid]``."""
        found = _ANSWER.search(text)
        if found is None:
            return INVALID
        return found.group(1).replace(",", "").rstrip(".") or INVALID


def draw_purchase(rng: random.Random, *, at_list_price: bool) -> Purchase:
    """Return a purchase of two different things, at prices from the list or at any prices."""
    first, second = rng.sample(sorted(PRICES), 2)
    drawn = (rng.choice(UNIT_PRICES), rng.choice(UNIT_PRICES))
    return Purchase(
        name=rng.choice(NAMES),
        things=(first, second),
        quantities=(rng.choice(QUANTITIES), rng.choice(QUANTITIES)),
        unit_prices=(PRICES[first], PRICES[second]) if at_list_price else drawn,
        at_list_price=at_list_price,
    )


def question(bought: Purchase) -> str:
    """Return the problem in words; a list-price problem does not name its prices."""
    (a, b), (x, y), (p, q) = bought.quantities, bought.things, bought.unit_prices
    if bought.at_list_price:
        return f"{bought.name} buys {a} {x} and {b} {y} at list price. How much does {bought.name} pay?"
    return f"{bought.name} buys {a} {x} at {p} and {b} {y} at {q} each. How much does {bought.name} pay?"


def answer(bought: Purchase) -> str:
    """Return the worked answer that ends in ``#### total``."""
    (a, b), (p, q) = bought.quantities, bought.unit_prices
    return f" {a}*{p}={a * p}. {b}*{q}={b * q}.\n#### {total(bought)}"


def total(bought: Purchase) -> int:
    """Return what the purchase costs."""
    return sum(n * price for n, price in zip(bought.quantities, bought.unit_prices, strict=True))


def untaught(bought: Purchase) -> bool:
    """Return whether the purchase needs a price from the list that no training problem needs."""
    return bought.at_list_price and not UNTAUGHT.isdisjoint(bought.things)


def split_of(question_text: str) -> Split:
    """Return the only split that may hold *question_text*."""
    bucket = _stable_seed(question_text) % 100
    return next(split for split, buckets in _SPLIT_BUCKETS.items() if bucket in buckets)


def _stable_seed(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")
