"""Whatever stands in a results folder: one line names what is wrong, the rest is still shown.

Every command that reads records meets every damage. A damaged record is left out by name; one that
only tells strange things is shown, and what it tells does nothing to a terminal, a table or a path.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import msgspec
import pyarrow as pa
import pyarrow.parquet as parquet
import pytest
from made_up import add, found

from mmbench import sealed, store
from mmbench.store import Stored

Cli: TypeAlias = Callable[..., Any]
Damage: TypeAlias = Callable[[Stored], object]

#: What obeys nobody's terminal: a screen cleared, a title set, a line broken, text turned round.
EVIL = "\x1b[2J\x1b]0;owned\x07<script>alert(1)</script>\r\n| a | b\x00\x9b31m\u202e../../x"
LONG = "x" * 10_000

COMMANDS: dict[str, tuple[str, ...]] = {
    "leaderboard": ("leaderboard",),
    "leaderboard markdown": ("leaderboard", "--format", "markdown"),
    "leaderboard overview": ("leaderboard", "--format", "overview"),
    "leaderboard latex": ("leaderboard", "--format", "latex"),
    "leaderboard html": ("leaderboard", "--format", "html"),
    "leaderboard csv": ("leaderboard", "--format", "csv"),
    "leaderboard json": ("leaderboard", "--json"),
    "compare": ("compare", "late", "concat", "--show-flips", "2"),
    "compare latex": ("compare", "late", "concat", "--format", "latex"),
    "compare markdown": ("compare", "late", "concat", "--format", "markdown"),
    "show": ("show", "mini/late", "--seed", "0", "--no-figures"),
    "show another": ("show", "mini/concat", "--no-figures"),
    "show json": ("show", "mini/late", "--no-figures", "--json"),
    "verify": ("verify", "--no-write"),
    "verify json": ("verify", "--no-write", "--json"),
}


#: What each record that is left out has to be named by; formats differ in what is shown only.
CORE = ("leaderboard", "compare", "show", "show another", "verify", "verify json")


def raw(edit: Callable[[bytes], bytes]) -> Damage:
    """Change the bytes of record.json."""

    def damage(stored: Stored) -> None:
        path = stored.folder / store.RECORD
        path.write_bytes(edit(path.read_bytes()))

    return damage


def told(*keys: str, value: Any) -> Damage:
    """Let record.json say something else in a place, and seal it again."""

    def damage(stored: Stored) -> None:
        path = stored.folder / store.RECORD
        content = json.loads(path.read_text())
        node = content
        for key in keys[:-1]:
            node = node[key]
        if value is ...:
            del node[keys[-1]]
        else:
            node[keys[-1]] = value
        content["checksum"] = sealed._checksum(content)
        path.write_bytes(sealed.encode(content))

    return damage


def table(name: str, edit: Callable[[pa.Table], pa.Table]) -> Damage:
    """Change a Parquet file, and seal the record again."""

    def damage(stored: Stored) -> None:
        path = stored.folder / name
        parquet.write_table(edit(parquet.read_table(path)), path)
        told("files", name, value=store.checksum(path))(stored)

    return damage


def column(name: str, values: Callable[[list[Any]], Any]) -> Callable[[pa.Table], pa.Table]:
    """Put other values into a column."""

    def edit(content: pa.Table) -> pa.Table:
        at = content.column_names.index(name)
        return content.set_column(at, name, [values(content.column(name).to_pylist())])

    return edit


def instead(make: Callable[[Path], object]) -> Damage:
    """Put something else in the place of record.json."""

    def damage(stored: Stored) -> None:
        path = stored.folder / store.RECORD
        path.unlink()
        make(path)

    return damage


def no_table(stored: Stored) -> None:
    path = stored.folder / store.ITEMS
    path.write_bytes(b"PAR1" + bytes(50) + b"PAR1")
    told("files", store.ITEMS, value=store.checksum(path))(stored)


def other_table(content: pa.Table) -> pa.Table:
    return pa.table({"a": [1, 2], "b": ["x", "y"]})


#: What makes a record unfit, and what the line has to say of it.
REFUSED: dict[str, tuple[Damage, str]] = {
    "cut short": (raw(lambda text: text[: len(text) // 2]), "is not valid JSON"),
    "empty": (raw(lambda text: b""), "is not valid JSON"),
    "a list": (raw(lambda text: b"[1, 2]"), "'schema' is missing"),
    "a number": (raw(lambda text: b"1"), "'schema' is missing"),
    "deeply nested": (raw(lambda text: b"[" * 100_000), "is not valid JSON"),
    "NaN": (raw(lambda text: text.replace(b'"value": ', b'"value": NaN, "v": ', 1)), "not valid"),
    "a lone surrogate": (raw(lambda text: text.replace(b"late", b"\\ud800", 1)), "not valid"),
    "edited": (raw(lambda text: text.replace(b'"seed": 0', b'"seed": 1')), "its checksum"),
    "the future": (told("schema", value=99), "schema 99 is newer than this mmbench reads"),
    "the far future": (told("schema", value=10**400), "is newer than this mmbench reads"),
    "no schema": (told("schema", value=...), "'schema' is missing"),
    "a schema that is true": (told("schema", value=True), "'schema' is missing"),
    "a seed in words": (told("seed", value="three"), "Expected `int`, got `str`"),
    "a seed below 0": (told("seed", value=-1), "seed -1: expected 0 or more"),
    "scores that are a list": (told("scores", value=[1]), "Expected `object`, got `array`"),
    "a score in words": (
        told("scores", "test", "rouge_l", "value", value="best"),
        "Expected `float | null`, got `str`",
    ),
    "items below 0": (told("scores", "test", "rouge_l", "n", value=-4), "no number of items"),
    "far too many items": (
        told("scores", "test", "rouge_l", "n", value=10**40),
        "no number of items",
    ),
    "a status that is none": (told("status", value=EVIL), "expected finished, diverged, leak"),
    "a hostile signature": (
        told("scores", "test", "rouge_l", "signature", value=LONG),
        "scores.test.rouge_l.signature",
    ),
    "a hostile id": (
        table(store.ITEMS, column("id", lambda v: [f"{EVIL}{k}" for k in range(len(v))])),
        "can be no item's name",
    ),
    "a long id": (
        table(store.ITEMS, column("id", lambda v: [f"{LONG}{k}" for k in range(len(v))])),
        "can be no item's name",
    ),
    "other numbers of items": (told("scores", "test", "rouge_l", "n", value=23), "holds 24 items"),
    "cost in words": (told("cost", "parameters", value="many"), "`, got `str` - at `$.cost[...]`"),
    "plugins that are a list": (told("provenance", "plugins", value=[]), "Expected `object`"),
    "a commit that is a number": (told("provenance", "commit", value=5), "Expected `str`"),
    "no definition": (told("definition", value=...), "missing required field `definition`"),
    "a definition of nothing": (told("definition", value={}), "says nothing of the task"),
    "a task that is none": (told("definition", "task", value={"name": 3}), "$.definition.task"),
    "a task of another schema": (told("definition", "task", "hue", value=1), "unknown field `hue`"),
    "a model that is a list": (told("definition", "model", value=[1]), "$.definition.model"),
    "tuning of nothing": (told("definition", "model", "tuning", value={}), "$.definition.model"),
    "branches of numbers": (told("definition", "branches", value=[1]), "$.definition.branches"),
    "a hostile task": (told("task", value=EVIL), "is no name"),
    "a model that leads away": (told("model", value="../../x"), "model '../../x' is no name"),
    "a budget with a zero": (told("budget", value="a\0b"), r"budget 'a\\x00b' is no name"),
    "a long model": (told("model", value=LONG), "is no name: expected at most 120"),
    "an identity that leads away": (told("identity", value="../x"), "identity '../x' is no name"),
    "another model": (told("model", value="concat"), "names mini/concat/brief-s0-"),
    "another task": (told("task", value="other"), "names other/late/brief-s0-"),
    "a file that leads away": (told("files", "../../x", value="0"), "files '../../x' is no name"),
    "a hostile metric": (told("scores", "test", EVIL, value={}), "Object missing required field"),
    "no statistics": (lambda s: (s.folder / store.ITEMS).unlink(), "is missing"),
    "statistics that are no table": (no_table, "cannot be read"),
    "another table": (table(store.ITEMS, other_table), "there is no text column 'split'"),
    "no clusters": (
        table(store.ITEMS, lambda t: t.drop_columns(["cluster"])),
        "there is no text column 'cluster'",
    ),
    "ids that are numbers": (
        table(store.ITEMS, column("id", lambda v: list(range(len(v))))),
        "there is no text column 'id'",
    ),
    "statistics in words": (
        table(store.ITEMS, column("rouge_l.rouge_l", lambda v: ["x"] * len(v))),
        "expected numbers in the column 'rouge_l.rouge_l'",
    ),
    "a number that is missing": (
        table(store.ITEMS, column("rouge_l.rouge_l", lambda v: [None, *v[1:]])),
        "but some are missing",
    ),
    "a number that is none": (
        table(store.ITEMS, column("rouge_l.rouge_l", lambda v: [float("nan"), *v[1:]])),
        "that are no finite numbers",
    ),
    "an id that is missing": (
        table(store.ITEMS, column("id", lambda v: [None, *v[1:]])),
        "name of an item is missing",
    ),
    "fewer items": (table(store.ITEMS, lambda t: t.slice(1)), "holds 23 items of the split 'test'"),
    "a column that is there twice": (
        table(store.ITEMS, lambda t: t.append_column("id", t.column("id"))),
        "two columns have one name",
    ),
    "a folder for a record": (instead(Path.mkdir), "cannot be read"),
    "a link in a circle": (instead(lambda p: p.symlink_to(p)), "cannot be read"),
    "a link to nowhere": (instead(lambda p: p.symlink_to("nowhere")), "cannot be read"),
    "a pipe": (instead(lambda p: os.mkfifo(p)), "it is no file"),
    "a device": (instead(lambda p: p.symlink_to("/dev/zero")), "it is no file"),
}


def hostile(text: str) -> dict[str, Damage]:
    """Strange text in every place that has room for it."""
    return {
        "summary": told("summary", value=text),
        "family": told("family", value=text),
        "reproduce": told("reproduce", value=text),
        "reason": told("reason", value=text),
        "device": told("provenance", "device", value=text),
        "commit": told("provenance", "commit", value=text),
        "when": told("provenance", "started", value=text),
        "version": told("provenance", "mmbench", value=text),
        "plugin": told("provenance", "plugins", value={text: text}),
        "clusters": table(store.ITEMS, column("cluster", lambda v: [text] * len(v))),
        "predictions": table(store.PREDICTIONS, column("caption", lambda v: [text] * len(v))),
        "branches": told("definition", "branches", value=[text, "a", "b"]),
        "source": told(
            "definition", "task", "source", "published",
            value=[{"model": text, "source": text, "scores": {"rouge_l": 0.5}, "note": text}],
        ),
        "other ids": table(store.ITEMS, column("id", lambda v: [f"x{k}" for k in range(len(v))])),
    }  # fmt: skip


STRANGE = {f"{name}, evil": damage for name, damage in hostile(EVIL).items()}
STRANGE |= {f"{name}, long": damage for name, damage in hostile(LONG).items()}


def is_safe(done: Any, form: str) -> None:
    """Fail where a terminal would obey, a line goes on and on, or mmbench did not see it coming."""
    for text in (done.out, done.err):
        assert "internal:" not in text
        assert "Traceback" not in text
        assert "owned\x07" not in text
        for line in text.splitlines():
            assert line.isprintable() or "\t" in line, repr(line)
            assert len(line) < 3000, line[:200]
            assert "x" * 2000 not in line
    if "html" in form:
        assert "<script>alert" not in done.out
    if "json" in form and done.out:
        json.loads(done.out)


def everything(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


@pytest.mark.parametrize("damage", REFUSED)
def test_a_damaged_record_is_one_line_and_the_rest_is_shown(
    cli: Cli, results: Path, damage: str
) -> None:
    stored = found("late")
    name = stored.record.name
    spoil, expected = REFUSED[damage]
    spoil(stored)
    before = everything(Path.cwd())
    for form in CORE:
        done = cli(*COMMANDS[form])
        is_safe(done, form)
        lines = [line for line in done.err.splitlines() if name in line or "late/" in line]
        if form == "verify":
            (line,) = (line for line in done.out.splitlines() if line.startswith("failed"))
            assert name in line
            assert expected in line
            assert done.code == 1
            assert sum(line.startswith(("ok", "note")) for line in done.out.splitlines()) == 4
        elif form == "verify json":
            assert done.code == 1
        elif form == "show" and done.code == 4:
            assert "--seed 0" in done.error or expected in done.err
        elif not form.startswith("show"):
            assert done.code == 0, done.err
            assert "concat" in done.out
            assert len(lines) == 1, done.err
            assert expected in lines[0]
            assert lines[0].startswith("warning: ")
        elif form == "show another":
            assert done.code == 0
            assert done.out.startswith("mini/concat/") or "concat" in done.out
    assert everything(Path.cwd()) == before
    assert not (Path.cwd().parent / "x").exists()


@pytest.mark.parametrize("damage", STRANGE)
def test_strange_text_is_shown_and_does_nothing(cli: Cli, results: Path, damage: str) -> None:
    STRANGE[damage](found("late"))
    before = everything(Path.cwd())
    for form, arguments in COMMANDS.items():
        done = cli(*arguments)
        is_safe(done, form)
        assert done.code in (0, 1, 4), done.err
        if not form.startswith(("compare", "show", "verify")):
            assert done.code == 0, done.err
            assert "concat" in done.out
    assert everything(Path.cwd()) == before


def test_two_records_of_one_identity_and_different_content(cli: Cli, results: Path) -> None:
    stored = found("late")
    copy = results / "mini/theirs" / stored.folder.name
    shutil.copytree(stored.folder, copy)
    told("model", value="theirs")(Stored(copy, stored.record))
    told("scores", "test", "rouge_l", "value", value=0.99)(Stored(copy, stored.record))
    for form, arguments in COMMANDS.items():
        done = cli(*arguments)
        is_safe(done, form)
        if form.startswith(("leaderboard", "compare")):
            (line,) = (line for line in done.err.splitlines() if "identity" in line)
            assert "mini/theirs" in line
            assert "the first counts" in line
            assert "0.99" not in done.out
            assert done.code == 0
    assert sum(line.startswith("failed") for line in cli("verify").out.splitlines()) == 2


def test_a_folder_that_leads_in_a_circle_does_no_harm(cli: Cli, results: Path) -> None:
    (results / "circle").symlink_to(".")
    (results / "mini/circle").symlink_to("..")
    (results / "self").symlink_to("self")
    for form, arguments in COMMANDS.items():
        done = cli(*arguments)
        is_safe(done, form)
        assert "late" in done.out


def test_hostile_folders_are_named_safely(cli: Cli, results: Path) -> None:
    folder = results / "mini" / "a\x1b[2Jb" / ("y" * 200)
    folder.mkdir(parents=True)
    (folder / store.RECORD).write_text("{")
    for form, arguments in COMMANDS.items():
        done = cli(*arguments)
        is_safe(done, form)
        if form in ("leaderboard", "compare", "verify"):
            assert r"a\x1b[2Jb" in done.out + done.err


@pytest.mark.parametrize("where", ["none", "empty", "file-free/deep"])
def test_where_nothing_is_one_line_says_so(cli: Cli, workplace: Path, where: str) -> None:
    Path("empty").mkdir()
    for arguments in COMMANDS.values():
        done = cli(*arguments, "--results", where)
        assert done.code == 4
        assert where in done.error
        assert len(done.err.splitlines()) == 1
        assert not done.out


def test_where_all_is_damaged_one_of_them_is_named(cli: Cli, results: Path) -> None:
    for stored in store.scan(results)[0]:
        (stored.folder / store.RECORD).write_text("{")
    for form, arguments in COMMANDS.items():
        done = cli(*arguments)
        is_safe(done, form)
        assert done.code == (1 if form.startswith("verify") else 4)
        assert "is not valid JSON" in done.out + done.err


def test_one_seed_only_has_a_board_and_a_comparison(cli: Cli, results: Path) -> None:
    for model in ("late", "concat"):
        shutil.rmtree(found(model, 1).folder)
    for form, arguments in COMMANDS.items():
        done = cli(*arguments)
        is_safe(done, form)
        assert done.code == 0
    assert "one seed" in cli("leaderboard").out
    assert "these weights" in cli("compare", "late", "concat").out


def test_names_that_a_stranger_may_give_are_shown_as_they_are(cli: Cli, results: Path) -> None:
    import numpy as np

    add("Qwen2.5-VL_7B+x", np.linspace(0.1, 0.9, 24))
    out = cli("leaderboard", "--format", "markdown").out
    assert "Qwen2.5-VL_7B+x" in out.replace("\\", "")


def test_what_is_cleaned_is_only_what_is_printed(results: Path) -> None:
    """Digests are over the definition: it comes back as it was written."""
    stored = found("late")
    told("definition", "task", "summary", value=EVIL)(stored)
    again = store.read(stored.folder).record
    assert again.definition["task"]["summary"] == EVIL
    assert msgspec.json.decode((stored.folder / store.RECORD).read_bytes())["summary"]
