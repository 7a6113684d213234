"""`mmbench report --figure`: what is drawn is what the records say, and can be read."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import crowd
import msgspec
import numpy as np
import pytest
from matplotlib.colors import to_hex
from PIL import Image

from mmbench import catalog, leaderboard, store
from mmbench.errors import NotComparableError, StoreError, UnknownNameError, UsageError
from mmbench.leaderboard import Board, Row
from mmbench.report import canvas, colours, plots
from mmbench.report.plots import _labels, _look, forest, pareto, profile, robustness
from mmbench.report.plots._source import Source
from mmbench.report.plots._sweeps import numbers
from mmbench.scoring import Score
from mmbench.store import Stored

Neat = Callable[[Any], list[str]]
NAMES = tuple(plots.names())
#: Names that do harm where they are not treated as text.
HOSTILE = (
    "<script>alert(1)</script>",
    "../../x",
    "a\0b\x1b[31m",
    r"$\frac{1}$ & \undefined{",
    "m" * 10_000,
)


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> list[Stored]:
    """Twelve models on six tasks, three seeds each."""
    return records_in(crowd.crowd(tmp_path_factory.mktemp("many")))


@pytest.fixture(scope="module")
def split_up(tmp_path_factory: pytest.TempPathFactory) -> list[Stored]:
    """Twelve models on all test splits of one task."""
    folder = tmp_path_factory.mktemp("split_up")
    return records_in(crowd.crowd(folder, tasks=("redundant",), seeds=2, splits=None))


def records_in(folder: Path) -> list[Stored]:
    found, problems = store.scan(folder)
    assert not problems
    return found


def content_of(name: str, records: list[Stored], **asked: Any) -> Any:
    return plots.load(name).gather(Source(records, **asked))


def changed(records: list[Stored], model: str, /, **parts: Any) -> list[Stored]:
    """Return records of which those of one model say something else."""
    return [
        Stored(s.folder, msgspec.structs.replace(s.record, **parts))
        if s.record.model == model
        else s
        for s in records
    ]


def of(records: list[Stored], *models: str) -> list[Stored]:
    return [s for s in records if s.record.model in models]


# --- all figures ---------------------------------------------------------------------------------


def test_figures_are_found_by_their_files_and_say_what_they_are() -> None:
    assert {"forest", "pareto", "profile", "robustness"} <= set(NAMES)
    for name in NAMES:
        assert 20 < len(plots.load(name).SUMMARY) < 120
    with pytest.raises(UnknownNameError, match="did you mean 'forest'"):
        plots.load("forst")


@pytest.mark.parametrize("name", NAMES)
def test_no_text_lies_on_another_or_is_cut_off(
    name: str, many: list[Stored], split_up: list[Stored], neat: Neat
) -> None:
    records = split_up if name == "robustness" else many
    figure = plots.load(name).figure(content_of(name, records))
    texts = " ".join(neat(figure))
    assert "seed_cross_t" in texts
    for model in ("early", "late", "constant"):
        assert model in texts


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", canvas.FORMATS)
def test_the_same_records_give_the_same_bytes(name: str, kind: str, split_up: list[Stored]) -> None:
    few = of(split_up, "early", "late")
    first, second = (plots.content(name, content_of(name, few), kind) for _ in range(2))
    assert first == second
    assert first.startswith({"png": b"\x89PNG", "svg": b"<?xml", "pdf": b"%PDF"}[kind])
    assert b"Date" not in first
    # The order in which records were found on the disk is no content.
    assert plots.content(name, content_of(name, few[::-1]), kind) == first


@pytest.mark.parametrize("name", NAMES)
def test_every_file_says_in_words_what_it_shows(
    name: str, split_up: list[Stored], tmp_path: Path
) -> None:
    source = Source(of(split_up, "early", "late"))
    for kind in canvas.FORMATS:
        alt = plots.draw(name, source, tmp_path / f"a.{kind}")
        assert "early" in alt
        assert re.search(r"\d\.\d\d\d", alt)
    with Image.open(tmp_path / "a.png") as image:
        assert image.info["Description"] == alt
        assert image.info["Title"] == f"mmbench: {name}"
    root = ElementTree.parse(tmp_path / "a.svg").getroot()
    assert root.attrib["role"] == "img"
    assert [child.tag.rpartition("}")[2] for child in root][:2] == ["title", "desc"]
    assert root[1].text == alt
    pdf = (tmp_path / "a.pdf").read_bytes()
    assert f"mmbench: {name}".encode() in pdf
    assert b"/Subject" in pdf


@pytest.mark.parametrize("name", NAMES)
def test_hostile_names_are_text(
    name: str, split_up: list[Stored], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, neat: Neat
) -> None:
    monkeypatch.chdir(tmp_path)
    records = of(split_up, *crowd.MODELS[: len(HOSTILE)])
    for model, hostile in zip(crowd.MODELS, HOSTILE, strict=False):
        records = changed(records, model, model=hostile)
    content = content_of(name, records)
    neat(plots.load(name).figure(content))
    for kind in canvas.FORMATS:
        file = plots.content(name, content, kind)
        assert kind != "svg" or b"<script" not in file
        assert len(file) < 1_000_000
    ElementTree.fromstring(plots.content(name, content, "svg"))
    assert not [*tmp_path.iterdir()]


def test_models_can_be_told_apart_without_colour(split_up: list[Stored]) -> None:
    looks = _look.of_models([s.record.model for s in split_up])
    assert len({look.marker for look in looks.values()}) == len(crowd.MODELS) == 12
    assert len({look[:] for look in looks.values()}) == 12
    many = _look.of_models([f"m{k}" for k in range(24)])
    assert len(set(many.values())) == 24


# --- forest --------------------------------------------------------------------------------------

SCORE = Score(
    "cider_d", 3.2, 3.1, 3.3, 0.05, 9.0, 100, 3, "seeds and items", "cider_d|v1", True, (0.0, 10.0)
)
ROW = Row("early", (1, 1), SCORE, 3.2, {}, 0.7, 3, 1000, 10.0, "cpu")
PUBLISHED = Row("NIC", None, None, 2.0, {}, None, 0, None, None, "", "a paper")
BOARD = Board(
    "captioning@1", "small", "cider_d", "test", True, 1.0, 4.0, {"audio": 1.001, "image": 2.5}, (),
    (ROW, PUBLISHED), "95 % intervals", (),
)  # fmt: skip


def test_forest_has_every_model_at_its_score_with_its_interval(many: list[Stored]) -> None:
    boards = content_of("forest", many)
    assert len(boards) == len(crowd.TASKS)
    drawn = forest.figure(boards)
    for board, axes in zip(boards, drawn.axes, strict=True):
        points = [line for line in axes.lines if line.get_marker() == "o"]
        assert [float(p.get_xdata()[0]) for p in points] == [row.value for row in board.rows]
        assert [float(p.get_ydata()[0]) for p in points] == list(range(len(board.rows)))
        spans = [tuple(line.get_xdata()) for line in axes.lines if line.get_linewidth() == 2.4]
        assert spans == [(row.main.low, row.main.high) for row in board.rows if row.main]


def test_forest_draws_levels_and_joins_those_too_close_to_tell_apart() -> None:
    (axes,) = forest.figure([BOARD]).axes
    lines = {line.get_gid(): line.get_xdata()[0] for line in axes.lines if line.get_gid()}
    assert lines == {"floor": 1.0, "alone": 2.5, "ceiling": 4.0}
    styles = {str(line._unscaled_dash_pattern) for line in axes.lines if line.get_gid()}
    assert len(styles) == 3
    assert [level.name for level in forest._levels(BOARD)] == [
        "floor, audio alone", "image alone", "ceiling"
    ]  # fmt: skip
    assert "floor, audio alone 1.000" in forest.alt([BOARD])


def test_published_rows_are_hollow_and_what_may_be_best_is_shaded(neat: Neat) -> None:
    rival = replace(ROW, model="late", rank=(1, 2), value=3.0, main=replace(SCORE, value=3.0))
    last = replace(ROW, model="sum", rank=(3, 3), value=2.2, main=replace(SCORE, value=2.2))
    drawn = forest.figure([replace(BOARD, rows=(ROW, rival, last, PUBLISHED))])
    (axes,) = drawn.axes
    points = [line for line in axes.lines if line.get_marker() == "o"]
    assert [to_hex(p.get_markerfacecolor()) for p in points] == [colours.SCORE] * 3 + ["#ffffff"]
    shaded = [patch for patch in drawn.patches + drawn.artists if patch.get_zorder() == -1]
    assert len(shaded) == 2
    assert {"1", "1–2", "3"} <= set(neat(drawn))
    assert "NIC 2.000 (published)" in forest.alt([replace(BOARD, rows=(ROW, PUBLISHED))])


def test_a_board_without_a_score_is_left_out() -> None:
    empty = replace(BOARD, rows=(), listed=("diverged",))
    assert len(forest.figure([empty, BOARD]).axes) == 1
    with pytest.raises(NotComparableError, match="no board has a score"):
        forest.figure([empty])


def test_a_metric_of_which_less_is_more_says_so() -> None:
    assert "(lower is better)" in forest.title(replace(BOARD, higher_is_better=False))


# --- profile -------------------------------------------------------------------------------------


def share_by_hand(records: list[Stored], model: str, above: float) -> float:
    """Return the share of a model's runs above a normalised score, from the records themselves."""
    runs = []
    for stored in of(records, model):
        level = catalog.task(stored.record.task).levels["accuracy"]
        value = stored.record.scores["test"]["accuracy"].value
        assert value is not None
        runs.append((value - level.floor) / (level.ceiling - level.floor) > above)
    return sum(runs) / len(runs)


