"""The static site: its structure, its links, what hostile and damaged records do to it."""

from __future__ import annotations

import io
import re
import time
import wave
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow.parquet as parquet
import pytest
from made_up import add, change, found, let_in
from PIL import Image

from mmbench import sealed, store, trust
from mmbench.cli import run_cli
from mmbench.data import _load
from mmbench.report.site import contents, media, names
from mmbench.report.site.matrix import matrix
from mmbench.report.site.pages import Pages
from mmbench.types import Modality, Split

#: Runs a command line, see ``tests/conftest.py``.
Command = Callable[..., Any]
#: Elements that have no end tag.
VOID = {"meta", "link", "img", "input", "br"}
HOSTILE = '<script>document.title="broken"</script>'


class Page(HTMLParser):
    """A page taken apart; fails where elements are not closed in order."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        text = path.read_text(encoding="utf-8")
        self.feed(text)
        self.close()
        assert not self.open, (path, self.open)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len(attrs) == len(dict(attrs)), attrs
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def pages(site: Path) -> dict[str, Page]:
    return {str(p.relative_to(site)): Page(p) for p in sorted(site.rglob("*.html"))}


def check(site: Path) -> dict[str, Page]:
    """Hold every page against what all of them promise; return them."""
    read = pages(site)
    for name, page in read.items():
        here = (site / name).parent
        ids = [a["id"] for _, a in page.tags if "id" in a]
        assert len(ids) == len(set(ids)), name
        for _tag, attributes in page.tags:
            assert not {"style", "onclick", "onerror", "onload"} & set(attributes), (name, _tag)
            for key in ("href", "src"):
                if key in attributes:
                    resolves(read, site, here, name, str(attributes[key]))
            for key in ("aria-labelledby", "aria-describedby"):
                for target in (attributes.get(key) or "").split():
                    assert target in ids, (name, target)
        assert page.all("html")[0]["lang"] == "en"
        assert "viewport" in {a.get("name") for a in page.all("meta")}
        assert [a["src"] for a in page.all("script")] == ["../" * name.count("/") + "site.js"]
        assert "style" not in {tag for tag, _ in page.tags}
        assert "default-src 'none'" in str(page.all("meta")[1]["content"])
        for landmark in ("header", "nav", "main", "footer", "h1"):
            assert len(page.all(landmark)) == 1, (name, landmark)
        for image in page.all("img"):
            assert image["alt"]
        for svg in page.all("svg"):
            told = svg.get("role") == "img" and svg.get("aria-labelledby")
            assert told or svg.get("aria-hidden") == "true", name
        assert all("scope" in a for a in page.all("th"))
        assert len(page.all("caption")) == len(page.all("table")), name
    return read


def resolves(read: dict[str, Page], site: Path, here: Path, name: str, link: str) -> None:
    assert not re.match(r"[a-z]+:|//|/", link, re.IGNORECASE), (name, link)
    path, _, anchor = link.partition("#")
    target = (here / path).resolve() if path else (site / name).resolve()
    assert target.is_relative_to(site.resolve()), (name, link)
    assert target.is_file(), (name, link)
    if anchor and target.suffix == ".html" and not link.startswith("#m"):
        there = read[str(target.relative_to(site.resolve()))]
        assert anchor in {a.get("id") for _, a in there.tags}, (name, link)


@pytest.fixture(scope="module")
def site(made: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site of real runs, made once; tests only read it."""
    out = tmp_path_factory.mktemp("report") / "site"
    given = ["report", "--results", str(made), "--out", str(out), "--items", "4", "-q"]
    assert run_cli(given) == 0
    return out


def test_it_has_a_page_for_everything(site: Path) -> None:
    read = check(site)
    kinds = [name.partition("/")[0] for name in read]
    assert kinds.count("runs") == 5
    assert kinds.count("models") == 3
    assert kinds.count("tasks") == 1
    assert {"index.html", "tasks.html", "models.html", "runs.html"} < set(read)


