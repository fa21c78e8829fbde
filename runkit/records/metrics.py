"""The field's usual metrics: which way is better, in which unit, within which range. No other is guessed."""

from __future__ import annotations

import re
from typing import NamedTuple

from runkit.records.measurement import Direction, Metric, MetricKind


class _Usual(NamedTuple):
    direction: Direction | None
    unit: str | None
    low: float | None = None
    high: float | None = None


_SHARE = _Usual("higher", "fraction", 0.0, 1.0)
_ERROR = _Usual("lower", None, 0.0)
_RATE = _Usual("lower", "fraction", 0.0)
_NATS = _Usual("lower", "nats")

_USUAL: dict[str, _Usual] = {
    **dict.fromkeys(
        (
            "accuracy", "acc", "acc_norm", "exact_match", "em", "f1", "f1_score", "macro_f1", "micro_f1",
            "precision", "recall", "auroc", "roc_auc", "auc", "auprc", "average_precision", "map", "ndcg",
            "mrr", "iou", "miou",
            "dice", "pass@1", "pass@k", "win_rate", "bleurt", "top1", "top5", "top_1", "top_5",
            "top1_accuracy", "top5_accuracy", "balanced_accuracy", "specificity", "sensitivity",
        ),
        _SHARE,
    ),
    **dict.fromkeys(("bleu", "sacrebleu", "chrf", "chrf++", "meteor", "rouge", "cider", "spice"),
                    _Usual("higher", None, 0.0)),
    **dict.fromkeys(("rouge1", "rouge2", "rougel", "rougelsum"), _Usual("higher", None, 0.0)),
    **dict.fromkeys(("mcc", "matthews_correlation", "pearson", "spearman", "kappa"),
                    _Usual("higher", "1", -1.0, 1.0)),
    **dict.fromkeys(("r2", "r2_score"), _Usual("higher", "1", None, 1.0)),
    **dict.fromkeys(("psnr", "ssim", "reward", "return", "episode_return", "mean_reward", "elo",
                     "tokens_per_second", "samples_per_second", "throughput"), _Usual("higher", None)),
    **dict.fromkeys(("wer", "cer", "ter", "error_rate", "error"), _RATE),
    **dict.fromkeys(("mae", "rmse", "mse", "mape", "smape", "fid", "eer", "ece", "brier", "brier_score",
                     "perplexity", "ppl", "word_perplexity", "byte_perplexity", "bits_per_byte"), _ERROR),
    **dict.fromkeys(("loss", "nll", "cross_entropy", "log_loss"), _NATS),
    **dict.fromkeys(("latency", "latency_seconds", "seconds"), _Usual("lower", "seconds", 0.0)),
    **dict.fromkeys(("parameters", "num_parameters"), _Usual("lower", "1", 0.0)),
    **dict.fromkeys(("energy", "energy_joules"), _Usual("lower", "joules", 0.0)),
}  # fmt: skip

_SPLITS = {
    "train": "train", "training": "train", "dev": "dev", "val": "validation", "valid": "validation",
    "validation": "validation", "eval": "eval", "test": "test",
}  # fmt: skip


def is_usual(name: str) -> bool:
    """Return whether *name* is a metric of the registry."""
    return _plain(name) in _USUAL


def without_split(name: str) -> tuple[str, str | None]:
    """Return the metric in *name* and its split: ``test_f1`` is f1 of test; a metric alone has none."""
    if is_usual(name):
        return name, None
    head, separator, rest = re.match(r"^([A-Za-z]+)([_/.-]?)(.*)$", name).groups() if name else ("", "", "")  # type: ignore[union-attr]
    split = _SPLITS.get(head.lower())
    if split is not None and separator and rest:
        return rest, split
    metric, separator, tail = re.match(r"^(.*?)([_/.-]?)([A-Za-z]+)$", name).groups()  # type: ignore[union-attr]
    split = _SPLITS.get(tail.lower())
    return (metric, split) if split is not None and separator and is_usual(metric) else (name, None)


def metric_named(
    name: str,
    kind: MetricKind,
    higher_is_better: bool | None = None,
    unit: str | None = None,
    *,
    largest: float | None = None,
) -> Metric:
    """Return the metric called *name*; what nobody says and the registry does not know is null.

    Args:
        higher_is_better: What the program says; None: the registry is asked.
        largest: Largest magnitude among its values; a share above 1 is given in points.
    """
    usual = _USUAL.get(_plain(name), _Usual(None, None))
    direction: Direction | None = usual.direction
    if higher_is_better is not None:
        direction = "higher" if higher_is_better else "lower"
    low, high, found = usual.low, usual.high, unit or usual.unit
    if kind in ("binary", "ternary"):
        low, high, found = 0.0, 1.0, unit or "fraction"
    elif unit is None and found == "fraction" and largest is not None and largest > 1:
        found, high = ("points", 100.0) if high == 1.0 and largest <= 100 else (None, None)
    elif unit is not None and unit != usual.unit:
        low = high = None
    return Metric(name=name, kind=kind, direction=direction, unit=found, low=low, high=high)


def _plain(name: str) -> str:
    return re.sub(r"[\s-]+", "_", name.strip().lower())