def test_profiles_are_the_shares_of_runs_above_each_threshold(many: list[Stored]) -> None:
    found = content_of("profile", many)
    assert {curve.model for curve in found.curves} == set(crowd.MODELS)
    means = [curve.mean for curve in found.curves]
    assert means == sorted(means, reverse=True)
    assert (len(found.tasks), found.seeds) == (6, 3)
    for curve in found.curves[::4]:
        made = curve.profile
        for at in range(0, len(made.thresholds), 20):
            tau = float(made.thresholds[at])
            assert made.share[at] == pytest.approx(share_by_hand(many, curve.model, tau))
        assert (made.low <= made.share + 1e-12).all()
        assert (made.high >= made.share - 1e-12).all()
        assert (made.high > made.low).any()
        assert (made.share[0], made.share[-1]) == (1.0, 0.0)


@pytest.mark.parametrize("count", [3, 12])
def test_profiles_draw_those_shares(many: list[Stored], count: int) -> None:
    found = content_of("profile", of(many, *crowd.MODELS[:count]))
    drawn = profile.figure(found)
    thick = [line for axes in drawn.axes for line in axes.lines if line.get_linewidth() == 2]
    assert len(thick) == count
    for line, curve in zip(thick, found.curves, strict=True):
        assert np.array_equal(line.get_xdata(), curve.profile.thresholds)
        assert np.array_equal(line.get_ydata(), curve.profile.share)
    assert len(drawn.axes) == (1 if count == 3 else count)
    assert sum(len(axes.collections) for axes in drawn.axes) == count  # the bands


