"""Whether the name of a run says what its configuration does not; names never say more than was run."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from runkit.checks.catalogue import found
from runkit.checks.view import ArchiveView, Family
from runkit.records.finding import Finding
from runkit.records.manifest import Manifest
from runkit.records.record import Scalar
from runkit.records.schema import settings_in_effect

_MODES = {"softonly": "soft_only", "softplustext": "soft_plus_text", "softplus": "soft_plus_text"}
"""What a name says, without its separators, to the mode that it means."""

_POOLS = {"meanpool": "mean", "attnpool": "attn_pool", "crossattention": "cross", "crossattn": "cross"}

_MODE_KEYS = frozenset({"mode", "eval_prompt_mode", "prompt_mode"})

_CONDITIONING_KEYS = ("bridge.conditioning", "dit_pool")

_TERM = re.compile(r"(?:^|[_-])(kl|nce|infonce|flow|format|decode|nll|ce)[_-]?only(?=$|[_-])")

_WITHOUT = re.compile(r"(?:^|[_-])(?:no|without|wo)[_-]([a-z]+)(?=$|[_-])")

_NUMBERED = (
    (re.compile(r"(?:^|[_-])seed[_-]?(\d+)(?=$|[_-])"), ("seed",), "seed"),
    (re.compile(r"(?:^|[_-])(\d+)[_-]?gpus?(?=$|[_-])"), ("world_size",), "world size"),
)

_NO_LETTER = re.compile(r"[^a-z0-9]")
_TO = re.compile(r"[a-z]{4}[_-]?(?:to|2)[_-]?[a-z]{4}")

_WORDS_OF_MODELS = re.compile(r"[a-z]{4,}")
_COMMON_WORDS = frozenset({"instruct", "meta", "chat", "base", "model", "pocket"})


def _name_findings(archive: ArchiveView) -> Iterator[Finding]:
    for manifest in archive.by_id.values():
        told: set[str] = set()
        for place, name in names_of(manifest):
            for what in contradictions(name, manifest):
                if what not in told:
                    told.add(what)
                    yield found("RK409", manifest.run_id, place, f"the name {name!r} says {what}")


def names_of(manifest: Manifest) -> Iterator[tuple[str, str]]:
    """Yield the names of a run that travel into papers, each with its place: its id, its folder."""
    yield "sealed.run_id", manifest.run_id
    logged = manifest.sealed.provenance.logged_run_directory
    if logged is not None:
        folder = logged.rstrip("/").rpartition("/")[2]
        if folder != manifest.run_id:
            yield "sealed.provenance.logged_run_directory", folder


def contradictions(name: str, manifest: Manifest) -> Iterator[str]:
    """Yield what *name* says against the configuration of its run, as the end of a sentence."""
    lowered = name.lower()
    joined = _NO_LETTER.sub("", lowered)
    mode = next((_MODES[word] for word in _MODES if word in joined), None)
    pool = next((_POOLS[word] for word in _POOLS if word in joined), None)
    only = _TERM.search(lowered)
    # Most names say nothing about their configuration, and then it is not looked at.
    if mode or pool or only or _WITHOUT.search(lowered) or any(one[0].search(lowered) for one in _NUMBERED):
        settings = settings_in_effect(manifest.sealed)
        yield from _mode(mode, settings)
        yield from _conditioning(pool, settings)
        yield from _only_term(only.group(1) if only else None, settings)
        yield from _left_out(lowered, settings)
        yield from _numbers(lowered, manifest, settings)
    if _TO.search(lowered):
        yield from _direction(lowered, manifest)


def _last(key: str) -> str:
    return key.rpartition(".")[2]


def _mode(said: str | None, settings: Mapping[str, Scalar]) -> Iterator[str]:
    for key, value in settings.items():
        if said is not None and _last(key) in _MODE_KEYS and value in _MODES.values():
            if said != value:
                yield f"{said}, the configuration has {key} = {value}"
            return


def _conditioning(said: str | None, settings: Mapping[str, Scalar]) -> Iterator[str]:
    key = next((key for key in _CONDITIONING_KEYS if key in settings), None)
    if said is not None and key is not None and settings[key] != said:
        yield f"{said}, the configuration has {key} = {settings[key]}"


def _only_term(term: str | None, settings: Mapping[str, Scalar]) -> Iterator[str]:
    """Yield the loss weights that are not 0 although the name claims *term* alone.

    The likelihood of the answer is not counted: what is trained without it has no name for that.
    """
    if term is None:
        return
    others = [
        f"{key} = {value}"
        for key, value in settings.items()
        if _is_weight_of_a_loss(key) and _is_on(value) and term not in re.split(r"[._]", key)
        if not key.endswith("nll_weight")
    ]
    if others:
        yield f"{term} only, the configuration has {', '.join(others)}"


def _is_weight_of_a_loss(key: str) -> bool:
    return key.endswith("_weight") and not key.startswith(("optim.", "ema"))


def _is_on(value: Scalar) -> bool:
    return not isinstance(value, str) and value is not None and value != 0


def _left_out(name: str, settings: Mapping[str, Scalar]) -> Iterator[str]:
    """Yield the switches and weights that are on although the name says that they are not."""
    for match in _WITHOUT.finditer(name):
        word = match.group(1).removesuffix("s")
        named = {
            key: value
            for key, value in settings.items()
            if word in {part.removesuffix("s") for part in re.split(r"[._]", _last(key))}
            and (isinstance(value, bool) or _is_weight_of_a_loss(key))
        }
        if named and all(_is_on(value) for value in named.values()):
            key, value = next(iter(named.items()))
            shown = str(value).lower() if isinstance(value, bool) else value
            yield f"no {match.group(1)}, the configuration has {key} = {shown}"


def _numbers(name: str, manifest: Manifest, settings: Mapping[str, Scalar]) -> Iterator[str]:
    for pattern, keys, spoken in _NUMBERED:
        match = pattern.search(name)
        if match is None:
            continue
        value = next((settings[key] for key in keys if key in settings), None)
        if value is None and spoken == "world size":
            value = manifest.sealed.command.world_size
        if value is not None and str(value) != str(int(match.group(1))):
            yield f"{spoken} {int(match.group(1))}, the configuration has {value}"


def _direction(name: str, manifest: Manifest) -> Iterator[str]:
    source, target = (_words(manifest, role) for role in ("source", "target"))
    for here in source - target:
        for there in target - source:
            if re.search(rf"(?:^|[^a-z]){there}[_-]?(?:to|2)[_-]?{here}(?=$|[^a-z])", name):
                yield f"{there} to {here}, the source is {_model(manifest, 'source')}"
                return


def _words(manifest: Manifest, role: str) -> frozenset[str]:
    model = _model(manifest, role)
    words = _WORDS_OF_MODELS.findall(model.lower().rpartition("/")[2]) if model else ()
    return frozenset(words) - _COMMON_WORDS


def _model(manifest: Manifest, role: str) -> str | None:
    model = manifest.sealed.model(role)
    return model.name if model is not None else None


NAMES = Family("names", _name_findings, frozenset({"RK409"}))
