"""Batches are the same bits wherever a split lies, and what lies on the disk stays there."""

from __future__ import annotations

import errno
import gc
import os
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import tiny
import torch

from mmbench import rng, room
from mmbench.errors import DataError, UsageError
from mmbench.models import feed as feeding
from mmbench.models.feed import Feed, placing, rows
from mmbench.models.feed.ahead import Ahead
from mmbench.models.feed.gather import BUFFERS, Key, Sender, Sent, Source
from mmbench.models.feed.rows import File, Held
from mmbench.room import USUAL, Allowance, readable
from mmbench.types import Array, Batch, Ragged, Split

CPU = torch.device("cpu")
NOTHING, PLENTY = Allowance(size=1), Allowance(size=2**40)
ROOT = Path(__file__).parents[2]


def mapped(split: Split, folder: Path) -> Split:
    """Return the split with its arrays in files, mapped as the cache maps them."""
    count = iter(range(1000))

    def lay(array: Array) -> Array:
        path = folder / f"{next(count)}.npy"
        np.save(path, array)
        return np.load(path, mmap_mode="r")  # type: ignore[no-any-return]

    def lay_input(values: Array | Ragged) -> Array | Ragged:
        if isinstance(values, Ragged):
            return Ragged(lay(values.values), lay(values.lengths))
        return lay(values)

    return replace(
        split,
        inputs={name: lay_input(values) for name, values in split.inputs.items()},
        targets={name: lay(array) for name, array in split.targets.items()},
        present={name: lay(array) for name, array in split.present.items()},
    )


def plainly(
    split: Split, names: Sequence[str], index: Array, seed: int, epoch: int, size: int
) -> dict[Key, Array]:
    """Return what a batch has to hold, by numpy's indexing alone."""
    found: dict[Key, Array] = {}
    for name in names:
        values = split.inputs[name]
        if isinstance(values, Ragged):
            found["lengths", name] = np.array(values.lengths)[index]
            values = values.values
        found["inputs", name] = np.array(values)[index]
        there = split.present.get(name, np.ones(len(split), dtype=bool))
        found["present", name] = np.array(there)[index]
    for name, array in split.targets.items():
        whole = np.array(array)
        if whole.ndim == 3:
            draw = rng.uniform(seed, "target text", name, epoch, count=size)
            counts = (whole[:size, :, 0] != 0).sum(axis=1)
            texts = whole[index, (draw * counts).astype(np.int64)[index]]
            found["targets", name] = texts[:, : (texts != 0).sum(axis=1).max()]
        else:
            found["targets", name] = whole[index]
    return found


def content(batch: Batch) -> dict[Key, torch.Tensor]:
    parts = ("inputs", "lengths", "present", "targets")
    return {(part, n): x for part in parts for n, x in getattr(batch, part).items()}


def assert_same(batch: Batch, wanted: dict[Key, Array]) -> None:
    got = content(batch)
    assert got.keys() == wanted.keys()
    for key, array in wanted.items():
        assert got[key].numpy().dtype == array.dtype, key
        assert got[key].shape == array.shape, key
        assert got[key].numpy().tobytes() == array.tobytes(), key


def orders(count: int, size: int, epochs: int = 2) -> list[tuple[int, Array]]:
    draw = np.random.default_rng(1)
    return [
        (epoch, order[at : at + size])
        for epoch in range(epochs)
        for order in [draw.permutation(count)]
        for at in range(0, count, size)
    ]


def threads() -> list[threading.Thread]:
    return [t for t in threading.enumerate() if t.name.startswith("mmbench-feed")]


@pytest.fixture(autouse=True)
def tidy() -> Iterator[None]:
    """No test leaves a thread or anything that counts as held."""
    before = dict(placing._held)
    yield
    gc.collect()
    deadline = time.monotonic() + 60
    while threads() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not threads()
    assert dict(+placing._held) == {k: n for k, n in before.items() if n}


@pytest.fixture(params=["captions", "answers"])
def world(request: pytest.FixtureRequest) -> tiny.World:
    return tiny.WORLDS[request.param]


# --- the same bits ------------------------------------------------------------------------------


