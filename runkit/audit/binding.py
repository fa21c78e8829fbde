"""Which run a claim is of: what an author wrote for runkit, else names, rows, lists and headings."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from runkit.audit.document import Annotation, Block, Document, Span, sentences
from runkit.audit.grammar.sentence import RunMention
from runkit.audit.names import Mention, RunNames, heading_run

_COMPARED = re.compile(
    r"""
    (?:
          \b
          (?:
                than | as | vs\.? | versus | against | over | unlike | like
              | underperform(?:s|ed|ing)?
              | outperform(?:s|ed|ing)? | beat(?:s|ing)? | exceed(?:s|ed)?
              | match(?:es|ed)? | lag(?:s|ged)? | trail(?:s|ed)? | behind | above
              | below
          ) | \b
          (?:
                close | closer | similar | comparable | relative | compared | equal
              | identical | contrast | next | matched | paired
          )
          \ (?:to|with)
    )
    \s+
    (?:in\s+|for\s+|the\s+|our\s+|both\s+|that\ of\s+)*
    [\"`(]*$
    """,
    re.IGNORECASE | re.VERBOSE,
)
_OTHER_SUBJECT = re.compile(
    r"""
    \b
    (?:
          runs | others? | another | both | three | all | each | two | previous
        | earlier | first | second | experiments? | we | our | baselines? | papers?
        | overall | together | average | in\ general | next | now | compared | unlike
        | typical\w*
    )
    \b
    """,
    re.IGNORECASE | re.VERBOSE,
)
"""Words with which a sentence leaves the run of the one before it."""
_POSSESSIVE = re.compile(r"^['`\")]*'s\b")
_ALL_RUNS = re.compile(
    r"""
    \b
    (?:
          every
        | each(?:\ of(?:\ the|\ these|\ our)?)?
        | all(?:\ of)?(?:\ the|\ these|\ our|\ \w+)?
        | none\ of\ the
        | no\ (?:preserved|archived)
    )
    \s+
    (?:preserved\s+|archived\s+|five\s+|run\s+|\d+\s+)*
    (?:director(?:y|ies)|folders?|runs?|snapshots?)
    \b
    """,
    re.IGNORECASE | re.VERBOSE,
)


@dataclass(frozen=True)
class Binding:
    """The runs of a claim, and what binds it to them."""

    run_ids: tuple[str, ...]
    bound_by: str
    is_for_all: bool = False
    reason: str = ""
    """Why it is open, when it is not one run."""


@dataclass
class Binder:
    """Binds the claims of one document."""

    document: Document
    names: RunNames
    known: frozenset[str]
    """All run ids of the archive."""
    _mentions: dict[Span, tuple[Mention, ...]] = field(default_factory=dict)

    def mentions(self, span: Span) -> tuple[Mention, ...]:
        """Return the runs that *span* names."""
        if span not in self._mentions:
            self._mentions[span] = self.names.mentions(self.document, span)
        return self._mentions[span]

    def annotation(self, span: Span) -> Annotation | None:
        """Return the annotation that speaks of *span*; the narrowest when there are several."""
        fitting = [
            note
            for note in self.document.annotations
            if note.applies_to.start <= span.start < note.applies_to.end
        ]
        return min(fitting, key=lambda note: note.applies_to.end - note.applies_to.start, default=None)

    def compared(self, sentence: Span) -> tuple[Mention, ...]:
        """Return the runs of *sentence* that something is compared with."""
        return tuple(mention for mention in self.mentions(sentence) if self._is_compared(sentence, mention))

    def run_mentions(self, sentence: Span) -> tuple[RunMention, ...]:
        """Return all runs that *sentence* names, with places inside it."""
        return tuple(
            RunMention(one.span.start - sentence.start, one.span.end - sentence.start, one.run_ids)
            for one in self.mentions(sentence)
        )

    def bind(self, block: Block, sentence: Span, claim: Span) -> Binding:
        """Return the runs that the claim at *claim* is of."""
        note = self.annotation(claim)
        if note is not None and "run" in note.settings:
            return self._annotated(note)
        around = heading_run(self.names, self.document, block)
        if block.kind == "cell":
            found = self._of_cell(block, claim)
            if found is not None:
                return found
        text = self.document.plain(sentence)
        subjects = [one for one in self.mentions(sentence) if not self._is_compared(sentence, one)]
        if block.kind == "heading":
            subjects = list(self.mentions(sentence))
        every = _ALL_RUNS.search(text)
        if every is not None and not any(one.is_exact for one in subjects):
            subjects = [one for one in subjects if one.span.start < claim.start]
        subjects = [one for one in subjects if not self._is_in_a_later_clause(one, claim)]
        bound = self._of_mentions(subjects, claim, around)
        if bound is not None:
            return bound
        if every is not None:
            return Binding(self._all_named(), "every run", is_for_all=True)
        for parent in reversed(block.parents):
            bound = self._of_mentions(list(self.mentions(parent)), Span(parent.end, parent.end), around)
            if bound is not None:
                return Binding(bound.run_ids, "list", reason=bound.reason)
        led = self._lead(block)
        if led is not None and led.span.end <= sentence.start:
            so_far = self.mentions(Span(block.span.start, sentence.start))
            is_alone = {one.run_ids for one in so_far} == {led.run_ids}
            if is_alone and not _OTHER_SUBJECT.search(self.document.plain(sentence)):
                return Binding(led.run_ids, "paragraph", reason=_open(led))
        before = Span(block.span.start, sentence.start)
        if before.end > before.start and block.kind == "paragraph":
            earlier = [one for one in self.mentions(before) if not self._is_compared(before, one)]
            whole = {one.run_ids for one in self.mentions(block.span)}
            if earlier and (len(whole) == 1 or self._goes_on(block, sentence, earlier[-1])):
                return Binding(earlier[-1].run_ids, "paragraph", reason=_open(earlier[-1]))
        if around is not None:
            return Binding((around,), "heading")
        if block.kind == "cell" and block.caption is not None:
            bound = self._of_mentions(
                list(self.mentions(block.caption)), Span(block.span.end, block.span.end), None
            )
            if bound is not None:
                return Binding(bound.run_ids, "caption", reason=bound.reason)
        named = self._all_named()
        if len(named) == 1 and len(self.known) == 1:
            return Binding(named, "only run")
        return Binding((), "", reason="nothing near it names a run")

    def _goes_on(self, block: Block, sentence: Span, mention: Mention) -> bool:
        """Return whether *sentence* begins with *it* and the one before it names one run, *mention*."""
        before = [one for one in sentences(self.document, block) if one.end <= sentence.start]
        text = self.document.plain(sentence)
        if not re.match(r"\W*(?:Its?|This run|The run|That run)\b", text) and (
            _OTHER_SUBJECT.search(text) or not before or not self._is_led_by(before[-1], mention)
        ):
            return False
        own = (
            [one for one in self.mentions(before[-1]) if not self._is_compared(before[-1], one)]
            if before
            else []
        )
        return {one.run_ids for one in own} == {mention.run_ids} or (
            not own and len(before) > 1 and self._goes_on(block, before[-1], mention)
        )

    def _is_in_brackets_after(self, claim: Span, mention: Mention) -> bool:
        """Return whether *mention* follows in brackets: ``65.5 % (run_x, step 1500)``."""
        between = self.document.plain(Span(claim.end, mention.span.start))
        return re.fullmatch(r"[\s%]*\(\s*(?:(?:in|for|by|of|run)\s+)*[`\"]*", between) is not None

    def _is_closed_before(self, mention: Mention, claim: Span) -> bool:
        """Return whether *mention* stands in brackets behind a number, and the claim after them."""
        start = self.document.text.rfind("(", 0, mention.span.start)
        after = self.document.text.find(")", mention.span.end)
        if start < 0 or not mention.span.end <= after < claim.start:
            return False
        inside = self.document.text[start:after]
        return (
            ")" not in inside
            and re.search(r"\d\s*(?:%|points|pts)?\s*$", self.document.text[:start]) is not None
        )

    def _is_in_a_later_clause(self, mention: Mention, claim: Span) -> bool:
        """Return whether *mention* stands behind a semicolon and *claim* before it."""
        return claim.end <= mention.span.start and ";" in self.document.plain(
            Span(claim.end, mention.span.start)
        )

    def _lead(self, block: Block) -> Mention | None:
        """Return the run that titles a paragraph, or begins an item: ``**run_x.** It …``."""
        if block.kind == "cell":
            return None
        first = next(iter(self.mentions(block.span)), None)
        if first is None:
            return None
        lead = self.document.plain(Span(block.span.start, first.span.start))
        behind = self.document.plain(Span(first.span.end, min(block.span.end, first.span.end + 8)))
        is_title = not lead.strip(" *_`#-[]x\n") and (
            block.kind == "item" or re.match(r"[\s*_`)]*[.:|]", behind) is not None
        )
        return first if is_title else None

    def _is_led_by(self, sentence: Span, mention: Mention) -> bool:
        """Return whether *sentence* begins with *mention* as what it is about: ``In run X …``."""
        lead = self.document.plain(Span(sentence.start, mention.span.start)) if mention.span.start else ""
        return (
            sentence.start <= mention.span.start < sentence.end
            and len(self.mentions(sentence)) == 1
            and re.fullmatch(r"\W*(?:(?:in|for|with)\s+)?(?:the\s+)?(?:run\s+)?\W*", lead, re.IGNORECASE)
            is not None
        )

    def _annotated(self, note: Annotation) -> Binding:
        wanted = note.settings["run"]
        if wanted in self.known:
            return Binding((wanted,), "annotation")
        return Binding((), "annotation", reason=f"the annotation names {wanted!r}, which is no archived run")

    def _of_cell(self, block: Block, claim: Span) -> Binding | None:
        for place, what in (
            (block.span, "cell"),
            *((span, "row") for span in block.row if span != block.span),
            *((span, "column") for span in block.header),
        ):
            if what == "row" and block.is_head:
                continue
            found = [
                one for one in self.mentions(place) if what != "cell" or not self._is_compared(place, one)
            ]
            if what == "row":
                found = [one for one in found if not self._is_compared(place, one)]
            if len({one.run_ids for one in found}) == 1:
                return Binding(found[0].run_ids, what, reason=_open(found[0]))
            if found:
                exact = {one.run_ids for one in found if one.is_exact}
                if len(exact) == 1:
                    return Binding(exact.pop(), what)
                return Binding((), what, reason="the row names several runs")
        return None

    def _of_mentions(self, found: Sequence[Mention], claim: Span, around: str | None) -> Binding | None:
        if not found:
            return None
        behind = [one for one in found if claim.end <= one.span.start]
        if behind and self._is_in_brackets_after(claim, behind[0]):
            return Binding(behind[0].run_ids, "named", reason=_open(behind[0]))
        if found and claim.start >= found[0].span.end:
            last = [one for one in found if one.span.end <= claim.start][-1]
            if self._is_closed_before(last, claim):
                return Binding((), "named", reason="the run is named in brackets, of another number")
        distinct = {one.run_ids for one in found}
        exact = {one.run_ids for one in found if one.is_exact}
        if len(distinct) == 1 or len(exact) == 1:
            run_ids = exact.pop() if len(exact) == 1 else distinct.pop()
            first = next(one for one in found if one.run_ids == run_ids)
            between = (
                self.document.plain(Span(first.span.end, claim.start)) if first.span.end < claim.start else ""
            )
            if re.search(
                r"\bthe (?:other|next|second|swap|\w+-GPU) runs?\b|\banother run\b|\bothers\b",
                between,
                re.IGNORECASE,
            ):
                return Binding((), "named", reason="another run is spoken of in between")
            if len(run_ids) > 1 and around in run_ids:
                return Binding((around,), "heading")
            return Binding(run_ids, "named", reason="the name fits several runs" if len(run_ids) > 1 else "")
        before = [one for one in found if one.span.end <= claim.start]
        if before:
            last = before[-1]
            between = self.document.plain(Span(last.span.end, claim.start))
            if (
                re.search(
                    r"\b(?:and|respectively|both)\b",
                    self.document.plain(Span(before[0].span.start, claim.start)),
                )
                and len(before) > 1
                and not re.search(
                    r"[,;(:]|\d", self.document.plain(Span(before[-2].span.end, last.span.start))
                )
            ):
                return Binding((), "named", reason="the sentence names several runs together")
            if re.search(
                r"\b(?:the|an?|other|another|that|this)(?: \w+)? runs?\b|\bothers?\b", between, re.IGNORECASE
            ):
                return Binding((), "named", reason="another run is spoken of in between")
            if len(between) < 120:
                return Binding(last.run_ids, "named", reason=_open(last))
        return Binding((), "named", reason="the sentence names several runs")

    def _is_compared(self, sentence: Span, mention: Mention) -> bool:
        before = self.document.plain(Span(sentence.start, mention.span.start))
        after = self.document.plain(Span(mention.span.end, min(sentence.end, mention.span.end + 4)))
        starts = re.sub(r"[\s`*\"([]+", "", before) == ""
        if starts:
            return False
        return bool(_COMPARED.search(before)) or bool(_POSSESSIVE.match(after))

    def _all_named(self) -> tuple[str, ...]:
        named = {
            one.run_ids[0]
            for block in self.document.blocks
            for one in self.mentions(block.span)
            if one.is_exact and len(one.run_ids) == 1
        }
        return tuple(sorted(named)) or tuple(sorted(self.known))


def _open(mention: Mention) -> str:
    return "the name fits several runs" if len(mention.run_ids) > 1 else ""
