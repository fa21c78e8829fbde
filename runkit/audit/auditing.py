"""A document and manifests -> every checkable claim with a verdict: reading, binding and judging in order."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from runkit.audit.amounts import amounts
from runkit.audit.binding import Binder, Binding
from runkit.audit.claims import Claim, Found, PeakStep, Same, Score, Stat, Where
from runkit.audit.document import Block, Document, Span, sentences
from runkit.audit.grammar.scores import scores
from runkit.audit.grammar.sentence import Surroundings
from runkit.audit.grammar.settings import settings
from runkit.audit.grammar.statements import statements
from runkit.audit.judging.judged import judged
from runkit.audit.names import heading_run, run_names, with_names_of_document
from runkit.audit.places import without
from runkit.audit.truth import Archive, Judgement, Word, system_of
from runkit.records.manifest import Manifest


@dataclass(frozen=True)
class Verdict:
    """One claim and what the archive says of it."""

    document: str
    line: int
    column: int
    """Both from 1."""
    end_line: int
    end_column: int
    quote: str
    """The sentence or cell, on one line."""
    claim: str
    """The underlined words, on one line."""
    run_id: str
    """Empty when the claim is bound to no run, ``*`` when it is about all of them."""
    bound_by: str
    quantity: str
    claimed: str
    actual: str
    verdict: Word
    evidence: str
    """Where the truth stands, or why the claim cannot be checked."""
    because: str
    """Code of the finding that the same facts raise, for example ``RK401``; empty when there is none."""


def audited(document: Document, manifests: Sequence[Manifest]) -> tuple[Verdict, ...]:
    """Return a verdict for each claim of *document*, in the order of the text.

    A claim that could be read in another way, or bound to another run, is never called contradicted.
    """
    names = with_names_of_document(run_names(manifests), document)
    binder = Binder(document, names, frozenset(manifest.run_id for manifest in manifests))
    archive = Archive(tuple(manifests), _labels(document, binder, manifests))
    percent = _percent_columns(document)
    found = [
        _verdict(document, archive, claim)
        for block in document.blocks
        for claim in _claims(document, binder, block, is_percent=(block.header, block.column) in percent)
    ]
    return tuple(sorted(_once(found), key=lambda one: (one.line, one.column, one.quantity)))


def _percent_columns(document: Document) -> frozenset[tuple[tuple[Span, ...], int]]:
    """Return the columns of tables that hold a decimal number above 1, so that they are in per cent."""
    return frozenset(
        (block.header, block.column)
        for block in document.blocks
        if block.kind == "cell" and block.header
        for one in amounts(document.plain(block.span))
        if one.unit == "bare" and 1 < one.high <= 100 and "." in one.text
    )


def _claims(document: Document, binder: Binder, block: Block, *, is_percent: bool) -> Iterator[Claim]:
    if block.is_head:
        return
    around = replace(_surroundings(document, binder, block), is_percent=is_percent)
    for sentence in sentences(document, block):
        note = binder.annotation(sentence)
        if note is not None and "ignore" in note.settings:
            continue
        text = document.plain(sentence)
        runs = binder.run_mentions(sentence)
        is_heading = block.kind == "heading"
        found = list[Found](statements(text, sentence.start, around, runs))
        plain = text if is_heading else _without_names(document, binder, sentence)
        found += settings(plain, sentence.start, around, is_heading=is_heading)
        if not is_heading:
            found += scores(text, sentence.start, around, runs)
        found = _as_annotated(document, binder, sentence, found)
        for one in found:
            bound = binder.bind(block, sentence, one.span)
            yield _bound(document, binder, block, sentence, one, bound)


def _bound(
    document: Document, binder: Binder, block: Block, sentence: Span, one: Found, bound: Binding
) -> Claim:
    statement, doubt = one.statement, one.doubt
    if isinstance(statement, Same) and statement.other_run == ("above",):
        statement = replace(statement, other_run=_run_above(document, binder, block, bound))
    if bound.reason and not bound.is_for_all:
        doubt = doubt or bound.reason
    return Claim(
        span=one.span,
        sentence=sentence,
        quantity=one.quantity,
        claimed=one.claimed,
        statement=statement,
        run_ids=bound.run_ids,
        is_for_all=bound.is_for_all,
        bound_by=bound.bound_by,
        is_certain=one.is_certain and not doubt,
        doubt=doubt,
        rivals=_rivals(binder, block, bound),
    )


def _rivals(binder: Binder, block: Block, bound: Binding) -> tuple[str, ...]:
    """Return the other runs that a paragraph names, when only the paragraph binds the claim."""
    if bound.bound_by != "paragraph":
        return ()
    named = {one.run_ids[0] for one in binder.mentions(block.span) if len(one.run_ids) == 1}
    return tuple(sorted(named - set(bound.run_ids)))


def _run_above(document: Document, binder: Binder, block: Block, bound: Binding) -> tuple[str, ...]:
    """Return the run of the section before this one."""
    earlier = [
        run
        for heading in document.blocks
        if heading.kind == "heading"
        and heading.span.start < block.span.start
        and (run := heading_run(binder.names, document, replace(heading, headings=(heading.span,))))
        is not None
        and run not in bound.run_ids
    ]
    return tuple(earlier[-1:])


def _without_names(document: Document, binder: Binder, span: Span) -> str:
    """Return the text of *span* without the names of runs, whose words say nothing of what is measured."""
    places = ((one.span.start - span.start, one.span.end - span.start) for one in binder.mentions(span))
    return without(document.plain(span), places)


def _surroundings(document: Document, binder: Binder, block: Block) -> Surroundings:
    if block.kind == "cell":
        head = " ".join(_without_names(document, binder, span) for span in block.header)
        first = _without_names(document, binder, block.row[0]) if block.row and block.column > 0 else ""
        if _STEP_COLUMN.fullmatch(_first_head(document, block)) and block.column > 0:
            first = first if re.search(r"[a-z]", first, re.IGNORECASE) else f"step {first.strip(' `*')}"
        label = " ".join(f"{head} | {first if not _has_amount(first) else ''}".split())
        texts = [document.plain(block.caption)] if block.caption is not None else []
        return Surroundings(tuple(texts), is_cell=True, label=label)
    texts = [document.plain(span) for span in reversed(block.parents)]
    return Surroundings(tuple(_introduction(text) for text in texts))


_STEP_COLUMN = re.compile(r"\W*(?:(?:eval|training) )?(?:step|iteration)s?\W*", re.IGNORECASE)


def _first_head(document: Document, block: Block) -> str:
    """Return the head of the first column of the table of *block*."""
    first = document.first_heads.get(block.header[-1]) if block.header else None
    return document.plain(first) if first is not None else ""


def _has_amount(text: str) -> bool:
    return any(one.unit != "bare" or "." in one.text for one in amounts(text))


def _introduction(text: str) -> str:
    """Return what an item says before its own numbers; ``Bridged accuracy:`` lends its words downwards."""
    head = text.partition(":")[0]
    return head if len(head) < 80 and not _has_amount(head) else ""


_SYSTEM_METRIC = re.compile(r"(?P<stat>peak|final|last_step)\.(?P<system>\w+)")


def _as_annotated(document: Document, binder: Binder, sentence: Span, found: list[Found]) -> list[Found]:
    """Return *found* with the metrics that annotations name; they win over what the words suggest."""
    notes = {
        note.span: note
        for note in document.annotations
        if (note.settings.get("metric") and sentence.start <= note.applies_to.start < sentence.end)
        or (note.settings.get("metric") and note.applies_to.start <= sentence.start < note.applies_to.end)
    }
    result = list(found)
    for note in notes.values():
        start, end = max(note.applies_to.start, sentence.start), min(note.applies_to.end, sentence.end)
        inside = list(amounts(document.plain(Span(start, end))))
        if note.span.start >= start:
            inside = [one for one in inside if start + one.end <= note.span.start] or inside
            inside = inside[-1:]
        metric = _SYSTEM_METRIC.fullmatch(note.settings["metric"])
        if not inside or metric is None:
            continue
        amount = inside[0]
        if amount.unit == "bare" and amount.high > 1:
            amount = amount.in_percent()
        span = Span(start + amount.start, start + amount.end)
        stat: Stat = metric["stat"]  # type: ignore[assignment]
        told = Score("accuracy", (metric["system"],), Where(stat, None, is_stated=True), amount)
        result = [
            one
            for one in result
            if not (
                one.span.start < span.end
                and span.start < one.span.end
                and isinstance(one.statement, Score | PeakStep)
            )
        ]
        result.append(Found(span, f"{stat}.{metric['system']}_accuracy", amount.text.strip(), told))
    return result


def _verdict(document: Document, archive: Archive, claim: Claim) -> Verdict:
    judgement, run_id = _judgement(archive, claim)
    if judgement.word == "contradicted" and not claim.is_certain:
        judgement = Judgement("unverifiable", judgement.actual, f"not certain: {claim.doubt}", "")
    if judgement.word == "supported" and claim.doubt and _is_bound(claim):
        judgement = Judgement("unverifiable", judgement.actual, f"not certain: {claim.doubt}")
    line, column = document.line_and_column(claim.span.start)
    end_line, end_column = document.line_and_column(claim.span.end)
    return Verdict(
        document=document.name,
        line=line,
        column=column,
        end_line=end_line,
        end_column=end_column,
        quote=document.quote(claim.sentence),
        claim=document.quote(claim.span),
        run_id=run_id,
        bound_by=claim.bound_by,
        quantity=_with_role(archive, run_id, claim.quantity),
        claimed=claim.claimed,
        actual=judgement.actual,
        verdict=judgement.word,
        evidence=judgement.evidence,
        because=judgement.because if judgement.word == "contradicted" else "",
    )


def _is_bound(claim: Claim) -> bool:
    """Return whether a claim only sets a bound, which many numbers keep by chance."""
    return isinstance(claim.statement, Score) and claim.statement.amount.comparator != "="


def _with_role(archive: Archive, run_id: str, quantity: str) -> str:
    """Return *quantity* with a model's name replaced by the role that the model has in the run."""
    named = re.search(r"model:[a-z]+", quantity)
    run = archive.by_id.get(run_id)
    role = system_of(run, named.group()) if named is not None and run is not None else None
    return quantity if named is None else quantity.replace(named.group(), role or named.group()[6:])


