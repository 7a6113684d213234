"""Every format gives the same table; whatever is wrong with a file is one line that says where."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet
import pytest

from mmbench.errors import DataError
from mmbench.tables import FORMATS, of_split, read

ROWS = [
    {"id": "a", "caption": 'a "red" bus, parked', "place": "in"},
    {"id": "b", "caption": "zwei Männer\nspielen", "place": "out"},
    {"id": "c", "caption": "", "place": "in"},
]
COLUMNS = {name: [row[name] for row in ROWS] for name in ROWS[0]}


def write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def refused(path: Path) -> str:
    with pytest.raises(DataError) as caught:
        read(path)
    message = str(caught.value)
    assert message.startswith(str(path))
    assert "\n" not in message
    return message.removeprefix(str(path))


# --- what is read --------------------------------------------------------------------------------


def separated(sign: str) -> str:
    def quoted(text: str) -> str:
        return '"' + text.replace('"', '""') + '"'

    lines = [list(COLUMNS), *([quoted(value) for value in row.values()] for row in ROWS)]
    return "\r\n".join(sign.join(line) for line in lines) + "\r\n"


SAME = {
    "rows.jsonl": "\n".join(json.dumps(row) for row in ROWS),
    "rows.ndjson": "\n\n".join(json.dumps(row, ensure_ascii=False) for row in ROWS) + "\n\n",
    "bom.jsonl": "\ufeff" + "\r\n".join(json.dumps(row) for row in ROWS),
    "list.json": json.dumps(ROWS),
    "nested.json": json.dumps({"info": {"year": 2014}, "annotations": ROWS}, indent=1),
    "columns.json": json.dumps(COLUMNS),
    "comma.csv": separated(","),
    "semicolon.csv": separated(";"),
    "bom.csv": "\ufeff" + separated(","),
    "tab.tsv": separated("\t"),
}


@pytest.mark.parametrize("name", SAME)
def test_text_formats_give_the_same_columns(tmp_path: Path, name: str) -> None:
    table = read(write(tmp_path / name, SAME[name]))
    assert table.columns == COLUMNS
    assert len(table) == 3
    assert len(table.digest) == 64
    assert not table.ordered


def test_parquet_gives_them_too_and_lists_inside_cells(tmp_path: Path) -> None:
    content = {**COLUMNS, "refs": [["x", "y"], ["z"], []], "scores": [{"p": 0.5}] * 3}
    parquet.write_table(pa.table(content), tmp_path / "rows.parquet")
    assert read(tmp_path / "rows.parquet").columns == content


def test_a_mapping_is_ids_and_values_or_ids_and_rows(tmp_path: Path) -> None:
    values = read(write(tmp_path / "v.json", '{"a": "one", "b": ["two", "three"]}'))
    assert values.columns == {"id": ["a", "b"], "value": ["one", ["two", "three"]]}
    assert values.where(1) == f"{tmp_path / 'v.json'}: 'b'"
    rows = read(write(tmp_path / "r.json", '{"a": {"said": "x"}, "b": {"said": "y", "n": 1}}'))
    assert rows.columns == {"said": ["x", "y"], "n": [None, 1], "id": ["a", "b"]}


def test_rows_know_their_lines_also_behind_blank_and_many_line_rows(tmp_path: Path) -> None:
    jsonl = read(write(tmp_path / "a.jsonl", '\n{"id": 1}\n\n{"id": 2, "x": 0}\n'))
    assert [jsonl.where(0), jsonl.where(1)] == [f"{tmp_path / 'a.jsonl'}:{n}" for n in (2, 4)]
    assert jsonl.columns["x"] == [None, 0]
    csv = read(write(tmp_path / "a.csv", 'id,x\n\n1,"two\nlines"\n2,y\n'))
    assert [csv.where(0), csv.where(1)] == [f"{tmp_path / 'a.csv'}:{n}" for n in (3, 5)]
    assert csv.take([1]).where(0) == f"{tmp_path / 'a.csv'}:5"


COCO = {
    "images": [{"id": 7, "file_name": "7.jpg"}, {"id": 9, "file_name": "9.jpg", "x": {}}],
    "annotations": [
        {"image_id": 9, "id": 1, "caption": "a cat"},
        {"image_id": 7, "id": 2, "caption": "a dog"},
        {"image_id": 9, "id": 3, "caption": "the cat"},
    ],
}


def test_coco_annotations_are_a_row_a_caption_with_what_the_image_says(tmp_path: Path) -> None:
    table = read(write(tmp_path / "coco.json", json.dumps(COCO)))
    assert table.columns == {
        "file_name": ["9.jpg", "7.jpg", "9.jpg"],
        "image_id": [9, 7, 9],
        "annotation_id": [1, 2, 3],
        "caption": ["a cat", "a dog", "the cat"],
    }
    assert table.where(2).endswith("coco.json: annotations[2]")


def test_an_image_without_annotations_is_a_row_without_a_caption(tmp_path: Path) -> None:
    content = {**COCO, "images": [*COCO["images"], {"id": 11}]}
    table = read(write(tmp_path / "coco.json", json.dumps(content)))
    assert table.columns["caption"][3] is None
    assert table.where(3).endswith(": image 11")


def test_karpathy_is_a_row_an_image_with_split_and_captions(tmp_path: Path) -> None:
    images = [
        {"filename": "x.jpg", "split": "test", "cocoid": 5, "sentences": [{"raw": "One."}]},
        {"filename": "y.jpg", "split": "val", "cocoid": 6, "sentences": [{"raw": "a"}] * 2},
    ]
    table = read(write(tmp_path / "k.json", json.dumps({"images": images, "dataset": "k"})))
    assert table.columns == {
        "image": ["x.jpg", "y.jpg"],
        "split": ["test", "val"],
        "references": [["One."], ["a", "a"]],
        "cocoid": [5, 6],
    }
    assert of_split(table, "val").columns["image"] == ["y.jpg"]
    with pytest.raises(DataError, match="no row is of the split 'tset'; there are: test, val"):
        of_split(table, "tset")


def test_trn_gives_words_ids_and_speakers(tmp_path: Path) -> None:
    content = ";; a comment\nthe cat (sat) down (spk1-utt_7)\n(spk2_utt8)\n  hello   (spk1-9)  \n"
    table = read(write(tmp_path / "hyp.trn", content))
    assert table.columns == {
        "utterance": ["spk1-utt_7", "spk2_utt8", "spk1-9"],
        "text": ["the cat (sat) down", "", "hello"],
        "speaker": ["spk1", "spk2", "spk1"],
    }
    assert table.where(2).endswith("hyp.trn:4")
    plain = read(write(tmp_path / "plain.trn", "a (u1)\nb (u2)\n"))
    assert "speaker" not in plain.columns


def test_plain_lines_are_texts_in_order_blank_ones_too(tmp_path: Path) -> None:
    table = read(write(tmp_path / "a.txt", "one\r\n\r\nthree\r\n"))
    assert table.columns == {"text": ["one", "", "three"]}
    assert table.ordered
    assert table.where(2).endswith("a.txt:3")


def test_arrays_are_columns_and_what_has_another_length_is_kept_apart(tmp_path: Path) -> None:
    np.save(tmp_path / "one.npy", np.array([1.5, 2.5]))
    np.save(tmp_path / "two.npy", np.eye(3))
    assert list(read(tmp_path / "one.npy").columns) == ["array"]
    assert list(read(tmp_path / "two.npy").columns) == ["matrix"]
    np.savez(
        tmp_path / "all.npz", gallery=np.ones((4, 2)), ids=np.array(["a", "b"]), query=np.eye(2)
    )
    table = read(tmp_path / "all.npz")
    assert list(table.columns) == ["id", "query"]
    assert not table.ordered
    assert list(table.extras or {}) == ["gallery"]


# --- what is refused -----------------------------------------------------------------------------

GOOD = b'{"id": "a", "x": "b"}\n'
BROKEN: dict[str, tuple[str, bytes, str]] = {
    "latin1 in the third line": (
        "a.jsonl",
        GOOD * 2 + '{"id": "é"}\n'.encode("latin-1"),
        ":3: is not UTF-8 text (byte 0xe9): save the file as UTF-8",
    ),
    "latin1 csv": ("a.csv", b"id,x\n1,a\n2,\xe9\n", ":3: is not UTF-8 text (byte 0xe9)"),
    "latin1 json": ("a.json", b'[\n{"id": 1},\n{"id": "\xe9"}]', ":3: is not UTF-8 text"),
    "latin1 trn": ("a.trn", b"a (u1)\n\xe9 (u2)\n", ":2: is not UTF-8 text"),
    "utf16": ("a.jsonl", '{"id": 1}'.encode("utf-16"), ":1: is not UTF-8 text (byte 0xff)"),
    "truncated line": (
        "a.jsonl",
        GOOD * 2 + b'{"id": "c", "x": "un',
        ":3: the JSON ends too early: was it cut off?",
    ),
    "truncated document": (
        "a.json",
        b'[\n{"id": "c", "x": "y"},\n{"id": "d"',
        ":3: the JSON ends too early: was it cut off?",
    ),
    "broken line": ("a.jsonl", GOOD + b'{"id": "c" "x": 1}\n', ":2: is not valid JSON: "),
    "broken document": ("a.json", b'[\n{"id": 1},\n{"id" 2}\n]', ":3: is not valid JSON: "),
    "nan": (
        "a.jsonl",
        GOOD + b'{"id": "c", "x": NaN}\n',
        ":2: holds NaN, which is no number: leave it out",
    ),
    "infinity": ("a.json", b'[\n{"id": "c", "x": -Infinity}]', ":2: holds Infinity, which is no"),
    "a document called jsonl": (
        "a.jsonl",
        b'[{"id": 1}, {"id": 2}]',
        ':1: expected an object a line, like {"id": "a", "prediction": "..."}, got a list '
        "(is the whole file one JSON document? then its name should end in .json)",
    ),
    "bare text": ("a.jsonl", b'"a dog"\n', ":1: expected an object a line, like "),
    "lines called json": ("a.json", GOOD * 2, ":2: is not valid JSON: "),
    "list of texts": ("a.json", b'["a", "b"]', ": [0]: expected an object, got a text"),
    "number": ("a.json", b"17", ": expected a list of rows, "),
    "empty list": ("a.json", b"[]", ": the list is empty"),
    "empty mapping": ("a.json", b"{}", ": expected a list of rows, "),
    "rows and values": ("a.json", b'{"a": {"x": 1}, "b": 2}', ": 'b': expected an object, as"),
    "deep": ("a.json", b"[" * 100_000, ":1: "),
    "annotation of no image": (
        "a.json",
        json.dumps({**COCO, "annotations": [{"image_id": 8, "caption": "x"}]}).encode(),
        ": annotations[0]: there is no image 8",
    ),
    "annotation without image": (
        "a.json",
        json.dumps({**COCO, "annotations": [{"id": 8, "caption": "x"}]}).encode(),
        ": annotations[0] has no image_id",
    ),
    "image without id": ("a.json", b'{"images": [{}], "annotations": []}', ": images[0] has no id"),
    "karpathy": (
        "a.json",
        b'{"images": [{"filename": "x.jpg", "split": "tset", "sentences": []}]}',
        ": images[0]: x.jpg: unknown split 'tset'",
    ),
    "too many fields": (
        "a.csv",
        b"id,x\n1,a\n2,b,c\n",
        ":3: has 3 fields, but the header has 2 (id, x)",
    ),
    "too few fields": ("a.tsv", b"id\tx\n1\n", ":2: has 1 fields, but the header has 2"),
    "lost quotation mark": ("a.csv", b'id,x\n1,"a\n2,b\n', ":2: the row that begins here is "),
    "column twice": ("a.csv", b"id,x,x\n1,2,3\n", ":1: the column 'x' is there twice"),
    "header alone": ("a.csv", b"id,x\n", ": holds no row"),
    "no id": ("a.trn", b"a (u1)\nthe cat sat\n", ":2: has no id: expected the words and then"),
    "alternatives": ("a.trn", b"the { cat / dog } sat (u1)\n", ":1: alternatives { a / b } are"),
    "comments alone": ("a.trn", b";; nothing\n", ": holds no row"),
    "no parquet": ("a.parquet", b"id,x\n1,2\n", ": is no whole Parquet file: was it cut off?"),
    "no array": ("a.npy", b"id,x\n1,2\n", ": cannot be read as numpy arrays: "),
    "no archive": ("a.npz", b"PK\x03\x04 and no more", ": cannot be read as numpy arrays: "),
    "unknown": ("a.xml", b"<a/>", ": cannot tell its format: expected a name that ends in .jsonl,"),
    "no suffix": ("a", b"x", ": cannot tell its format"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_file_is_one_line_with_file_and_line(tmp_path: Path, case: str) -> None:
    name, content, expected = BROKEN[case]
    assert expected in refused(write(tmp_path / name, content))


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("content", [b"", b" \n\n", b"\xef\xbb\xbf"])
def test_an_empty_file_is_empty_in_every_format(
    tmp_path: Path, suffix: str, content: bytes
) -> None:
    assert refused(write(tmp_path / f"a{suffix}", content)) == ": is empty"


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_folder_or_a_missing_file_is_told_in_every_format(tmp_path: Path, suffix: str) -> None:
    (tmp_path / f"folder{suffix}").mkdir()
    assert refused(tmp_path / f"folder{suffix}") == ": is a folder: name a file in it"
    assert refused(tmp_path / f"a{suffix}") == ": cannot be read: No such file or directory"


def array(path: Path) -> None:
    np.save(path, np.arange(1000.0))


def arrays(path: Path) -> None:
    np.savez(path, ids=np.arange(1000), scores=np.ones((1000, 3)))


def table(path: Path) -> None:
    parquet.write_table(pa.table({"id": list(range(1000))}), path)


@pytest.mark.parametrize(
    ("name", "make"), [("a.npy", array), ("a.npz", arrays), ("a.parquet", table)]
)
@pytest.mark.parametrize("kept", [0.02, 0.5, 0.999])
def test_a_binary_file_that_was_cut_off_is_one_line(
    tmp_path: Path, name: str, make: Callable[[Path], None], kept: float
) -> None:
    make(tmp_path / name)
    content = (tmp_path / name).read_bytes()
    message = refused(write(tmp_path / name, content[: int(len(content) * kept)]))
    assert "is no whole Parquet file" in message or "cannot be read as numpy arrays" in message


def test_python_objects_in_arrays_are_refused_and_never_loaded(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path(tmp_path / "sprung").touch, ())

    np.save(tmp_path / "a.npy", np.array([Trap(), {}], dtype=object))
    np.savez(tmp_path / "a.npz", x=np.array([Trap()], dtype=object))
    for name in ("a.npy", "a.npz"):
        assert "it holds Python objects" in refused(tmp_path / name)
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize("content", [np.float64(3.0), np.zeros(())])
def test_a_single_number_is_no_table(tmp_path: Path, content: Any) -> None:
    np.save(tmp_path / "a.npy", content)
    assert "is a single number" in refused(tmp_path / "a.npy")


def test_a_line_of_ten_megabytes_is_read_at_once(tmp_path: Path) -> None:
    scores = ",".join(["0.25"] * 2_000_000)
    path = write(tmp_path / "a.jsonl", f'{{"id": 1, "scores": [{scores}]}}\n' + GOOD.decode())
    started = time.perf_counter()
    found = read(path)
    assert time.perf_counter() - started < 20, "what is quadratic takes hours"
    assert len(found.columns["scores"][0]) == 2_000_000
    assert found.where(1).endswith(":2")


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl", "a.json", "a.trn", "a.txt"])
def test_ten_megabytes_of_nonsense_are_refused_or_read_at_once(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / name, b"id,x\n" + b'"' + b"x" * 20_000_000)
    started = time.perf_counter()
    if name == "a.txt":
        assert len(read(path)) == 2
    else:
        assert len(refused(path)) < 300
    assert time.perf_counter() - started < 20, "what is quadratic takes hours"