def test_a_model_that_lacks_a_task_is_left_out_by_name(many: list[Stored]) -> None:
    without = [s for s in many if (s.record.model, s.record.task) != ("late", "unique")]
    source = Source(without)
    found = profile.gather(source)
    assert "late" not in [curve.model for curve in found.curves]
    assert found.left_out == ("late: lacks unique@1",)
    assert "late: lacks unique@1: left out of the profiles" in source.problems
    assert "left out: late: lacks unique@1" in profile.alt(found)


def test_a_run_that_diverged_counts_as_the_floor(many: list[Stored]) -> None:
    records = of(many, "early", "late")
    spoiled = [
        *changed(records[:1], records[0].record.model, status="diverged", scores={}), *records[1:]
    ]  # fmt: skip
    model = records[0].record.model
    before, after = (
        {c.model: c.mean for c in content_of("profile", each).curves} for each in (records, spoiled)
    )
    level = catalog.task(records[0].record.task).levels["accuracy"]
    value = records[0].record.scores["test"]["accuracy"].value
    assert value is not None
    lost = (value - level.floor) / (level.ceiling - level.floor) / 18
    assert after[model] == pytest.approx(before[model] - lost)
    found = content_of("profile", spoiled)
    assert found.failed == {model: 1}
    assert f"count as the floor: {model} 1" in profile.alt(found)


