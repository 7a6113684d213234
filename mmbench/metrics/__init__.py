"""Metrics, one file a kind of output: item statistics that add up, and a value of the sums."""

from __future__ import annotations

from mmbench.metrics._contract import Metric, family, influence, metric, pseudo_values
from mmbench.metrics._items import TextItems, prepare

__all__ = ["Metric", "TextItems", "family", "influence", "metric", "prepare", "pseudo_values"]
