"""From a folder of files to a board without a line of Python, and `mmbench data` on the way."""

from __future__ import annotations

import csv
import io
import json
import re
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mmbench import draft
from mmbench.errors import DataError, UsageError

Cli = Callable[..., Any]


def photos(folder: Path, count: int = 60) -> None:
    """Pictures of one colour each with a text: colour and text tell the label."""
    import soundfile
    from PIL import Image

    folder.mkdir(parents=True)
    draw = np.random.default_rng(0)
    rows = []
    for index in range(count):
        colour = index % 3
        pixels = draw.integers(0, 90, (20, 24, 3), dtype=np.uint8)
        pixels[..., colour] += 120
        Image.fromarray(pixels).save(folder / f"{index}.png")
        tone = np.sin(np.arange(1600) * (0.1 + 0.2 * colour)) * 0.4
        soundfile.write(folder / f"{index}.wav", tone + 0.01 * draw.normal(size=1600), 8000)
        rows.append({
            "name": f"photo-{index}",
            "picture": f"{index}.png",
            "sound": f"{index}.wav",
            "remark": f"something {('warm', 'leafy', 'cold')[colour]} of kind {index}",
            "width": 0.5 * index,
            "height": 1.25 * (index % 7),
            "author": f"author {index // 4}",
            "label": ("red", "green", "blue")[colour],
        })  # fmt: skip
    with (folder / "items.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def test_a_folder_of_files_reaches_the_board_without_python(cli: Cli, workplace: Path) -> None:
    photos(workplace / "photos")
    done = cli("new", "task", "photos/items.csv")
    assert done.code == 0, done.err
    for line in (
        "name: id: no two are alike",
        "picture: modality (image): files of the kind image",
        "sound: modality (spectrogram): files of the kind spectrogram",
        "remark: modality (text): texts",
        "label: output (label): 3 different ones",
        "author: cluster: 15 different ones, by its name",
        "all items of one author go into one split",
        "wrote photos/items.toml: check what it says of each column",
        "next: mmbench data check photos/items.toml",
    ):
        assert line in done.out.splitlines(), line
    content = tomllib.loads(Path("photos/items.toml").read_text())
    assert content["modalities"] == {
        "picture": {"kind": "image", "shape": [3, 20, 24]},
        "sound": {"kind": "spectrogram", "shape": [1, 19, 40]},
        "remark": {"kind": "text", "shape": [5]},
        "numbers": {"kind": "vector", "shape": [2]},
    }
    assert content["outputs"] == {"label": {"kind": "label", "classes": ["blue", "green", "red"]}}
    assert sum(content["splits"].values()) == 60

    checked = cli("data", "check", "photos/items.toml")
    assert checked.code == 0, checked.out
    assert checked.out.splitlines()[-1] == "nothing is wrong"
    found = json.loads(cli("data", "check", "photos/items.toml", "--json").out)
    assert found["sound"]
    assert found["floors"]["picture"] > 0.9
    assert found["floors"]["majority"] < 0.7
    assert found["sizes"] == content["splits"]

    arguments = ("-m", "late,concat,majority,picture_only,logistic", "--budget", "small", "-q")
    ran = cli("run", "-t", "photos/items.toml", *arguments, "--set", "width=16")
    assert ran.code == 0, ran.err
    board = cli("leaderboard", "-t", "items")
    assert board.code == 0
    places = re.findall(r"^[0-9-]+ +(\w+) ", board.out, flags=re.M)
    assert {"late", "concat", "majority", "picture_only", "logistic"} <= set(places)
    assert [name for name in places if name != "no"][-1] == "majority"
    record = json.loads(next(Path("results/items/late").glob("*/record.json")).read_text())
    told = record["definition"]["task"]["dataset"]["params"]
    assert told["modalities"]["numbers"]["standardise"] is True


def test_bad_items_are_named_and_left_out_on_demand(cli: Cli, workplace: Path) -> None:
    photos(workplace / "photos")
    assert cli("new", "task", "photos/items.csv").code == 0
    whole = (workplace / "photos/7.png").read_bytes()
    (workplace / "photos/7.png").write_bytes(whole[:100])
    (workplace / "photos/9.wav").unlink()
    arguments = ("-t", "photos/items.toml", "-m", "late", "--budget", "smoke", "-q", "--set",
                 "width=16")  # fmt: skip
    refused = cli("run", *arguments)
    assert refused.code == 4
    assert "items.csv: line 9 (id 'photo-7'): picture: 7.png: cannot be decoded" in refused.error
    assert "(1 more are bad" in refused.error
    checked = cli("data", "check", "photos/items.toml")
    assert checked.code == 1
    assert "line 11 (id 'photo-9'): sound: '9.wav': there is no such file" in checked.out
    assert "wrong: items that cannot be read: mend them, or 'mmbench run --skip-bad'" in checked.out
    done = cli("run", *arguments, "--skip-bad")
    assert done.code == 0, done.err
    assert re.search(
        r"left out of items: 2 items \(.*\); 'mmbench data check' names them", done.out
    )
    record = json.loads(next(Path("results/items/late").glob("*/record.json")).read_text())
    left_out = json.loads(record["data"]["left_out"])
    assert sum(len(lines) for lines in left_out.values()) == 2
    assert "--skip-bad" in record["reproduce"]
    assert record["definition"]["task"]["dataset"]["params"]["skip_bad"] is True
    again = cli("run", *arguments, "--skip-bad")
    assert "plan: 0 of 1 runs to do" in again.out
    (workplace / "photos/7.png").write_bytes(whole)
    mended = cli("run", *arguments, "--skip-bad")
    assert "plan: 1 of 1 runs to do" in mended.out
    assert "left out of items: 1 items" in mended.out
    other = cli("run", "-t", "captioning", "-m", "late", "--skip-bad", "--dry-run")
    assert other.code == 2
    assert "--skip-bad: the dataset 'scenecap' of the task 'captioning'" in other.error


def test_leaks_and_duplicates_fail_the_check(cli: Cli, workplace: Path) -> None:
    photos(workplace / "photos")
    with (workplace / "photos/items.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    for index, row in enumerate(rows):
        row["split"] = ("train", "dev", "test")[index // 20]
    rows[25] |= {key: rows[3][key] for key in ("picture", "sound", "remark", "width", "height")}
    (workplace / "photos/all.jsonl").write_text("\n".join(map(json.dumps, rows)))
    assert cli("new", "task", "photos/all.jsonl").code == 0
    done = cli("data", "check", "photos/all.toml")
    assert done.code == 1
    assert "in two splits: 1 items" in done.out
    assert "val 'photo-25' is train 'photo-3'" in done.out
    found = json.loads(cli("data", "check", "photos/all.toml", "--json").out)
    assert found["duplicates"] == ["val 'photo-25' is train 'photo-3'"]
    assert found["crossing"] == []
    rows[59]["author"] = "author 0"
    (workplace / "photos/all.jsonl").write_text("\n".join(map(json.dumps, rows)))
    done = cli("data", "check", "photos/all.toml")
    assert "'author 0' is in train and test" in done.out
    assert "splits that know of one another: scores will be too good" in done.out


def test_a_check_of_what_is_not_there_exits_with_4(cli: Cli) -> None:
    done = cli("data", "check", "mosi")
    assert done.code == 4
    assert "needs data of yours" in done.error


def test_new_task_overwrites_nothing_and_says_what_it_cannot_do(cli: Cli, workplace: Path) -> None:
    photos(workplace / "photos", 30)
    assert cli("new", "task", "photos/items.csv").code == 0
    before = Path("photos/items.toml").read_text()
    assert "is there already" in cli("new", "task", "photos/items.csv").error
    assert cli("new", "task", "photos/items.csv", "--dir", "other").code == 0
    assert Path("other/items.toml").read_text() == before
    told = json.loads(cli("new", "task", "photos/items.csv", "--force", "--json").out)
    assert told["files"] == ["photos/items.toml"]
    assert any(note.startswith("label: output") for note in told["notes"])
    for name, content, says in (
        ("none.csv", "id,x\n1,same\n2,same\n", "no column looks like what is right"),
        ("few.csv", "id,a b,label\n1,2 3,x\n2,3 4,y\n3,4 5,x\n", "is few"),
        ("empty.jsonl", "", "holds no row"),
        ("missing.jsonl", None, "cannot be read: No such file"),
        ("labels.csv", "label\nx\ny\nx\ny\n", "no column looks like what is given"),
    ):
        if content is not None:
            Path(name).write_text(content)
        error = cli("new", "task", name).error
        assert says in error or "too few" in error or "needs two items" in error, error


# --- what a draft makes of columns ---------------------------------------------------------------


def drafted(workplace: Path, rows: list[dict[str, Any]]) -> dict[str, Any]:
    (workplace / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return tomllib.loads(draft.draft(workplace / "rows.jsonl", "rows").text)


def rows(**columns: Callable[[int], Any]) -> list[dict[str, Any]]:
    return [{name: make(i) for name, make in columns.items()} for i in range(40)]


@pytest.mark.parametrize(
    ("columns", "modalities", "outputs"),
    [
        ({"x": lambda i: [1.0 * i, 2.0], "y": lambda i: i % 2},
         {"x": "vector"}, {"y": "label"}),
        ({"x": lambda i: [[1.0 * i]] * (i % 3 + 1), "y": lambda i: 0.5 * i},
         {"x": "sequence"}, {"y": "scalar"}),
        ({"x": lambda i: f"the {i} th text of all", "genres": lambda i: ["a", "b"][: i % 2 + 1]},
         {"x": "text"}, {"genres": "multilabel"}),
        ({"x": lambda i: [1.0 * i, 2.0], "caption": lambda i: f"here is number {i} of them"},
         {"x": "vector"}, {"caption": "text"}),
        ({"x": lambda i: f"text number {i}", "emotion": lambda i: "ab"[i % 2],
          "gender": lambda i: "mf"[i % 2]}, {"x": "text"}, {"emotion": "label"}),
        ({"x": lambda i: f"text number {i}", "sentiment": lambda i: "ab"[i % 2],
          "intensity": lambda i: i / 10}, {"x": "text"},
         {"sentiment": "label", "intensity": "scalar"}),
        ({"Text A": lambda i: f"text number {i}", "is right": lambda i: i % 3 == 0},
         {"text_a": "text"}, {"is_right": "label"}),
    ],
)  # fmt: skip
def test_columns_are_what_they_look_like(
    workplace: Path, columns: Any, modalities: dict[str, str], outputs: dict[str, str]
) -> None:
    made = drafted(workplace, rows(id=lambda i: f"i{i}", **columns))
    assert {name: m["kind"] for name, m in made["modalities"].items()} == modalities
    assert {name: o["kind"] for name, o in made["outputs"].items()} == outputs


def test_splits_by_other_names_are_found_and_a_missing_validation_is_made(workplace: Path) -> None:
    columns: dict[str, Callable[[int], Any]] = {
        "x": lambda i: [1.0 * i, 2.0], "y": lambda i: i % 2, "speaker": lambda i: f"s{i // 4}",
        "part": lambda i: "Training" if i < 32 else "testing",
    }  # fmt: skip
    made = drafted(workplace, rows(**columns))
    params = made["dataset"]["params"]
    assert params["split"] == "part"
    assert params["names"] == {"Training": "train", "testing": "test"}
    assert params["validation"] == 0.1
    assert params["group"] == params["cluster"] == "speaker"
    assert params["id"] == ""
    assert made["splits"]["test"] == 8
    columns["part"] = lambda i: "train"
    with pytest.raises(UsageError, match="has no item for test, val"):
        drafted(workplace, rows(**columns))


def test_strange_names_and_texts_are_spelled_so_that_toml_reads_them(workplace: Path) -> None:
    strange = ['qu"ote', "back\\slash", "ünï 数", "a\nb\x7f"]
    made = drafted(workplace, rows(x=lambda i: [1.0 * i, 2.0], label=lambda i: strange[i % 4]))
    assert set(made["outputs"]["label"]["classes"]) == set(strange)
    made = drafted(workplace, rows(**{'x "y" 数': lambda i: [1.0 * i, 2.0]}, label=lambda i: i % 2))
    assert made["dataset"]["params"]["modalities"]["x_y"]["column"] == 'x "y" 数'


# --- fetch, list, path, remove -------------------------------------------------------------------


@pytest.fixture
def served(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A task whose manifest and pictures are fetched from a server on this machine."""
    import hashlib
    import threading
    import zipfile
    from functools import partial
    from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

    photos(workplace / "served", 30)
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as file:
        for path in sorted((workplace / "served").iterdir()):
            file.write(path, path.name)
    (workplace / "served/all.zip").write_bytes(out.getvalue())

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            pass

    handler = partial(Quiet, directory=str(workplace / "served"))
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    text = draft.draft(workplace / "served/items.csv", "photos").text
    text = text.replace('licence = ""', 'licence = "share alike"')
    digest = hashlib.sha256(out.getvalue()).hexdigest()
    text += f'files = [{{ url = "http://127.0.0.1:{server.server_port}/all.zip", '
    text += f'sha256 = "{digest}", unpack = "." }}]\n'
    (workplace / "tasks").mkdir()
    (workplace / "tasks/photos.toml").write_text(text, encoding="utf-8")
    monkeypatch.setenv("MMBENCH_FETCHED", str(workplace / "fetched"))
    monkeypatch.setenv("MMBENCH_INCLUDE", "tasks")
    yield workplace
    server.shutdown()
    server.server_close()


def test_a_task_is_fetched_and_runs_without_data(
    cli: Cli, served: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(""))  # nobody is there to answer
    before = cli("data", "list")
    assert "photos: 0 of 1 files" in before.out
    assert "is there" not in cli("data", "path", "photos").out
    assert cli("data", "path", "photos").code == 4
    refused = cli("data", "fetch", "photos")
    assert refused.code == 2
    assert "licence: share alike" in refused.out
    assert "the licence was not accepted: nothing is fetched; --yes accepts it" in refused.error
    assert not (served / "fetched/photos").exists()
    done = cli("data", "fetch", "photos", "--yes")
    assert done.code == 0, done.err
    assert "licence: share alike" in done.out
    assert (served / "fetched/photos/items.csv").is_file()
    again = cli("data", "fetch", "photos")
    assert again.code == 0
    assert "licence" not in again.out, "it was accepted before"
    assert cli("data", "path", "photos").out.strip() == str(served / "fetched/photos")
    told = json.loads(cli("data", "list", "--json").out)
    whole = {one["task"]: one["whole"] for one in told}
    assert whole == {"cifar10": False, "imdb_reviews": False, "photos": True}
    assert cli("data", "check", "photos").code == 0
    ran = cli("run", "-t", "photos", "-m", "majority", "--budget", "smoke", "-q")
    assert ran.code == 0, ran.err
    removed = cli("data", "remove", "photos")
    assert removed.code == 0
    assert "removed" in removed.out
    assert cli("data", "remove", "photos").code == 4
    assert "names no files to fetch" in cli("data", "fetch", "captioning", "--yes").error


# --- what columns look like ----------------------------------------------------------------------


def looked_at(rows: list[dict[str, Any]], name: str = "items") -> tuple[dict[str, Any], str]:
    """Draft the task of some rows; return the TOML's content and the notes."""
    file = Path(f"{name}.jsonl")
    file.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    found = draft.draft(file, name)
    return tomllib.loads(found.text), "\n".join(found.notes)


def plain(count: int = 40, **columns: Callable[[int], Any]) -> list[dict[str, Any]]:
    """Rows of an id, two numbers and a label, and whatever else."""
    return [
        {
            "id": f"i{k}",
            "numbers": [0.5 * k, 1.0],
            "label": ("cat", "dog")[k % 2],
            **{name: make(k) for name, make in columns.items()},
        }
        for k in range(count)
    ]


def parts(k: int) -> str:
    return ("train", "train", "dev", "test")[k % 4]


@pytest.mark.parametrize("other", ["restval", "holdout"])
def test_a_split_of_another_name_does_not_make_the_column_another(
    workplace: Path, other: str
) -> None:
    rows = plain(split=lambda k: other if k < 4 else parts(k))
    content, notes = looked_at(rows)
    params = content["dataset"]["params"]
    assert params["split"] == "split"
    assert params["names"] == {"dev": "val", other: ""}
    assert "shares" not in params
    assert sum(content["splits"].values()) == 36
    assert f"{other}: in no split: dataset.params.names says which" in notes


def test_two_names_of_a_split_are_told(workplace: Path) -> None:
    _, notes = looked_at(plain(split=lambda k: "val" if k == 1 else parts(k)))
    assert "2 of them become val" in notes


def test_short_names_of_splits_are_known(workplace: Path) -> None:
    rows = plain(split=lambda k: ("tr", "te")[k % 2])
    assert looked_at(rows)[0]["dataset"]["params"]["names"] == {"tr": "train", "te": "test"}


def test_splits_that_nobody_knows_are_an_error(workplace: Path) -> None:
    with pytest.raises(UsageError, match=r"the column 'split' holds a, b, and none is train"):
        looked_at(plain(split=lambda k: "ab"[k % 2]))


def test_a_row_without_its_split_is_named(workplace: Path) -> None:
    with pytest.raises(DataError, match=r"items\.jsonl: line 8: split: '' names no split"):
        looked_at(plain(split=lambda k: "" if k == 7 else parts(k)))


def test_columns_of_one_name_are_two_modalities(workplace: Path) -> None:
    rows = [
        {"id": row["id"], "图片": row["numbers"], "文字": f"text number {k}", "label": row["label"]}
        for k, row in enumerate(plain())
    ]
    content, _ = looked_at(rows)
    assert {k: v["kind"] for k, v in content["modalities"].items()} == {
        "column": "vector", "column_2": "text"
    }  # fmt: skip
    told = content["dataset"]["params"]["modalities"]
    assert [told[name]["column"] for name in ("column", "column_2")] == ["图片", "文字"]


def test_an_id_that_stands_twice_is_no_modality(cli: Cli, workplace: Path) -> None:
    rows = plain()
    rows[7]["id"] = "i3"
    content, notes = looked_at(rows)
    assert set(content["modalities"]) == {"numbers"}
    assert "id: id: by its name; 1 stand there twice" in notes
    assert cli("new", "task", "items.jsonl").code == 0
    checked = cli("data", "check", "items.toml")
    assert checked.code == 1
    assert "line 8 (id 'i3'): id: stands at line 4 already" in checked.out


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("pictures/{}.png", "there is no such file"),
        ("/data/{}.png", "leads out of the folder"),
        ("..\\{}.png", "leads out of the folder"),
        ("http://x.org/{}.png", "is an address"),
    ],
)
def test_files_that_are_not_there_are_no_reason_to_leave_a_modality_out(
    workplace: Path, path: str, why: str
) -> None:
    with pytest.raises(UsageError, match=rf"the column 'photo' names files, .*{why}.*relative to"):
        looked_at(plain(photo=lambda k: path.format(k)))


def test_one_vector_of_another_length_is_the_bad_one(cli: Cli, workplace: Path) -> None:
    rows = plain(seen=lambda k: [1.0 * k, 2.0, 3.0][: 3 - (k == 5)])
    for k, row in enumerate(rows):
        np.save(f"{k}.npy", np.ones(6 + (k == 9)))
        row["held"] = f"{k}.npy"
    content, notes = looked_at(rows)
    assert content["modalities"]["seen"]["shape"] == [3]
    assert content["modalities"]["held"]["shape"] == [6]
    assert "seen: modality (vector): lists of 3 numbers, but for 1" in notes
    assert "of 6 numbers, but for 1" in notes
    assert cli("new", "task", "items.jsonl").code == 0
    checked = cli("data", "check", "items.toml")
    assert "line 6 (id 'i5'): seen: has the shape [2], expected [3]" in checked.out
    assert "line 10 (id 'i9'): held: 9.npy: has the shape [7], expected [6]" in checked.out


def test_arrays_in_an_hdf5_file_reach_a_record(cli: Cli, workplace: Path) -> None:
    import h5py

    rows = plain(heard=lambda k: f"all.h5#clip{k}/audio", felt=lambda k: f"all.h5#clip{k}/touch")
    with h5py.File("all.h5", "w") as file:
        for k in range(len(rows)):
            file[f"clip{k}/audio"] = np.ones((4 + k % 3, 5))
            file[f"clip{k}/touch"] = np.full(6, float(k))
    content, notes = looked_at(rows)
    assert content["modalities"]["heard"] == {"kind": "sequence", "shape": [6, 5]}
    assert content["modalities"]["felt"] == {"kind": "vector", "shape": [6]}
    assert "felt: modality (vector): arrays in files of 6 numbers" in notes
    assert cli("new", "task", "items.jsonl").code == 0
    assert cli("data", "check", "items.toml").out.endswith("nothing is wrong\n")
    run = ("run", "-t", "items.toml", "-m", "late", "--budget", "smoke", "-q")
    assert cli(*run).code == 0
    assert "plan: 0 of 1 runs to do" in cli(*run).out
    with h5py.File("all.h5", "r+") as file:
        file["clip3/touch"][0] = 99.0
    assert "plan: 1 of 1 runs to do" in cli(*run).out, "other content is other data"


def test_labels_of_another_type_are_no_classes(cli: Cli, workplace: Path) -> None:
    rows = plain(label=lambda k: {7: 1, 9: 2.5, 11: True}.get(k, ("cat", "dog")[k % 2]))
    content, notes = looked_at(rows)
    assert content["outputs"]["label"]["classes"] == ["cat", "dog"]
    assert "2 different ones; 3 of another type, 1 the first, are none" in notes
    assert cli("new", "task", "items.jsonl").code == 0
    checked = cli("data", "check", "items.toml")
    assert checked.code == 1
    assert "line 8 (id 'i7'): label: 1 is a whole number, and the first label, cat, is t" in (
        checked.out
    )


def test_a_missing_number_is_missing(workplace: Path) -> None:
    rows = plain(age=lambda k: "NA" if k == 3 else 20.5 + k, size=lambda k: str(0.5 * k))
    content, notes = looked_at(rows)
    assert "age: not used: numbers, of which a vector may lack none; 1 blank" in notes
    assert "size: part: of the modality" in notes
    assert not any(m["kind"] == "text" for m in content["modalities"].values())


def test_several_classes_in_a_cell_are_a_multilabel(workplace: Path) -> None:
    words = ("red", "green", "blue")
    rows = [
        {"id": f"i{k}", "numbers": [1.0 * k, 2.0], "colours": "|".join(words[k % 3 :])}
        for k in range(40)
    ]
    content, _ = looked_at(rows)
    assert content["outputs"]["colours"] == {
        "kind": "multilabel", "classes": ["blue", "green", "red"]
    }  # fmt: skip
    assert content["dataset"]["params"]["targets"]["colours"] == {"separator": "|"}


@pytest.mark.parametrize(
    ("name", "grouped"),
    [("speaker", True), ("video_id", True), ("the_user", True), ("user_rating", False)],
)
def test_what_is_named_like_a_group_is_one(workplace: Path, name: str, grouped: bool) -> None:
    content, _ = looked_at(plain(**{name: lambda k: f"s{k % 12}"}))
    assert content["dataset"]["params"].get("cluster", "") == (name if grouped else "")


def test_a_group_that_has_too_few_values_draws_no_splits(workplace: Path) -> None:
    content, notes = looked_at(plain(speaker=lambda k: f"s{k % 2}"))
    assert "group" not in content["dataset"]["params"]
    assert content["dataset"]["params"]["cluster"] == "speaker"
    assert "speaker has too few values to draw splits by: they cross splits" in notes


def test_classes_that_differ_by_a_capital_are_asked_about(workplace: Path) -> None:
    _, notes = looked_at(plain(label=lambda k: ("cat", "Cat", "dog")[k % 3]))
    assert "some of which differ by capitals or blanks only: is that meant?" in notes


def test_other_classes_that_could_be_right_are_named(workplace: Path) -> None:
    rows = plain(verdict=lambda k: "xyz"[k % 3], place=lambda k: ("here", "there")[k % 2])
    for row in rows:
        del row["label"]
    _, notes = looked_at(rows)
    assert "place: output (label): 2 different ones; verdict could be what is right as" in notes


def test_captions_are_scored_as_captions(workplace: Path) -> None:
    rows = plain(caption=lambda k: f"a dog runs after {k} cats")
    for row in rows:
        del row["label"]
    assert looked_at(rows)[0]["metrics"]["main"] == "cider_d"


def test_where_nothing_is_right_it_is_said_what_each_column_is(workplace: Path) -> None:
    rows = plain(note=lambda k: f"a text of number {k}")
    for row in rows:
        del row["label"]
    with pytest.raises(UsageError, match=r"here are id: id; numbers: modality \(vector\); note: "):
        looked_at(rows)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("items.xlsx", "expected a manifest with one of the endings .jsonl, .csv"),
        ("items.json", "expected a manifest with one of the endings"),
        ("items.csv.gz", "expected a manifest with one of the endings"),
    ],
)
def test_another_kind_of_file_is_told_which_are_read(
    cli: Cli, workplace: Path, name: str, says: str
) -> None:
    Path(name).write_text("x")
    done = cli("new", "task", name)
    assert done.code == 4
    assert says in done.error


def test_a_dataset_folder_needs_no_slash(cli: Cli, workplace: Path) -> None:
    import datasets

    datasets.Dataset.from_list(plain()).save_to_disk("hf")
    done = cli("new", "task", "hf")
    assert done.code == 0, done.err
    assert "numbers: modality (vector)" in done.out
    assert tomllib.loads(Path("hf.toml").read_text())["dataset"]["name"] == "manifest"


def test_cells_between_semicolons_are_told(cli: Cli, workplace: Path) -> None:
    Path("items.csv").write_text("id;label\n1;cat\n")
    done = cli("new", "task", "items.csv")
    assert "items.csv: line 1: its cells seem to be separated by ';', expected ','" in done.error


def test_a_number_beyond_all_bounds_is_no_number(cli: Cli, workplace: Path) -> None:
    rows = plain(age=lambda k: 10**400 if k == 3 else 20.5 + k)
    Path("items.jsonl").write_text("\n".join(map(json.dumps, rows)))
    done = cli("new", "task", "items.jsonl")
    assert "internal" not in done.err


def test_a_record_is_made_again_whatever_the_order_of_modalities(cli: Cli, workplace: Path) -> None:
    rows = [
        {"id": r["id"], "zoo": r["numbers"], "ape": [1.0 * k, 2.0 * k % 7], "label": r["label"]}
        for k, r in enumerate(plain(60))
    ]
    Path("items.jsonl").write_text("\n".join(map(json.dumps, rows)))
    assert cli("new", "task", "items.jsonl").code == 0
    assert [*tomllib.loads(Path("items.toml").read_text())["modalities"]] == ["zoo", "ape"]
    ran = cli("run", "-t", "items.toml", "-m", "majority,concat", "--set", "width=8",
              "--budget", "smoke", "-q")  # fmt: skip
    assert ran.code == 0, ran.err
    done = cli("verify", "results", "--rerun", "--data", ".")
    assert done.code == 0, done.out + done.err
    assert "other data" not in done.out


def test_two_tasks_of_one_name_do_not_run_as_one(cli: Cli, workplace: Path) -> None:
    for folder in ("a", "b"):
        Path(folder).mkdir()
        rows = plain(count=40 if folder == "a" else 60)
        Path(folder, "items.jsonl").write_text("\n".join(map(json.dumps, rows)))
        assert cli("new", "task", f"{folder}/items.jsonl").code == 0
    done = cli("run", "-t", "a/items.toml,b/items.toml", "-m", "majority", "-q")
    assert done.code == 2
    assert "a/items.toml and b/items.toml: both tasks are named 'items'" in done.error
    assert cli("run", "-t", "a/items.toml,./a/items.toml", "-m", "majority", "-q").code == 0


@pytest.mark.parametrize("command", ["check", "run"])
def test_a_folder_of_data_has_to_be_there(cli: Cli, workplace: Path, command: str) -> None:
    Path("items.jsonl").write_text("\n".join(map(json.dumps, plain())))
    assert cli("new", "task", "items.jsonl").code == 0
    called = {"check": ("data", "check", "items.toml"),
              "run": ("run", "-t", "items.toml", "-m", "majority", "-q")}[command]  # fmt: skip
    done = cli(*called, "--data", "nowhere")
    assert done.code == 4
    assert "nowhere: --data (or MMBENCH_DATA) has to name a folder that is there" in done.error


def test_what_cannot_be_scored_is_found_by_the_check(cli: Cli, workplace: Path) -> None:
    Path("items.jsonl").write_text("\n".join(map(json.dumps, plain())))
    assert cli("new", "task", "items.jsonl").code == 0
    text = Path("items.toml").read_text()
    Path("items.toml").write_text(text.replace('main = "accuracy"', 'main = "mae"'))
    done = cli("data", "check", "items.toml")
    assert done.code == 2
    assert "mae" in done.error
    Path("items.toml").write_text(text.replace('["cat", "dog"]', '["cat", "dog", "cat"]'))
    done = cli("data", "check", "items.toml")
    assert "the class 'cat' stands there twice" in done.error
