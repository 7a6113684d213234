"""Floating-point operations of one item, held against counts by hand, whatever kernel runs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import nn

from mmbench import predict as module
from mmbench import store
from mmbench.predict import _unfused
from mmbench.report.record import cost_lines
from mmbench.types import Split


class Counted(nn.Module):
    """A model of one layer, in the form that the counter asks for."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer
        self.encoders, self.heads = {"x": layer}, {}

    def fuse(self, batch):
        self.layer(batch.inputs["x"])
        return type("Fused", (), {"branches": ()})()


def counted(layer: nn.Module, *shape: int) -> int:
    items = 5
    x = np.ones((items, *shape), dtype=np.float32)
    split = Split(ids=[str(i) for i in range(items)], inputs={"x": x}, targets={}, references={})
    return module.flops_per_item(Counted(layer), split)


def test_linear_counts_a_product_and_a_sum():
    assert counted(nn.Linear(7, 3), 7) == 2 * 7 * 3


def test_lstm_is_counted_although_its_kernel_is_fused():
    time, size, wide = 4, 6, 5
    each = 2 * 4 * wide * (size + wide)
    assert counted(nn.LSTM(size, wide, batch_first=True), time, size) == time * each


def test_attention_is_counted_whatever_kernel_runs():
    wide, time = 8, 6
    layer = nn.TransformerEncoderLayer(wide, 2, 16, batch_first=True, dropout=0.0)
    projections = 2 * time * wide * wide * 4
    products = 2 * 2 * time * time * wide
    feed_forward = 2 * 2 * time * wide * 16
    assert counted(layer, time, wide) == projections + products + feed_forward


def test_flags_are_as_they_were():
    before = torch.backends.mkldnn.is_available(), torch._C._get_mkldnn_enabled()
    with _unfused():
        assert not torch._C._get_mkldnn_enabled()
    assert (torch.backends.mkldnn.is_available(), torch._C._get_mkldnn_enabled()) == before


def test_runs_store_what_an_item_costs(made: Path):
    found, problems = store.scan(made)
    assert found
    assert not problems
    for stored in found:
        cost = stored.record.cost
        assert cost["flops_per_item"] > cost["parameters"] / 10
        assert "FLOPs an item" in cost_lines(stored.record)[0]
