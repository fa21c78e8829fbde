"""Whether single operations of torch give the bits that they gave elsewhere, checked when a run begins.

Each operation that the engine trusts is computed once on fixed numbers and hashed. The known hashes were the
same on an AMD EPYC without AVX-512 and on an Intel Xeon with it, under the settings of
:mod:`runkit.engine.arithmetic` and with torch 2.11 and 2.13.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Mapping
from functools import cache
from importlib import resources

import torch
from torch import Tensor
from torch.nn import functional

from runkit.engine.arithmetic import Setting
from runkit.records.manifest import Arithmetic

_DIGITS = 16
_PRIME, _MODULUS = 2_654_435_761, 1_000_003


def arithmetic(setting: Setting, *, device: str, threads: int) -> Arithmetic:
    """Return how this process computes, with the operations whose bits are not the known ones.

    Args:
        device: ``cpu`` or ``cuda``; on a GPU nothing is compared.
        threads: What the run computes with; operations are computed on one.
    """
    seen = {} if device != "cpu" else hashes()
    known = known_hashes()
    return Arithmetic(
        setting=setting,
        device=device,
        threads=threads,
        differing=tuple(name for name, digest in seen.items() if known[name] != digest),
    )


def fingerprint() -> str:
    """Return one digest over what this process computes, for the keys of what is kept across runs."""
    return hashlib.sha256(json.dumps(hashes(), sort_keys=True).encode()).hexdigest()


@cache
def known_hashes() -> Mapping[str, str]:
    """Return the committed hash of each operation."""
    text = resources.files(__package__).joinpath("operations.json").read_text("utf-8")
    hashes: dict[str, str] = json.loads(text)
    return hashes


@cache
def hashes() -> Mapping[str, str]:
    """Return the hash of each operation in this process, computed on one thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return {name: _hash(compute()) for name, compute in OPERATIONS.items()}
    finally:
        torch.set_num_threads(threads)


def _hash(result: Tensor) -> str:
    return hashlib.sha256(result.detach().contiguous().numpy().tobytes()).hexdigest()[:_DIGITS]


def _numbers(*shape: int, key: int = 1) -> Tensor:
    """Return numbers in [-0.5, 0.5) that only whole-number arithmetic made."""
    index = torch.arange(math.prod(shape), dtype=torch.int64)
    fractions = ((index * _PRIME + key * 40_503) % _MODULUS).to(torch.float64) / _MODULUS - 0.5
    return fractions.to(torch.float32).reshape(shape)


@cache
def _wide() -> Tensor:
    return _numbers(32, 64, 96) * 4


@cache
def _matrix() -> Tensor:
    return _numbers(384, 96, key=2)


@cache
def _heads() -> tuple[Tensor, Tensor, Tensor]:
    return (
        _numbers(4, 4, 32, 24) * 3,
        _numbers(4, 4, 32, 24, key=7) * 3,
        _numbers(4, 4, 32, 24, key=8),
    )


def _cross_entropy(weight: Tensor) -> Tensor:
    return functional.cross_entropy(
        functional.linear(_wide().reshape(-1, 96), weight), torch.arange(2048) % 384
    )


def _gradient(compute: Callable[[Tensor], Tensor], at: Tensor) -> Tensor:
    leaf = at.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(compute(leaf), leaf)
    return gradient


def _mean_of_squares(of: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    return lambda leaf: of(leaf).square().mean()


def _embedding_gradient() -> Tensor:
    rows = torch.arange(500) % 100
    return _gradient(lambda table: functional.embedding(rows, table).pow(2).sum(), _numbers(100, 96))


def _attention_gradient() -> Tensor:
    query, key, value = _heads()
    return _gradient(
        _mean_of_squares(
            lambda leaf: functional.scaled_dot_product_attention(leaf, key, value, is_causal=True)
        ),
        query,
    )


def _stepped() -> Tensor:
    weight = torch.nn.Parameter(_matrix().clone())
    weight.grad = _numbers(384, 96, key=11)
    torch.optim.AdamW([weight], lr=1e-3, fused=True).step()
    return weight


def _masked_attention() -> Tensor:
    query, key, value = _heads()
    mask = torch.ones(32, 32, dtype=torch.bool).tril()
    return functional.scaled_dot_product_attention(query, key, value, attn_mask=mask)


OPERATIONS: Mapping[str, Callable[[], Tensor]] = {
    "randn": lambda: torch.randn(1000, generator=torch.Generator().manual_seed(7)),
    "uniform": lambda: torch.empty(1000).uniform_(-1, 1, generator=torch.Generator().manual_seed(7)),
    "mm": lambda: _wide().reshape(-1, 96) @ _matrix().T,
    "mm_small": lambda: _numbers(7, 96) @ _numbers(96, 13, key=3),
    "mm_long": lambda: _wide().reshape(-1, 96).T @ _wide().reshape(-1, 96),
    "bmm": lambda: torch.bmm(_numbers(32, 64, 24), _numbers(32, 24, 64, key=5)),
    "linear_bias": lambda: functional.linear(_wide(), _matrix(), _numbers(384, key=9)),
    "exp": lambda: _wide().exp(),
    "log": lambda: (_wide().abs() + 1e-3).log(),
    "sin": lambda: _wide().sin(),
    "cos": lambda: _wide().cos(),
    "rsqrt": lambda: (_wide().abs() + 1e-3).rsqrt(),
    "pow2": lambda: _wide().pow(2),
    "silu": lambda: functional.silu(_wide()),
    "silu_grad": lambda: _gradient(_mean_of_squares(functional.silu), _wide()),
    "gelu_t": lambda: functional.gelu(_wide(), approximate="tanh"),
    "gelu_t_grad": lambda: _gradient(
        _mean_of_squares(lambda leaf: functional.gelu(leaf, approximate="tanh")), _wide()
    ),
    "sum": lambda: _wide().sum(),
    "mean-1": lambda: _wide().mean(-1),
    "sum0": lambda: _wide().sum(0),
    "norm": lambda: torch.linalg.vector_norm(_wide()),
    "cumsum": lambda: _wide().cumsum(-1),
    "softmax": lambda: _wide().softmax(-1),
    "logsoftmax": lambda: _wide().log_softmax(-1),
    "lse": lambda: _wide().logsumexp(-1),
    "layernorm": lambda: functional.layer_norm(_wide(), (96,)),
    "layernorm_grad": lambda: _gradient(
        _mean_of_squares(lambda leaf: functional.layer_norm(leaf, (96,)) * _wide()), _wide()
    ),
    "rmsnorm": lambda: _wide() * torch.rsqrt(_wide().pow(2).mean(-1, keepdim=True) + 1e-6),
    "sdpa": lambda: functional.scaled_dot_product_attention(*_heads(), is_causal=True),
    "sdpa_mask": _masked_attention,
    "sdpa_grad": _attention_gradient,
    "ce": lambda: _cross_entropy(_matrix()),
    "ce_grad": lambda: _gradient(_cross_entropy, _matrix()),
    "emb_grad": _embedding_gradient,
    "adamw_fused": _stepped,
    "solve": lambda: torch.linalg.solve(_numbers(40, 40) + torch.eye(40) * 5, _numbers(40, 3, key=2)),
}
"""Name to what is computed; named and fed as in the comparison of two makers that they were taken from."""