def _judgement(archive: Archive, claim: Claim) -> tuple[Judgement, str]:
    runs = [archive.by_id[run_id] for run_id in claim.run_ids if run_id in archive.by_id]
    if claim.is_for_all and runs:
        return _for_all(archive, claim, runs)
    if not runs:
        return Judgement("unverifiable", "", claim.doubt or "nothing near it names a run"), ""
    if len(runs) > 1:
        return Judgement("unverifiable", "", f"the name fits {', '.join(run.run_id for run in runs)}"), ""
    judgement = judged(archive, runs[0], claim.statement)
    if judgement.word == "contradicted":
        for rival in claim.rivals:
            if judged(archive, archive.by_id[rival], claim.statement).word == "supported":
                reason = f"it holds for {rival}, which the paragraph names too"
                return Judgement("unverifiable", judgement.actual, reason), runs[0].run_id
    return judgement, runs[0].run_id


def _for_all(archive: Archive, claim: Claim, runs: Sequence[Manifest]) -> tuple[Judgement, str]:
    each = [(judged(archive, run, claim.statement), run.run_id) for run in runs]
    wrong = [(judgement, run_id) for judgement, run_id in each if judgement.word == "contradicted"]
    if wrong:
        judgement, run_id = wrong[0]
        more = f" ({len(wrong)} of {len(runs)} runs)" if len(runs) > 1 else ""
        return replace(judgement, actual=judgement.actual + more), "*" if len(wrong) > 1 else run_id
    if all(judgement.word == "supported" for judgement, _ in each):
        return replace(each[0][0], actual=f"{each[0][0].actual} (all {len(runs)} runs)"), "*"
    open_ones = [judgement for judgement, _ in each if judgement.word == "unverifiable"]
    return open_ones[0], "*"


def _labels(document: Document, binder: Binder, manifests: Sequence[Manifest]) -> dict[str, str]:
    """Return everything that each run is called: headings that name it, its title, its folders."""
    labels: dict[str, list[str]] = {manifest.run_id: [] for manifest in manifests}
    for block in document.blocks:
        if block.kind == "heading":
            run = heading_run(binder.names, document, replace(block, headings=(block.span,)))
            if run is not None:
                labels[run].append(document.plain(block.span))
    for manifest in manifests:
        log_path = manifest.sealed.provenance.log_path or ""
        inner = log_path.split("/")[-2] if "/" in log_path else ""
        said = (manifest.notes.title or "", manifest.run_id.replace("_", " "), inner.replace("_", " "))
        labels[manifest.run_id] += [text for text in said if text]
    return {run_id: " | ".join(texts) for run_id, texts in labels.items()}


def _once(found: Sequence[Verdict]) -> Iterator[Verdict]:
    """Yield *found* without a second reading of the same words as the same quantity."""
    seen = set()
    for one in found:
        key = (one.line, one.column, one.end_line, one.end_column, one.quantity, one.run_id)
        if key not in seen:
            seen.add(key)
            yield one
