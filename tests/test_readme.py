"""README says only what works: commands parse, links lead somewhere, boards are fresh."""

from __future__ import annotations

import csv
import os
import re
import shlex
import subprocess
import sys
import time
from pathlib import Path

import click
import pytest

from mmbench.cli import cli

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
REFERENCE = ROOT / "results" / "reference"


def _commands() -> list[str]:
    blocks = re.findall(r"```bash\n(.*?)```", README, flags=re.S)
    lines = [line for block in blocks for line in block.splitlines()]
    found = [re.sub(r".*(?=\bmmbench (?:run|new)\b)", "", line) for line in lines]
    return [line for line in found if line.startswith("mmbench ")]


def test_readme_has_commands() -> None:
    assert len(_commands()) >= 8


@pytest.mark.parametrize("line", _commands())
def test_every_command_of_readme_is_one(line: str) -> None:
    arguments = shlex.split(line, comments=True)[1:]
    context = click.Context(cli, info_name="mmbench")
    verb, command, rest = cli.resolve_command(context, arguments)
    if isinstance(command, click.Group):
        verb, command, rest = command.resolve_command(context, rest)
    assert command is not None
    parsed = command.make_context(verb, rest)
    assert parsed.params


@pytest.mark.parametrize("target", re.findall(r"\]\(([^)#]+)\)", README))
def test_every_link_of_readme_leads_somewhere(target: str) -> None:
    assert target.startswith("https://") or (ROOT / target).exists()


@pytest.mark.slow
def test_your_own_fusion_reaches_the_board_as_readme_says(tmp_path: Path) -> None:
    """The commands of the section, as they stand, in an empty folder."""
    block = re.search(r"<!-- own -->\n```bash\n(.*?)```", README, flags=re.S)
    assert block is not None
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    started = time.monotonic()
    said = {}
    for line in block[1].splitlines():
        done = subprocess.run(
            line, shell=True, cwd=tmp_path, env={**os.environ, "PATH": path}, text=True,
            capture_output=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
        said[line.split()[1]] = done.stdout
    assert time.monotonic() - started < 600
    places = re.findall(r"^[0-9-]+ +(\w+) ", said["leaderboard"], flags=re.M)
    assert places == ["myfusion", "late"], "what takes two modalities late fusion cannot have"
    assert (tmp_path / "pictures" / "myfusion.png").exists()


def test_the_gallery_has_every_model_that_serves_its_task() -> None:
    from mmbench import catalog
    from mmbench.sweep import _models

    shown = {path.stem for path in (ROOT / "results" / "gallery").glob("*.png")}
    assert shown == set(_models("all", catalog.task("sentiment")))


def test_every_model_that_ships_stands_in_readme() -> None:
    for path in (ROOT / "baselines").glob("[!_]*.toml"):
        expanded = {"unimodal": "image_only", "logistic_unimodal": "image_logistic"}
        name = expanded.get(path.stem, path.stem)
        assert f"`{name}`" in README


def test_every_task_that_ships_stands_in_readme() -> None:
    for path in (ROOT / "tasks").glob("[!_]*.toml"):
        assert f"`{path.stem}`" in README


def test_the_reference_board_is_what_its_records_give() -> None:
    from mmbench import leaderboard, store
    from mmbench.report import tables

    found, problems = store.scan(REFERENCE)
    assert found
    assert not problems
    made = tables.markdown(leaderboard.boards(found))
    assert (REFERENCE / "LEADERBOARD.md").read_text(encoding="utf-8") == made


def test_reference_records_are_of_the_tasks_as_they_stand() -> None:
    from mmbench import catalog, store

    for stored in store.scan(REFERENCE)[0]:
        record = stored.record
        assert catalog.task(record.task).digest(record.budget) == record.task_digest, record.name
        assert record.status == "finished"


def measured(split: str = "test") -> dict[str, dict[str, float]]:
    """Return accuracies of the interaction suite as they were measured: task -> model -> mean."""
    found: dict[str, dict[str, float]] = {}
    text = (REFERENCE / "interactions.csv").read_text(encoding="utf-8")
    for row in csv.DictReader(text.splitlines()):
        if (row["metric"], row["split"]) == ("accuracy", split):
            task = row["task"].partition("@")[0]
            assert row["seeds"] == "3", row
            found.setdefault(task, {})[row["model"]] = float(row["value"])
    return found


@pytest.mark.parametrize("name", ["attention", "families", "interactions", "predictions"])
def test_no_score_that_is_kept_lies_beyond_a_proven_bound(name: str) -> None:
    """All models of the boards, by all metrics that have one, at most 4 standard errors."""
    from types import SimpleNamespace

    from mmbench import catalog, registry
    from mmbench.records import leaks

    tasks: set[str] = set()
    text = (REFERENCE / f"{name}.csv").read_text(encoding="utf-8")
    for row in csv.DictReader(text.splitlines()):
        task = catalog.task(row["task"].partition("@")[0])
        level = task.levels.get(row["metric"])
        if level is None or not level.bound or row["source"] or row["split"] != "test":
            continue
        model = catalog.model(row["model"], (), task)
        heard = tuple(task.modalities) if model.modalities is None else model.modalities
        metric = registry.load("metric", row["metric"].rpartition(".")[2].partition("(")[0])
        score = SimpleNamespace(
            value=float(row["value"]),
            se=float(row["se"] or "nan"),
            n=int(row["items"]),
            higher_is_better=metric.higher_is_better,
        )
        late = model.family == "late"
        assert not leaks({row["metric"]: score}, {row["metric"]: level}, heard, late), row
        tasks.add(task.name)
    least = {"attention": 2, "families": 12, "interactions": 6, "predictions": 3}
    assert len(tasks) >= least[name]


def test_the_table_of_interactions_is_what_was_measured() -> None:
    table = (REFERENCE / "INTERACTIONS.md").read_text(encoding="utf-8").strip()
    block = re.search(r"<!-- interactions -->\n(.*?)\n<!-- /interactions -->", README, flags=re.S)
    assert block is not None
    assert block[1] == table
    head, *rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in table.splitlines()
        if line.startswith("|")
    ]
    scores = measured()
    assert set(head[1:]) == set(scores)
    assert len(head) == 7
    models = {row[0]: row for row in rows[1:] if not row[0].startswith("*")}
    for task in scores:
        assert set(scores[task]) == set(models)
        for model, row in models.items():
            value = float(row[head.index(task)].split()[0])
            assert value == pytest.approx(scores[task][model], abs=5.001e-4), (task, model)


