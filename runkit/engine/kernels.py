"""How a frozen model computes on a GPU: one attention that knows what stands before a row, compiled layers.

The plain way (``transformers``' SDPA and growing caches) stays for the CPU and for models whose attention is
of another kind. Here keys and values of a shared prefix are read where they lie, and those of generated rows
stand in memory allocated once, so that a decoding step has fixed addresses and fits a CUDA graph.

Legend: B rows, T columns of a row, P positions of a shared prefix, H heads of queries, G heads of keys and
values, d width of a head.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.attention.bias import causal_lower_right
from torch.nn.attention.flex_attention import AuxRequest, BlockMask, create_block_mask, flex_attention
from transformers import AttentionInterface
from transformers.masking_utils import AttentionMaskInterface

NAME = "runkit"
_BLOCK = 128
"""Rows and columns of attention come in blocks of this size; what is added to fill one is cut off again."""
_SHAPES = 64
"""How many shapes torch may compile a function for before it gives up; batches come in a dozen."""

KeysValues = tuple[Tensor, Tensor]


class Reading(NamedTuple):
    """What one layer has before the tokens it is given, and where it keeps theirs."""

    prefix: KeysValues | None = None
    """Shape ``[1, G, P, d]`` each."""
    kept: KeysValues | None = None
    """Memory of the rows, shape ``[B, G, T, d]`` each."""
    rows: slice | None = None
    """Prompts are read into these rows, from column 0 on."""
    last_B: Tensor | None = None
    """One token a row is read, into this column."""
    compiled: bool = False


@dataclass(frozen=True)
class Kernels:
    """The attention modules of one model, first layer first, ready to be told what stands before a row."""

    attentions: tuple[nn.Module, ...]
    compiled: bool

    @contextmanager
    def reading(
        self,
        prefix: Sequence[KeysValues] | None = None,
        *,
        kept: Sequence[KeysValues] | None = None,
        rows: slice | None = None,
        last_B: Tensor | None = None,
    ) -> Iterator[None]:
        """Let the model's next forward passes stand after *prefix*, and keep what they read in *kept*."""
        for number, module in enumerate(self.attentions):
            module.__dict__[NAME] = Reading(
                None if prefix is None else prefix[number],
                None if kept is None else kept[number],
                rows,
                last_B,
                self.compiled,
            )
        try:
            yield
        finally:
            for module in self.attentions:
                module.__dict__[NAME] = Reading(compiled=self.compiled)


def install(model: Any, *, compiled: bool) -> Kernels | None:
    """Give *model* this attention, and compile its layers; None, and nothing changed, where it does not fit.

    It fits causal attention over everything before, with or without grouped heads: not sliding windows, not
    capped scores, not attention with learned biases or sinks.
    """
    known = model.config
    attentions = [one for one in model.base_model.modules() if _is_attention(one)]
    layers = _layers(model.base_model, known.num_hidden_layers)
    if layers is None or len(attentions) != known.num_hidden_layers or _is_of_another_kind(model):
        return None
    model.set_attn_implementation(NAME)
    if compiled:
        torch._dynamo.config.cache_size_limit = max(_SHAPES, torch._dynamo.config.cache_size_limit)
        for layer in layers:
            layer.compile()
    kernels = Kernels(tuple(sorted(attentions, key=_number)), compiled)
    with kernels.reading():
        pass
    return kernels


def can_compile() -> bool:
    """Say whether this machine can compile kernels: triton is there, and a C compiler that it calls."""
    compilers = ("cc", "gcc", "clang")
    return find_spec("triton") is not None and any(shutil.which(one) for one in compilers)


def _is_attention(module: nn.Module) -> bool:
    return hasattr(module, "layer_idx") and hasattr(module, "is_causal") and hasattr(module, "config")


def _number(attention: nn.Module) -> int:
    return int(attention.layer_idx)  # type: ignore[arg-type]


def _layers(base: nn.Module, count: int) -> nn.ModuleList | None:
    found = [one for one in base.children() if isinstance(one, nn.ModuleList) and len(one) == count]
    return found[0] if len(found) == 1 else None


def _is_of_another_kind(model: Any) -> bool:
    known = model.config
    slides = getattr(known, "sliding_window", None) and getattr(known, "use_sliding_window", True)
    kinds = set(getattr(known, "layer_types", None) or ["full_attention"])
    capped = getattr(known, "attn_logit_softcapping", None)
    return bool(
        slides
        or capped
        or kinds != {"full_attention"}
        or not getattr(model, "_supports_attention_backend", 0)
    )


@torch.compiler.disable  # type: ignore[untyped-decorator]
def attend(
    module: nn.Module,
    query_BHTd: Tensor,
    key_BGTd: Tensor,
    value_BGTd: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    **_: object,
) -> tuple[Tensor, None]:
    """Return what each row takes from what stands before it, shape ``[B, T, H, d]``, for transformers."""
    assert attention_mask is None, "rows are padded on the right, where a causal row cannot see it"
    at: Reading = module.__dict__.get(NAME) or Reading()
    if at.last_B is not None:
        assert at.kept is not None
        keys_BGTd, values_BGTd = (kept[: len(at.last_B)] for kept in at.kept)
        row_B = torch.arange(len(at.last_B), device=at.last_B.device)
        keys_BGTd[row_B, :, at.last_B] = key_BGTd[:, :, 0]
        values_BGTd[row_B, :, at.last_B] = value_BGTd[:, :, 0]
        newest = _newest_compiled() if at.compiled else newest_attends
        return newest(query_BHTd, keys_BGTd, values_BGTd, at.last_B, at.prefix, scaling), None
    if at.kept is not None:
        for kept, read in zip(at.kept, (key_BGTd, value_BGTd), strict=True):
            kept[at.rows, :, : read.shape[2]] = read
    causal = _causal_compiled if at.compiled else _causal
    return causal(query_BHTd, key_BGTd, value_BGTd, at.prefix, scaling).transpose(1, 2), None


