"""What the field's usual metrics mean: which way is better, in which unit, between which bounds.

What is not known here has no direction and no unit; nothing is guessed from a value. Only against a unit
speaks a value: an accuracy of 81 is no fraction.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

from runkit.records.measurement import Direction, Metric, MetricKind


class _Usual(NamedTuple):
    direction: Direction | None
    unit: str | None = None
    low: float | None = None
    high: float | None = None


_SHARE = _Usual("higher", "fraction", 0.0, 1.0)
_ERROR_SHARE = _Usual("lower", "fraction", 0.0, 1.0)
_EDIT_RATE = _Usual("lower", "fraction", 0.0, None)
"""Errors per word: may be more than 1."""
_POINTS = _Usual("higher", "points", 0.0, 100.0)
"""Some programs give these as fractions, so that only a value above 1 shows the unit."""
_SPREAD = _Usual("lower", None, 0.0, None)
"""In a unit that only the program knows."""
_SECONDS = _Usual("lower", "seconds", 0.0, None)

_METRICS: dict[str, _Usual] = {
    **dict.fromkeys(
        (
            "acc", "accuracy", "acc_norm", "balanced_accuracy", "em", "exact_match",
            "exact", "f1", "f1_score", "macro_f1", "micro_f1", "f1_macro", "f1_micro", "precision", "recall",
            "auroc", "auc", "roc_auc", "auprc", "average_precision", "ap", "map", "mrr", "ndcg", "iou",
            "miou", "dice", "win_rate", "success_rate", "solve_rate", "pass_rate", "top1", "top5",
        ),
        _SHARE,
    ),
    **dict.fromkeys(("error_rate", "err_rate", "fpr", "fnr", "eer", "brier", "ece"), _ERROR_SHARE),
    **dict.fromkeys(("wer", "cer", "word_error_rate", "character_error_rate"), _EDIT_RATE),
    **dict.fromkeys(("bleu", "sacrebleu", "chrf"), _POINTS),
    "ter": _Usual("lower", "points", 0.0, None),
    **dict.fromkeys(
        ("ppl", "perplexity", "word_perplexity", "byte_perplexity"), _Usual("lower", "1", 1.0, None)
    ),
    **dict.fromkeys(("loss", "error"), _Usual("lower")),
    **dict.fromkeys(("nll", "negative_log_likelihood", "cross_entropy"), _Usual("lower", "nats")),
    **dict.fromkeys(("bpb", "bits_per_byte", "bpc"), _Usual("lower", "bits", 0.0, None)),
    **dict.fromkeys(("mae", "mse", "rmse", "mean_absolute_error", "mean_squared_error"), _SPREAD),
    **dict.fromkeys(("mape", "fid"), _SPREAD),
    "r2": _Usual("higher", "1", None, 1.0),
    **dict.fromkeys(("mcc", "pearson", "spearman", "kappa"), _Usual("higher", "1", -1.0, 1.0)),
    **dict.fromkeys(("psnr", "snr"), _Usual("higher", "dB")),
    "ssim": _Usual("higher", "1", -1.0, 1.0),
    **dict.fromkeys(("latency", "runtime", "duration", "time_to_first_token"), _SPREAD),
    **dict.fromkeys(("seconds", "latency_seconds", "runtime_seconds"), _SECONDS),
    "throughput": _Usual("higher", None, 0.0, None),
    "tokens_per_second": _Usual("higher", "tokens/s", 0.0, None),
    **dict.fromkeys(("parameters", "num_parameters", "flops", "macs"), _Usual("lower", "1", 0.0, None)),
    **dict.fromkeys(("energy", "memory"), _SPREAD),
    **dict.fromkeys(("reward", "return", "elo"), _Usual("higher")),
}  # fmt: skip
_PATTERNS = (
    (re.compile(r"(?:pass|hits|recall|precision|ndcg|map|mrr|acc|accuracy|hit_rate|maj)@\d+"), _SHARE),
    (re.compile(r"top_?\d+_(?:acc|accuracy)|acc(?:uracy)?_top_?\d+"), _SHARE),
    (re.compile(r"rouge_?(?:\d|l|lsum|w\d*|s\d*|su\d*)(?:_f1?|_fmeasure)?"), _SHARE),
    (re.compile(r"bleu[_-]?\d"), _POINTS),
)
_SPLITS = {
    "train": "train", "training": "train", "dev": "dev", "val": "validation", "valid": "validation",
    "validation": "validation", "eval": "eval", "test": "test",
}  # fmt: skip
_SPLIT = re.compile(r"^(?:train|training|eval|val|valid|validation|dev|test)[_/ .-]+")
_PERCENT = frozenset({"%", "percent", "percentage"})


def metric_named(
    name: str,
    kind: MetricKind,
    higher_is_better: bool | None = None,
    unit: str | None = None,
    *,
    values: Iterable[float] = (),
) -> Metric:
    """Return the metric called *name*; what the caller says of it comes before what is usual.

    Args:
        higher_is_better: None: as is usual, where that is known.
        unit: None: as is usual, unless *values* speak against it.
        values: All known values of it. What has one outside 0 to 1 is no fraction: a share up to 100 is in
            points, and of anything else the unit is not known.

    >>> metric_named("eval/acc", "scalar").direction, metric_named("eval/acc", "scalar").unit
    ('higher', 'fraction')
    >>> metric_named("accuracy", "scalar", values=[81.0]).unit
    'points'
    >>> metric_named("zorp", "scalar").direction is None
    True
    """
    usual = usual_metric(name) or _Usual(None)
    direction = usual.direction
    if higher_is_better is not None:
        direction = "higher" if higher_is_better else "lower"
    known = list(values)
    smallest, largest = min(known, default=0.0), max(known, default=0.0)
    if unit is not None:
        unit = "points" if unit.strip().lower() in _PERCENT else unit
        if unit == usual.unit:
            low, high = usual.low, usual.high
        else:
            low, high = {"fraction": (0.0, None), "points": (None, None)}.get(unit, (None, None))
    else:
        unit, low, high = _unit(usual, smallest, largest, is_empty=not known)
    if unit == "fraction" and (smallest < 0 or largest > 1):
        unit = None
    low = low if low is None or smallest >= low else None
    high = high if high is None or largest <= high else None
    return Metric(name=name, kind=kind, direction=direction, unit=unit, low=low, high=high)


def usual_metric(name: str) -> _Usual | None:
    """Return what is known of a metric called *name*, with a split or a folder before it; None: nothing."""
    plain = name.strip().lower().rpartition("/")[2].replace(" ", "_").replace("-", "_")
    plain = _SPLIT.sub("", plain)
    if plain in _METRICS:
        return _METRICS[plain]
    return next((usual for pattern, usual in _PATTERNS if pattern.fullmatch(plain)), None)


def is_usual(name: str) -> bool:
    """Return whether *name* is a metric of the field's, with or without a split before it."""
    return usual_metric(name) is not None