def test_what_was_measured_is_in_the_order_that_is_planted() -> None:
    from mmbench import catalog

    scores = measured()
    alone = {"text_only", "vision_only", "audio_only", "constant"}
    joint = set(scores["synergy"]) - alone - {"late"}
    for task, found in scores.items():
        level = catalog.task(task).levels["accuracy"]
        assert max(found.values()) < level.ceiling + 0.02, "nothing above the oracle of all"
        assert found["constant"] == pytest.approx(level.floor, abs=0.02)
        for name in ("text", "vision", "audio"):
            assert found[f"{name}_only"] < level.alone[name] + 0.03
    for task in ("synergy", "grounding"):
        assert max(scores[task][name] for name in (*alone, "late")) < 0.35
    assert min(scores["synergy"][name] for name in joint) > 0.85
    assert min(scores["sentiment"][name] for name in joint) > scores["sentiment"]["late"] + 0.2
    assert scores["redundant"]["late"] > max(scores["redundant"][name] for name in alone) + 0.1
    assert scores["unique"]["text_only"] > max(scores["unique"].values()) - 0.03
    for name in ("early", "multimodal_self_attention"):
        assert scores["shortcut"][name] > scores["shortcut"]["concat"] + 0.2


def test_late_fusion_stands_noise_better_than_early_by_what_readme_says() -> None:
    noisy = [measured(f"noisy_{name}")["redundant"] for name in ("text", "vision", "audio")]
    late, early = (sum(found[model] for found in noisy) / 3 for model in ("late", "early"))
    assert late > early + 0.04
    assert f"({late:.3f} against `early`'s {early:.3f}".replace("0.", ".") in README


def test_what_readme_says_of_attention_is_what_was_measured() -> None:
    text = (REFERENCE / "attention.csv").read_text(encoding="utf-8")
    rows = [row for row in csv.DictReader(text.splitlines()) if row["metric"] == "accuracy"]
    assert {(row["task"], row["model"], row["seeds"]) for row in rows} == {
        ("grounding@1", "gat", "3"),
        ("grounding@1", "gatv2", "3"),
        ("shortcut@1", "mult", "3"),
    }
    for row in rows:
        value, low, high = (f"{float(row[key]):.3f}" for key in ("value", "low", "high"))
        assert f"{value} [{low}, {high}]".replace("0.", ".") in README, row["model"]


