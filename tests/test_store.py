"""Records on disk: what is written comes back, damage is named, a failed write leaves nothing."""

from __future__ import annotations

import errno
import gc
import hashlib
import json
import math
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from mmbench import catalog, claims, store
from mmbench.errors import NotComparableError, PlaceError, StoreError
from mmbench.sealed import put as put_file
from mmbench.store import Record, StoredScore
from mmbench.types import Predictions

TASK = msgspec.json.decode(msgspec.json.encode(catalog.task("captioning")))
IDENTITY = "1a2b3c4d" + "0" * 56
IDS = {"test": ["a", "b", "ü"], "ood": ["a", "d"]}


def record(**changes: Any) -> Record:
    """A record as a run makes it, before it is written."""
    content: dict[str, Any] = {
        "status": "finished",
        "task": "captioning",
        "task_version": 1,
        "task_digest": "t" * 64,
        "budget": "small",
        "model": "hybrid",
        "family": "hybrid",
        "summary": "hört und sieht",
        "model_digest": "m" * 64,
        "seed": 3,
        "identity": IDENTITY,
        "definition": {"task": TASK, "model": {"width": 64}, "limit": None},
        "provenance": {"started": "2026-01-01T00:00:00+00:00", "threads": 1, "packages": {}},
        "data": {"fingerprint": "f" * 64, "source": ""},
        "scores": {"test": {"cider_d": score(0.1 + 0.2), "bleu1": score(1 / 3, se=None)}},
        "curve": [
            {"step": 10, "loss": 1.0 / 3.0, "score": None},
            {"step": 20, "loss": 1e-300, "score": 0.25},
        ],
        "cost": {"parameters": 12, "train_seconds": 1.5, "stopped_early": False},
        "reproduce": "mmbench run -t captioning -m hybrid --set 'width=64'",
    }
    return Record(**{**content, **changes})


def score(value: float, **changes: Any) -> StoredScore:
    content: dict[str, Any] = {
        "value": value,
        "low": value - 0.1,
        "high": value + 0.1,
        "se": 0.05,
        "n": 3,
        "signature": "v1|ptb",
        "higher_is_better": True,
        "bounds": (0.0, None),
    }
    return StoredScore(**{**content, **changes})


def statistics() -> dict[str, dict[str, tuple[list[str], Any]]]:
    draw = np.random.default_rng(0)
    return {
        split: {
            "bleu": (["match1", "total1"], draw.normal(size=(len(ids), 2))),
            "cider_d": (["score"], draw.normal(size=(len(ids), 1)) * 1e-12),
        }
        for split, ids in IDS.items()
    }


def predictions() -> dict[str, Predictions]:
    return {
        split: Predictions(
            ids,
            {"caption": [f"a {split} {name}" for name in ids]},
            {
                "caption.gate": [[[0.25, 0.75]] * (1 + k) for k in range(len(ids))],
                "branches": [["joint", "image"]] * len(ids),
            },
        )
        for split, ids in IDS.items()
    }


def heavy(path: Path) -> None:
    path.write_bytes(b"weights")


def write(results: Path, **changes: Any) -> store.Stored:
    """Write a whole record with all its files."""
    items = store.items_table(IDS, statistics(), {"test": ["s1", "s1", "s2"], "ood": None})
    table = store.predictions_table(predictions())
    return store.write(results, record(**changes), items, table, heavy)


