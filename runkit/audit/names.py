"""What runs are called in prose: ids, parts of ids, titles, and the names that a document gives them."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from runkit.audit.document import Block, Document, Span
from runkit.records.manifest import Manifest

_STAMP = re.compile(r"[_-]?(?P<stamp>\d{8}[_-](?P<clock>\d{6}))")
_COMMON_NAMES = frozenset(
    {"run", "runs", "test", "debug", "base", "main", "exp", "train", "eval", "logs", "log", "output"}
)


@dataclass(frozen=True)
class Mention:
    """A place that speaks of a run."""

    span: Span
    run_ids: tuple[str, ...]
    """More than one when the name fits several runs."""
    is_exact: bool
    """Whether the whole id stands there."""


@dataclass(frozen=True)
class RunNames:
    """All names of all runs of an archive, those that the document gave included."""

    by_name: Mapping[str, tuple[str, ...]]
    """Lower-case name, separators as single blanks, to the runs that it can mean."""
    exact: frozenset[str]
    phrases: frozenset[str] = frozenset()
    """Names that the document gave and that have no digit; they count only when written as names."""
    titles: frozenset[str] = frozenset()
    """Titles: descriptions such as *Prompt alignment*, which name a run only where they are set apart."""

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        names = sorted(self.by_name, key=len, reverse=True)
        alternatives = "|".join(_flexible(name) for name in names) or r"(?!)"
        return re.compile(
            rf"(?<![A-Za-z0-9_])(?:{alternatives})(?![A-Za-z0-9]|_[A-Za-z0-9]|-\d)", re.IGNORECASE
        )

    def mentions(self, document: Document, span: Span) -> tuple[Mention, ...]:
        """Return where *span* names runs, in order; the address of a link counts."""
        text = document.source[span.start : span.end]
        found = []
        for match in self._pattern.finditer(text):
            name = normal(match.group())
            runs = self.by_name.get(name)
            if runs is None or (_is_plain_word(name, match.group()) and not _is_marked(text, match)):
                continue
            if name in self.titles and not _is_marked(text, match):
                continue
            if name in self.phrases and not all(
                word[0].isupper() for word in re.findall(r"[A-Za-z]{3,}", match.group())
            ):
                continue
            place = Span(span.start + match.start(), span.start + match.end())
            found.append(Mention(place, runs, name in self.exact))
        return tuple(found)


def normal(name: str) -> str:
    """Return *name* with lower-case letters and single blanks for separators.

    >>> normal("Phase_1-Baseline")
    'phase 1 baseline'
    """
    return " ".join(re.sub(r"[\\_\-/\s\"'`]+", " ", name).lower().split())


def run_names(manifests: Sequence[Manifest]) -> RunNames:
    """Return the names that ids, logged folders, time stamps and titles give."""
    collected: dict[str, set[str]] = defaultdict(set)
    exact, titles = set(), set()
    for manifest in manifests:
        exact.add(normal(manifest.run_id))
        for name in _names_of(manifest):
            collected[name].add(manifest.run_id)
        title = normal(manifest.notes.title or "")
        if len(title.split()) > 1 and title not in collected:
            titles.add(title)
            collected[title].add(manifest.run_id)
    for name in exact:
        owners = {manifest.run_id for manifest in manifests if normal(manifest.run_id) == name}
        collected[name] = owners
    known = {name: tuple(sorted(runs)) for name, runs in collected.items()}
    return RunNames(known, frozenset(exact), titles=frozenset(titles))


def with_names_of_document(names: RunNames, document: Document) -> RunNames:
    """Return *names* with what headings and rows call the one run that they name by its id."""
    collected: dict[str, set[str]] = {name: set(runs) for name, runs in names.by_name.items()}
    phrases = set()
    for block in document.blocks:
        if block.kind == "heading":
            own = _one_run(names.mentions(document, block.span))
            if own is None:
                continue
            for phrase in _phrases(_without_mentions(names, document, block.span)):
                if phrase not in names.by_name and not re.search(r"\d", phrase):
                    phrases.add(phrase)
                collected.setdefault(phrase, set()).add(own)
    known = {name: tuple(sorted(runs)) for name, runs in collected.items()}
    titles = frozenset(name for name in names.titles if known[name] == names.by_name[name])
    return RunNames(known, names.exact, frozenset(phrases), titles)


def heading_run(names: RunNames, document: Document, block: Block) -> str | None:
    """Return the run of the innermost heading above *block* that names exactly one, or None."""
    for span in reversed(block.headings):
        own = _one_run(names.mentions(document, span))
        if own is not None:
            return own
    return None


def _one_run(mentions: Iterable[Mention]) -> str | None:
    exact = {mention.run_ids[0] for mention in mentions if mention.is_exact}
    if len(exact) == 1:
        return exact.pop()
    single = {mention.run_ids[0] for mention in mentions if len(mention.run_ids) == 1}
    return single.pop() if len(single) == 1 and not exact else None


def _names_of(manifest: Manifest) -> Iterator[str]:
    run_id = manifest.run_id
    yield normal(run_id)
    stamp = _STAMP.search(run_id)
    stem = _STAMP.sub("", run_id).strip("_-")
    if stamp is not None:
        yield normal(stamp["stamp"])
        yield stamp["clock"]
    if len(stem) >= 3 and stem.lower() not in _COMMON_NAMES:
        yield normal(stem)
    words = re.split(r"[_-]", stem)
    if len(words) > 1 and (re.search(r"\d$", words[0]) or re.fullmatch(r"abl\w{1,2}", words[0])):
        yield normal(words[0])
    for word in words[:1]:
        numbered = re.fullmatch(r"([A-Za-z]{3,})(\d{1,3})", word)
        lettered = re.fullmatch(r"abl(?:ation)?([A-Z0-9])", word)
        if numbered is not None:
            yield f"{numbered.group(1).lower()} {numbered.group(2)}"
        if lettered is not None:
            yield f"ablation {lettered.group(1).lower()}"
            yield f"abl {lettered.group(1).lower()}"
    log_path = manifest.sealed.provenance.log_path
    if log_path is not None and "/" in log_path:
        inner = log_path.split("/")[-2]
        if inner.lower() not in _COMMON_NAMES:
            yield normal(inner)


def _flexible(name: str) -> str:
    return r"[\\_\-\s\"']*".join(re.escape(word) for word in name.split(" "))


def _is_plain_word(name: str, written: str) -> bool:
    """Return whether a name could be an ordinary word; a capital inside a word, as in ``ablB``, says no."""
    return re.fullmatch(r"[a-z]+", name) is not None and re.search(r"[a-z][A-Z]", written) is None


def _is_marked(text: str, match: re.Match[str]) -> bool:
    """Return whether a name that is also a word is set apart: as code, link, path, cell, or with *run*."""
    before, after = text[: match.start()], text[match.end() :]
    if re.search(r"[`/\[({]$", before) and re.match(r"[`/\])}]", after):
        return True
    if not before.strip(" |*_") and not after.strip(" |*_"):
        return True
    if match.group()[:1].islower() is False and re.match(r"\s*[:=]", after):
        return True
    return bool(
        re.search(r"\brun\s+$", before, re.IGNORECASE) or re.match(r"\s+run\b(?!s)", after, re.IGNORECASE)
    )


def _without_mentions(names: RunNames, document: Document, span: Span) -> str:
    text = document.plain(span)
    for mention in names.mentions(document, span):
        start, end = mention.span.start - span.start, mention.span.end - span.start
        text = text[:start] + "|" + " " * (end - start - 1) + text[end:]
    return text


def _phrases(text: str) -> Iterator[str]:
    """Yield what a heading calls its run: whole phrases, and a leading word with its number."""
    for part in re.split(r"[|()\[\]:;`—]|\s-\s", text):
        phrase = normal(part.strip(" .,#*"))
        words = phrase.split()
        if not words or len(words) > 6:
            continue
        if len(words) > 1 and not any(word in {"and", "or", "+"} for word in words):
            yield phrase
        numbered = re.match(r"([a-z]{3,} \d{1,3}|[a-z]{3,} [a-z])(?= |$)", phrase)
        if numbered is not None and len(words) > 1:
            yield numbered.group(1)