AttentionInterface.register(NAME, attend)
AttentionMaskInterface.register(NAME, lambda *_, **__: None)


def newest_attends(
    query_BH1d: Tensor,
    keys_BGTd: Tensor,
    values_BGTd: Tensor,
    last_B: Tensor,
    prefix: KeysValues | None,
    scale: float | None,
) -> Tensor:
    """Return what the newest token of each row takes from its row and from the prefix, ``[B, 1, H, d]``.

    A row is read up to column *last_B*. The prefix is read once for all rows; the two parts are put together
    by their log-sum-exps.

    Source:
        Juravsky et al. (2024), Hydragen, arXiv:2402.05099.
    """

    def up_to_last(score: Tensor, row: Tensor, _head: Tensor, _query: Tensor, column: Tensor) -> Tensor:
        return torch.where(column <= last_B[row], score, float("-inf"))

    with_sums = AuxRequest(lse=True)
    own_BH1d, own = flex_attention(
        query_BH1d,
        keys_BGTd,
        values_BGTd,
        score_mod=up_to_last,
        scale=scale,
        enable_gqa=True,
        return_aux=with_sums,
    )
    assert own.lse is not None
    if prefix is None:
        return own_BH1d.transpose(1, 2)
    rows, heads, _, width = query_BH1d.shape
    groups = keys_BGTd.shape[1]
    query_1GMd = query_BH1d.view(rows, groups, -1, width).transpose(0, 1).reshape(1, groups, -1, width)
    shared_1GMd, shared = flex_attention(query_1GMd, *prefix, scale=scale, return_aux=with_sums)
    shared_BH1d = shared_1GMd.view(groups, rows, -1, width).transpose(0, 1).reshape(rows, heads, 1, width)
    assert shared.lse is not None
    shared_BH1 = shared.lse.view(groups, rows, -1).transpose(0, 1).reshape(rows, heads, 1)
    share_BH11 = torch.sigmoid(shared_BH1 - own.lse)[..., None]
    mixed_BH1d = share_BH11 * shared_BH1d + (1 - share_BH11) * own_BH1d
    return mixed_BH1d.to(query_BH1d.dtype).transpose(1, 2)


@lru_cache(maxsize=1)
def _newest_compiled() -> Callable[..., Tensor]:
    return torch.compile(newest_attends, dynamic=False)


def _causal(
    query_BHTd: Tensor, key_BGTd: Tensor, value_BGTd: Tensor, prefix: KeysValues | None, scale: float | None
) -> Tensor:
    """Return causal attention after *prefix*, shape ``[B, H, T, d]``; also with more keys than queries."""
    key_BGSd, value_BGSd = _after(prefix, key_BGTd, value_BGTd)
    length, seen = query_BHTd.shape[2], key_BGSd.shape[2]
    mask = None if length == seen else causal_lower_right(length, seen)
    return functional.scaled_dot_product_attention(
        query_BHTd, key_BGSd, value_BGSd, attn_mask=mask, is_causal=mask is None, scale=scale, enable_gqa=True
    )


def _causal_compiled(
    query_BHTd: Tensor, key_BGTd: Tensor, value_BGTd: Tensor, prefix: KeysValues | None, scale: float | None
) -> Tensor:
    """Return what :func:`_causal` does, in a kernel whose gradients repeat bit for bit.

    On an H200 it is faster than flash attention in its deterministic mode; cuDNN's gradients do not repeat.
    It is compiled for each shape, since a kernel for any shape takes half as long again.
    """
    length, behind = query_BHTd.shape[2], key_BGTd.shape[2] - query_BHTd.shape[2]
    behind += 0 if prefix is None else prefix[0].shape[2]
    rows, columns = _up(length), _up(behind + length)
    key_BGSd, value_BGSd = _after(prefix, key_BGTd, value_BGTd, columns - behind - length)
    mixed_BHSd = _flex_compiled()(
        functional.pad(query_BHTd, (0, 0, 0, rows - length)),
        key_BGSd,
        value_BGSd,
        block_mask=_block_mask(rows, columns, behind, query_BHTd.device),
        scale=scale,
        enable_gqa=True,
    )
    return mixed_BHSd[:, :, :length]


@lru_cache(maxsize=1)
def _flex_compiled() -> Callable[..., Tensor]:
    return torch.compile(flex_attention, dynamic=False)


@lru_cache(maxsize=_SHAPES)
def _block_mask(rows: int, columns: int, behind: int, device: torch.device) -> BlockMask:
    def is_before(_row: Tensor, _head: Tensor, query: Tensor, column: Tensor) -> Tensor:
        return column <= query + behind

    return create_block_mask(is_before, None, None, rows, columns, device=device)


def _after(
    prefix: KeysValues | None, key_BGTd: Tensor, value_BGTd: Tensor, empty: int = 0
) -> tuple[Tensor, Tensor]:
    """Return keys and values with *prefix* before them and *empty* columns of zeros after them."""
    rows, heads, _, width = key_BGTd.shape
    both = []
    for number, own in enumerate((key_BGTd, value_BGTd)):
        before = [] if prefix is None else [prefix[number].expand(rows, -1, -1, -1)]
        after = [own.new_zeros(rows, heads, empty, width)] if empty else []
        both.append(torch.cat([*before, own, *after], dim=2) if before or after else own)
    return both[0], both[1]


def _up(length: int) -> int:
    return -(-length // _BLOCK) * _BLOCK