def content_of(folder: Path) -> dict[str, bytes]:
    """Every file below, hidden ones too."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def hidden(folder: Path) -> list[Path]:
    return list(folder.rglob(".*"))


def complaint(action: Callable[[], Any], kind: type[Exception] = StoreError) -> str:
    with pytest.raises(kind) as caught:
        action()
    message = str(caught.value)
    assert "\n" not in message
    return message


# --- what is written comes back -----------------------------------------------------------------


def test_a_record_comes_back_as_it_was_written(tmp_path: Path) -> None:
    written = write(tmp_path / "deep" / "results")
    assert written.folder == tmp_path / "deep/results/captioning/hybrid/small-s3-1a2b3c4d"
    assert sorted(path.name for path in written.folder.iterdir()) == [
        "items.parquet",
        "predictions.parquet",
        "record.json",
        "weights.safetensors",
    ]
    assert (written.folder / store.WEIGHTS).read_bytes() == b"weights"
    found = store.read(written.folder)
    assert found == written
    expected = record(files=found.record.files, checksum=found.record.checksum)
    assert found.record == expected
    assert found.record.files == {
        name: hashlib.sha256((written.folder / name).read_bytes()).hexdigest()
        for name in (store.ITEMS, store.PREDICTIONS, store.WEIGHTS)
    }
    assert not hidden(tmp_path)
    assert written.folder.stat().st_mode & 0o777 == 0o755


def test_numbers_that_json_lacks_come_back_as_nothing(tmp_path: Path) -> None:
    curve = [{"step": 1, "loss": math.nan, "score": math.inf}, {"step": 2, "loss": None}]
    odd = score(0.5, low=-math.inf, high=math.nan, bounds=(-math.inf, math.inf))
    written = write(tmp_path, curve=curve, scores={"test": {"x": odd}}, cost={"seconds": math.nan})
    found = store.read(written.folder).record
    assert found.curve == [{"step": 1, "loss": None, "score": None}, {"step": 2, "loss": None}]
    assert found.scores["test"]["x"] == score(0.5, low=None, high=None, bounds=(None, None))
    assert found.cost == {}  # what is not known need not be told from what is not there


def test_item_statistics_come_back_bit_by_bit(tmp_path: Path) -> None:
    found = store.read_items(write(tmp_path))
    assert list(found) == ["test", "ood"]
    assert found["test"].clusters == ["s1", "s1", "s2"]
    assert found["ood"].clusters == found["ood"].ids  # each item is its own
    for split, families in statistics().items():
        assert found[split].ids == IDS[split]
        assert list(found[split].families) == list(families)
        for family, (names, rows) in families.items():
            assert found[split].families[family][0] == names
            assert np.array_equal(found[split].families[family][1], rows)


def test_predictions_come_back_with_their_columns(tmp_path: Path) -> None:
    written = write(tmp_path)
    for split, said in predictions().items():
        found = store.read_predictions(written, split)
        assert found.pop("split") == [split] * len(said.ids)
        assert found.pop("id") == said.ids
        assert found == {**said.outputs, **said.columns}


def test_a_record_without_other_files_is_one_too(tmp_path: Path) -> None:
    written = store.write(tmp_path, record(status="diverged", scores={}))
    assert store.read(written.folder).record.files == {}
    assert [path.name for path in written.folder.iterdir()] == [store.RECORD]


def test_only_files_that_are_there_are_listed(tmp_path: Path) -> None:
    first = write(tmp_path / "one").record
    again = store.write(tmp_path / "two", first, weights=heavy)
    assert set(again.record.files) == {store.WEIGHTS}
    assert store.read(again.folder) == again


def test_other_scores_may_take_a_records_place_and_the_rest_stays(tmp_path: Path) -> None:
    written = write(tmp_path)
    before = content_of(written.folder)
    rows = {split: {"new": (["x"], np.ones((len(ids), 1)))} for split, ids in IDS.items()}
    changed = msgspec.structs.replace(written.record, reason="rescored")
    clusters = dict.fromkeys(IDS)
    found = store.rewrite(written, changed, store.items_table(IDS, rows, clusters))
    assert store.read(written.folder) == found
    assert list(store.read_items(found)["test"].families) == ["new"]
    after = content_of(written.folder)
    for name in (store.PREDICTIONS, store.WEIGHTS):
        assert after[name] == before[name]
    assert after[store.ITEMS] != before[store.ITEMS]
    assert not hidden(tmp_path)


def test_a_new_record_of_the_same_name_takes_the_old_ones_place(tmp_path: Path) -> None:
    write(tmp_path)
    again = store.write(tmp_path, record(reason="again"), weights=heavy)
    found, problems = store.scan(tmp_path)
    assert (found, problems) == ([again], [])
    assert sorted(path.name for path in again.folder.iterdir()) == [store.RECORD, store.WEIGHTS]
    assert not hidden(tmp_path)


# --- damage -------------------------------------------------------------------------------------


def edited(**changes: Any) -> Callable[[bytes], bytes]:
    """Change what stands in a record.json, its checksum left as it was."""

    def edit(raw: bytes) -> bytes:
        content = json.loads(raw)
        content.update(changes)
        return json.dumps({k: v for k, v in content.items() if v is not ...}).encode()

    return edit


DAMAGE: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "a score": (lambda raw: raw.replace(b"0.05", b"0.01", 1), "does not match its checksum"),
    "the status": (edited(status="leak"), "does not match its checksum"),
    "the seed": (edited(seed=4), "does not match its checksum"),
    "one more key": (edited(note="best of ten"), "does not match its checksum"),
    "one key less": (edited(reproduce=...), "does not match its checksum"),
    "the checksum": (edited(checksum="0" * 64), "does not match its checksum"),
    "a file's checksum": (edited(files={}), "does not match its checksum"),
    "cut short": (lambda raw: raw[: len(raw) // 2], "is not valid JSON"),
    "emptied": (lambda raw: b"", "is not valid JSON"),
    "zeroed": (lambda raw: bytes(len(raw)), "is not valid JSON"),
    "no UTF-8": (lambda raw: raw.replace("ö".encode(), b"\xff"), "is not valid JSON"),
    "other JSON": (lambda raw: b"[1, 2]", "is no record of mmbench: 'schema' is missing"),
    "no schema": (edited(schema=...), "is no record of mmbench: 'schema' is missing"),
    "schema in words": (edited(schema="1"), "is no record of mmbench: 'schema' is missing"),
    "a newer schema": (edited(schema=99), "schema 99 is newer than this mmbench reads (1)"),
    "a key missing": (edited(identity=...), "missing required field `identity`"),
    "a wrong type": (edited(seed="three"), "Expected `int`, got `str` - at `$.seed`"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_record_is_refused_in_one_line_that_names_the_file(
    tmp_path: Path, damage: str
) -> None:
    whole = write(tmp_path, seed=1)
    path = write(tmp_path).folder / store.RECORD
    change, expected = DAMAGE[damage]
    raw = path.read_bytes()
    assert change(raw) != raw
    path.write_bytes(change(raw))
    message = complaint(lambda: store.read(path.parent))
    assert message.startswith(f"{path}: ")
    assert expected in message
    found, problems = store.scan(tmp_path)
    assert found == [whole]
    assert problems == [message]


def test_a_record_that_is_not_there_is_named(tmp_path: Path) -> None:
    message = complaint(lambda: store.read(tmp_path / "none"))
    assert (
        message == f"{tmp_path / 'none' / store.RECORD}: cannot be read: No such file or directory"
    )


def test_other_line_ends_and_spaces_are_no_damage(tmp_path: Path) -> None:
    written = write(tmp_path)
    path = written.folder / store.RECORD
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    assert store.read(written.folder) == written
    path.write_text(json.dumps(json.loads(path.read_text("utf-8"))), "utf-8")
    assert store.read(written.folder) == written


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20])


def flip(path: Path) -> None:
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 1
    path.write_bytes(bytes(raw))


def folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


FILES: dict[str, Callable[[store.Stored], object]] = {
    store.ITEMS: store.read_items,
    store.PREDICTIONS: lambda stored: store.read_predictions(stored, "test"),
    store.WEIGHTS: lambda stored: store.checked(stored, store.WEIGHTS),
}


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize(
    ("damage", "expected"),
    [
        (cut, "does not match the record's checksum"),
        (flip, "does not match the record's checksum"),
        (Path.unlink, "is missing: the record was stored or copied without it"),
        (folder, "cannot be read"),
    ],
)
def test_a_damaged_file_is_refused_when_it_is_read(
    tmp_path: Path, name: str, damage: Callable[[Path], None], expected: str
) -> None:
    written = write(tmp_path)
    FILES[name](written)
    if name == store.WEIGHTS and damage is cut:
        (written.folder / name).write_bytes(b"")
    else:
        damage(written.folder / name)
    assert store.read(written.folder) == written  # the record itself is whole
    message = complaint(lambda: FILES[name](written))
    assert message.startswith(f"{written.folder / name}: {expected}")


@pytest.mark.parametrize("name", [store.ITEMS, store.PREDICTIONS])
def test_a_file_that_is_no_table_is_refused_even_with_the_right_checksum(
    tmp_path: Path, name: str
) -> None:
    written = write(tmp_path)
    path = written.folder / name
    cut(path)
    files = {**written.record.files, name: store.checksum(path)}
    stored = store.Stored(written.folder, msgspec.structs.replace(written.record, files=files))
    message = complaint(lambda: FILES[name](stored))
    assert message.startswith(f"{path}: cannot be read: ")


def test_another_records_file_is_refused(tmp_path: Path) -> None:
    written = write(tmp_path)
    other = store.write(
        tmp_path, record(seed=9), weights=lambda path: path.write_bytes(b"x") and None
    )
    shutil.copy(other.folder / store.WEIGHTS, written.folder / store.WEIGHTS)
    assert "checksum" in complaint(lambda: store.checked(written, store.WEIGHTS))


# --- old records --------------------------------------------------------------------------------

#: Written by the first version. It has to stay readable for ever: never change it.
FIRST = (
    '{"budget":"small","checksum":"d5ac64824deffc61d4d68ce67af975da'
    'c51c4b51b43320189f86da6d8ab02664","cost":{"steps":4},"curve":[{"loss":2.5,"score":null,'
    '"step":10.0},{"loss":null,"score":0.25,"step":20}],"data":{"fingerprint":"ff","source":""},'
    '"definition":{"limit":null},"family":"late","files":{},"identity":"abcdef0123","model":"late",'
    '"model_digest":"mm","provenance":{"started":"2026-01-01T00:00:00+00:00"},"ranked":true,'
    '"reason":"","reproduce":"mmbench run -t tiny -m late","schema":1,"scores":{"test":{"bleu1":{'
    '"bounds":[0.0,1.0],"high":0.7,"higher_is_better":true,"low":0.3,"n":4,"se":0.1,'
    '"signature":"v1","value":0.5}}},"seed":0,"status":"finished","summary":"one",'
    '"task":"tiny","task_digest":"tt","task_version":1}'
)


def sealed(content: dict[str, Any]) -> str:
    """Seal as schema 1 says: SHA-256 of the JSON, keys sorted, indented by 1, a newline last."""
    text = json.dumps({**content, "checksum": ""}, sort_keys=True, indent=1, ensure_ascii=False)
    return json.dumps({**content, "checksum": hashlib.sha256(f"{text}\n".encode()).hexdigest()})


def test_a_record_of_the_first_schema_is_read(tmp_path: Path) -> None:
    (tmp_path / store.RECORD).write_text(FIRST, "utf-8")
    found = store.read(tmp_path).record
    assert found.name == "tiny/late/small-s0-abcdef01"
    assert found.scores["test"]["bleu1"].value == 0.5
    assert found.curve[1] == {"step": 20, "loss": None, "score": 0.25}


def test_the_checksum_is_that_of_sorted_indented_json(tmp_path: Path) -> None:
    content = json.loads((write(tmp_path).folder / store.RECORD).read_text("utf-8"))
    assert json.loads(sealed(content))["checksum"] == content["checksum"]


def test_a_record_from_before_a_key_was_added_is_read(tmp_path: Path) -> None:
    written = write(tmp_path)
    path = written.folder / store.RECORD
    content = json.loads(path.read_text("utf-8"))
    for key in ("reproduce", "family", "ranked"):  # as if a later version had added these
        del content[key]
    path.write_text(sealed(content), "utf-8")
    found = store.read(written.folder).record
    assert (found.reproduce, found.family, found.ranked) == ("", "", True)
    assert found.scores == written.record.scores


# --- writing that fails -------------------------------------------------------------------------


def full(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def second_time(function: Callable[..., Any]) -> Callable[..., Any]:
    """Let a function work once, then say that the disk is full."""
    calls: list[object] = []

    def work(*args: Any, **kwargs: Any) -> Any:
        calls.append(args)
        return full() if len(calls) == 2 else function(*args, **kwargs)

    return work


def spoil(monkeypatch: pytest.MonkeyPatch, what: str) -> Callable[[Path], Any]:
    """Make one step of writing fail; return how to write."""
    import pyarrow.parquet as parquet

    if what == "the weights":
        return lambda results: store.write(results, record(reason="new"), weights=full)
    if what == "half of the weights":

        def half(path: Path) -> None:
            path.write_bytes(b"wei")
            full()

        return lambda results: store.write(results, record(reason="new"), weights=half)
    targets: dict[str, tuple[Any, str, Any]] = {
        "the statistics": (parquet, "write_table", full),
        "the predictions": (parquet, "write_table", second_time(parquet.write_table)),
        "the record": (Path, "write_bytes", second_time(Path.write_bytes)),
        "flushing": (os, "fsync", full),
        "the folder": (store.tempfile, "mkdtemp", full),
        "the last step": (os, "replace", full),
    }
    owner, name, replacement = targets[what]
    monkeypatch.setattr(owner, name, replacement)
    return lambda results: write(results, reason="new")


STEPS = [
    "the statistics",
    "the predictions",
    "the weights",
    "half of the weights",
    "the record",
    "flushing",
    "the folder",
    "the last step",
]


@pytest.mark.parametrize("before", [False, True], ids=["nothing before", "a record before"])
@pytest.mark.parametrize("what", STEPS)
def test_a_full_disk_is_one_line_and_leaves_everything_as_it_was(
    tmp_path: Path, what: str, before: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = write(tmp_path, seed=8)
    earlier = [write(tmp_path), other] if before else [other]
    content = content_of(tmp_path)
    with monkeypatch.context() as patch:
        again = spoil(patch, what)
        message = complaint(lambda: again(tmp_path))
    assert message == (
        f"{tmp_path}: the disk is full: make room and give the same command again; "
        f"finished records are intact"
    )
    assert content_of(tmp_path) == content
    assert not hidden(tmp_path)
    assert store.scan(tmp_path) == (earlier, [])
    assert write(tmp_path, reason="new").record.reason == "new"


def test_a_replacement_that_fails_half_way_puts_the_old_record_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    earlier = write(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", second_time(os.replace))
        message = complaint(lambda: write(tmp_path, reason="new"))
    assert "the disk is full" in message
    assert store.scan(tmp_path) == ([earlier], [])
    store.read_items(earlier)
    assert not hidden(tmp_path)


def test_rescoring_that_fails_leaves_the_record_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    earlier = write(tmp_path)
    content = content_of(tmp_path)
    items = store.items_table(IDS, statistics(), dict.fromkeys(IDS))
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "copyfile", full)
        assert "full" in complaint(lambda: store.rewrite(earlier, earlier.record, items))
    assert content_of(tmp_path) == content
    assert not hidden(tmp_path)


def test_an_interruption_leaves_everything_as_it_was(tmp_path: Path) -> None:
    earlier = write(tmp_path)

    def interrupt(path: Path) -> None:
        path.write_bytes(b"half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.write(tmp_path, record(reason="new"), weights=interrupt)
    assert store.scan(tmp_path) == ([earlier], [])
    assert not hidden(tmp_path)


def test_a_killed_writer_is_as_if_it_had_never_begun(tmp_path: Path) -> None:
    earlier = write(tmp_path)
    code = (
        "import os, sys; from pathlib import Path; import msgspec; from mmbench import store\n"
        "stored = store.read(Path(sys.argv[1]))\n"
        "record = msgspec.structs.replace(stored.record, reason='new')\n"
        "store.write(Path(sys.argv[2]), record, weights=lambda path: os._exit(9))\n"
    )
    done = subprocess.run([sys.executable, "-c", code, earlier.folder, tmp_path], check=False)
    assert done.returncode == 9
    assert hidden(tmp_path)
    assert store.scan(tmp_path) == ([earlier], [])
    assert store.resolve(tmp_path, "@last") == earlier


#: Where a process is killed, and the call that kills it.
DEATHS = {
    "half written": "weights = lambda path: os._exit(9)",
    "before the old one is moved": "os.replace = lambda old, new: os._exit(9)",
    "between the two renames": "move = os.replace\n"
    "os.replace = lambda old, new: move(old, new) if 'replaced-' in str(new) else os._exit(9)",
    "before the old one is gone": "store.shutil.rmtree = lambda *_, **__: os._exit(9)",
    "while it says that it failed": "os.fsync = lambda handle: os._exit(9)\n"
    "failures.write(stored.folder, task='t', model='m', budget='b', seed=0, identity='i', "
    "error=OSError())",
    "while it removes": "os.rename = lambda old, new: os._exit(9)\nstore.remove(stored)",
}


@pytest.mark.parametrize("death", DEATHS)
def test_what_a_killed_writer_leaves_is_put_right_by_whoever_makes_the_record_next(
    tmp_path: Path, death: str
) -> None:
    other = write(tmp_path, seed=8)
    earlier = write(tmp_path)
    code = (
        "import os, sys; from pathlib import Path; import msgspec\n"
        "from mmbench import claims, failures, store\n"
        "results = Path(sys.argv[1]); stored = store.read(Path(sys.argv[2])); weights = None\n"
        "record = msgspec.structs.replace(stored.record, reason='new')\n"
        "with claims.claim(results, stored.folder):\n    pass\n"
        f"{DEATHS[death]}\n"
        "store.write(results, record, weights=weights)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, tmp_path, earlier.folder], check=False)
    assert done.returncode == 9
    assert hidden(tmp_path)
    at_work = tempfile.mkdtemp(prefix=f".writing-{other.folder.name}-", dir=other.folder.parent)
    with claims.claim(tmp_path, earlier.folder) as mine:
        assert mine
        assert [path for path in hidden(tmp_path) if not path.name.endswith(".claim")] == [
            Path(at_work)
        ]
    (reread,) = [s for s in store.scan(tmp_path)[0] if s.folder == earlier.folder]
    assert reread.record.reason == ("new" if death == "before the old one is gone" else "")
    with claims.alone(tmp_path, other.folder):
        assert not Path(at_work).exists()
    assert not hidden(tmp_path)


def test_a_writer_waits_for_whoever_makes_the_record_just_now(tmp_path: Path) -> None:
    earlier = write(tmp_path)
    with claims.claim(tmp_path, earlier.folder) as mine:
        assert mine
        with (
            pytest.raises(PlaceError, match="another process is making this record"),
            claims.alone(tmp_path, earlier.folder, seconds=0.1),
        ):
            pytest.fail("it is claimed")
    with claims.alone(tmp_path, earlier.folder, seconds=0.1):
        assert hidden(tmp_path)
    assert not hidden(tmp_path)


def test_where_there_are_no_locks_nobody_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import filelock

    earlier = write(tmp_path)
    monkeypatch.setattr(filelock, "FileLock", filelock.SoftFileLock)
    with pytest.raises(PlaceError, match="knows no locks"):
        claims.claim(tmp_path, earlier.folder).__enter__()
    with claims.alone(tmp_path, earlier.folder, seconds=0.1):
        pass
    claims.clear(tmp_path, earlier.folder)
    assert not hidden(tmp_path)


def test_a_lock_that_is_refused_leaves_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fcntl = pytest.importorskip("fcntl")
    earlier = write(tmp_path)

    def refused(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refused)
    with claims.alone(tmp_path, earlier.folder, seconds=0.1):
        assert not hidden(tmp_path)
    claims.path_of(earlier.folder).touch()
    claims.clear(tmp_path, earlier.folder)  # says nothing, and a promotion can go on


def test_half_of_a_record_that_was_replaced_never_comes_back(tmp_path: Path) -> None:
    earlier = write(tmp_path)
    old = earlier.folder.parent / f".replaced-{earlier.folder.name}-x" / earlier.folder.name
    shutil.copytree(earlier.folder, old)
    (old / store.RECORD).unlink()
    shutil.rmtree(earlier.folder)
    with claims.alone(tmp_path, earlier.folder):
        assert not earlier.folder.exists()
    assert not hidden(tmp_path)


def test_what_cannot_be_taken_away_leaves_nothing_hidden(tmp_path: Path) -> None:
    earlier = write(tmp_path)
    with pytest.raises(FileNotFoundError):
        store.discard(tmp_path / "gone", earlier.folder)
    assert not hidden(tmp_path)


def test_a_name_may_be_as_long_as_the_file_system_allows(tmp_path: Path) -> None:
    path = tmp_path / ("字" * 82 + ".jsonl")
    put_file(path, b"x")
    assert path.read_bytes() == b"x"
    assert [one.name for one in tmp_path.iterdir()] == [path.name]


def test_a_place_that_cannot_be_written_is_one_line_before_any_work(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for results in (tmp_path / "file", tmp_path / "file" / "results"):
        message = complaint(lambda results=results: store.check_writable(results))
        told = "expected a folder and found a file" if results.exists() else "cannot be written ("
        assert message.startswith(f"{results}: {told}")
        assert message.endswith("--results or MMBENCH_RESULTS names another folder")
        again = complaint(lambda results=results: write(results))
        assert again.startswith(f"{results}: cannot be written (Not a directory)")


def test_checking_a_place_leaves_nothing_in_it(tmp_path: Path) -> None:
    store.check_writable(tmp_path / "new" / "results")
    assert list((tmp_path / "new" / "results").iterdir()) == []


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of half a megabyte."""
    place = tmp_path / "disk"
    place.mkdir()
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("mounting a small disk takes Linux and root")
    command = ["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", str(place)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small disk is not allowed here")
    try:
        yield place
    finally:
        gc.collect()  # a writer that failed keeps its file open as long as its error lives
        subprocess.run(["umount", "--lazy", str(place)], check=True)


def test_a_disk_that_is_really_full_is_one_line_and_no_loss(small_disk: Path) -> None:
    from mmbench.run import _save_weights

    torch = pytest.importorskip("torch")
    earlier = write(small_disk)
    content = content_of(small_disk)
    noise = np.random.default_rng(0).integers(97, 123, (900, 1000), dtype=np.uint8)
    texts = [row.tobytes().decode() for row in noise]
    names = [str(k) for k in range(900)]
    table = store.predictions_table({"test": Predictions(names, {"caption": texts})})
    rows = {
        "test": {"x": ([str(k) for k in range(90)], np.random.default_rng(0).random((900, 90)))}
    }
    items = store.items_table({"test": names}, rows, {"test": None})
    model = torch.nn.Linear(500, 500)
    for parts in (
        {"weights": lambda path: _save_weights(model, path)},
        {"predictions": table},
        {"items": items},
    ):
        message = complaint(lambda parts=parts: store.write(small_disk, record(), **parts))
        assert message.startswith(f"{small_disk}: the disk is full: make room")
        assert content_of(small_disk) == content
        assert not hidden(small_disk)
    assert store.scan(small_disk) == ([earlier], [])
    with suppress(OSError), (small_disk / "rubbish").open("wb") as file:
        file.write(bytes(10**6))
    assert "the disk is full" in complaint(lambda: store.check_writable(small_disk))
    assert "the disk is full" in complaint(lambda: write(small_disk, reason="new"))
    assert store.scan(small_disk) == ([earlier], [])
    (small_disk / "rubbish").unlink()
    assert store.read(write(small_disk, reason="new").folder).record.reason == "new"


# --- finding records ----------------------------------------------------------------------------


def put(results: Path, task: str, model: str, seed: int, identity: str, day: int) -> store.Stored:
    started = {"started": f"2026-01-{day:02d}T00:00:00+00:00"}
    identity = identity + "0" * (64 - len(identity))
    content = record(task=task, model=model, seed=seed, identity=identity, provenance=started)
    return store.write(results, content)


@pytest.fixture
def shelf(tmp_path: Path) -> dict[str, store.Stored]:
    return {
        "late0": put(tmp_path, "captioning", "late", 0, "1a2b", 1),
        "late1": put(tmp_path, "captioning", "late", 1, "1a3c", 5),
        "later": put(tmp_path, "captioning", "late_soft", 0, "77ee", 9),
        "hybrid": put(tmp_path, "captioning", "hybrid", 0, "c0de", 2),
        "other": put(tmp_path, "sentiment", "late", 0, "beef", 3),
    }


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("@last", "later"),
        ("captioning/late/small-s0-1a2b0000", "late0"),
        ("captioning/late", "late1"),  # the last of that model, not of those it begins
        ("captioning/late_soft", "later"),
        ("captioning/late_", "later"),
        ("captioning/late/small-s0", "late0"),
        ("captioning", "later"),
        ("captioning/h", "hybrid"),
        ("captioning/hybrid/", "hybrid"),
        ("sentiment", "other"),
        ("1a2", "late0"),
        ("1a3c" + "0" * 60, "late1"),
        ("beef", "other"),
    ],
)
def test_a_record_is_found_by_name_beginning_or_identity(
    tmp_path: Path, shelf: dict[str, store.Stored], name: str, expected: str
) -> None:
    assert store.resolve(tmp_path, name) == shelf[expected]