@pytest.mark.parametrize("allowed", ["nothing", "a part", "plenty", "usual"])
@pytest.mark.parametrize("planned", [False, True])
@pytest.mark.parametrize("limit", [None, 29])
def test_batches_are_the_same_bits_wherever_a_split_lies(
    world: tiny.World, allowed: str, planned: bool, limit: int | None, tmp_path: Path
) -> None:
    split = world.split(40)
    there = mapped(split, tmp_path)
    names = list(world.signature.modalities)
    size = limit or 40
    arrays = placing.columns(there, names, size, True)
    part = sum(array.nbytes for array in arrays.values()) // 2
    sizes = {"nothing": NOTHING, "a part": Allowance(size=part), "plenty": PLENTY, "usual": USUAL}
    with Feed(there, CPU, names, limit, True, sizes[allowed]) as feed:
        assert len(feed) == size
        on_disk = {"nothing": len(arrays), "plenty": 0, "usual": 0}
        if allowed == "a part":
            assert 0 < len(feed.places.disk) < len(arrays)
        else:
            assert len(feed.places.disk) == on_disk[allowed]
        order = orders(size, 7)
        if planned:
            feed.plan(index for _, index in order)
        for epoch, index in order:
            wanted = plainly(split, names, index, 5, epoch, size)
            assert_same(feed.batch(index, 5, epoch), wanted)


def test_arrays_in_memory_are_used_as_they_are(world: tiny.World) -> None:
    split = world.split(20)
    names = list(world.signature.modalities)
    with Feed(split, CPU, names, targets=True, memory=NOTHING) as feed:
        assert not feed.places.disk, "what is in memory already is not read from anywhere"
        index = np.array([7, 3, 3, 19, 0])
        assert_same(feed.batch(index, 1, 2), plainly(split, names, index, 1, 2, 20))
        batch = feed.batch(index)
        for tensor in content(batch).values():
            tensor.zero_()  # a batch is the caller's own
        assert_same(feed.batch(index, 1, 2), plainly(split, names, index, 1, 2, 20))


@pytest.mark.parametrize("memory", [NOTHING, PLENTY])
def test_a_batch_can_be_asked_for_at_random_whatever_is_planned(
    memory: Allowance, tmp_path: Path
) -> None:
    split = tiny.split(30)
    names = list(tiny.SIGNATURE.modalities)
    with Feed(mapped(split, tmp_path), CPU, names, targets=True, memory=memory) as feed:
        order = orders(30, 8)
        feed.plan(index for _, index in order)
        for at, (epoch, index) in enumerate(order):
            if at % 3 == 1:  # something in between, what was planned stays planned
                other = np.arange(5)
                assert_same(feed.batch(other), plainly(split, names, other, 0, 0, 30))
            assert_same(feed.batch(index, 2, epoch), plainly(split, names, index, 2, epoch, 30))
        assert_same(feed.batch(order[3][1]), plainly(split, names, order[3][1], 0, 0, 30))


def test_an_order_tells_what_comes_without_going_on() -> None:
    from mmbench.train import Order

    order, other = Order(3, "fit", 10, 4), Order(3, "fit", 10, 4)
    for _ in range(3):
        order.next(), other.next()
    ahead = order.ahead()
    coming = [next(ahead) for _ in range(6)]  # over the end of epochs
    assert (order.epoch, order.start) == (other.epoch, other.start) == (1, 4)
    for epoch, index in coming:
        for one in (order, other):
            number, items = one.next()
            assert number == epoch
            assert np.array_equal(index, items)


def test_training_that_starts_again_in_the_middle_of_an_epoch_sees_what_was_to_come(
    tmp_path: Path,
) -> None:
    there = mapped(tiny.split(30), tmp_path)
    names = list(tiny.SIGNATURE.modalities)
    order = orders(30, 7, epochs=3)
    with Feed(there, CPU, names, targets=True, memory=NOTHING) as feed:
        feed.plan(index for _, index in order)
        through = [content(feed.batch(index, 3, epoch)) for epoch, index in order]
    with Feed(there, CPU, names, targets=True, memory=NOTHING) as feed:
        feed.plan(index for _, index in order)
        for epoch, index in order[:6]:
            feed.batch(index, 3, epoch)
    with Feed(there, CPU, names, targets=True, memory=NOTHING) as feed:
        feed.plan(index for _, index in order[6:])
        for (epoch, index), before in zip(order[6:], through[6:], strict=True):
            again = content(feed.batch(index, 3, epoch))
            assert all(torch.equal(again[key], before[key]) for key in before)