def test_seeds_beyond_the_fewest_are_named_and_one_seed_has_no_band(many: list[Stored]) -> None:
    fewer = [s for s in many if s.record.model != "early" or s.record.seed < 2]
    source = Source(of(fewer, "early", "late"))
    assert profile.gather(source).seeds == 2
    assert "not all have 3 seeds: the first 2 of each" in " ".join(source.problems)
    found = content_of("profile", [s for s in many if s.record.seed == 0])
    assert "one seed: no bands" in profile.alt(found)
    made = found.curves[0].profile
    assert np.array_equal(made.low, made.high)


def test_profiles_refuse_what_they_cannot_put_together(many: list[Stored]) -> None:
    with pytest.raises(UsageError, match="one metric at a time"):
        content_of("profile", many, metrics=("accuracy", "macro_f1"))
    with pytest.raises(UsageError, match=r"of the budgets full, small: name one with --budget"):
        content_of("profile", changed(many, "late", budget="full"))
    with pytest.raises(
        NotComparableError, match="no task has a floor, a ceiling and scores of mae"
    ):
        content_of("profile", many, metrics=("mae",))
    apart = [
        s for s in many
        if (s.record.model, s.record.task) in (("late", "unique"), ("early", "synergy"))
    ]  # fmt: skip
    with pytest.raises(NotComparableError, match="no model ran on all of synergy@1, unique@1"):
        content_of("profile", apart)


# --- pareto --------------------------------------------------------------------------------------


@pytest.mark.parametrize("better", [True, False])
def test_the_front_is_what_no_other_model_beats(better: bool) -> None:
    draw = np.random.default_rng(0)
    for size in (1, 2, 9):
        values, costs = draw.integers(1, 6, size) / 10, draw.integers(1, 6, size) * 10.0
        points = [pareto.Point(ROW, float(v), float(c)) for v, c in zip(values, costs, strict=True)]
        points.sort(key=lambda p: p.cost)
        sign = 1 if better else -1
        for point in pareto.fronts(points, better):
            beaten = any(
                sign * p.value >= sign * point.value
                and p.cost <= point.cost
                and (sign * p.value > sign * point.value or p.cost < point.cost)
                for p in points
            )
            assert point.front == (not beaten)


def test_pareto_has_every_model_at_its_cost_and_score(many: list[Stored]) -> None:
    for cost in ("parameters", "train_seconds", "peak_host_bytes"):
        trades = content_of("pareto", many, cost=cost)
        drawn = pareto.figure(trades)
        for trade, axes in zip(trades, drawn.axes, strict=True):
            assert axes.get_xscale() == "log"
            points = [
                (float(line.get_xdata()[0]), float(line.get_ydata()[0]))
                for line in axes.lines
                if line.get_marker() == "o"
            ]
            assert points == [(p.cost, p.value) for p in trade.points]
            assert len(points) == 12
            task = trade.panel.board.task.partition("@")[0]
            for point in trade.points:
                told = [
                    s.record.cost[cost] for s in of(many, point.row.model) if s.record.task == task
                ]
                assert point.cost == pytest.approx(sum(told) / 3)
            (steps,) = (line for line in axes.lines if line.get_gid() == "front")
            assert list(steps.get_ydata())[:-1] == [p.value for p in trade.front]


def test_who_is_on_the_front_is_said_in_words(many: list[Stored], neat: Neat) -> None:
    (trade,) = content_of("pareto", [s for s in many if s.record.task == "unique"])
    on = [point.row.model for point in trade.front]
    alt = pareto.alt([trade])
    assert list(re.findall(r"(\w+) \(0\.\d+ at", alt)) == on
    assert f"{12 - len(on)} others are beaten" in alt
    drawn = pareto.figure([trade])
    neat(drawn)
    bold = {t.get_text() for t in drawn.texts if t.get_weight() == "bold" and t.get_fontsize() < 10}
    assert bold == set(on)


def test_costs_that_are_not_told_are_named(many: list[Stored]) -> None:
    records = changed([s for s in many if s.record.task == "unique"], "late", cost={})
    source = Source(records)
    (trade,) = pareto.gather(source)
    assert trade.without == ("late",)
    assert "unique@1: the records do not tell parameters of: late: left out" in source.problems
    with pytest.raises(NotComparableError, match="no record tells flops_per_item: try --cost para"):
        content_of("pareto", records, cost="flops_per_item")
    with pytest.raises(UnknownNameError, match="did you mean 'parameters'"):
        content_of("pareto", records, cost="parameter")


