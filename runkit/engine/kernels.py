"""How a frozen model computes on a GPU: one attention that knows what stands before a row, compiled layers.

The plain way (``transformers``' SDPA and growing caches) stays for the CPU and for models whose attention is
of another kind. Here keys and values of a shared prefix are read where they lie, and those of generated rows
stand in memory allocated once, so that a decoding step has fixed addresses and fits a CUDA graph.

Legend: B rows, T columns of a row, P positions of a shared prefix, H heads of queries, G heads of keys and
values, d width of a head.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.attention.bias import causal_lower_right
from transformers import AttentionInterface
from transformers.masking_utils import AttentionMaskInterface

NAME = "runkit"
_WIDEST_FP32 = 128
"""Kernels for wider heads of fp32 models take minutes to compile; such models keep the plain way."""

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
    asked_from: int = 0
    """What the layer says in columns before this one is not looked at; keys and values are those of all."""
    compiled: bool = False


@dataclass(frozen=True)
class Kernels:
    """The attention modules of one model, first layer first, ready to be told what stands before a row."""

    attentions: tuple[nn.Module, ...]
    last: tuple[nn.Module, ...]
    """What the last layer need not compute in columns whose prediction nobody asks for."""
    compiled: bool

    @contextmanager
    def reading(
        self,
        prefix: Sequence[KeysValues] | None = None,
        *,
        kept: Sequence[KeysValues] | None = None,
        rows: slice | None = None,
        last_B: Tensor | None = None,
        asked_from: int = 0,
        once: bool = False,
    ) -> Iterator[None]:
        """Let the model's next forward passes stand after *prefix*, and keep what they read in *kept*.

        Args:
            asked_from: The first column whose final hidden state is of use; those before it are not numbers
                of the model.
            once: No more passes of this kind come, so that compiling one would take longer than it.
        """
        for number, module in enumerate(self.attentions):
            module.__dict__[NAME] = Reading(
                None if prefix is None else prefix[number],
                None if kept is None else kept[number],
                rows,
                last_B,
                compiled=self.compiled,
            )
        for module in self.last:
            at: Reading = module.__dict__.get(NAME) or Reading()
            module.__dict__[NAME] = at._replace(asked_from=asked_from)
        plainly = torch.compiler.set_stance("force_eager") if once and self.compiled else nullcontext()
        try:
            with plainly:
                yield
        finally:
            for module in (*self.attentions, *self.last):
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
    if compiled and model.dtype == torch.float32 and width_of_head(known) > _WIDEST_FP32:
        return None
    model.set_attn_implementation(NAME)
    if compiled:
        for layer in layers[:-1]:  # the same code for all of them; the last one does less
            layer.compile(dynamic=True)  # once for rows of all lengths
    attentions = sorted(attentions, key=_number)
    kernels = Kernels(tuple(attentions), (attentions[-1], *_told_what_is_asked(layers[-1])), compiled)
    with kernels.reading():
        pass
    return kernels


def width_of_head(known: Any) -> int:
    """Return d of a model of configuration *known*."""
    return int(getattr(known, "head_dim", None) or known.hidden_size // known.num_attention_heads)


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


def _told_what_is_asked(layer: nn.Module) -> list[nn.Module]:
    """Let the parts of *layer* that look at single columns compute only what is asked for; return them."""
    attention = next(one for one in layer.modules() if _is_attention(one))
    mlp = getattr(layer, "mlp", None)
    # what has another name may route tokens, or return more than a tensor
    parts = [mlp] if type(mlp).__name__.endswith("MLP") else []
    parts += [getattr(attention, name, None) for name in ("q_proj", "o_proj")]
    return [_tells_what_is_asked(part) for part in parts if isinstance(part, nn.Module)]


def _tells_what_is_asked(part: nn.Module) -> nn.Module:
    whole = part.forward

    def forward(hidden_BTE: Tensor) -> Tensor:
        first: int = part.__dict__[NAME].asked_from
        said: Tensor = whole(hidden_BTE[:, first:])
        return functional.pad(said, (0, 0, first, 0)) if first else said

    part.forward = forward
    return part


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
        if at.compiled:
            from runkit.engine import triton_attention

            return triton_attention.newest_attends(
                query_BHTd, keys_BGTd, values_BGTd, at.last_B, at.prefix, scaling
            ), None
        return newest_attends(query_BHTd, keys_BGTd, values_BGTd, at.last_B, at.prefix, scaling), None
    if at.kept is not None:
        for kept, read in zip(at.kept, (key_BGTd, value_BGTd), strict=True):
            kept[at.rows, :, : read.shape[2]] = read
    query_BHAd = query_BHTd[:, :, at.asked_from :]
    if at.compiled:
        from runkit.engine import triton_attention

        mixed_BAHd = triton_attention.attend(query_BHAd, key_BGTd, value_BGTd, at.prefix, scaling)
    else:
        mixed_BAHd = causal(query_BHAd, key_BGTd, value_BGTd, at.prefix, scaling)
    return functional.pad(mixed_BAHd, (0, 0, 0, 0, at.asked_from, 0)) if at.asked_from else mixed_BAHd, None


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

    A row is read up to column *last_B*. :func:`runkit.engine.triton_attention.newest_attends` does the same.
    """
    key_BGSd, value_BGSd = _after(prefix, keys_BGTd, values_BGTd)
    column_S = torch.arange(key_BGSd.shape[2], device=last_B.device)
    start = key_BGSd.shape[2] - keys_BGTd.shape[2]
    mask_B11S = (column_S <= start + last_B[:, None])[:, None, None]
    return functional.scaled_dot_product_attention(
        query_BH1d, key_BGSd, value_BGSd, attn_mask=mask_B11S, scale=scale, enable_gqa=True
    ).transpose(1, 2)


def causal(
    query_BHTd: Tensor, key_BGTd: Tensor, value_BGTd: Tensor, prefix: KeysValues | None, scale: float | None
) -> Tensor:
    """Return causal attention after *prefix*, shape ``[B, T, H, d]``; also with more keys than queries.

    :func:`runkit.engine.triton_attention.attend` does the same.
    """
    key_BGSd, value_BGSd = _after(prefix, key_BGTd, value_BGTd)
    length, seen = query_BHTd.shape[2], key_BGSd.shape[2]
    mask = None if length == seen else causal_lower_right(length, seen)
    return functional.scaled_dot_product_attention(
        query_BHTd, key_BGSd, value_BGSd, attn_mask=mask, is_causal=mask is None, scale=scale, enable_gqa=True
    ).transpose(1, 2)


def _after(prefix: KeysValues | None, key_BGTd: Tensor, value_BGTd: Tensor) -> KeysValues:
    """Return keys and values with *prefix* before them."""
    if prefix is None:
        return key_BGTd, value_BGTd
    before_BGPd = [one.expand(len(key_BGTd), -1, -1, -1) for one in prefix]
    return torch.cat([before_BGPd[0], key_BGTd], dim=2), torch.cat([before_BGPd[1], value_BGTd], dim=2)