def test_the_first_page_shows_boards(site: Path) -> None:
    page = Page(site / "index.html")
    assert "5 runs of 3 models on 1 task" in page.text
    for model in ("late", "concat", "image_only"):
        assert model in page.texts
    for told in ("floor 0.100,", "image alone 0.600,", "all modalities 0.700 (oracles)"):
        assert told in page.text
    assert "95 % intervals over 1 to 2 seeds x 24 items" in page.text
    assert page.text.count("self-reported") >= 3
    assert (site / "index.html").stat().st_size < 12_000


def test_a_tasks_page_shows_what_it_is_and_who_wins(site: Path) -> None:
    page = Page(site / "tasks" / "mini.html")
    for told in (
        "A few scenes.",
        "image (image, 3 × 48 × 48)",
        "audio (spectrogram, 2 × 16 × 24)",
        "ood 12",
        "mini@1 on ood",
        "3 pairs corrected together (Holm)",
        "could find",
        "Items of test, drawn at random",
    ):
        assert told in page.text, told
    figures = [a for a in page.all("svg") if a.get("role") == "img"]
    assert len(figures) == 3  # forest on test and on ood, learning curves
    matrix = [a for a in page.all("table") if a.get("class") == "matrix"]
    assert len(matrix) == 1


def test_a_matrix_says_the_same_from_both_sides(results: Path) -> None:
    records, _ = store.scan(results)
    got = contents.gather(records, [], results)
    found_matrix = matrix(got.tables[0], [])
    assert found_matrix is not None
    flip = {"better": "worse", "worse": "better", "no difference found": "no difference found"}
    for i, row in enumerate(found_matrix.cells):
        assert row[i] is None
        for j, cell in enumerate(row):
            other = found_matrix.cells[j][i]
            if cell is not None and other is not None:
                assert other.verdict == flip[cell.verdict]
                assert cell.value.strip("+−") == other.value.strip("+−")


def test_a_models_page_shows_its_wiring_and_recipe(site: Path) -> None:
    page = Page(site / "models" / "late.html")
    assert "branch image hears image; branch audio hears audio" in page.text
    assert "recipe.batch_size" in page.text
    assert "of 3" in page.text


def test_a_runs_page_shows_where_it_comes_from_and_how_to_make_it_again(
    site: Path, results: Path
) -> None:
    record = found("late", 1).record
    (path,) = (site / "runs").glob("mini-late-brief-s1-*.html")
    page = Page(path)
    assert record.reproduce in page.texts
    for told in (record.identity, record.checksum, record.data["fingerprint"], "Other seeds: 0"):
        assert told in page.text, told
    for metric, score in record.scores["test"].items():
        assert metric in page.texts
        assert f"{score.value:.3f}" in page.texts
    assert "learning curve" in page.text
    assert "validation rouge_l" in page.text


def test_items_are_seen_and_heard(site: Path) -> None:
    (path,) = (site / "runs").glob("mini-late-brief-s0-*.html")
    page = Page(path)
    assert len(page.all("audio")) == 4
    assert {a["preload"] for a in page.all("audio")} == {"none"}
    assert "sound made from the spectrogram" in page.text
    assert len(page.all("img")) == 4 * 3  # a picture, two channels
    sound = (path.parent / str(page.all("audio")[0]["src"])).read_bytes()
    with wave.open(io.BytesIO(sound)) as read:
        assert (read.getnchannels(), read.getframerate()) == (2, media.RATE)
        assert read.getnframes() == round(16 * media.FRAME * media.RATE)


def test_what_a_run_said_stands_beside_what_is_true(site: Path, results: Path) -> None:
    (path,) = (site / "runs").glob("mini-late-brief-s0-*.html")
    said = store.read_predictions(found("late", 0), "test")
    page = Page(path)
    shown = [text for text in page.texts if text in said["id"]]
    assert len(set(shown)) == 4
    assert page.texts.count("true") >= 4
    assert "which branch decided" in page.texts