def test_latency_energy_and_memory_are_costs_too(many: list[Stored]) -> None:
    records = [s for s in of(many, "early", "late", "concat") if s.record.task == "unique"]
    for k, stored in enumerate(records):
        own = stored.record.cost | {"latency_p50_seconds": 0.002 * (k + 1), "energy_joules": 1e3}
        parts = {"cost": own, "provenance": stored.record.provenance | {"device": f"GPU {k % 2}"}}
        records[k] = Stored(stored.folder, msgspec.structs.replace(stored.record, **parts))
    named = {"latency": "latency_p50_seconds", "energy": "energy_joules",
             "memory": "peak_host_bytes", "train": "train_seconds"}  # fmt: skip
    for short, key in named.items():
        (trade,) = content_of("pareto", records, cost=short)
        assert trade.cost == key
        assert trade.points
        apart = "compare on one machine only: GPU 0: " in pareto.alt([trade])
        assert apart == (key != "peak_host_bytes")
    (trade,) = content_of("pareto", records, cost="latency")
    (axes,) = pareto.figure([trade]).axes
    assert all(tick.get_text().endswith(" ms") for tick in axes.get_xticklabels())
    with pytest.raises(NotComparableError, match="no record tells peak_device_bytes: try --cost"):
        content_of("pareto", records, cost="device_memory")


def test_two_definitions_under_one_name_keep_their_own_costs(many: list[Stored]) -> None:
    records = [s for s in of(many, "early", "late") if s.record.task == "unique"]
    for k, stored in enumerate(records):
        if stored.record.model == "early" and stored.record.seed == 2:
            parts = {"model_digest": "other", "cost": {"parameters": 7}}
            records[k] = Stored(stored.folder, msgspec.structs.replace(stored.record, **parts))
    (trade,) = content_of("pareto", records)
    costs: dict[str, list[float]] = {point.row.model[:5]: [] for point in trade.points}
    for point in trade.points:
        costs[point.row.model[:5]].append(point.cost)
    assert sorted(costs["early"])[0] == 7
    assert len(costs["early"]) == 2
    assert len(costs["late"]) == 1


# --- robustness ----------------------------------------------------------------------------------


def curves(axes: Any) -> dict[str, Any]:
    return {
        line.get_gid().removeprefix("curve "): line
        for line in axes.lines
        if (line.get_gid() or "").startswith("curve ")
    }


def test_robustness_goes_over_the_splits_of_a_task(split_up: list[Stored]) -> None:
    found = content_of("robustness", split_up)
    (sweep,) = found
    names = ["test", "noisy_text", "noisy_vision", "noisy_audio", "missing", "conflict"]
    assert [stop.text for stop in sweep.stops] == names
    (axes,) = robustness.figure(found).axes
    drawn = curves(axes)
    assert set(drawn) == set(crowd.MODELS)
    for model in ("early", "constant"):
        for split, y in zip(names, drawn[model].get_ydata(), strict=True):
            (board,) = leaderboard.boards(split_up, None, split)
            assert y == next(row.value for row in board.rows if row.model == model)
    (bar,) = (line for line in axes.lines if line.get_gid() == "ceiling")
    assert bar.get_ydata()[0] == catalog.task("redundant").levels["accuracy"].ceiling
    # Models stand beside one another at each split, never further than half way to the next.
    starts = sorted(float(line.get_xdata()[0]) for line in drawn.values())
    assert -0.5 < starts[0] < starts[-1] < 0.5
    assert len(set(starts)) == 12


def test_the_oracle_answers_on_the_other_splits_too(made: Path, own_components: None) -> None:
    catalog.include(made.parent / "mini.toml")
    (sweep,) = content_of("robustness", records_in(made))
    assert [stop.text for stop in sweep.stops] == ["test", "ood"]
    test, ood = (stop.ceiling for stop in sweep.stops)
    assert test == 0.7, "as the task tells it"
    assert ood is not None
    assert 0.8 < ood <= 1.0, "as the oracle does it"
    alt = robustness.alt([sweep])
    assert f"ceiling (oracle) 0.700 at test, {ood:.3f} at ood" in alt