def board(
    name: str, metric: str = "accuracy", task: str | None = None
) -> dict[str, list[dict[str, str]]]:
    """Return the rows of a kept board on a metric, by their model."""
    found: dict[str, list[dict[str, str]]] = {}
    text = (REFERENCE / f"{name}.csv").read_text(encoding="utf-8")
    for row in csv.DictReader(text.splitlines()):
        if (row["metric"], row["split"]) == (metric, "test") and task in (None, row["task"]):
            found.setdefault(row["model"], []).append(row)
    return found


def test_what_readme_says_of_mosi_is_what_was_measured() -> None:
    block = re.search(r"<!-- mosi -->\n(.*?)\n<!-- /mosi -->", README, flags=re.S)
    assert block is not None
    scores = board("mosi")
    shown = re.findall(r"^\| (\w+) \| (.*) \|$", block[1], flags=re.M)
    assert len(shown) > 10
    for model, told in shown:
        (row,) = scores[model]
        value, low, high = (f"{float(row[key]):.3f}" for key in ("value", "low", "high"))
        assert told == f"{value} [{low}, {high}]", model
        assert row["seeds"] == "5"
    text = float(scores["text_only"][0]["value"])
    assert (
        max(float(rows[0]["value"]) for rows in scores.values() if rows[0]["seeds"]) < text + 0.035
    )
    assert f"({text:.2f}, as published)".replace("0.", ".") in README


def test_what_readme_says_of_esc10_is_what_was_measured() -> None:
    scores = board("esc10")
    for model in ("audio_only", "audio_logistic"):
        assert len(scores[model]) == 5
        folds = [float(row["value"]) for row in scores[model]]
        mean = sum(folds) / 5
        # t of 4 degrees of freedom, over the folds.
        half = 2.7764 * (sum((x - mean) ** 2 for x in folds) / 4 / 5) ** 0.5
        told = f"{mean:.3f} [{mean - half:.3f}, {mean + half:.3f}]".replace("0.", ".")
        assert f"(`{model}`) {told}" in README or f"reaches {told}" in README


#: Rows of pictures that no model painted.
PAINTED = (
    "*all modalities (oracle)*",
    "*mean of all right pictures*",
    "*copies of training pictures*",
)


@pytest.mark.slow
def test_the_pictures_beside_the_generators_score_what_readme_says() -> None:
    from mmbench import catalog
    from mmbench.data import _load
    from mmbench.data.generation import oracle
    from mmbench.scoring import score

    dataset = _load.load(catalog.task("generation"))
    split = dataset.splits["test"]
    assert dataset.oracle is not None
    said = (
        dataset.oracle(split, frozenset({"caption", "tone"})),
        oracle.class_means(split),
        oracle.copies(split, dataset.splits["train"]),
    )
    head = re.search(r"^\| \| (generation, .*) \|$", README, flags=re.M)
    assert head is not None
    metrics = [cell.split(", ", 1)[1] for cell in head[1].split(" | ")]
    for name, pictures in zip(PAINTED, said, strict=True):
        row = re.findall(rf"^\| {re.escape(name)} \| (.*) \|$", README, flags=re.M)[-1]
        cells = [float(cell.strip("*")) for cell in row.split(" | ")]
        found = score(
            pictures, split.references, "image", metrics, split.clusters, split.ids
        ).scores  # fmt: skip
        assert cells == pytest.approx([found[m].value for m in metrics], abs=6e-4), name


