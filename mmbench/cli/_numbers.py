"""Numbers on the command line: what is expected is said as every other error here says it."""

from __future__ import annotations

import math
from typing import Any

import click


class Whole(click.ParamType):  # type: ignore[type-arg]
    """A whole number within bounds, both of which count.

    Args:
        least: The lowest.
        most: The highest; None: any.
    """

    name = "integer"

    def __init__(self, least: int, most: int | None = None) -> None:
        self.least, self.most = least, most

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return the number; refuse in one line what is none."""
        try:
            number = int(value)
        except (TypeError, ValueError):
            number = self.least - 1
        if number < self.least or (self.most is not None and number > self.most):
            bounds = f"{self.least} or more"
            if self.most is not None:
                bounds = f"from {self.least} to {self.most:,}"
            self.fail(f"expected a whole number, {bounds}, not {value}", param, ctx)
        return number


class Amount(click.ParamType):  # type: ignore[type-arg]
    """A finite number of something, from 0 on.

    Args:
        what: Of what: ``hours``.
        zero: Whether it may be 0.
    """

    name = "number"

    def __init__(self, what: str, zero: bool = False) -> None:
        self.what, self.zero = what, zero

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Return the number; refuse in one line what is none."""
        try:
            number = float(value)
        except (TypeError, ValueError):
            number = math.nan
        if not math.isfinite(number) or number < 0 or (number == 0 and not self.zero):
            bounds = "0 or more" if self.zero else "above 0"
            self.fail(f"expected a number of {self.what}, {bounds}, not {value}", param, ctx)
        return number