@pytest.mark.parametrize(
    "array",
    [
        np.arange(60, dtype=np.int16).reshape(20, 3),
        np.arange(20, dtype=np.float64),
        np.arange(20) % 3 == 0,
        np.zeros((20, 2, 0), np.float32),
        np.asfortranarray(np.arange(60, dtype=np.float32).reshape(20, 3)),
        np.arange(20, dtype=">i4"),
        np.arange(60, dtype=np.float16).reshape(20, 3)[::-1],
    ],
    ids=["int16", "float64", "bool", "empty rows", "by columns", "big-endian", "backwards"],
)
@pytest.mark.parametrize("memory", [NOTHING, PLENTY])
@pytest.mark.parametrize("in_file", [False, True])
def test_arrays_of_odd_types_and_layouts(
    array: Array, memory: Allowance, in_file: bool, tmp_path: Path
) -> None:
    split = Split([str(i) for i in range(20)], {"x": array}, {}, {})
    there = mapped(split, tmp_path) if in_file else split
    index = np.array([19, 0, 7, 7, 8, 9])
    with Feed(there, CPU, ["x"], memory=memory) as feed:
        got = feed.batch(index).inputs["x"].numpy()
    native = array.astype(array.dtype.newbyteorder("="))
    assert got.dtype == native.dtype
    np.testing.assert_array_equal(got, native[index])


def test_a_part_of_a_mapped_array_is_read_where_it_lies(tmp_path: Path) -> None:
    array = np.arange(400, dtype=np.int32).reshape(100, 4)
    np.save(tmp_path / "x.npy", array)
    part = np.load(tmp_path / "x.npy", mmap_mode="r")[30:80]
    assert rows.lies_in_file(part)
    out = np.empty((4, 4), np.int32)
    File(part).read(np.array([49, 0, 1, 2]), out)
    np.testing.assert_array_equal(out, array[[79, 30, 31, 32]])
    assert rows.lies_in_file(np.asarray(part))
    assert not rows.lies_in_file(part[:, 1:])
    assert not rows.lies_in_file(np.array(part))
    assert not rows.lies_in_file(np.load(tmp_path / "x.npy", mmap_mode="c"))


def test_rows_that_are_not_there_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.arange(10))
    for source in (File(np.load(tmp_path / "x.npy", mmap_mode="r")), Held(np.arange(10))):
        for wrong in ([10], [-1, 2]):
            with pytest.raises(IndexError, match="of 10"):
                source.read(np.array(wrong), np.empty(len(wrong), np.int64))


def test_no_rows_make_an_empty_batch(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.arange(10.0))
    split = Split([str(i) for i in range(10)], {"x": np.load(tmp_path / "x.npy", "r")}, {}, {})
    with Feed(split, CPU, ["x"], memory=NOTHING) as feed:
        assert feed.places.disk
        assert feed.batch(np.arange(0)).inputs["x"].shape == (0,)


# --- what is made ahead -------------------------------------------------------------------------


def test_planned_batches_are_made_on_a_thread_and_never_more_than_so_many() -> None:
    made: list[tuple[int, str]] = []

    def make(index: Array) -> int:
        made.append((int(index[0]), threading.current_thread().name))
        return int(index[0])

    ahead: Ahead[int] = Ahead(make)
    ahead.plan((np.array([k]) for k in range(100)), 3)
    deadline = time.monotonic() + 30
    while len(made) < 3 and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.1)  # time to make a fourth, if it did
    assert [k for k, _ in made] == [0, 1, 2]
    for k in range(100):
        assert ahead.take(np.array([k])) == k
        assert len(made) <= k + 1 + 3
    assert all(name.startswith("mmbench-feed") for _, name in made)
    assert ahead.take(np.array([7])) == 7
    assert made[-1] == (7, threading.current_thread().name)
    ahead.close()
    assert not threads()


def test_another_plan_takes_the_place_of_the_first() -> None:
    made: list[int] = []

    def make(index: Array) -> int:
        made.append(int(index[0]))
        time.sleep(0.01)
        return int(index[0])

    ahead: Ahead[int] = Ahead(make)
    ahead.plan((np.array([k]) for k in range(50)), 4)
    ahead.plan((np.array([k]) for k in range(50, 53)), 4)
    assert [ahead.take(np.array([k])) for k in range(50, 53)] == [50, 51, 52]
    ahead.close()
    assert made[-3:] == [50, 51, 52]
    assert len(made) <= 3 + 2  # what was begun is ended, the rest is not begun


