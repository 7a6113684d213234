"""What holds over several tasks: which models enter, the interquartile mean, pairs of models."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pytest
from made_up import add, found

from mmbench import rng
from mmbench.stats import aggregates, improvement

Cli: TypeAlias = Callable[..., Any]
FORMATS = ["text", "markdown", "latex", "html"]


def run_on(
    task: str, model: str, means: Sequence[float], levels: bool = True, **parts: Any
) -> None:
    """Store made-up runs of a model on a task, one a seed."""
    like = found("late").record.definition
    spec = like["task"] | {"name": task}
    if not levels:
        spec |= {"levels": {}}
    for seed, mean in enumerate(means):
        noise = rng.uniform(seed, task, model, count=24)
        values = mean + 0.1 * (noise - noise.mean())
        given = {
            "task": task,
            "task_digest": f"{task:0<64}",
            "definition": like | {"task": spec},
            "identity": f"{task}{model}{seed}".ljust(64, "0"),
            "data": {"fingerprint": task},
        }
        add(model, values, seed, **given | parts)


@pytest.fixture
def tasks(results: Path) -> Path:
    """Three tasks with three models; one of them lacks one task."""
    for task, shift in (("one", 0.0), ("two", 0.05), ("three", -0.05)):
        run_on(task, "good", [0.55 + shift, 0.6 + shift, 0.65 + shift])
        run_on(task, "fair", [0.4 + shift, 0.45 + shift, 0.41 + shift])
        if task != "two":
            run_on(task, "absent", [0.5, 0.5, 0.6])
    return results


def over(cli: Cli, *arguments: object) -> dict[str, Any]:
    done = cli("leaderboard", "--json", *arguments)
    assert done.code == 0, done.err
    (found_over,) = json.loads(done.out)["over_tasks"]
    assert isinstance(found_over, dict)
    return found_over


ONLY = ("-t", "one,two,three")


def test_only_models_that_have_all_tasks_enter(cli: Cli, tasks: Path) -> None:
    found_over = over(cli, *ONLY)
    assert found_over["metrics"] == dict.fromkeys(["one@1", "three@1", "two@1"], "rouge_l")
    assert [s["model"] for s in found_over["standings"]] == ["good", "fair"]
    assert found_over["lacking"] == {"absent": ["two@1"]}
    for form in FORMATS:
        assert "absent: no score on two@1" in cli("leaderboard", *ONLY, "--format", form).out


def test_figures_are_those_of_the_statistics_of_normalised_scores(cli: Cli, tasks: Path) -> None:
    found_over = over(cli, *ONLY)
    boards = json.loads(cli("leaderboard", "--json", *ONLY).out)["boards"]
    scores = {
        model: np.array(
            [
                [(value - 0.1) / 0.6 for _, value in row["of_seeds"]]
                for board in boards
                for row in board["rows"]
                if row["model"] == model
            ]
        ).T
        for model in ("good", "fair")
    }
    for standing in found_over["standings"]:
        expected = aggregates.interval(
            aggregates.iqm, scores[standing["model"]], over="seeds", seed=0
        )
        got = (standing["iqm"], standing["low"], standing["high"])
        assert got == pytest.approx((expected.value, expected.low, expected.high), rel=1e-12)
    (pair,) = found_over["pairs"]
    expected_pair = improvement.judge(scores["good"], scores["fair"], seed=0)
    assert (pair["first"], pair["second"], pair["claimed"]) == ("good", "fair", True)
    assert (pair["probability"], pair["low"], pair["high"]) == pytest.approx(
        (expected_pair.probability, expected_pair.low, expected_pair.high)
    )


@pytest.mark.parametrize("form", FORMATS)
def test_every_format_for_people_tells_it(cli: Cli, tasks: Path, form: str) -> None:
    out = cli("leaderboard", *ONLY, "--format", form).out
    assert "these 3 tasks: one@1, three@1, two@1" in out
    assert "IQM of the normalised scores" in out
    assert "these 3 tasks, 3 seeds each; 95 % intervals over seeds" in out.replace("\\%", "%")
    assert "probability of improvement" in out
    assert out == cli("leaderboard", *ONLY, "--format", form).out


def test_a_task_without_levels_is_left_out_by_name(cli: Cli, tasks: Path) -> None:
    run_on("bare", "good", [0.5, 0.5, 0.6], levels=False)
    found_over = over(cli, "-t", "one,two,three,bare")
    assert found_over["without"] == {"bare@1": "no floor and ceiling of rouge_l"}
    assert "bare@1" not in found_over["metrics"]
    text = cli("leaderboard", "-t", "one,bare").out
    assert "not over tasks: bare@1: no floor and ceiling of rouge_l" in text
    assert "nothing holds over tasks" in text


def test_one_task_has_nothing_over_tasks(cli: Cli, tasks: Path) -> None:
    content = json.loads(cli("leaderboard", "--json", "-t", "one").out)
    assert content["over_tasks"] == []
    assert "over tasks" not in cli("leaderboard", "-t", "one").out


def test_one_seed_has_a_mean_and_no_interval(cli: Cli, tasks: Path) -> None:
    for task in ("one", "two", "three"):
        run_on(task, "single", [0.3])
    found_over = over(cli, *ONLY)
    (single,) = (s for s in found_over["standings"] if s["model"] == "single")
    assert (single["low"], single["high"], single["reason"]) == (None, None, "one seed")
    assert {p["second"] for p in found_over["pairs"]} == {"fair"}
    assert "these 3 tasks, 1 to 3 seeds each" in cli("leaderboard", *ONLY).out


def test_a_run_that_diverged_counts_as_the_floor(cli: Cli, tasks: Path) -> None:
    digest = {"model_digest": "fragile"}
    for task in ("one", "two", "three"):
        run_on(task, "fragile", [0.6, 0.6], **digest)
    before = {s["model"]: s for s in over(cli, *ONLY)["standings"]}["fragile"]
    like = found("late").record
    for task in ("one", "two", "three"):
        lost = {"status": "diverged", "reason": "nan", "scores": {}, "task": task}
        lost |= {"task_digest": f"{task:0<64}", "identity": f"{task}lost".ljust(64, "0")}
        spec = like.definition["task"] | {"name": task}
        lost["definition"] = like.definition | {"task": spec}
        add("fragile", np.zeros(24), 2, **digest, **lost)
    after = {s["model"]: s for s in over(cli, *ONLY)["standings"]}["fragile"]
    assert (before["diverged"], after["diverged"]) == (0, 3)
    assert (before["seeds"], after["seeds"]) == (2, 3)
    assert after["iqm"] < before["iqm"]
    out = cli("leaderboard", *ONLY).out
    assert "runs that diverged and count as the floor: fragile 3" in out
    assert out.count("not ranked: ") == 3


def test_each_budget_and_metric_stands_for_itself(cli: Cli, tasks: Path) -> None:
    run_on("one", "good", [0.5, 0.6], budget="long", identity="a" * 64)
    content = json.loads(cli("leaderboard", "--json", *ONLY).out)
    assert [one["budget"] for one in content["over_tasks"]] == ["brief"]
    assert [board["budget"] for board in content["boards"]].count("long") == 1


def test_of_many_pairs_text_shows_neighbours_and_json_all(cli: Cli, tasks: Path) -> None:
    for k in range(5):
        for task in ("one", "two", "three"):
            run_on(task, f"m{k}", [0.2 + 0.05 * k, 0.22 + 0.05 * k])
    found_over = over(cli, *ONLY)
    assert len(found_over["standings"]) == 7
    assert len(found_over["pairs"]) == 21
    text = cli("leaderboard", *ONLY).out
    assert "models that stand next to each other; JSON has all 21 pairs" in text
    table = text.split("probability of improvement")[1].splitlines()[2:8]
    order = [s["model"] for s in found_over["standings"]]
    assert [line.split()[:2] for line in table] == [list(p) for p in pairwise(order)]
