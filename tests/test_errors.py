"""The tree of errors is the one drawn in the docstring, and a wrong name is answered with the nearest."""

from __future__ import annotations

import inspect
import re

import runkit.errors
from runkit.errors import RunkitError, UnknownName


def _drawn_tree() -> dict[str, str]:
    parents: dict[str, str] = {}
    stack: list[str] = []
    for line in (runkit.errors.__doc__ or "").splitlines():
        found = re.search(r"[A-Z][A-Za-z]+$", line)
        if not found or not re.match(r"^ {4}[│├└ A-Z]", line):
            continue
        depth = (found.start() - 4) // 4
        stack = [*stack[:depth], found[0]]
        if depth:
            parents[found[0]] = stack[depth - 1]
    return parents


def test_the_tree_in_the_docstring_is_the_tree_of_classes() -> None:
    classes = {
        name: cls.__bases__[0].__name__
        for name, cls in inspect.getmembers(runkit.errors, inspect.isclass)
        if issubclass(cls, RunkitError) and cls is not RunkitError
    }
    assert _drawn_tree() == classes


def test_a_misspelled_name_is_answered_with_the_nearest_one() -> None:
    error = UnknownName.among("preset", "pokcet", ["pocket", "pocket_mean_pool"], way_out="see the list")
    assert str(error) == "there is no preset 'pokcet'; did you mean 'pocket'; see the list"


def test_a_far_name_is_answered_with_the_whole_list() -> None:
    assert str(UnknownName.among("preset", "x", ["b", "a"])) == "there is no preset 'x'; known: a, b"


def test_a_name_that_is_known_twice_is_listed_once() -> None:
    assert str(UnknownName.among("run", "x", ["b", "b"])) == "there is no run 'x'; known: b"
