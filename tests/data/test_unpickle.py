"""Pickles: data are read as pickle itself reads them, and nothing that could run code is."""

from __future__ import annotations

import contextlib
import io
import os
import pickle
import pickletools
import struct
import time
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mmbench.data import _unpickle
from mmbench.errors import DataError


def same(one: Any, other: Any) -> bool:
    if isinstance(other, np.ndarray):
        if other.dtype == object:
            return list(one.ravel()) == list(other.ravel()) and one.shape == other.shape
        return bool(one.dtype == other.dtype and np.array_equal(one, other))
    if isinstance(other, dict):
        return list(one) == list(other) and all(same(one[k], other[k]) for k in other)
    if isinstance(other, list | tuple):
        return type(one) is type(other) and all(map(same, one, other))
    return bool(type(one) is type(other) and one == other)


def written(tmp_path: Path, content: bytes) -> Path:
    path = tmp_path / "features.pkl"
    path.write_bytes(content)
    return path


def refused(tmp_path: Path, content: bytes) -> str:
    with pytest.raises(DataError) as caught:
        _unpickle.load(written(tmp_path, content))
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(str(tmp_path / "features.pkl"))
    return message


CONTENT = {
    "train": {
        "text": np.arange(24, dtype=np.float32).reshape(2, 3, 4),
        "audio": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        "big": np.arange(3, dtype=">i4"),
        "words": np.array(["one", "zwei"]),
        "bytes": np.array([b"ab", b"c"]),
        "raw_text": np.array(["EIN SATZ", "noch einer"], dtype=object),
        "flags": np.array([True, False]),
        "none": np.zeros((0, 5)),
        "scalar": np.float32(1.5),
        "ids": ["a$_$1", "b$_$2"],
        "nested": [(1, -(2**70), 2.5, None, True), {"k": b"\x00\xff"}, [], (), {}],
        "unicode": "数据",
    },
    3: 4,
}


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_data_are_read_as_pickle_reads_them(tmp_path: Path, protocol: int) -> None:
    content = pickle.dumps(CONTENT, protocol=protocol)
    assert same(_unpickle.load(written(tmp_path, content)), CONTENT)
    optimised = pickletools.optimize(content)
    assert same(_unpickle.load(written(tmp_path, optimised)), CONTENT)


def test_files_of_python_2_and_of_numpy_1_are_read(tmp_path: Path) -> None:
    content = pickle.dumps(np.arange(4, dtype=np.int16), protocol=2)
    old = content.replace(b"numpy._core.multiarray", b"numpy.core.multiarray")
    assert old != content
    assert same(_unpickle.load(written(tmp_path, old)), np.arange(4, dtype=np.int16))
    # As Python 2 wrote it: the bytes of an array are a string.
    state = b"(I1\n(I2\ntcnumpy\ndtype\n(S'f4'\nI0\nI1\ntR(I3\nS'<'\nNNNI-1\nI-1\nI0\ntbI00\n"
    bits = struct.pack("<2f", 1.0, -2.0)
    made = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntS'b'\ntR"
    python2 = made + state + b"U" + bytes([len(bits)]) + bits + b"tb."
    assert same(_unpickle.load(written(tmp_path, python2)), np.array([1, -2], dtype=np.float32))