@pytest.mark.parametrize(("size", "depth"), [(1, 1), (20_000, 1), (30_000, 2), (100_000, 4)])
def test_as_many_batches_wait_as_there_is_room_for(size: int, depth: int, tmp_path: Path) -> None:
    there = mapped(tiny.split(64, whole=True), tmp_path)  # 64 images of 2,184 bytes: 139,776
    with Feed(there, CPU, ["image"], memory=Allowance(size=size)) as feed:
        assert ("inputs", "image") in feed.places.disk
        feed.plan(np.arange(k, k + 4) for k in range(0, 64, 4))
        assert len(feed._ahead._coming) == depth <= feeding.AHEAD
        for k in range(0, 64, 4):
            feed.batch(np.arange(k, k + 4))
            assert len(feed._ahead._coming) <= depth


# --- threads and errors -------------------------------------------------------------------------


def test_a_feed_that_is_given_up_ends_its_thread(tmp_path: Path) -> None:
    feed = Feed(mapped(tiny.split(30), tmp_path), CPU, ["image"], memory=NOTHING)

    class Loop:
        def __init__(self, feed: Feed) -> None:
            self.feed = feed  # in a circle, as a training loop and its order are

        def order(self) -> Iterator[Array]:
            while True:
                yield np.arange(len(self.feed))

    assert feed._ahead._pool is None
    feed.plan(Loop(feed).order())
    feed.batch(np.arange(30))
    assert threads()
    del feed  # `tidy` sees whether it is gone


