"""Counts floating-point operations with torch's own formulas.

`torch.utils.flop_counter.FlopCounterMode` does so too, but loads torch's compiler for it, which
takes a second and more.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry


class Operations(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts what is computed inside its ``with``; a product and a sum are two.

    Attributes:
        total: The operations of products of matrices, convolutions and attention.
        calls: How often something was computed, however small.
        elements: The numbers that were written, by all of it.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.total = self.calls = self.elements = 0

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Say that the compiler need not be kept out: it would be loaded for that."""
        return False

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        count = flop_registry.get(getattr(func, "_overloadpacket", func))
        if count is not None:
            self.total += int(count(*args, **kwargs, out_val=out))
        if not getattr(func, "is_view", False):
            self.calls += 1
            several = out if isinstance(out, tuple | list) else (out,)
            self.elements += sum(x.numel() for x in several if isinstance(x, Tensor))
        return out