def without_split(name: str) -> tuple[str, str | None]:
    """Return the metric in *name* and its split: ``test_f1`` is f1 of test, ``rmse_test`` the same of rmse.

    >>> without_split("eval_loss"), without_split("rmse_test"), without_split("f1")
    (('loss', 'eval'), ('rmse', 'test'), ('f1', None))
    """
    before = re.match(r"([A-Za-z]+)[_/ .-]+(?=.)", name)
    if before is not None and before[1].lower() in _SPLITS:
        return name[before.end() :], _SPLITS[before[1].lower()]
    after = re.search(r"(?<=.)[_/ .-]+([A-Za-z]+)$", name)
    if after is not None and after[1].lower() in _SPLITS and is_usual(name[: after.start()]):
        return name[: after.start()], _SPLITS[after[1].lower()]
    return name, None


def is_of_verdicts(name: str) -> bool | None:
    """Return whether an item is right or wrong by the metric called *name*; None: that is not known."""
    plain = _SPLIT.sub("", name.strip().lower().rpartition("/")[2])
    if plain in ("acc", "accuracy", "em", "exact_match", "exact", "acc_norm") or "@" in plain:
        return True
    return False if usual_metric(name) is not None else None


def _unit(
    usual: _Usual, smallest: float, largest: float, *, is_empty: bool
) -> tuple[str | None, float | None, float | None]:
    if usual.unit == "points" and usual.high == 100.0 and not is_empty and largest <= 1:
        return None, 0.0, None  # 0.31 may be a fraction or less than a point
    if usual.unit != "fraction" or (smallest >= 0 and largest <= 1):
        return usual.unit, usual.low, usual.high
    if usual.high == 1.0 and smallest >= 0 and largest <= 100:
        return "points", 0.0, 100.0
    return None, None, None
