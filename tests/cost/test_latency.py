"""The time of single items: what is timed, how many, and what it leaves as it was."""

from __future__ import annotations

import contextlib
import types
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

from mmbench import predict as predict_module
from mmbench.cost import latency as module
from mmbench.cost.latency import FEWEST, MOST, PATIENCE, WARM, latency, percentiles
from mmbench.errors import DataError
from mmbench.spec import DecodingSpec
from mmbench.types import Split

DECODING = DecodingSpec(beams=3)


def split(items: int) -> Split:
    x = np.arange(items, dtype=np.float32)[:, None]
    return Split(ids=[str(k) for k in range(items)], inputs={"x": x}, targets={}, references={})


class Clock:
    """A clock that only predictions move: each by what its item says, in milliseconds."""

    def __init__(self) -> None:
        self.now = 0.0
        self.items: list[int] = []
        self.decodings: list[DecodingSpec] = []
        self.events: list[str] = []

    def predict(self, model: Any, items: Split, decoding: DecodingSpec) -> None:
        (value,) = items.inputs["x"][:, 0]
        assert len(items) == 1
        self.items.append(int(items.ids[0]))
        self.decodings.append(decoding)
        self.events.append("predict")
        self.now += (1 + float(value)) / 1000


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(predict_module, "predict", made.predict)
    monkeypatch.setattr(module.time, "perf_counter", lambda: made.now)
    return made


def on(device: str) -> Any:
    """Return what is a model to whoever asks only where it is."""
    place = types.SimpleNamespace(device=torch.device(device))
    return types.SimpleNamespace(parameters=lambda: iter([place]))


def test_percentiles_are_those_of_all_items(clock: Clock) -> None:
    found = latency(on("cpu"), split(50), DECODING, seconds=1e9)
    assert clock.items == [0] * WARM + list(range(50))
    assert set(clock.decodings) == {DECODING}
    times = np.arange(1, 51) / 1000
    assert found.p50 == pytest.approx(np.median(times))
    assert found.p95 == pytest.approx(np.quantile(times, 0.95))
    assert found.items == 50


def test_of_many_items_some_are_timed_evenly_over_the_split(clock: Clock) -> None:
    found = latency(on("cpu"), split(2000), DECODING, seconds=1e9)
    timed = clock.items[WARM:]
    assert found.items == len(timed) == MOST
    assert (timed[0], timed[-1]) == (0, 1999)
    assert set(np.diff(timed)) <= {20, 21}
    clock.items.clear()
    assert latency(on("cpu"), split(2000), DECODING, 1e9, limit=30).items == 30
    assert max(clock.items) == 29, "what is beyond the limit was never predicted"


def test_it_ends_when_its_time_is_over_and_says_how_many_it_timed(clock: Clock) -> None:
    spent = np.cumsum(np.arange(1, 41)) + WARM  # in ms, the warm-up included
    found = latency(on("cpu"), split(40), DECODING, seconds=0.1)
    assert spent[FEWEST - 2] > 100, "its time is over before there are enough"
    assert found.items == FEWEST, "but not as many times over that it ends for it"
    assert found.p95 is not None
    found = latency(on("cpu"), split(40), DECODING, seconds=0.01)
    assert found.items == int((spent <= 10 * PATIENCE).sum()) + 1 < FEWEST
    assert found.p95 is None, "of so few it would be the longest"
    clock.items.clear()
    found = latency(on("cpu"), split(40), DECODING, seconds=0.0)
    assert found.items == 1
    assert clock.items == [0, 0], "one to warm up, one that counts"
    assert percentiles([0.2] * FEWEST).p95 == pytest.approx(0.2)


def test_a_gpu_is_waited_for_before_and_after_each_item(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    forked: list[Any] = []

    @contextlib.contextmanager
    def fork(devices: list[Any]) -> Iterator[None]:
        forked.extend(devices)
        yield

    def wait(device: Any) -> None:
        assert device == torch.device("cuda:0")
        clock.events.append("wait")

    monkeypatch.setattr(torch.random, "fork_rng", fork)
    monkeypatch.setattr(torch.cuda, "synchronize", wait)
    latency(on("cuda:0"), split(4), DECODING, seconds=1e9)
    assert clock.events == ["predict"] * WARM + ["wait", "predict", "wait"] * 4
    assert forked == [torch.device("cuda:0")]


def test_torchs_random_state_is_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    def draw(*arguments: Any) -> None:  # as a decoder that samples would
        torch.rand(5)

    monkeypatch.setattr(predict_module, "predict", draw)
    before = torch.random.get_rng_state()
    latency(on("cpu"), split(4), DECODING, seconds=1e9)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_nothing_to_time_is_an_error_of_one_line(clock: Clock) -> None:
    with pytest.raises(DataError, match="the split is empty"):
        latency(on("cpu"), split(0), DECODING, seconds=1.0)