@pytest.fixture(scope="module")
def noisy(tmp_path_factory: pytest.TempPathFactory) -> list[Stored]:
    """Records of tasks that differ in one number; the one that does not name it has 1.0."""
    folder = tmp_path_factory.mktemp("noisy")
    base = catalog.task("synergy")
    for noise in (0.5, 1.0, 4.0):
        extra = {} if noise == 1.0 else {"noise": {"text": noise}}
        dataset = msgspec.structs.replace(base.dataset, params={**base.dataset.params, **extra})
        task = msgspec.structs.replace(base, name=f"noise{noise:.0f}", dataset=dataset)
        for place, model in enumerate(("early", "late")):
            for seed in range(2):
                share = 0.9 - 0.05 * noise * (1 + place)
                if (model, noise) != ("late", 4.0):
                    crowd.add(folder, task, model, {"test": share}, seed)
    return records_in(folder)


def test_robustness_goes_over_one_number_of_the_data(noisy: list[Stored], neat: Neat) -> None:
    found = content_of("robustness", noisy)
    (sweep,) = found
    assert (sweep.axis, sweep.numeric) == ("noise.text", True)
    assert [stop.at for stop in sweep.stops] == [0.5, 1.0, 4.0]
    drawn = robustness.figure(found)
    texts = neat(drawn)
    assert "noise.text" in texts
    lines = curves(drawn.axes[0])
    assert len(lines["early"].get_xdata()) == 3
    assert len(lines["late"].get_xdata()) == 2
    assert "Not tested everywhere: late." in " ".join(texts)
    ceilings = [line.get_ydata()[0] for line in drawn.axes[0].lines if line.get_gid() == "ceiling"]
    assert ceilings == [catalog.task("synergy").levels["accuracy"].ceiling] * 3


def test_records_without_either_are_refused(many: list[Stored]) -> None:
    with pytest.raises(NotComparableError, match="neither a task with two scored test splits nor"):
        content_of("robustness", many)


def test_tasks_that_differ_in_more_than_one_number_are_no_curve(noisy: list[Stored]) -> None:
    def with_seed(stored: Stored) -> Stored:
        definition = stored.record.definition
        task = definition["task"]
        dataset = {**task["dataset"], "seed": sum(map(ord, stored.record.task))}
        changes = {"definition": {**definition, "task": {**task, "dataset": dataset}}}
        return Stored(stored.folder, msgspec.structs.replace(stored.record, **changes))

    with pytest.raises(NotComparableError, match="equal but for one number"):
        content_of("robustness", [with_seed(s) for s in noisy])
    assert numbers({"a": [{"b": 1}, 2], "c": {}}) == {"a.0.b": 1, "a.1": 2}


# --- where labels go -----------------------------------------------------------------------------


def test_spread_moves_apart_no_more_than_it_must() -> None:
    draw = np.random.default_rng(1)
    for count in range(1, 14):
        wanted = draw.uniform(0, 300, count).tolist()
        placed = _labels.spread(wanted, 20, 0, 300)
        order = sorted(range(count), key=lambda k: wanted[k])
        ordered = [placed[k] for k in order]
        assert all(b - a >= 20 - 1e-9 for a, b in itertools.pairwise(ordered))
        assert min(placed) >= -1e-9
        assert max(placed) <= 300 + 1e-9
    assert _labels.spread([10, 100, 200], 20, 0, 300) == [10, 100, 200]
    crammed = _labels.spread([5.0] * 31, 20, 0, 300)
    assert [round(b - a, 6) for a, b in itertools.pairwise(crammed)] == [10] * 30


def test_flags_and_their_poles_never_cross() -> None:
    draw = np.random.default_rng(2)
    for count in range(1, 12):
        poles = sorted(draw.uniform(0, 400, count).tolist())
        widths = draw.uniform(20, 160, count).tolist()
        rows = _labels.flags(poles, widths, 4)
        for k, j in itertools.permutations(range(count), 2):
            covered = poles[k] < poles[j] <= poles[k] + widths[k]
            assert not covered or rows[j] < rows[k]


def test_ticks_of_a_log_axis_are_three_or_more_whatever_it_spans() -> None:
    for low, high in ((49_000, 51_000), (1, 1e9), (0.3, 0.9), (75, 340), (5e4, 3e6)):
        found = _look.ticks(low, high)
        assert 3 <= len(found) <= 8
        assert all(low <= place <= high for place in found)


# --- files and the command -----------------------------------------------------------------------


