"""Compiles the kernels of attention for cards that need not be there; prints the shared memory of each.

A program of its own, since Triton decides when it is imported whether it compiles or interprets.
"""

import json
import re
import sys

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from runkit.engine import triton_attention, triton_kernels

WIDTH, WARP = 128, 32
TYPES = {
    "last": "*i64",
    "scale": "fp32",
    "log2_scale": "fp32",
    **dict.fromkeys(("sums", "products"), "*fp32"),
    **dict.fromkeys(("queries", "keys", "values", "prefix_keys", "prefix_values"), "*bf16"),
    **dict.fromkeys(("gradients", "query_gradients", "key_gradients", "value_gradients", "mixed"), "*bf16"),
}


def shared_bytes(kernel, constants, *, warps, stages, capability):
    """Return the shared memory that a program of *kernel* takes."""
    names = kernel.arg_names
    types = {name: "constexpr" if name in constants else TYPES.get(name, "i32") for name in names}
    aligned = {
        (place,): [["tt.divisibility", 16]]
        for place, name in enumerate(names)
        if types[name].startswith("*") or re.search(r"_(row|head|at)$", name)
    }
    compiled = triton.compile(
        ASTSource(fn=kernel, signature=types, constexprs=constants, attrs=aligned),
        target=GPUTarget("cuda", capability, WARP),
        options={"num_warps": warps, "num_stages": stages},
    )
    return compiled.metadata.shared


def main():
    """Print the bytes of each kernel for the widest heads of half precision."""
    capability, is_roomy = int(sys.argv[1]), sys.argv[2] == "roomy"
    sizes = triton_attention.sizes(WIDTH, torch.bfloat16, is_roomy=is_roomy)
    common = {"width": WIDTH, "WIDTH": WIDTH, "PRECISION": "tf32"}
    rows, columns, *forward = sizes.forward
    *blocks, warps, stages = sizes.backward
    names = ("KEY_ROWS", "KEY_COLUMNS", "QUERY_ROWS", "QUERY_COLUMNS")
    newest_columns, *newest = sizes.newest
    asked = {
        "forward": ({"ROWS": rows, "COLUMNS": columns, "CAUSAL": True}, forward),
        "backward": (dict(zip(names, blocks, strict=True)), (warps, stages)),
        "newest": ({"ROWS": 16, "COLUMNS": newest_columns}, newest),
    }
    found = {}
    for name, (constants, (its_warps, its_stages)) in asked.items():
        kernel = getattr(triton_kernels, name)
        found[name] = shared_bytes(
            kernel, {**common, **constants}, warps=its_warps, stages=its_stages, capability=capability
        )
    print(json.dumps(found))


if __name__ == "__main__":
    main()