def test_a_record_is_found_by_its_folder(
    tmp_path: Path, shelf: dict[str, store.Stored], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = shelf["late0"]
    assert store.resolve(tmp_path / "elsewhere", str(found.folder)) == found
    monkeypatch.chdir(found.folder.parent)
    assert store.resolve(tmp_path, found.folder.name).record == found.record


def test_a_name_that_nothing_answers_to_offers_the_near_one(
    tmp_path: Path, shelf: dict[str, store.Stored]
) -> None:
    message = complaint(lambda: store.resolve(tmp_path, "captioning/hybird"), NotComparableError)
    assert message == (
        f"no record 'captioning/hybird' in {tmp_path}: did you mean 'captioning/hybrid'? known: "
        f"captioning/hybrid, captioning/late, captioning/late_soft, sentiment/late"
    )
    far = complaint(lambda: store.resolve(tmp_path, "zzz"), NotComparableError)
    assert "did you mean" not in far


def test_the_beginning_of_several_identities_is_refused(
    tmp_path: Path, shelf: dict[str, store.Stored]
) -> None:
    message = complaint(lambda: store.resolve(tmp_path, "1a"), NotComparableError)
    assert message == "'1a' begins 2 identities: 1a2b00000000, 1a3c00000000: give more digits"


def test_no_records_at_all_say_what_makes_them(tmp_path: Path) -> None:
    for results in (tmp_path, tmp_path / "none"):
        message = complaint(
            lambda results=results: store.resolve(results, "@last"), NotComparableError
        )
        assert message.startswith(f"{results}: holds no records; 'mmbench run' makes them")
    (write(tmp_path).folder / store.RECORD).write_text("{")
    message = complaint(lambda: store.resolve(tmp_path, "@last"), NotComparableError)
    assert "holds no records; unreadable: " in message
    assert "is not valid JSON" in message


def test_a_scan_skips_what_is_half_written_hidden_or_no_record(
    tmp_path: Path, shelf: dict[str, store.Stored]
) -> None:
    model = shelf["late0"].folder.parent
    for place in (
        model / ".writing-x1",
        model / ".replaced-x2" / "small-s0-1a2b0000",
        tmp_path / ".git" / "late" / "small-s0-1a2b0000",
        tmp_path / "captioning" / ".cache" / "small-s0-1a2b0000",
    ):
        shutil.copytree(shelf["late0"].folder, place)
    (model / ".writing-x3").mkdir()
    (model / ".writing-x3" / store.RECORD).write_text('{"sch')
    (model / "notes").mkdir()
    (tmp_path / "README.md").write_text("text")
    (tmp_path / "captioning" / "late.txt").write_text("text")
    found, problems = store.scan(tmp_path)
    assert problems == []
    names = [stored.record.name for stored in found]
    assert names == sorted(stored.record.name for stored in shelf.values())


# --- reading many -------------------------------------------------------------------------------

REFERENCE = Path(__file__).parents[1] / "results" / "reference"


def test_records_that_are_read_together_are_what_each_alone_is() -> None:
    found, problems = store.scan(REFERENCE)
    assert (len(found), problems) == (18, [])
    assert found == [store.read(stored.folder) for stored in found]
    assert [s.record.name for s in found] == sorted(s.record.name for s in found)
    without, _ = store.scan(REFERENCE, curves=False)
    assert [msgspec.structs.replace(s.record, curve=[]) for s in found] == [
        s.record for s in without
    ]


def test_a_record_is_checked_whatever_its_text_is_laid_out_like(tmp_path: Path) -> None:
    stored = write(tmp_path)
    path = stored.folder / store.RECORD
    content = json.loads(path.read_bytes())
    for text in (json.dumps(content), json.dumps(content, indent=3, sort_keys=False)):
        path.write_text(text)
        assert store.scan(tmp_path) == ([stored], [])
        assert store.read(stored.folder) == stored


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_record_does_not_keep_others_from_being_read(tmp_path: Path, damage: str) -> None:
    whole = store.write(tmp_path, record(seed=9, identity="9" * 64))
    spoilt = write(tmp_path)
    change, expected = DAMAGE[damage]
    path = spoilt.folder / store.RECORD
    path.write_bytes(change(path.read_bytes()))
    found, problems = store.scan(tmp_path)
    assert found == [whole]
    assert len(problems) == 1
    assert str(path) in problems[0]
    assert expected in problems[0]


def test_a_record_that_an_earlier_version_wrote_with_fewer_fields_is_read(tmp_path: Path) -> None:
    stored = write(tmp_path)
    path = stored.folder / store.RECORD
    content = {k: v for k, v in json.loads(path.read_bytes()).items() if k != "summary"}
    path.write_text(sealed(content), "utf-8")
    ((found,), problems) = store.scan(tmp_path)
    assert (found.record.summary, found.record.seed, problems) == ("", stored.record.seed, [])


def test_folders_that_hold_no_record_are_none(tmp_path: Path) -> None:
    stored = write(tmp_path)
    (tmp_path / "task" / "model" / "empty").mkdir(parents=True)
    (tmp_path / ".hidden" / "model" / "run").mkdir(parents=True)
    (tmp_path / ".hidden" / "model" / "run" / store.RECORD).write_text("{}")
    (tmp_path / "file").write_text("")
    assert store.scan(tmp_path) == ([stored], [])
    assert store.scan(tmp_path / "nowhere") == ([], [])
