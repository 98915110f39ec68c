# SPDX-FileCopyrightText: 2026 The megafold authors
# SPDX-License-Identifier: Apache-2.0
"""One way to make a compiled operator differentiable."""

from __future__ import annotations

from typing import Callable

import torch

from megafold import _libraries  # noqa: F401  (defines the operators)


def node(name: str, setup: Callable, backward: Callable) -> Callable:
    """Registers the autograd of `megafold::name`; returns what calls the operator.

    `setup(ctx, inputs, output)` and `backward(ctx, *gradients)` as torch.library.register_autograd
    has them. What traces (torch.compile, export) sees the operator. Elsewhere an autograd.Function
    of the same two functions runs it: torch.library's way in Python costs a forward more of the
    host's time (docs/kernels/operators.md).
    """
    torch.library.register_autograd(f"megafold::{name}", backward, setup_context=setup)
    operator = getattr(torch.ops.megafold, name).default

    def forward(*arguments):
        return operator(*arguments)

    parts = {"forward": forward, "setup_context": setup, "backward": backward}
    function = type(  # named after the operator, as a profile and a grad_fn show it
        name, (torch.autograd.Function,), {part: staticmethod(f) for part, f in parts.items()}
    )

    def call(*arguments):
        if torch.compiler.is_compiling() or not torch.is_grad_enabled():
            return operator(*arguments)
        return function.apply(*arguments)

    return call


def differentiable_once(name: str, what: str) -> None:
    """A derivative of the backward operator `megafold::name` is an error that says so."""

    def refuse(ctx, *_):
        raise RuntimeError(
            f"megafold's {what} is differentiable once: its backward has no gradient"
        )

    torch.library.register_autograd(f"megafold::{name}", refuse)