def test_what_readme_says_of_the_families_is_what_was_measured() -> None:
    """Each cell of each table: models as they were kept, oracles as the TOMLs have them."""
    from mmbench import catalog

    block = re.search(r"<!-- families -->\n(.*?)\n<!-- /families -->", README, flags=re.S)
    assert block is not None
    seen = set()
    for table in re.findall(r"(?:^\|.*\n?)+", block[1], flags=re.M):
        head, _, *lines = table.strip().splitlines()
        columns = [cell.strip() for cell in head.strip("|").split("|")][1:]
        for line in lines:
            name, *cells = (cell.strip() for cell in line.strip("|").split("|"))
            for column, cell in zip(columns, cells, strict=True):
                task, metric = column.split(", ")
                seen.add(task)
                if not cell:
                    continue
                level = catalog.task(task).levels.get(metric)
                if task == "generation" and name in PAINTED:
                    continue  # the slow test draws them
                if name.startswith("*"):
                    assert level is not None
                    better = min if metric == "wer" else max
                    value = {
                        "*all modalities (oracle)*": level.ceiling,
                        "*best single modality (oracle)*": better(level.alone.values()),
                        "*floor*": level.floor,
                    }[name]
                    assert cell == f"*{value:.3f}*", (task, name)
                    continue
                rows = board("families", metric, f"{task}@1")
                rows |= {k: v for k, v in board("predictions", metric, f"{task}@1").items()
                         if k not in rows}  # fmt: skip
                (row,) = rows[name]
                value, low, high = (f"{float(row[key]):.3f}" for key in ("value", "low", "high"))
                assert cell == f"{value} [{low}, {high}]", (task, name)
                assert row["seeds"] == "3", (task, name)
    assert len(seen) == 17


def test_expected_orders_that_came_out_are_more_than_three_standard_errors_apart() -> None:
    block = re.search(r"<!-- predictions -->\n(.*?)\n<!-- /predictions -->", README, flags=re.S)
    assert block is not None

    def of(task: str, model: str, metric: str) -> dict[str, float]:
        both = {**board("families", metric, task), **board("predictions", metric, task)}
        (row,) = both[model]
        assert row["seeds"] == "3"
        return {key: float(row[key]) for key in ("value", "se", "low", "high")}

    for task, model, metric in (
        ("captioning@1", "cross_attention", "emitter_f1"), ("captioning@1", "gmu", "emitter_f1"),
        ("captioning@1", "multimodal_self_attention", "emitter_f1"),
        *((f"{task}@1", model, "wer") for task in ("speech", "speech_async")
          for model in ("late", "early_features", "cross_attention")),
    ):  # fmt: skip
        assert f"{of(task, model, metric)['value']:.3f}".removeprefix("0") in block[1]

    def apart(one: dict[str, float], other: dict[str, float]) -> bool:
        error = (one["se"] ** 2 + other["se"] ** 2) ** 0.5
        return one["value"] - other["value"] > 3 * error

    emitter = [of("captioning@1", name, "emitter_f1") for name in ("cross_attention", "gmu")]
    assert apart(*emitter)
    for name in ("late", "early_features"):
        assert apart(of("speech_async@1", name, "wer"), of("speech@1", name, "wer"))
    falls = {
        name: (of("speech_async@1", name, "wer"), of("speech@1", name, "wer"))
        for name in ("late", "cross_attention")
    }
    more, less = (late["value"] - early["value"] for late, early in falls.values())
    error = sum(score["se"] ** 2 for pair in falls.values() for score in pair) ** 0.5
    assert more - less > 3 * error, "late fusion loses more than attention does"
    for name in (
        "early", "late", "concat", "tfn", "mbt", "mult", "multimodal_self_attention",
        "cross_attention",
    ):  # fmt: skip
        score = of("events@1", name, "synchrony.accuracy")
        assert abs(score["value"] - 0.5) < 4 * score["se"], name


def test_what_readme_says_of_other_real_data_is_what_was_measured() -> None:
    block = re.search(r"<!-- real -->\n(.*?)\n<!-- /real -->", README, flags=re.S)
    assert block is not None
    shown = re.findall(r"^\| (\w+) \| (\S+ \[.*?\]) \| (\S+ \[.*?\]) \|$", block[1], flags=re.M)
    assert len(shown) == 6
    wers = {}
    for place, task in enumerate(("grid_speech", "grid_speech_noisy"), 1):
        scores = board("real", "wer", f"{task}@1")
        for told in shown:
            (row,) = scores[told[0]]
            value, low, high = (f"{float(row[key]):.3f}" for key in ("value", "low", "high"))
            assert told[place] == f"{value} [{low}, {high}]", told[0]
        wers[task] = {name: float(rows[0]["value"]) for name, rows in scores.items()}
    alone = {"audio_only", "video_only"}
    assert wers["grid_speech"]["audio_only"] < 0.15
    for name in wers["grid_speech_noisy"].keys() - alone:
        assert wers["grid_speech_noisy"][name] < 0.6 * wers["grid_speech_noisy"]["audio_only"]
    told = re.sub(r"\s+", " ", README)
    answers = board("real", task="easy_vqa@1")["concat"][0]
    assert float(answers["value"]) > 0.95
    assert f"`concat` reaches {float(answers['value']):.3f}".replace(" 0.", " .") in told
    texts = board("real", "sacrebleu(lowercase=True)", "griko_translation@1")
    for name, words in (
        ("early", "`early` makes"), ("griko_only", "`griko_only`"), ("audio_only", "`audio_only`"),
        ("constant", "same sentence"),
    ):  # fmt: skip
        figures = [float(texts[name][0][key]) for key in ("value", "low", "high")]
        value, low, high = (f"{figure:.1f}" for figure in figures)
        assert f"{words} {value} [{low}, {high}]" in told


