from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pyarrow.parquet as parquet
import pytest

from mmbench import rng, store
from mmbench.cli import run_cli
from mmbench.data import _load
from mmbench.scoring import score
from mmbench.spec import TaskSpec, parse_task
from mmbench.types import Predictions

SEEN = {
    "schema": 1,
    "name": "mini",
    "version": 1,
    "summary": "A small task that no catalogue has.",
    "dataset": {"name": "scenecap", "version": 1, "seed": 5},
    "modalities": {
        "image": {"kind": "image", "shape": [3, 48, 48]},
        "audio": {"kind": "spectrogram", "shape": [2, 16, 24]},
    },
    "outputs": {"caption": {"kind": "text"}},
    "splits": {"train": 20, "val": 10, "test": 24, "ood": 12},
    "metrics": {"main": "cider_d", "also": ["slot_f1", "emitter_f1"]},
    "budgets": {"small": {"items": 20, "steps": 40}},
    "levels": {"cider_d": {"floor": 0.5, "ceiling": 4.5, "alone": {"image": 2.0, "audio": 1.0}}},
}
REAL = {
    **SEEN,
    "name": "photos",
    "dataset": {"name": "karpathy", "version": 1},
    "modalities": {"image": {"kind": "image", "shape": [3, 64, 64]}},
    "levels": {},
}
FIGURES = ["curve.png", "gate.png", "scores.png", "sheet.png"]


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def _surroundings(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.startswith("MMBENCH_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("MMBENCH_CACHE", str(cache))
    monkeypatch.setenv("COLUMNS", "100")


@pytest.fixture
def results(tmp_path: Path) -> Path:
    return tmp_path / "results"


def say(task: TaskSpec, split: str, branches: tuple[str, ...]) -> Predictions:
    """Every second item gets its own caption, the others that of the next item."""
    data = _load.load(task).splits[split]
    texts = [data.references["caption"].texts[(k + k % 2) % len(data)][0] for k in range(len(data))]
    gates = []
    for k, text in enumerate(texts):
        words = len(text.split()) + 1
        raw = rng.uniform(k, "gate", count=words * len(branches)).reshape(words, -1) + 0.01
        gates.append((raw / raw.sum(axis=1, keepdims=True)).tolist())
    columns = {"caption.gate": gates, "branches": [list(branches)] * len(texts)}
    return Predictions(list(data.ids), {"caption": texts}, columns)


def make(
    results: Path,
    *,
    content: dict[str, Any] = SEEN,
    branches: tuple[str, ...] = ("joint", "image", "audio"),
    **more: Any,
) -> store.Stored:
    """Store a record as a run would leave it."""
    task = parse_task(content, "mini.toml")
    scored, told, fingerprint = {}, {}, "0" * 64
    if more.get("status", "finished") == "finished":
        source = parse_task(SEEN, "mini.toml")  # the words of 'photos' are those of 'mini'
        dataset = _load.load(source)
        fingerprint = dataset.fingerprint
        for split in ("test", "ood"):
            told[split] = say(source, split, branches)
            references = {"caption": dataset.splits[split].references["caption"]}
            scored[split] = score(told[split], references, "caption", task.metrics.names)
    settings: dict[str, Any] = {
        "status": "finished",
        "task": task.name,
        "task_version": 1,
        "task_digest": task.digest("small"),
        "budget": "small",
        "model": "hybrid",
        "summary": "a gate weighs them",
        "model_digest": "m" * 64,
        "seed": 0,
        "identity": f"{len(branches)}abcdef0123456789",
        "definition": {"task": msgspec.to_builtins(task), "model": {}, "signature": {}},
        "provenance": {"started": "2026-01-02T03:04:05+00:00", "device": "cpu", "plugins": {}},
        "data": {"fingerprint": fingerprint, "source": ""},
        "scores": {
            split: {
                name: store.StoredScore(
                    **{key: getattr(got, key) for key in store.StoredScore.__struct_fields__}
                )
                for name, got in result.scores.items()
            }
            for split, result in scored.items()
        },
        "curve": [
            {"step": 10.0, "loss": 3.0, "score": None},
            {"step": 20.0, "loss": 2.0, "score": 1.5},
        ],
        "cost": {"parameters": 1234, "train_seconds": 2.0, "steps": 20, "best_step": 20},
        "reproduce": "mmbench run -t mini -m hybrid --seeds 0-0",
    }
    items = None
    if scored:
        items = store.items_table(
            {split: said.ids for split, said in told.items()},
            {split: result.statistics for split, result in scored.items()},
            dict.fromkeys(told),
        )
    record = store.Record(**(settings | more))
    return store.write(results, record, items, store.predictions_table(told) if told else None)


Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def show(results: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    def run(*arguments: str) -> tuple[int, str, str]:
        code = run_cli(["show", *arguments, "--results", str(results)])
        out, err = capsys.readouterr()
        return code, out, err

    return run


def drawn(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_it_shows_scores_cost_command_samples_and_draws_all_figures(
    results: Path, show: Run
) -> None:
    stored = make(results)
    code, out, err = show()
    assert (code, err) == (0, "")
    for part in (
        f"{stored.record.name}  finished",
        "test, 24 items",
        "ood, 12 items",
        "0.500  4.500",
        "cost    1,234 parameters\n        trained 2.0 s, 20 steps, best at 20\n",
        "        latency unknown\n        energy unknown\n",
        "mmbench run -t mini -m hybrid --seeds 0-0",
        "samples of test:",
        "j joint, i image, a audio",
        f"next: mmbench leaderboard -t mini --results {results}",
    ):
        assert part in out
    assert out.count("    said") == out.count("    true") == 4
    assert "\x1b[" not in out
    assert drawn(stored.folder / "figures") == FIGURES
    for name in FIGURES:
        content = (stored.folder / "figures" / name).read_bytes()
        assert content.startswith(b"\x89PNG")
        assert len(content) > 20_000
        assert str(stored.folder / "figures" / name) in out


def test_the_record_stays_readable_and_the_figures_are_the_same_the_second_time(
    results: Path, show: Run, tmp_path: Path
) -> None:
    stored = make(results)
    show("--figures", str(tmp_path / "one"))
    show("--figures", str(tmp_path / "two"))
    for name in FIGURES:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    assert not (stored.folder / "figures").exists()
    assert store.read(stored.folder).record.checksum == stored.record.checksum


def test_words_are_marked_with_the_branch_that_weighed_most(results: Path, show: Run) -> None:
    stored = make(results)
    said = store.read_predictions(stored, "test")
    _, out, _ = show("--no-figures", "--items", "1", "--json")
    sample = json.loads(out)["samples"][0]
    row = said["id"].index(sample["id"])
    first = said["caption.gate"][row][0]
    _, text, _ = show("--no-figures", "--items", "1")
    letter = "jia"[first.index(max(first))]
    word = said["caption"][row].split()[0]
    assert f"said     {word}[{letter} {f'{max(first):.2f}'[1:]}]" in text


def test_json_holds_scores_with_levels_curve_samples_and_figures(results: Path, show: Run) -> None:
    stored = make(results)
    code, out, err = show("--json", "--items", "8")
    got = json.loads(out)
    assert (code, err) == (0, "")
    main = got["scores"]["test"]["cider_d"]
    assert main["ceiling"] == 4.5
    assert main["alone"] == {"image": 2.0, "audio": 1.0}
    assert main["headroom"] == pytest.approx((main["value"] - 0.5) / 4.0)
    assert got["scores"]["ood"]["cider_d"]["ceiling"] is None
    assert got["curve"] == [
        {"step": 10.0, "loss": 3.0, "score": None},
        {"step": 20.0, "loss": 2.0, "score": 1.5},
    ]
    assert [s["why"] for s in got["samples"]] == ["random"] * 4 + ["worst"] * 2 + ["best"] * 2
    assert got["samples"][-1]["score"] > got["samples"][4]["score"]
    assert got["samples"][-1]["wrong"] == []
    assert got["samples"][4]["wrong"]
    assert len(got["samples"][0]["references"]) == 5
    assert got["branches"] == ["joint", "image", "audio"]
    assert sum(got["samples"][0]["gate"][0]["weights"]) == pytest.approx(1.0)
    assert got["name"] == stored.record.name
    assert sorted(Path(path).name for path in got["figures"].values()) == FIGURES
    assert got["warnings"] == []


def test_other_seeds_are_told_of_and_can_be_chosen(results: Path, show: Run) -> None:
    for seed in (0, 1, 4):
        make(results, seed=seed)
    _, out, _ = show("mini/hybrid", "--seed", "1", "--no-figures")
    assert "1, of 3 here (0, 1, 4): 'mmbench leaderboard' combines them" in out
    code, _, err = show("mini/hybrid/small-s0", "--seed", "9", "--no-figures")
    assert code == 4
    assert "--seed 9" in err
    assert "0, 1, 4" in err
    assert err.count("\n") == 1


def test_a_seed_of_the_same_definition_goes_before_that_of_another(
    results: Path, show: Run
) -> None:
    make(results, seed=0)
    wanted = make(results, seed=1)
    make(results, seed=1, model_digest="x" * 64, identity="fff")
    make(results, seed=2, model_digest="x" * 64, identity="fff")
    _, out, _ = show("mini/hybrid/small-s0", "--seed", "1", "--no-figures")
    assert out.startswith(wanted.record.name)
    assert "seed    1, of 2 here (0, 1)" in out
    _, out, _ = show("mini/hybrid/small-s2", "--seed", "0", "--no-figures")
    assert out.startswith("mini/hybrid/small-s0")


def test_another_split_gives_its_samples(results: Path, show: Run) -> None:
    make(results)
    _, out, _ = show("--split", "ood", "--json", "--no-figures")
    assert {sample["id"].partition("-")[0] for sample in json.loads(out)["samples"]} == {"ood"}
    code, _, err = show("--split", "train")
    assert code == 2
    assert err == "error: --split train: mini/hybrid/small-s0-3abcdef0 has test, ood\n"


@pytest.mark.parametrize("name", ["@last", "mini/hybrid", "mini", "3abcdef", "FOLDER"])
def test_a_record_is_found_by_any_of_its_names(results: Path, show: Run, name: str) -> None:
    stored = make(results)
    code, out, _ = show(name.replace("FOLDER", str(stored.folder)), "--no-figures")
    assert code == 0
    assert out.startswith(stored.record.name)


def test_an_unknown_record_is_one_line_and_exit_code_4(results: Path, show: Run) -> None:
    make(results)
    code, out, err = show("mini/hybird")
    assert (code, out) == (4, "")
    assert "did you mean 'mini/hybrid'?" in err
    assert err.count("\n") == 1


def test_one_branch_needs_no_gate(results: Path, show: Run) -> None:
    stored = make(results, branches=("image",))
    code, out, _ = show()
    assert code == 0
    assert "letter" not in out
    assert "[" not in out[out.index("samples of") : out.index("figure")]
    assert drawn(stored.folder / "figures") == ["curve.png", "scores.png", "sheet.png"]


def test_unnamed_branches_are_numbered(results: Path, show: Run) -> None:
    stored = make(results)
    table = parquet.read_table(stored.folder / store.PREDICTIONS).drop_columns(["branches"])
    items = parquet.read_table(stored.folder / store.ITEMS)
    store.write(results, stored.record, items, table)
    _, out, _ = show("mini/hybrid/small-s0-3", "--no-figures", "--json")
    assert json.loads(out)["branches"] == ["#1", "#2", "#3"]


def test_names_of_branches_in_the_definition_count_too(results: Path, show: Run) -> None:
    stored = make(results)
    table = parquet.read_table(stored.folder / store.PREDICTIONS).drop_columns(["branches"])
    definition = stored.record.definition | {"branches": ["joint", "image", "audio"]}
    record = msgspec.structs.replace(stored.record, definition=definition)
    store.write(results, record, parquet.read_table(stored.folder / store.ITEMS), table)
    _, out, _ = show("--no-figures", "--json")
    assert json.loads(out)["branches"] == ["joint", "image", "audio"]


def test_a_record_without_predictions_shows_the_rest_and_says_what_is_missing(
    results: Path, show: Run
) -> None:
    stored = make(results)
    (stored.folder / store.PREDICTIONS).unlink()
    code, out, err = show()
    assert code == 0
    assert "test, 24 items" in out
    assert "samples" not in out
    assert err.startswith("warning: no samples, contact sheet and gate: ")
    assert "predictions.parquet: is missing" in err
    assert err.count("\n") == 1
    assert drawn(stored.folder / "figures") == ["curve.png", "scores.png"]


def test_damaged_predictions_are_a_warning_and_never_shown(results: Path, show: Run) -> None:
    stored = make(results)
    path = stored.folder / store.PREDICTIONS
    path.write_bytes(path.read_bytes()[:-9])
    code, out, err = show("--no-figures")
    assert code == 0
    assert "samples of" not in out
    assert "does not match the record's checksum" in err


def test_without_item_statistics_samples_are_random(results: Path, show: Run) -> None:
    stored = make(results)
    (stored.folder / store.ITEMS).unlink()
    code, out, err = show("--json", "--items", "12")
    got = json.loads(out)
    assert code == 0
    assert {sample["why"] for sample in got["samples"]} == {"random"}
    assert "all samples are random" in err
    assert drawn(stored.folder / "figures") == FIGURES


def test_a_diverged_record_shows_its_reason_and_its_curve(results: Path, show: Run) -> None:
    stage = {"objectives": [{"optimizer": {"lr": 0.002}}]}
    definition = {"task": SEEN, "model": {"recipe": {"stages": [stage]}}}
    points = [{"step": 10.0, "loss": 3.0, "score": None}, {"step": 20.0, "loss": None}]
    stored = make(
        results, status="diverged", reason="the loss became nan", curve=points,
        definition=definition, cost={},
    )  # fmt: skip
    code, out, err = show()
    assert (code, err) == (0, "")
    assert "diverged: the loss became nan" in out
    assert "lr=0.001" in out
    assert drawn(stored.folder / "figures") == ["curve.png"]
    code, out, _ = show("--json", "--no-figures")
    assert json.loads(out)["samples"] == []


def test_without_its_data_a_record_keeps_predictions_and_gate(results: Path, show: Run) -> None:
    stored = make(results, content=REAL)
    code, out, err = show()
    assert code == 0
    assert out.count("    said") == 4
    assert "    true" not in out
    assert err.startswith("warning: no references and no contact sheet: task 'photos' needs data")
    assert "--data DIR" in err
    assert err.count("\n") == 1
    assert drawn(stored.folder / "figures") == ["curve.png", "gate.png", "scores.png"]


def test_other_data_than_the_records_are_not_shown_as_its_own(results: Path, show: Run) -> None:
    stored = make(results, data={"fingerprint": "f" * 64, "source": ""})
    code, out, err = show()
    assert code == 0
    assert "    true" not in out
    assert "the data here are not those of the record" in err
    assert "sheet.png" not in drawn(stored.folder / "figures")


def test_limited_records_say_so_and_show_what_was_tested(results: Path, show: Run) -> None:
    task = parse_task(SEEN, "mini.toml")
    definition = {"task": msgspec.to_builtins(task), "model": {}, "signature": {}, "limit": 24}
    make(results, ranked=False, definition=definition)
    _, out, _ = show("--no-figures")
    assert "no: tested on the first 24 items only" in out


def test_a_folder_that_cannot_be_written_is_one_line_after_the_text(
    results: Path, show: Run, tmp_path: Path
) -> None:
    make(results)
    (tmp_path / "file").write_text("in the way")
    code, out, err = show("--figures", str(tmp_path / "file" / "figures"))
    assert code == 1
    assert "samples of test:" in out
    assert err.startswith("error: ")
    assert "--no-figures" in err
    assert err.count("\n") == 1


def test_no_figures_means_none(results: Path, show: Run) -> None:
    stored = make(results)
    _, out, _ = show("--no-figures")
    assert "figure  " not in out
    assert not (stored.folder / "figures").exists()


def test_a_copied_record_can_be_shown_by_its_folder(
    results: Path, show: Run, tmp_path: Path
) -> None:
    stored = make(results)
    shutil.copytree(stored.folder, tmp_path / "copy")
    code, _, _ = show(str(tmp_path / "copy"))
    assert code == 0
    assert drawn(tmp_path / "copy" / "figures") == FIGURES


def test_colours_are_for_terminals(
    results: Path, show: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(results)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLORTERM", "truecolor")
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    _, out, _ = show("--no-figures", "--items", "1")
    assert "\x1b[38;2;0;114;178m" in out  # the joint branch
    monkeypatch.setenv("NO_COLOR", "1")
    _, out, _ = show("--no-figures", "--items", "1")
    assert "38;2;0;114;178" not in out


def test_it_imports_neither_torch_nor_pyplot(results: Path, cache: Path) -> None:
    make(results)
    code = (
        "import sys; from mmbench.cli import run_cli; "
        f"code = run_cli(['show', '--results', {str(results)!r}, '--items', '1']); "
        "print(code, sorted({'torch', 'matplotlib.pyplot'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        capture_output=True, text=True, check=True, cwd=results,
    )  # fmt: skip
    assert done.stdout.splitlines()[-1] == "0 []"
    assert done.stderr == ""