def test_photographs_and_small_pictures_are_each_kept_as_suits_them(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    photo = rng.integers(0, 255, (2, 3, 120, 160), dtype=np.uint8)
    grey = rng.integers(0, 255, (2, 1, 28, 28), dtype=np.uint8)
    split = Split(["a", "b/../c"], {"photo": photo, "grey": grey}, {}, {}, {"grey": np.eye(2)[0]})
    modalities = {"photo": Modality("image", (3, 120, 160)), "grey": Modality("image", (1, 28, 28))}
    first, second = (media.Media(tmp_path).of("x", split, modalities, row) for row in (0, 1))
    assert first is not None
    assert second is not None
    (file, _), (small, _) = first[0].files[0], first[1].files[0]
    assert (file[-4:], first[0].sharp, first[0].wide, first[0].high) == (".jpg", False, 192, 144)
    assert (small[-4:], first[1].sharp) == (".png", True)
    with Image.open(tmp_path / small) as image:
        assert np.array_equal(np.asarray(image), grey[0, 0])
    assert second[1].kind == "none"
    written = {p.parent for p in tmp_path.rglob("*") if p.is_file()}
    assert written == {tmp_path / "media" / "x"}


def test_media_of_so_many_items_are_written_and_no_more(tmp_path: Path) -> None:
    count = media.MOST + 5
    split = Split([f"{i}" for i in range(count)], {"v": np.ones((count, 3))}, {}, {})
    made = media.Media(tmp_path)
    found_media = [made.of("x", split, {"v": Modality("vector", (3,))}, i) for i in range(count)]
    assert [each is None for each in found_media].count(True) == 5
    assert len(list((tmp_path / "media/x").iterdir())) == media.MOST


@pytest.mark.parametrize("side", [0, 1])
def test_what_is_made_audible_comes_from_where_the_spectrogram_is_loud(side: int) -> None:
    item = np.full((2, 16, 24), 40, dtype=np.uint8)
    item[side, 4:6, 20] = 220
    with wave.open(io.BytesIO(media.audible(item))) as read:
        sound = np.frombuffer(read.readframes(read.getnframes()), "<i2").reshape(-1, 2) / 32768.0
    loud = np.abs(sound).reshape(16, -1, 2).mean(axis=1)
    assert loud[4:6, side].min() > 0.05
    assert loud[8:].max() == 0.0
    assert loud[:, 1 - side].max() == 0.0
    # The pitch is the band's: 20 of 24, evenly in mel.
    mel = np.linspace(media._mel(media.LOW), media._mel(media.HIGH), 24)[20]
    wanted = 700.0 * (10 ** (mel / 2595.0) - 1)
    spectrum = np.abs(np.fft.rfft(sound[:, side]))
    assert np.fft.rfftfreq(len(sound), 1 / media.RATE)[spectrum.argmax()] == pytest.approx(
        wanted, rel=0.02
    )


def files(top: Path) -> dict[str, bytes]:
    return {str(p.relative_to(top)): p.read_bytes() for p in top.rglob("*") if p.is_file()}


def test_the_same_records_give_the_same_bytes(cli: Command, results: Path, site: Path) -> None:
    assert cli("report", "--out", "again", "--items", "4").code == 0
    assert files(Path("again")) == files(site)


def test_hostile_names_do_no_harm(
    cli: Command, results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    let_in(monkeypatch)
    like = found("late").record
    long = "x" * 10_000
    rng = np.random.default_rng(0)
    rows = rng.uniform(size=24)
    for number, name in enumerate((HOSTILE, f"$\\badmath{{{long}", '"><img src=x onerror=y>')):
        stored = add(f"m{number}", rows + 0.1 * number, identity=f"{number}a" + "1" * 62)
        task = like.definition["task"] | {"summary": HOSTILE}
        change(stored, model=name, summary=HOSTILE, reproduce=f"run {HOSTILE}", definition={
            **like.definition, "task": task, "branches": [HOSTILE, "joint"],
        })  # fmt: skip
    add("m9", rows)
    change(found("m9"), model="../../outside", task="../../outside")
    add("m8", rows)
    change(found("m8"), model="a\x00b\u202ec", reason="\x00" * 5)
    done = cli("report", "--out", "site")
    assert done.code == 0, done.err
    read = check(Path("site"))
    for name, page in read.items():
        assert "<script>document" not in Path("site", name).read_text(encoding="utf-8"), name
        assert len(page.all("script")) == 1
        assert not {"x"} & {a.get("src") for a in page.all("img")}
        assert len(name) < 140
    assert {p.name for p in Path().iterdir()} == {"results", "site"}
    everything = "".join(p.read_text(encoding="utf-8") for p in Path("site").rglob("*.html"))
    assert "\x00" not in everything
    assert "\u202e" not in everything
    assert long not in everything
    assert sum(p.name.startswith("outside-") for p in Path("site").rglob("*.html")) == 2


def test_names_become_file_names_that_no_other_name_has() -> None:
    plain = [
        "late",
        "late_2",
        "con",
        "LATE",
        "late ",
        "../late",
        "",
        "\x00",
        "é",
        "x" * 500,
        "x" * 501,
    ]
    made = [names.slug(name) for name in plain]
    assert made[0] == "late"
    assert len(set(made)) == len(plain)
    assert len({name.lower() for name in made}) == len(plain)
    for name in made:
        assert re.fullmatch(r"[a-z0-9_-]{1,80}", name)
    assert names.slug("con").startswith("con-")  # Windows has a device of that name


def test_what_is_damaged_is_named_on_the_site_too(cli: Command, results: Path) -> None:
    (found("late", 0).folder / "record.json").write_text("{")
    (found("concat", 0).folder / "items.parquet").write_bytes(b"PAR1")
    stored = found("concat", 1)
    change(stored, definition={})
    done = cli("report", "--out", "site", "--items", "0")
    assert done.code == 0, done.err
    warnings = [line for line in done.err.splitlines() if line.startswith("warning:")]
    assert len(warnings) == 3
    check(Path("site"))
    page = Page(Path("site/index.html"))
    for told in ("is not valid JSON", "does not match the record's checksum", "says nothing of"):
        assert any(told in line for line in warnings), warnings
        assert told in page.text
    assert "image_only" in page.text
    assert "results/" not in page.text, "where records lie is nobody's business"


def test_items_of_the_users_own_data_are_not_passed_on_unaware(
    cli: Command, results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_load, "source_digest", lambda task, root: "on the user's disk")
    done = cli("report", "--out", "site", "--items", "1", "-m", "image_only")
    assert done.code == 0
    assert "the site holds items of mini, whose licence is: not known; --items 0" in done.err
    assert "licence" not in cli("report", "--out", "site", "--items", "0").err


def test_costs_that_are_no_numbers_are_named(cli: Command, results: Path) -> None:
    change(found("late", 0), cost={"train_seconds": "<b>long</b>"})
    done = cli("report", "--out", "site")
    assert done.code == 0
    assert "Expected `bool | float | null`, got `str`" in done.err
    check(Path("site"))


def test_what_runs_cost_is_told_with_units_and_unknown_of_old_records(
    cli: Command, results: Path
) -> None:
    for seed in (0, 1):
        own = {"latency_p50_seconds": 0.00354, "items_per_second": 1852.2, "energy_joules": 25e3}
        change(found("late", seed), cost=found("late", seed).record.cost | own)
    record = found("image_only").record
    old = {key: record.cost[key] for key in ("parameters", "train_seconds")}
    old["peak_host_bytes"] = 2**28  # what this process has depends on the tests before
    came = {key: value for key, value in record.provenance.items() if key != "measured"}
    change(found("image_only"), cost=old, provenance=came)
    assert cli("report", "--out", "site", "--items", "0").code == 0
    check(Path("site"))
    (path,) = Path("site/runs").glob("mini-late-brief-s1-*.html")
    for told in (
        "latency of one item, median 3.54 ms",
        "throughput in testing 1,852 items/s",
        "energy 25 kJ",
        "measured.peak_host_bytes",
    ):
        assert told in Page(path).text
    (path,) = Path("site/runs").glob("mini-image_only-brief-s0-*.html")
    for told in ("latency of one item, median unknown", "energy unknown", "peak memory 0."):
        assert told in Page(path).text
    board = Page(Path("site/index.html")).text
    for told in ("latency p50", "3.54 ms", "throughput", "25 kJ", "unknown"):
        assert told in board
    assert "host memory is of different spans: of the run alone: " in board


def test_what_diverged_is_listed_with_its_reason(cli: Command, results: Path) -> None:
    change(found("late", 1), status="diverged", reason="loss <nan> at step 3", scores={})
    assert cli("report", "--out", "site", "--items", "0").code == 0
    check(Path("site"))
    page = Page(Path("site/index.html"))
    assert "Not ranked" in page.texts
    assert ": diverged: loss <nan> at step 3" in page.text
    (path,) = Path("site/runs").glob("mini-late-brief-s1-*.html")
    assert "not ranked: diverged: loss <nan> at step 3" in Page(path).text


def test_how_far_a_record_was_checked_is_shown_and_failed_ones_are_not_ranked(
    cli: Command, results: Path
) -> None:
    late, other = found("late", 0), found("late", 1)
    trust.write(results, {
        late.record.name: trust.Finding(
            checksum=late.record.checksum, level=trust.FAILED, reason="accuracy .1, not .9"
        ),
        other.record.name: trust.Finding(checksum=other.record.checksum, level=trust.RESCORED),
    })  # fmt: skip
    assert cli("report", "--out", "site", "--items", "0").code == 0
    check(Path("site"))
    page = Page(Path("site/index.html"))
    assert "late, seed 0 : failed verification: accuracy .1, not .9" in page.text
    assert "rescored" in page.texts
    (path,) = Path("site/runs").glob("mini-late-brief-s0-*.html")
    assert "failed verification" in Page(path).text


def test_published_rows_are_marked_as_such(cli: Command, results: Path) -> None:
    for stored in store.scan(results)[0]:
        task = stored.record.definition["task"]
        row = {"model": "theirs", "source": "Doe 2020", "scores": {"rouge_l": 0.65}, "note": "big"}
        source = task["source"] | {"published": [row]}
        change(stored, definition={**stored.record.definition, "task": task | {"source": source}})
    assert cli("report", "--out", "site", "--items", "0").code == 0
    check(Path("site"))
    page = Page(Path("site/index.html"))
    assert "theirs: published, Doe 2020; big; no interval, not ranked." in page.text
    assert any(a.get("class") == "out" for a in page.all("tr"))


def test_only_what_is_asked_for_is_on_it(cli: Command, results: Path) -> None:
    assert cli("report", "--out", "site", "-m", "late").code == 0
    assert sorted(p.name for p in Path("site/models").iterdir()) == ["late.html"]
    done = cli("report", "--out", "site", "-m", "lat")
    assert done.code == 4
    assert "did you mean 'late'?" in done.error


def test_no_records_is_one_line(cli: Command) -> None:
    done = cli("report", "--out", "site")
    assert done.code == 4
    assert "holds no records" in done.error
    assert not Path("site").exists()
    assert cli("report").code == 2


def test_a_folder_that_holds_something_else_is_left_alone(cli: Command, results: Path) -> None:
    Path("mine").mkdir()
    Path("mine/thesis.txt").write_text("all of it")
    Path("file").write_text("x")
    for place in ("mine", "file", "."):
        done = cli("report", "--out", place)
        assert done.code == 2
        assert f"--out {place}" in done.error
    assert Path("mine/thesis.txt").read_text() == "all of it"
    Path("empty").mkdir()
    assert cli("report", "--out", "empty", "--items", "0", "-m", "image_only").code == 0
    Path("empty/old.html").write_text("of another site")
    assert cli("report", "--out", "empty", "--items", "0", "-m", "image_only").code == 0
    assert not Path("empty/old.html").exists()
    assert not [p for p in Path().iterdir() if p.name.startswith(".")]


def test_a_site_that_cannot_be_made_leaves_the_old_one(
    cli: Command, results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert cli("report", "--out", "site", "--items", "0", "-m", "late").code == 0
    before = files(Path("site"))

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Pages, "write", full)
    done = cli("report", "--out", "site")
    assert done.code == 1
    assert "No space left on device" in done.error
    assert files(Path("site")) == before
    assert {p.name for p in Path().iterdir()} == {"results", "site"}


def test_without_predictions_the_rest_is_shown(cli: Command, results: Path) -> None:
    for stored in store.scan(results)[0]:
        (stored.folder / store.PREDICTIONS).unlink()
    done = cli("report", "--out", "site")
    assert done.code == 0
    check(Path("site"))
    (path,) = Path("site/runs").glob("mini-late-brief-s0-*.html")
    assert "the record is here without its predictions" in Page(path).text
    assert Page(Path("site/tasks/mini.html")).all("audio")


def test_the_command_says_what_to_open(cli: Command, results: Path) -> None:
    done = cli("report", "--out", "here", "--items", "0")
    assert re.search(r"^wrote here: 13 pages, [\d.]+ MB, the first page \d+ KB$", done.out, re.M)
    assert done.out.splitlines()[-1] == "next: open here/index.html in a browser"
    assert not Path("here/media").exists()
    done = cli("report", "--out", "here", "--items", "0", "--json")
    told = msgspec.json.decode(done.out)
    assert told["pages"] == 13
    assert told["first_page_bytes"] == Path("here/index.html").stat().st_size


def many(results: Path, count: int, models: int, seeds: int) -> None:
    """Put `count` made-up records there, quickly: nothing of them is synced to disk."""
    like = found("late").record
    rng = np.random.default_rng(1)
    ids = [f"test-{i:04d}" for i in range(24)]
    spec = like.definition["task"]
    made = 0
    for number in range(count):
        task, rest = divmod(number, models * seeds)
        model, seed = divmod(rest, seeds)
        name = f"task_number_{task}"
        rows = np.stack([rng.uniform(size=24), np.ones(24)], 1)
        table = store.items_table(
            {"test": ids}, {"test": {"rouge_l": (["rouge_l", "count"], rows)}}, {"test": None}
        )
        folder = results / name / f"model_{model}" / f"brief-s{seed}-{number:08x}"
        folder.mkdir(parents=True)
        parquet.write_table(table, folder / store.ITEMS)
        record = msgspec.structs.replace(
            like,
            task=name, task_digest=name, model=f"model_{model}", seed=seed,
            identity=f"{number:08x}" + "0" * 56, model_digest=f"model_{model}",
            definition={**like.definition, "task": spec | {"name": name}},
            scores={"test": {"rouge_l": like.scores["test"]["rouge_l"]}},
            curve=[] if number % 10 else like.curve,  # most of the time goes into drawing these
            files={store.ITEMS: store.checksum(folder / store.ITEMS)},
        )  # fmt: skip
        (folder / store.RECORD).write_bytes(sealed.encode(sealed.seal(record)))
        made += 1
    assert made == count


@pytest.mark.slow
@pytest.mark.parametrize(("models", "seeds"), [(20, 5), (50, 1), (4, 1)])
def test_a_thousand_runs_have_a_small_first_page(
    cli: Command, results: Path, models: int, seeds: int
) -> None:
    many(results, 1000, models, seeds)
    begin = time.perf_counter()
    done = cli("report", "--out", "site", "--items", "0")
    took = time.perf_counter() - begin
    assert done.code == 0, done.err
    first = Path("site/index.html").stat().st_size
    print(f"{models} models x {seeds} seeds: first page {first / 1e3:.0f} KB, {took:.0f} s")
    assert first < 300_000
    assert len(list(Path("site/runs").iterdir())) == 1005
    check(Path("site"))