def test_what_readme_says_of_avmnist_is_what_was_measured() -> None:
    """A column for each speaker who was left out; the mean with an interval over the six."""
    block = re.search(r"<!-- avmnist -->\n(.*?)\n<!-- /avmnist -->", README, flags=re.S)
    assert block is not None
    head, _, *lines = block[1].splitlines()
    speakers = [cell.strip() for cell in head.strip("|").split("|")][1:-1]
    assert len(speakers) == 6
    told: dict[str, list[float]] = {}
    for line in lines:
        name, *cells = (cell.strip() for cell in line.strip("|").split("|"))
        *each, mean = cells
        for speaker, cell in zip(speakers, each, strict=True):
            task = "avmnist@1" if speaker == "theo" else f"avmnist_{speaker}@1"
            (row,) = board("real", task=task)[name]
            value, low, high = (f"{float(row[key]):.3f}" for key in ("value", "low", "high"))
            assert cell == f"{value} [{low}, {high}]", (name, speaker)
            told.setdefault(name, []).append(float(row["value"]))
        middle = sum(told[name]) / 6
        # t of 5 degrees of freedom, over the speakers.
        half = 2.5706 * (sum((x - middle) ** 2 for x in told[name]) / 5 / 6) ** 0.5
        assert mean == f"{middle:.3f} [{middle - half:.3f}, {middle + half:.3f}]"
    columns = [dict(zip(told, cells, strict=True)) for cells in zip(*told.values(), strict=True)]
    by_speaker = dict(zip(speakers, columns, strict=True))
    for speaker in ("george", "lucas"):
        assert by_speaker[speaker]["early"] < by_speaker[speaker]["image_only"]
    late = {s for s, row in by_speaker.items() if row["late"] > row["early"] + 0.03}
    assert late == set(speakers) - {"theo"}


def test_what_readme_says_of_flickr8k_is_what_was_measured() -> None:
    """Beside what is published of the very split, as the TOMLs have it."""
    from mmbench import catalog

    found: dict[str, dict[str, list[str]]] = {}
    for task in ("flickr8k_retrieval", "flickr8k_matching"):
        block = re.search(rf"<!-- {task} -->\n(.*?)\n<!-- /{task} -->", README, flags=re.S)
        assert block is not None
        source = catalog.task(task).source
        assert source is not None
        published = {one.model: one.scores for one in source.published}
        _, _, *lines = block[1].splitlines()
        rows = {
            name: cells
            for line in lines
            for name, *cells in [[cell.strip() for cell in line.strip("|").split("|")]]
        }
        found[task] = rows
        metrics = ["balanced_accuracy", "accuracy"]
        if task == "flickr8k_retrieval":
            metrics = [f"recall_at_{k}{way}" for way in ("", "_back") for k in (1, 5, 10)]
        for name, cells in rows.items():
            for metric, cell in zip(metrics, cells, strict=True):
                if name.startswith("*"):
                    scores = published[name.strip("*").removesuffix(", published")]
                    assert cell == (f"*{scores[metric]:.3f}*" if metric in scores else "")
                    continue
                (row,) = board("real", metric, f"{task}@1")[name]
                value, low, high = (f"{float(row[key]):.3f}" for key in ("value", "low", "high"))
                assert cell == f"{value} [{low}, {high}]"
        assert {name.strip("*").removesuffix(", published") for name in rows} >= published.keys()
    pairs = found["flickr8k_retrieval"]
    theirs = pairs["*CCA of HOG and colours with TF-IDF, published*"]
    for one, other in zip(pairs["dual_encoder"], theirs, strict=True):
        assert float(one.split()[0]) > float(other.strip("*"))


def test_the_constraints_pin_what_the_tests_ran_with() -> None:
    pins = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    assert re.search(r"^torch==2\.13\.0$", pins, flags=re.M)
