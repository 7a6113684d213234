"""Item statistics: a reader of many tables gives what each table alone holds."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet
import pytest

from mmbench.items import NAMES, Reader, items_table, predictions_table
from mmbench.types import Predictions

IDS = {"test": ["a", "b", "c"], "ood": ["x", "y"]}
CLUSTERS: dict[str, Any] = {"test": ["s1", "s1", "s2"], "ood": None}


def table(first: float = 0.5, ids: dict[str, list[str]] | None = None, count: float = 1.0) -> bytes:
    ids = ids or IDS
    statistics: dict[str, Any] = {}
    for split, names in ids.items():
        rows = np.stack([first + np.arange(len(names)), np.full(len(names), count)], 1)
        statistics[split] = {"bleu": (["hits", "count"], rows), "wer(x=.5)": (["wer"], rows[:, :1])}
    return written(items_table(ids, statistics, CLUSTERS))


def written(content: pa.Table, **settings: Any) -> bytes:
    file = pa.BufferOutputStream()
    parquet.write_table(content, file, compression="zstd", **settings)
    return bytes(file.getvalue().to_pybytes())


def same(one: Any, other: Any) -> bool:
    return list(one) == list(other) and all(
        (one[s].ids, one[s].clusters) == (other[s].ids, other[s].clusters)
        and list(one[s].families) == list(other[s].families)
        and all(
            one[s].families[f][0] == other[s].families[f][0]
            and np.array_equal(one[s].families[f][1], other[s].families[f][1])
            for f in one[s].families
        )
        for s in one
    )


def test_one_reader_of_many_tables_gives_what_each_alone_holds() -> None:
    others = {"test": ["a", "b", "d"], "ood": ["x", "y"]}
    tables = [table(), table(2.5), table(ids=others), table(count=2.0), table()]
    reader = Reader()
    for content in tables:
        assert same(reader.read(content), Reader().read(content))


def test_names_that_tables_share_are_there_once() -> None:
    reader = Reader()
    one, two = reader.read(table())["test"], reader.read(table(2.5))["test"]
    assert one.ids is two.ids
    assert one.clusters is two.clusters
    assert one.families["bleu"][1][0, 0] != two.families["bleu"][1][0, 0]


def test_what_is_not_asked_for_is_not_read() -> None:
    found = Reader("ood", {"wer(x=.5)", "unknown"}).read(table())
    assert list(found) == ["ood"]
    assert list(found["ood"].families) == ["wer(x=.5)"]
    assert same(found, {"ood": found["ood"]})
    whole = Reader().read(table())["ood"].families["wer(x=.5)"][1]
    assert np.array_equal(found["ood"].families["wer(x=.5)"][1], whole)


@pytest.mark.parametrize(
    "settings",
    [
        {"use_dictionary": list(NAMES)},
        {"use_dictionary": False},
        {"row_group_size": 2},
        {"version": "1.0", "write_statistics": False},
    ],
)
def test_however_a_table_is_stored_it_says_the_same(settings: dict[str, Any]) -> None:
    content = parquet.read_table(pa.BufferReader(table()))
    reader = Reader()
    reader.read(table())
    for _ in range(2):
        assert same(reader.read(written(content, **settings)), Reader().read(table()))


def test_rows_of_a_split_need_not_stand_together() -> None:
    content = parquet.read_table(pa.BufferReader(table()))
    mixed = written(content.take([0, 3, 1, 4, 2]))
    assert same(Reader().read(mixed), Reader().read(table()))


def test_whole_numbers_are_numbers() -> None:
    content = parquet.read_table(pa.BufferReader(table(1.0)))
    whole = content.set_column(3, "bleu.hits", content.column(3).cast(pa.int64()))
    assert same(Reader().read(written(whole)), Reader().read(table(1.0)))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (pa.table({"a": [1]}), "expected item statistics, but there is no text column 'split'"),
        (
            pa.table({"split": ["test"], "id": [1], "cluster": ["a"]}),
            "expected item statistics, but there is no text column 'id'",
        ),
        (
            pa.table({"split": ["test"], "id": ["a"], "cluster": ["a"], "f.x": ["1"]}),
            "expected numbers in the column 'f.x', but it holds string",
        ),
        (
            pa.table({"split": ["test"], "id": ["a"], "cluster": ["a"], "f.x": [None]}).cast(
                pa.schema([*((n, pa.string()) for n in NAMES), ("f.x", pa.float64())])
            ),
            "expected numbers in the column 'f.x', but some are missing",
        ),
        (
            pa.table({"split": ["test"], "id": [None], "cluster": ["a"]}).cast(
                pa.schema([(n, pa.string()) for n in NAMES])
            ),
            "expected item statistics, but the name of an item is missing",
        ),
    ],
)
def test_a_table_of_something_else_is_refused(content: pa.Table, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Reader().read(written(content))


@pytest.mark.parametrize(
    "values",
    [
        ["a", "ü", ""],
        [1.5, -0.0],
        [1, 2, -3],
        [2**62, -(2**63)],
        [[1.0], [], [2.0, 3.0]],
        [("a", "b"), ("c",)],
        [[[1], [2, 3]], [], [[4]]],
        [["joint"]] * 3,
        [True, False],
        [None, "a"],
        [1, 2.5],
        [],
        [[], []],
        [[None, 1.0]],
    ],
    ids=repr,
)
def test_predictions_are_laid_out_as_pyarrow_itself_would(values: list[Any]) -> None:
    said = Predictions([str(k) for k in range(len(values))], {"answer": values}, {})
    made = predictions_table({"test": said}).column("answer").combine_chunks()
    made.validate(full=True)
    assert made.type == pa.array(values).type
    assert made.to_pylist() == pa.array(values).to_pylist()


def test_writing_imports_no_pandas() -> None:
    code = (
        "import sys, numpy as np\n"
        "from mmbench.items import items_table, predictions_table\n"
        "from mmbench.types import Predictions\n"
        "items_table({'test': ['a', 'b']}, {'test': {'f': (['x'], np.ones((2, 1)))}}, {})\n"
        "said = Predictions(['a', 'b'], {'o': ['x', 'y']}, {'o.gate': [[0.5], [0.1]]})\n"
        "predictions_table({'test': said})\n"
        "sys.exit('pandas' in sys.modules)"
    )
    root = Path(__file__).resolve().parents[1]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)
