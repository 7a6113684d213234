"""What nobody announces: less data, a modality that is silently gone. The gate has to see it.

Real runs of `early` on a task as small as to be short of data; the regression is planted between
the data and the run, where no definition, digest or checksum tells of it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mmbench import catalog
from mmbench.data import _load
from mmbench.types import Dataset, Split

ITEMS = 800
BUDGET = f"brief = {{ items = {ITEMS}, steps = 160, validations = 4, validation_items = 500 }}"

pytestmark = pytest.mark.slow


def less(dataset: Dataset) -> Dataset:
    """Train on 70 % of the items that the budget has, and on some of them more often."""
    train = dataset.splits["train"]
    again = np.arange(len(train)) % int(0.7 * ITEMS)
    return replace(dataset, splits={**dataset.splits, "train": train.take(again)})


def deaf(dataset: Dataset) -> Dataset:
    """Lose one modality everywhere."""

    def without(split: Split) -> Split:
        return replace(split, present={**split.present, "vision": np.zeros(len(split), bool)})

    return replace(dataset, splits={name: without(s) for name, s in dataset.splits.items()})


@pytest.fixture
def runs(cli: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Run three seeds into a folder of their own, with data as they come or spoiled."""
    text = catalog.task_path("redundant").read_text(encoding="utf-8")
    for old, new in (
        ('name = "redundant"', 'name = "watched"'),
        ('default_budget = "small"', 'default_budget = "brief"'),
        ("[budgets]\n", f"[budgets]\n{BUDGET}\n"),
    ):
        assert text.count(old) >= 1
        text = text.replace(old, new, 1)
    Path("watched.toml").write_text(text, encoding="utf-8")
    load = _load.load

    def run(
        folder: str, seeds: str, spoil: Callable[[Dataset], Dataset] = lambda data: data
    ) -> str:
        monkeypatch.setattr(_load, "load", lambda task, root=None: spoil(load(task, root)))
        options = ["-t", "./watched.toml", "-m", "early", "--seeds", seeds, "--results", folder]
        done = cli("run", *options, "-q")
        assert done.code == 0, done.err
        return folder

    return run


def test_the_gate_sees_what_was_planted_and_nothing_in_other_seeds(
    cli: Callable[..., Any], runs: Callable[..., str]
) -> None:
    reference = runs("reference", "0-2")
    asked = ["gate", "--reference", reference, "--margin", "0.02"]
    asked += ["--on-inconclusive", "warn", "--candidate"]
    told = {
        folder: cli(*asked, runs(folder, "3-5", *spoil))
        for folder, spoil in (("other", ()), ("less", (less,)), ("deaf", (deaf,)))
    }
    assert told["other"].code == 0, told["other"].out
    for folder in ("less", "deaf"):
        assert told[folder].code == 1, told[folder].out
        assert "REGRESSED" in told[folder].out
