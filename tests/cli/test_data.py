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
from mmbench.errors import UsageError

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
    (workplace / "photos/7.png").write_bytes((workplace / "photos/7.png").read_bytes()[:100])
    (workplace / "photos/9.wav").unlink()
    arguments = ("-t", "photos/items.toml", "-m", "late", "--budget", "smoke", "-q", "--set",
                 "width=16")  # fmt: skip
    refused = cli("run", *arguments)
    assert refused.code == 4
    assert "items.csv: row 8 (id 'photo-7'): picture: 7.png: cannot be decoded" in refused.error
    assert "(1 more are bad" in refused.error
    checked = cli("data", "check", "photos/items.toml")
    assert checked.code == 1
    assert "row 10 (id 'photo-9'): sound: '9.wav': there is no such file" in checked.out
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
    assert "finished before" in again.out or again.code == 0
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
    assert [(one["task"], one["whole"]) for one in told] == [("photos", True)]
    assert cli("data", "check", "photos").code == 0
    ran = cli("run", "-t", "photos", "-m", "majority", "--budget", "smoke", "-q")
    assert ran.code == 0, ran.err
    removed = cli("data", "remove", "photos")
    assert removed.code == 0
    assert "removed" in removed.out
    assert cli("data", "remove", "photos").code == 4
    assert "names no files to fetch" in cli("data", "fetch", "captioning", "--yes").error