def test_the_ending_is_the_format(tmp_path: Path, split_up: list[Stored]) -> None:
    source = Source(of(split_up, "early", "late"))
    with pytest.raises(UsageError, match=r"\.png, \.svg, \.pdf"):
        plots.draw("forest", source, tmp_path / "a.gif")
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot be written"):
        plots.draw("forest", source, tmp_path / "file" / "a.png")


def test_pdf_fonts_can_be_edited_and_no_producer_is_named(split_up: list[Stored]) -> None:
    file = plots.content("forest", content_of("forest", of(split_up, "early", "late")), "pdf")
    assert b"/Type3" not in file
    assert b"CreationDate" not in file
    assert b"/Producer" not in file
    assert b"/FontFile2" in file


def test_the_command_writes_what_was_asked_for(cli: Any, many: list[Stored]) -> None:
    results = many[0].folder.parents[2]
    asked = ("report", "--results", results, "--figure")
    done = cli(*asked, "forest", "-t", "unique,synergy", "-m", "early,late", "--out", "a.svg")
    assert (done.code, done.out) == (0, "wrote a.svg\n"), done.err
    alt = ElementTree.parse("a.svg").getroot()[1].text or ""
    assert "synergy@1" in alt
    assert "unique@1" in alt
    assert "concat" not in alt
    few = ("-t", "unique,synergy", "-m", "early,late", "--out", "all", "--format", "pdf")
    done = cli(*asked, "profile,pareto", "--figure", "forest", *few)
    assert done.code == 0, done.err
    assert {path.name for path in Path("all").iterdir()} == {
        "forest.pdf", "pareto.pdf", "profile.pdf"
    }  # fmt: skip
    done = cli(*asked, "pareto", "-t", "unique", "--cost", "train_seconds")
    assert (done.code, done.out) == (0, "wrote pareto.png\n")
    with Image.open("pareto.png") as image:
        assert "against seconds of training" in image.info["Description"]
    done = cli("leaderboard", "--results", results, "-t", "unique", "--figure", "board.svg")
    assert done.code == 0
    assert "Forest plot of unique@1" in Path("board.svg").read_text()


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        ((), 2, "forest, pareto, profile, robustness"),
        (("--figure", "florest"), 2, "unknown figure 'florest': did you mean 'forest'?"),
        (("--figure", "forest,pareto", "--out", "a.png"), 2, "one file for 2 figures"),
        (("--figure", "forest", "--out", "a.png", "--format", "svg"), 2, "ends otherwise than"),
        (("--figure", "forest", "--out", "a.gif"), 2, "expected a name that ends in .png"),
        (("--figure", "forest", "--cost", "parameters"), 2, "--cost: goes with --figure pareto"),
        (("--figure", "forest", "--data", "x"), 2, "--data: goes with --figure robustness"),
        (("--figure", "forest", "-t", "uniqe"), 4, "did you mean 'unique'?"),
        (("--figure", "forest", "-m", "erly"), 4, "did you mean 'early'?"),
        (("--figure", "forest", "--metric", "acuracy"), 2, "did you mean 'accuracy'?"),
        (("--figure", "forest", "--metric", "macro_f1"), 4, "no finished record was scored with"),
        (("--figure", "forest", "--split", "tset"), 4, "did you mean 'test'?"),
        (("--figure", "robustness"), 4, "neither a task with two scored test splits"),
        (("--figure", "forest", "--results", "nowhere"), 4, "nowhere: holds no records"),
    ],
)
def test_what_cannot_be_drawn_is_one_line(
    cli: Any, many: list[Stored], arguments: tuple[str, ...], code: int, told: str
) -> None:
    results = () if "--results" in arguments else ("--results", many[0].folder.parents[2])
    done = cli("report", *results, *arguments)
    assert done.code == code
    assert told in done.error
    assert not [*Path.cwd().iterdir()]


def test_the_help_names_every_figure(cli: Any) -> None:
    text = " ".join(cli("report", "--help").out.split())
    for name in NAMES:
        assert f"{name} {plots.load(name).SUMMARY}" in text


def test_a_damaged_record_is_a_warning_and_the_rest_is_drawn(cli: Any, results: Path) -> None:
    broken = next(results.glob("mini/late/*-s0-*/record.json"))
    broken.write_text(broken.read_text()[:100])
    done = cli("report", "--figure", "forest")
    assert done.code == 0
    assert done.err.startswith("warning: ")
    with Image.open("forest.png") as image:
        assert "concat" in image.info["Description"]
