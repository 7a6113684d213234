"""`mmbench list` and `mmbench describe`: what there is, and all about one of it."""

from __future__ import annotations

import ast
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import msgspec
import pytest

from mmbench import catalog, registry
from mmbench.cli.list import COMPONENTS, HEADS
from mmbench.spec import ModelSpec, TaskSpec

ROOT = Path(__file__).resolve().parents[2]

Cli: TypeAlias = Callable[..., Any]
Write: TypeAlias = Callable[..., str]

METRIC = '''
from mmbench.metrics import metric


@metric(bounds=(0.0, None))
def words_spoken(items):
    """Mean number of words, every one counted."""
    return [len(text.split()) for text in items.predictions]
'''


def test_tasks_and_models_are_those_of_the_two_folders(cli: Cli) -> None:
    content = json.loads(cli("list", "--json").out)
    assert list(content) == ["tasks", "models"]
    tasks = {path.stem for path in (ROOT / "tasks").glob("[!_]*.toml")}
    assert {row["name"] for row in content["tasks"]} == tasks
    models = {path.stem for path in (ROOT / "baselines").glob("[!_]*.toml")}
    expanded = {"{modality}_only", "{modality}_logistic"}
    shown = {row["name"] for row in content["models"]}
    assert shown == models - {"unimodal", "logistic_unimodal"} | expanded
    for row in content["tasks"] + content["models"]:
        assert row["kind"]
        assert row["summary"]


def test_text_shows_the_same_for_people(cli: Cli) -> None:
    content = json.loads(cli("list", "--json").out)
    lines = cli("list").out.splitlines()
    assert lines[0] == "tasks:"
    assert lines[-1] == "next: mmbench describe NAME"
    assert lines[1].split() == " ".join(HEADS).split()
    for row in content["tasks"] + content["models"]:
        (line,) = (line for line in lines if line.split()[0] == row["name"])
        kind, outputs, told = line.split(None, 3)[1:]
        assert (kind, outputs.split("+")) == (row["kind"], row["outputs"])
        if row in content["tasks"]:
            metrics, items, told = told.split(None, 2)
            main, _, also = metrics.partition("+")
            assert (main, int(also or 0)) == (row["metrics"][0], len(row["metrics"]) - 1)
            sizes, _, more = items.partition("+")
            first = [row["items"][split] for split in ("train", "val", "test")]
            assert sizes.split("/") == [str(size) for size in first]
            assert int(more or 0) == len(row["items"]) - 3
            spec = catalog.task(row["name"])
            assert (row["metrics"], row["items"]) == ([*spec.metric_names], spec.splits)
        paper = f" ({row['paper']})" if row.get("paper") else ""
        assert told == f"{row['summary']}{paper}"


@pytest.mark.parametrize("what", COMPONENTS)
def test_components_are_the_files_of_their_folder(cli: Cli, what: str) -> None:
    (rows,) = json.loads(cli("list", what, "--json").out).values()
    kind = COMPONENTS[what]
    assert [row["name"] for row in rows] == registry.names(kind)
    assert all(row["summary"] for row in rows), "whatever is listed says what it is"
    if kind != "metric":
        folder = ROOT.joinpath(*registry.KINDS[kind].split("."))
        files = {path.stem for path in folder.glob("[!_]*.py")}
        files |= {path.parent.name for path in folder.glob("[!_]*/__init__.py")}
        assert {row["name"] for row in rows} == files


def test_every_kind_of_component_can_be_listed() -> None:
    assert set(COMPONENTS.values()) == set(registry.KINDS)


def test_what_is_included_is_listed_and_described(cli: Cli, task: Write) -> None:
    task("mine", folder="own")
    cli("new", "fusion", "gates", "--dir", "own")
    Path("words.py").write_text(METRIC)
    included = ("--include", "own", "--include", "own/gates.py", "--include", "words.py")
    content = json.loads(cli("list", "--json", *included).out)
    assert "mine" in [row["name"] for row in content["tasks"]]
    assert "gates" in [row["name"] for row in content["models"]]
    assert "gates" in cli("list", "fusions", *included).out
    assert "words_spoken" in cli("list", "metrics", *included).out
    assert cli("describe", "mine", *included).out.startswith("mine@1: A few scenes.")
    told = cli("describe", "words_spoken", *included).out
    assert "Mean number of words, every one counted." in told
    assert "kind text; higher is better" in told
    assert "signature: words_spoken|v1" in told