class Runs:
    """What a pickle of an attacker does: it calls a function."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> Any:
        return self.call


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize(
    ("content", "named"),
    [
        (Runs(os.system, "touch ran"), "system"),
        (Runs(eval, "open('ran', 'w')"), "eval"),
        (Runs(exec, "open('ran', 'w')"), "exec"),
        (Runs(getattr, "x", "upper"), "getattr"),
        (Runs(__import__, "os"), "__import__"),
        (Runs(np.load, "x.npy"), "numpy"),
        (Runs(np.fromfile, "x"), "numpy"),
        (OrderedDict(a=1), "collections.OrderedDict"),
        ({"train": [Runs(os.system, "touch ran")]}, "system"),
        (np.array([Runs(os.system, "touch ran")], dtype=object), "system"),
        (np.array([len, print], dtype=object), "len"),
        (Path("x"), "pathlib"),
        (1 + 2j, "complex"),
        ({1, 2}, ""),
    ],
    # Not as text: that has addresses, and each process that tests has its own.
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_what_could_run_code_is_refused_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, protocol: int, content: Any, named: str
) -> None:
    monkeypatch.chdir(tmp_path)
    message = refused(tmp_path, pickle.dumps(content, protocol=protocol))
    assert named in message
    assert "could run code" in message
    assert not (tmp_path / "ran").exists()


NUMPY = b"cnumpy.core.multiarray\n_reconstruct\n"


@pytest.mark.parametrize(
    ("content", "says"),
    [
        # numpy's constructors called with what they were not made for
        (b"cnumpy\nndarray\n((I1000000000000\ntI0\ntR.", "no content"),
        (b"cnumpy\ndtype\n(S'O'\ntR.", "holds '_Dtype'"),
        (NUMPY + b".", "holds '_reconstruct'"),
        (b"(lcnumpy\ndtype\na.", "holds 'dtype'"),
        (b"cnumpy\ndtype\n(c__builtin__\neval\ntR.", "'__builtin__.eval'"),
        (b"c_codecs\nencode\n(S'x'\nS'bz2'\ntR.", "encodes as 'bz2'"),
        (b"c__builtin__\nbytes\n(I9999999999\ntR.", "makes bytes of something"),
        (b"c_codecs\nlookup\n(S'x'\ntR.", "'_codecs.lookup'"),
        # a function that is allowed, spoilt for all who call it later
        (NUMPY + b"}S'__defaults__'\nI1\nsb.", "sets the state of a _Name"),
        (NUMPY + b"(N}S'__code__'\nI1\nstb.", "sets the state of a _Name"),
        # names with dots, and instructions that make objects of classes
        (b"\x80\x04\x8c\x05numpy\x8c\x0bcore.sysinf\x93.", "'numpy.core.sysinf'"),
        (b"(i__builtin__\neval\n.", "the instruction INST"),
        (b"(c__builtin__\neval\no.", "'__builtin__.eval'"),
        (b"\x80\x02cnumpy\nndarray\n)\x81.", "the instruction NEWOBJ"),
        (b"\x80\x04cnumpy\nndarray\n)}\x92.", "the instruction NEWOBJ_EX"),
        (b"\x80\x02\x82\x01.", "the instruction EXT1"),
        (b"Pos.system\n.", "the instruction PERSID"),
        (b"S'x'\nQ.", "the instruction BINPERSID"),
        (b"\x80\x05\x97.", "the instruction NEXT_BUFFER"),
        # calls of what is no function, items of what has none
        (b"S'x'\n(tR.", "calls a str"),
        (NUMPY + b"S'x'\nR.", "calls a _Name"),
        (b"S'x'\nS'y'\na.", "appends to a str"),
        (b"(lS'x'\nS'y'\ns.", "sets items of a list"),
        (b"(dp0\ng0\nI1\ns.", "dict whose key is a dict"),
        # values in themselves
        (b"(lp0\ng0\na.", "holds itself"),
        (b"(l" * 60 + b"a" * 59 + b".", "without end"),
    ],
)  # fmt: skip
def test_tricks_are_refused(tmp_path: Path, content: bytes, says: str) -> None:
    before = pickle.dumps(np.arange(3))
    assert says in refused(tmp_path, content)
    assert same(_unpickle.load(written(tmp_path, before)), np.arange(3)), "nothing is spoilt"


def array(shape: bytes, kind: bytes, content: bytes) -> bytes:
    """An array as protocol 0 spells it, with content that may not fit."""
    head = NUMPY + b"(cnumpy\nndarray\n(I0\ntS'b'\ntR(I1\n(" + shape + b"tcnumpy\ndtype\n("
    return head + kind + b"I0\nI1\ntR(I3\nS'<'\nNNNI-1\nI-1\nI0\ntbI00\n" + content + b"tb."


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (array(b"I1000000000000\n", b"S'f8'\n", b"S'x'\n"), "1,000,000,000,000 elements"),
        (array(b"I1000000\nI1000000\n", b"S'f8'\n", b"S''\n"), "elements and 0 bytes"),
        (array(b"I1000000000000\n", b"S'O8'\n", b"(l"), "objects that are not there"),
        (array(b"I-1\n", b"S'f8'\n", b"S'x'\n"), "shape is not one"),
        (array(b"I1\n", b"S'V8'\n", b"S'xxxxxxxx'\n"), "the type 'V8'"),
        (array(b"I1\n", b"S'i4,i4'\n", b"S'xxxxxxxx'\n"), "the type 'i4,i4'"),
        (array(b"I1\n", b"S'U99999999'\n", b"S'x'\n"), "1 bytes for them"),
        (array(b"I1\n", b"S'M8[ns]'\n", b"S'xxxxxxxx'\n"), "the type 'M8[ns]'"),
        (b"\x80\x04\x8e" + struct.pack("<Q", 2**62) + b"x.", ""),  # bytes
        (b"\x80\x04\x8d" + struct.pack("<Q", 2**62) + b"x.", ""),  # text
        (b"\x80\x05\x96" + struct.pack("<Q", 2**62) + b"x.", ""),  # bytearray
        (b"\x80\x02\x8b" + struct.pack("<i", 2**31 - 1) + b"x.", ""),  # a number of 2 GiB
        (b"]r\xff\xff\xff\x7f.", None),  # a place in the memo far away takes no room
    ],
    ids=range(13),
)  # fmt: skip
def test_huge_allocations_are_not_made(tmp_path: Path, content: bytes, says: str | None) -> None:
    import resource

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.monotonic()
    if says is None:
        assert _unpickle.load(written(tmp_path, content)) == []
    else:
        assert says in refused(tmp_path, content)
    assert time.monotonic() - started < 60
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000, "KiB"


def test_a_value_that_stands_in_many_places_is_walked_once(tmp_path: Path) -> None:
    """A billion laughs: forty lists, each of which holds the one before it ten times."""
    content = b"(lp0\n" + b"".join(
        b"(l" + b"g%d\na" % n * 10 + b"p%d\n" % (n + 1) for n in range(40)
    )
    started = time.monotonic()
    assert len(_unpickle.load(written(tmp_path, content + b"."))) == 10
    assert time.monotonic() - started < 60


@pytest.mark.parametrize("kept", [0, 1, 10, 100, 200, -1])
def test_a_pickle_that_was_cut_off_says_so(tmp_path: Path, kept: int) -> None:
    whole = pickle.dumps(CONTENT)
    assert "is not a whole pickle" in refused(tmp_path, whole[:kept])


def test_what_is_no_pickle_says_so(tmp_path: Path) -> None:
    for content in (b"hello world, this is text", b"\x89PNG\r\n\x1a\n" + bytes(50), b"PK\x03\x04"):
        refused(tmp_path, content)
    with pytest.raises(DataError, match="cannot be read: No such file"):
        _unpickle.load(tmp_path / "nowhere.pkl")


def test_random_bytes_and_flipped_bits_never_escape(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    whole = bytearray(pickle.dumps(CONTENT, protocol=2))
    for _ in range(600):
        spoilt = bytearray(whole)
        for place in draw.integers(0, len(whole), 3):
            spoilt[place] = int(draw.integers(0, 256))
        with contextlib.suppress(DataError):
            _unpickle.load(written(tmp_path, bytes(spoilt)))


def test_pickles_made_by_a_pickler_with_buffers_out_of_band_are_refused(tmp_path: Path) -> None:
    out = io.BytesIO()
    pickle.Pickler(out, protocol=5, buffer_callback=lambda _: None).dump(np.arange(5))
    assert "NEXT_BUFFER" in refused(tmp_path, out.getvalue())