@pytest.mark.parametrize("end", ["raise SystemExit(0)", "feed.batch(np.arange(20)[::-1].copy())"])
def test_the_interpreter_ends_while_batches_are_made_ahead(end: str, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.zeros((20, 1000), np.float32))
    program = f"""
import itertools, numpy as np, torch
from mmbench.models.feed import Feed
from mmbench.room import Allowance
from mmbench.types import Split
x = np.load({str(tmp_path / "x.npy")!r}, mmap_mode="r")
split = Split([str(i) for i in range(20)], {{"x": x}}, {{}}, {{}})
feed = Feed(split, torch.device("cpu"), ["x"], memory=Allowance(size=1))
feed.plan(itertools.repeat(np.arange(20)))
feed.batch(np.arange(20))
{end}
"""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-W", "error", "-c", program]
    done = subprocess.run(
        command, capture_output=True, text=True, env=environment, timeout=300, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_a_file_that_is_gone_or_another_one_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "x.npy"
    np.save(path, np.arange(4000))
    array = np.load(path, mmap_mode="r")
    split = Split([str(i) for i in range(4000)], {"x": array}, {}, {})
    path.unlink()
    with pytest.raises(DataError, match=r"x\.npy: cannot be read: No such file") as error:
        Feed(split, CPU, ["x"], memory=NOTHING)
    assert "\n" not in str(error.value)
    np.save(path, np.arange(3000))
    with pytest.raises(DataError, match=r"x\.npy: is shorter than when it was opened"):
        Feed(split, CPU, ["x"], memory=NOTHING)
    np.save(path, np.arange(1, 4001))
    with pytest.raises(DataError, match=r"x\.npy: is another file than the one that was opened"):
        Feed(split, CPU, ["x"], memory=NOTHING)
    with Feed(split, CPU, ["x"], memory=PLENTY) as feed:  # what is mapped stays
        assert feed.batch(np.array([3])).inputs["x"].tolist() == [3]


@pytest.mark.parametrize("planned", [False, True])
def test_a_file_that_is_cut_off_meanwhile_is_one_line(planned: bool, tmp_path: Path) -> None:
    path = tmp_path / "x.npy"
    np.save(path, np.zeros((100, 500)))
    split = Split([str(i) for i in range(100)], {"x": np.load(path, mmap_mode="r")}, {}, {})
    order = [np.arange(k, k + 10) for k in range(0, 100, 10)]
    with Feed(split, CPU, ["x"], memory=NOTHING) as feed:
        feed.batch(order[0])
        os.truncate(path, 200_000)
        if planned:
            feed.plan(order)
        feed.batch(order[0])
        with pytest.raises(DataError, match=r"x\.npy: is shorter than when it was opened") as error:
            [feed.batch(index) for index in order]
        assert "\n" not in str(error.value)


def test_reading_goes_on_where_the_system_gave_less_than_was_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = rows._read
    monkeypatch.setattr(rows, "_read", lambda file, room, place: whole(file, room[:5], place))
    np.save(tmp_path / "x.npy", np.arange(100).reshape(20, 5))
    out = np.empty((6, 5), np.int64)
    index = np.array([3, 4, 5, 19, 0, 0])
    File(np.load(tmp_path / "x.npy", mmap_mode="r")).read(index, out)
    np.testing.assert_array_equal(out, np.arange(100).reshape(20, 5)[index])


# --- where arrays are held ----------------------------------------------------------------------


def test_what_fits_is_held_and_all_feeds_share_what_is_allowed(tmp_path: Path) -> None:
    there = mapped(tiny.split(50, whole=True), tmp_path)
    size = sum(a.nbytes for a in placing.columns(there, ["image"], 50, False).values())
    allowed = Allowance(size=size + size // 2)
    with Feed(there, CPU, ["image"], memory=allowed) as first:
        assert not first.places.disk
        with Feed(there, CPU, ["image"], memory=allowed) as second:
            assert second.places.disk == (("inputs", "image"),)
            assert second.places.device == (("present", "image"),)
    with Feed(there, CPU, ["image"], memory=allowed) as third:
        assert not third.places.disk


def test_a_gpu_holds_what_fits_the_host_the_rest_and_the_disk_what_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = mapped(tiny.split(64, whole=True), tmp_path)
    arrays = placing.columns(there, list(tiny.SIGNATURE.modalities), 64, True)
    image, audio = arrays["inputs", "image"].nbytes, arrays["inputs", "audio"].nbytes
    rest = sum(a.nbytes for a in arrays.values()) - image
    gpu = torch.device("cuda", 0)

    def free(**on: int) -> placing.Places:
        monkeypatch.setattr(placing, "_available", lambda device: on[device.type])
        return placing.place(arrays, gpu, Allowance(share=0.5))

    all_there = free(cuda=2 * (image + rest), cpu=0)
    assert set(all_there.device) == set(arrays)
    assert (all_there.host, all_there.disk) == ((), ())
    assert all_there.taken == {"cuda:0": image + rest, "cpu": 0}
    some = free(cuda=4 * rest, cpu=2 * image)
    assert some.host == (("inputs", "image"),)
    assert len(some.device) == len(arrays) - 1
    assert some.taken == {"cuda:0": rest, "cpu": image}
    little = free(cuda=0, cpu=2 * (image + rest) - 2)
    assert (little.device, little.disk) == ((), (("inputs", "image"),))
    none = free(cuda=0, cpu=0)
    assert set(none.disk) == set(arrays)
    assert audio < image
    monkeypatch.undo()
    in_memory = placing.columns(tiny.split(64), ["image"], 64, False)
    monkeypatch.setattr(placing, "_available", lambda device: 0)
    assert set(placing.place(in_memory, gpu, USUAL).host) == set(in_memory)


def test_processes_that_work_beside_each_other_part_what_may_be_taken(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gpu = torch.device("cuda", 0)
    monkeypatch.setattr(placing, "_available", lambda device: 1200)
    monkeypatch.setattr(placing, "_held", Counter())
    share, size = Allowance(share=0.5), Allowance(size=240)

    def left() -> list[int]:
        return [placing.left(allowed, on) for on in (CPU, gpu) for allowed in (share, size)]

    assert left() == [600, 240, 600, 240]
    monkeypatch.setattr(room, "_workers", 3)  # they share the GPU as well
    assert left() == [200, 80, 200, 80]
    monkeypatch.setattr(room, "_workers", 1)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")  # each of these has a GPU of its own
    assert left() == [150, 60, 600, 240]
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "many")
    assert left() == [600, 240, 600, 240]


def test_what_streams_is_said_in_a_line_a_split(tmp_path: Path) -> None:
    there = mapped(tiny.split(50, whole=True), tmp_path)
    splits = {"train": (there, 50, True), "test": (there, 1, False)}
    said = feeding.streaming(splits, ["image"], CPU, Allowance(size=20_000))
    assert len(said) == 1
    assert said[0].startswith("train is read from the disk while it is used (image: 106.6 KiB; ")
    assert "19.5 KiB of memory: --memory" in said[0]
    assert feeding.streaming(splits, ["image"], CPU, PLENTY) == []


@pytest.mark.parametrize(
    ("text", "allowed"),
    [
        ("0.5", Allowance(share=0.5)),
        ("1", Allowance(share=1.0)),
        (" 25% ", Allowance(share=0.25)),
        (".1", Allowance(share=0.1)),
        ("2GiB", Allowance(size=2**31)),
        ("1.5 kib", Allowance(size=1536)),
        ("3MB", Allowance(size=3_000_000)),
        ("800B", Allowance(size=800)),
    ],
)
def test_an_allowance_is_a_share_or_a_size(text: str, allowed: Allowance) -> None:
    assert Allowance.parse(text) == allowed


@pytest.mark.parametrize(
    "text", ["nonsense", "", "0", "-1", "2", "101%", "0%", "5 apples", "GiB", "1e9", "0GiB", "nan"]
)
def test_what_is_neither_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="expected a share of the available memory") as error:
        Allowance.parse(text)
    assert "\n" not in str(error.value)


def test_shares_are_of_what_there_is_and_sizes_are_themselves() -> None:
    assert Allowance(share=0.25).of(1000) == 250
    assert Allowance(share=0.25).of(None) == sys.maxsize
    assert Allowance(size=7).of(1000) == 7
    assert [readable(n) for n in (0, 1023, 1024, 2**20, 5 * 2**41)] == [
        "0 B", "1023 B", "1.0 KiB", "1.0 MiB", "10.0 TiB",
    ]  # fmt: skip


# --- GPUs ---------------------------------------------------------------------------------------


class Later:
    """A copy that happens when it is waited for, as late as a GPU may take it."""

    def __init__(self, pairs: list[tuple[torch.Tensor, torch.Tensor]]) -> None:
        self.pairs = pairs
        self.turn = threading.Lock()

    def synchronize(self) -> None:
        with self.turn:
            for source, target in self.pairs:
                target.copy_(source)
            self.pairs = []


class Pretended(Sender):
    """Sends to nowhere: copies wait until somebody needs them done."""

    def _side_stream(self) -> Any:
        return None

    def _pinned(self, shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
        self.pinned = [*getattr(self, "pinned", []), shape]
        return torch.empty(shape, dtype=dtype)

    def _send(self, filled: Any) -> Sent:
        columns = {key: torch.empty_like(x) for key, x in filled.items()}
        return Sent(columns, Later([(filled[key], columns[key]) for key in filled]))

    def arrive(self, sent: Sent) -> dict[Key, torch.Tensor]:
        sent.copied.synchronize()
        return sent.columns


def test_pinned_buffers_are_filled_again_only_when_they_were_copied(tmp_path: Path) -> None:
    there = mapped(tiny.split(60), tmp_path)
    image, tags = np.array(there.inputs["image"]), there.inputs["tags"]
    assert isinstance(tags, Ragged)
    sources = {
        ("inputs", "image"): Source(File(there.inputs["image"]), image.shape[1:], torch.uint8),
        ("lengths", "tags"): Source(Held(tags.lengths), (), torch.int64),
    }
    sender = Pretended(sources, CPU)
    ahead: Ahead[Sent] = Ahead(sender)  # type: ignore[arg-type]
    order = [index for _, index in orders(60, 7, epochs=3)]
    ahead.plan(order, 4)
    for index in order:
        found = sender.arrive(ahead.take(index))
        np.testing.assert_array_equal(found["inputs", "image"].numpy(), image[index])
        np.testing.assert_array_equal(found["lengths", "tags"].numpy(), tags.lengths[index])
    assert len(sender.pinned) <= BUFFERS * len(sources), "buffers are used again"
    larger = np.arange(60)
    found = sender.arrive(sender(larger))
    np.testing.assert_array_equal(found["inputs", "image"].numpy(), image)
    ahead.close()


def test_an_error_while_a_buffer_is_filled_gives_it_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    array = mapped(tiny.split(20), tmp_path).inputs["image"]
    sender = Pretended(
        {("inputs", "image"): Source(File(array), array.shape[1:], torch.uint8)}, CPU
    )
    index = np.arange(4)
    with monkeypatch.context() as patch:
        patch.setattr(rows, "_read", fail)
        for _ in range(BUFFERS + 1):
            with pytest.raises(DataError, match="Input/output error"):
                sender(index)
    np.testing.assert_array_equal(
        sender.arrive(sender(index))["inputs", "image"].numpy(), array[:4]
    )


def fail(file: int, room: memoryview, place: int) -> int:
    raise OSError(errno.EIO, os.strerror(errno.EIO))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
@pytest.mark.parametrize("where", ["device", "host", "disk"])
def test_batches_are_the_same_bits_on_a_gpu(
    world: tiny.World, where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    split = world.split(40)
    there = mapped(split, tmp_path)
    names = list(world.signature.modalities)
    free = {"device": (2**40, 2**40), "host": (0, 2**40), "disk": (0, 0)}[where]
    monkeypatch.setattr(placing, "_available", lambda d: free[0 if d.type == "cuda" else 1])
    with Feed(there, torch.device("cuda"), names, targets=True) as feed:
        assert getattr(feed.places, where)
        order = orders(40, 7, epochs=5)
        feed.plan(index for _, index in order)
        kept = []
        for epoch, index in order:
            batch = feed.batch(index, 5, epoch)
            assert all(x.is_cuda for x in content(batch).values())
            kept.append(batch)  # compared at the end: no copy may come late or be written over
        for (epoch, index), batch in zip(order, kept, strict=True):
            moved = {
                part: {n: x.cpu() for n, x in getattr(batch, part).items()}
                for part in ("inputs", "lengths", "present", "targets")
            }
            assert_same(Batch(batch.size, **moved), plainly(split, names, index, 5, epoch, 40))


# --- memory -------------------------------------------------------------------------------------

MEASURE = """
import itertools, sys
import numpy as np, torch
from mmbench.models.feed import Feed
from mmbench.room import Allowance
from mmbench.types import Split

path, allowed = sys.argv[1], int(sys.argv[2])
torch.set_num_threads(1)

def resident():
    rows = dict(line.split(":", 1) for line in open("/proc/self/status"))
    return [int(rows[key].split()[0]) * 1024 for key in ("RssAnon", "RssFile")]

x = np.load(path, mmap_mode="r")
torch.zeros(10).index_select(0, torch.zeros(1, dtype=torch.long))
split = Split(range(len(x)), {"x": x}, {}, {})
draw = np.random.default_rng(0)
# What is imported and set up once, threads and their arenas, is not what a split takes.
with Feed(split, torch.device("cpu"), ["x"], memory=Allowance(size=allowed)) as feed:
    feed.plan([np.arange(64), np.arange(64, 128)])
    feed.batch(np.arange(64))
before, most = resident(), [0, 0]
with Feed(split, torch.device("cpu"), ["x"], memory=Allowance(size=allowed)) as feed:
    order = np.split(draw.permutation(len(x)), len(x) // 64)
    feed.plan(order)
    total = 0
    for index in order:
        total += int(feed.batch(index).inputs["x"][:, 0].sum())
        most = [max(a, b) for a, b in zip(most, resident())]
assert total == int(x[:, 0].sum(dtype=np.int64))
print(*(after - early for after, early in zip(most, before)))
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="only Linux says it")
def test_a_split_of_ten_times_the_allowed_memory_takes_no_more_than_that(tmp_path: Path) -> None:
    # Threads and their arenas keep 10 to 20 MiB, whatever is allowed: a third of it, not all.
    allowed = 64 * 2**20
    row = 3 * 64 * 64
    count = 10 * allowed // row // 64 * 64 + 64
    path = tmp_path / "x.npy"
    array = np.lib.format.open_memmap(path, "w+", np.uint8, (count, row))
    array[:, 0] = np.arange(count) % 251
    array.flush()
    del array
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}

    def run(size: int) -> list[int]:
        command = [sys.executable, "-c", MEASURE, str(path), str(size)]
        told = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
        return [int(part) for part in told.stdout.split()]

    assert sum(run(allowed)) < allowed
    anonymous, of_files = run(100 * allowed)
    assert anonymous < allowed, "what fits is mapped, not copied"
    assert of_files > 5 * allowed, "this way of measuring sees what a process holds"


# --- whole runs ---------------------------------------------------------------------------------

Command = Callable[..., Any]


class StopError(Exception):
    pass


@pytest.mark.parametrize("stop", [2, 5, 8])
def test_interrupted_training_goes_on_from_the_disk_to_the_same_bits(
    stop: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mmbench.checkpoint import Checkpoints
    from mmbench.spec import BudgetSpec
    from mmbench.train import Engine, train

    class Watch:
        def __init__(self, stop: int) -> None:
            self.stop = stop

        def step(self, done: int, total: int, loss: float | None, score: float | None) -> None:
            if done == self.stop:
                raise StopError

        def note(self, text: str) -> None:
            pass

    split = tiny.split(10)
    there = mapped(split, tmp_path)
    spec = tiny.spec("late")
    recipe = msgspec.structs.replace(spec.recipe, batch_size=3)  # three batches an epoch

    def go(items: Split, stop: int, engine: Engine) -> dict[str, torch.Tensor]:
        model = tiny.make(spec)
        splits, budget = {"train": items, "val": items}, BudgetSpec(10, 9, 1)
        train(model, splits, recipe, budget, 3, lambda _: 0.0, Watch(stop), engine)
        return dict(model.state_dict())

    def kept() -> Checkpoints:
        return Checkpoints(tmp_path / "kept", "run", {}, 0.0, lambda _: None)

    whole = go(split, 0, Engine())
    on_the_spot: list[Array] = []
    take = Ahead.take

    def watched(self: Ahead[Any], index: Array) -> Any:
        if not self._coming or not np.array_equal(self._coming[0][0], index):
            on_the_spot.append(index)
        return take(self, index)

    monkeypatch.setattr(Ahead, "take", watched)
    with pytest.raises(StopError):
        go(there, stop, Engine(checkpoints=kept(), memory=NOTHING))
    again = go(there, 0, Engine(checkpoints=kept(), memory=NOTHING))
    assert all(torch.equal(whole[name], again[name]) for name in whole)
    assert not on_the_spot, "every batch of both parts was expected"


def test_records_are_the_same_bits_however_little_memory_there_is(
    cli: Command, task: Callable[..., str]
) -> None:
    from mmbench import store

    path = task()
    run = ["run", "-t", path, "-m", "hybrid,image_only", "--set", "width=16", "--device", "cpu"]
    assert cli(*run, "--results", "usual").code == 0
    done = cli(*run, "--results", "little", "--memory", "20KiB")
    assert done.code == 0
    for name in ("train", "val", "test", "ood"):
        assert f"{name} is read from the disk while it is used" in done.err
    usual, little = (
        sorted((s.record for s in store.scan(Path(folder))[0]), key=lambda r: r.model)
        for folder in ("usual", "little")
    )
    assert len(usual) == 2
    for one, other in zip(usual, little, strict=True):
        assert (one.identity, one.files) == (other.identity, other.files)
        assert (one.curve, one.scores) == (other.curve, other.scores)
        assert one.reproduce == other.reproduce
    again = cli(*run, "--results", "usual", "--memory", "1KiB")
    assert again.code == 0
    assert "finished before" in again.err, "the memory is no part of what a run is"
    assert not threads()


def test_planted_sequences_with_absent_modalities_too(cli: Command) -> None:
    from mmbench import store

    run = ["run", "-t", "redundant", "-m", "early", "--budget", "smoke", "--device", "cpu"]
    run += ["--limit", "60", "-q"]
    for folder, memory in (("usual", "0.5"), ("little", "1KiB")):
        done = cli(*run, "--results", folder, "--memory", memory)
        assert done.code == 0
        assert done.err == ""  # quiet is quiet
    one, other = (store.scan(Path(folder))[0][0].record for folder in ("usual", "little"))
    assert (one.identity, one.files) == (other.identity, other.files)
    assert (one.curve, one.scores) == (other.curve, other.scores)


def test_nonsense_is_refused_in_one_line_from_the_option_and_the_variable(
    cli: Command, task: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = ["run", "-t", task(), "-m", "image_only"]
    done = cli(*run, "--memory", "nonsense")
    assert done.code == 2
    assert done.error.startswith("error: --memory nonsense: expected a share of the available")
    monkeypatch.setenv("MMBENCH_MEMORY", "3")
    assert cli(*run).code == 2


def test_a_disk_that_fails_ends_the_run_in_one_line(
    cli: Command, task: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, left = rows._read, iter(range(300))

    def tired(file: int, room: memoryview, place: int) -> int:
        if next(left, None) is None:
            fail(file, room, place)
        return whole(file, room, place)

    monkeypatch.setattr(rows, "_read", tired)
    done = cli("run", "-t", task(), "-m", "image_only", "--memory", "1KiB", "--set", "width=16")
    assert done.code == DataError.exit_code
    assert "cannot be read: Input/output error" in done.error
    assert next(left, None) is None
    assert not threads()
