"""Metrics, one file a kind of output: item statistics, and a value of them."""

from __future__ import annotations

from mmbench.metrics._contract import Metric, family, metric
from mmbench.metrics._influence import influence, pseudo_values
from mmbench.metrics._items import perfect, prepare
from mmbench.metrics._items.text import TextItems

__all__ = [
    "Metric",
    "TextItems",
    "family",
    "influence",
    "metric",
    "perfect",
    "prepare",
    "pseudo_values",
]