# --- describe ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", catalog.task_names())
def test_a_task_is_described_with_splits_metrics_budgets_and_levels(cli: Cli, name: str) -> None:
    found = catalog.task(name)
    done = cli("describe", name)
    assert (done.code, done.err) == (0, "")
    lines = done.out.splitlines()
    assert lines[0] == f"{name}@{found.version}: {found.summary}"
    assert lines[-1] == f"next: mmbench run -t {name} -m MODEL"
    for split, items in found.splits.items():
        assert f"{split} {items:,}" in done.out
    assert f"{found.default_budget} (default)" in done.out
    for part in (*found.modalities, *found.metrics.names, *found.budgets):
        assert part in done.out
    for output in found.outputs.values():
        assert all(name in done.out for name in (*output.classes, *output.metrics))
    for metric, level in found.levels.items():
        told, *proven = (line for line in lines if line.split()[:1] == [metric])
        assert f"{level.floor:.3f}" in told
        assert f"{level.ceiling:.3f}" in told
        late = level.late if level.late is not None else level.late_reference
        assert late is None or told.endswith(f"{late:.3f}")
        assert len(proven) == (1 if level.bound or level.late is not None else 0)
        for modality, bound in level.bound.items():
            assert f"{modality} {bound:.3f}" in proven[0]
    for row in found.source.published:
        assert f"published   {row.model}: " in done.out


PLAIN = sorted(name for name in catalog.model_names() if "{" not in name)


@pytest.mark.parametrize("name", [*PLAIN, "image_only", "tags_only", "text_logistic"])
def test_a_model_is_described_with_its_parts_and_its_recipe(cli: Cli, name: str) -> None:
    found = catalog.model(name)
    done = cli("describe", name)
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith(f"{name}: {found.summary}\nfamily      {found.family}\n")
    assert f"\nfusion      {found.fusion.name}" in done.out
    for component in (*found.encoders.values(), *found.heads.values(), found.combiner):
        assert component.name in done.out
    assert done.out.endswith(f"next: mmbench run -t TASK -m {name}\n")


def test_json_is_the_definition_itself(cli: Cli) -> None:
    content = json.loads(cli("describe", "captioning", "--json").out)
    assert msgspec.convert(content, TaskSpec) == catalog.task("captioning")
    content = json.loads(cli("describe", "hybrid", "--json").out)
    assert msgspec.convert(content, ModelSpec) == catalog.model("hybrid")


def test_ones_own_files_are_described_by_path(cli: Cli, task: Write) -> None:
    assert cli("describe", task("mine")).out.startswith("mine@1: A few scenes.")
    cli("new", "fusion", "gates")
    assert cli("describe", "./gates.toml").out.startswith("gates: a gate weighs the modalities")
    assert cli("describe", "./gates.py").out.startswith("gates: ")
    cli("new", "metric", "shouting")
    assert cli("describe", "./shouting.py").out.startswith("metric shouting\n")
    (found,) = json.loads(cli("describe", "./shouting.py", "--json").out)
    assert (found["kind"], found["name"]) == ("metric", "shouting")


@pytest.mark.parametrize("kind", [kind for kind in registry.KINDS if kind != "metric"])
def test_a_component_is_described_by_its_own_documentation(cli: Cli, kind: str) -> None:
    taken = {*catalog.model_names(), *catalog.task_names()}  # these are described then
    for name in set(registry.names(kind)) - taken:
        done = cli("describe", name)
        assert done.code == 0
        text = ast.get_docstring(ast.parse(registry.source(kind, name).read_text()))
        assert text is not None
        assert f"{kind} {name}\n\n{text}" in done.out


def test_a_dataset_is_described_with_what_a_task_may_set(cli: Cli) -> None:
    text = cli("describe", "interactions").out
    for part in ("[dataset.params]", "label_noise = 0.0", "structure = (needed)", "conflict: Prob"):
        assert part in text
    assert "tags: " in cli("describe", "karpathy").out


def test_models_can_be_those_that_make_sense_on_a_task(cli: Cli, workplace: Path) -> None:
    Path("no_text.toml").write_text(
        'schema = 1\nname = "no_text"\nextends = "matched"\nsummary = "s"\nfamily = "own"\n'
        'modalities = ["vision"]\n[fusion]\nname = "concat"\n'
    )

    def listed(task: str) -> set[str]:
        done = cli("list", "models", "-t", task, "--include", "no_text.toml", "--json")
        return {row["name"] for row in json.loads(done.out)["models"]}

    assert {"no_text", "early", "text_only", "audio_only"} <= listed("synergy")
    assert "image_only" in listed("captioning")
    assert "no_text" not in listed("captioning")
    refused = cli("list", "tasks", "-t", "synergy")
    assert refused.code == 2
    assert "--task: is for models: mmbench list models --task TASK" in refused.error


def test_a_metric_is_described_with_its_signature_and_bounds(cli: Cli) -> None:
    metric = registry.load("metric", "cider_d")
    done = cli("describe", "cider_d")
    assert "kind text; higher is better; bounds (0.0, 10.0)" in done.out
    assert f"signature: {metric.signature}" in done.out


def test_where_no_bound_is_proven_it_is_said(cli: Cli) -> None:
    assert "no bound is proven here: a model may pass" in cli("describe", "speech").out
    told = cli("describe", "intent").out
    assert "proven bounds" in told
    assert "no bound is proven" not in told


def test_what_items_share_is_said_of_real_data(cli: Cli) -> None:
    assert "cluster     video" in cli("describe", "mosi").out.splitlines()
