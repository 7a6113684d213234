"""What is possible on a task: its oracle's scores, as they stand in its TOML."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from mmbench import catalog, levels
from mmbench.data import _load
from mmbench.errors import UsageError
from mmbench.records import LEAK_SE
from mmbench.scoring import Score, Scored
from mmbench.spec import LevelSpec, TaskSpec, read_toml
from mmbench.types import Dataset, Predictions, Split

Write: TypeAlias = Callable[..., str]
Found: TypeAlias = dict[frozenset[str], dict[str, Score]]


def computed(
    task: TaskSpec, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> tuple[dict[str, LevelSpec], Found]:
    """Return the levels, and the scores that they came from, with their standard errors."""
    assert dataset.oracle is not None
    oracle, score = dataset.oracle, levels.score
    heard: list[frozenset[str]] = []
    found: Found = {}

    def listening(split: Any, modalities: frozenset[str]) -> Any:
        heard.append(modalities)
        return oracle(split, modalities)

    def kept(*arguments: Any, **options: Any) -> Scored:
        scored = score(*arguments, **options)
        found[heard[-1]] = dict(scored.scores)
        return scored

    monkeypatch.setattr(levels, "score", kept)
    whole = Dataset(dataset.signature, dataset.splits, dataset.fingerprint, listening)
    return levels.levels(task, whole), found


def check_bounds(task: TaskSpec, dataset: Dataset, found: Found) -> int:
    """Fail where an oracle stands beyond a bound that is said to be proven; count comparisons."""
    proven = _load.bounds(task, dataset)
    count = 0
    for metric, table in proven.items():
        for names, bound in table.items():
            for heard, scores in found.items():
                if metric in scores and heard <= set(names.split("+")):
                    got = scores[metric]
                    # The bound is on what is expected; items are drawn, so the score may pass it.
                    assert got.value <= bound + LEAK_SE * got.se, (metric, names, heard)
                    count += 1
    return count


def test_each_level_is_the_score_of_the_oracle_that_hears_just_that(
    task: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    metrics = ('also = ["cider_d", "slot_f1"]', 'also = ["slot_f1", "emitter_f1"]')
    spec = catalog.task(task("mini", metrics))
    dataset = _load.load(spec)

    def oracle(split: Split, heard: frozenset[str]) -> Predictions:
        """Know all with both, the first words with the image, one word with the sound."""
        words = {0: 0, 1: 9 if "image" in heard else 1, 2: 99}[len(heard)]
        texts = [" ".join(refs[0].split()[:words]) for refs in split.references["caption"].texts]
        return Predictions(split.ids, {"caption": texts})

    small = Dataset(dataset.signature, dataset.splits, dataset.fingerprint, oracle)
    made, found = computed(spec, small, monkeypatch)
    none, image, audio = frozenset[str](), frozenset({"image"}), frozenset({"audio"})
    assert set(found) == {none, image, audio, image | audio}
    assert set(made) == {"rouge_l", "slot_f1", "emitter_f1"}
    for metric, level in made.items():
        assert level.floor == found[none][metric].value == 0.0
        assert level.alone == {
            name: round(found[frozenset({name})][metric].value, 4) for name in ("image", "audio")
        }
        assert level.ceiling == round(found[image | audio][metric].value, 4)
        assert level.alone["audio"] <= level.alone["image"] < level.ceiling
    assert made["slot_f1"].ceiling == made["rouge_l"].ceiling == 1.0
    proven = _load.bounds(spec, dataset)
    assert {m: level.bound for m, level in made.items() if level.bound} == {
        metric: {names: round(bound, 4) for names, bound in sorted(proven[metric].items())}
        for metric in ("slot_f1", "emitter_f1")
    }
    with pytest.raises(AssertionError, match="'emitter_f1', 'image'"):
        check_bounds(spec, small, found)  # nobody can see who makes the sound: this oracle cheats


def test_written_levels_are_read_as_the_same_and_nothing_else_changes(task: Write) -> None:
    path = Path(task("mini"))
    before = read_toml(path)
    path.write_text(path.read_text() + "\n[source]\nlicence = 'mine'  # a remark\n")
    made = {
        "rouge_l": LevelSpec(0.125, 0.75, {"image": 0.5, "audio": 0.25}, {"image": 0.625}),
        "slot_f1": LevelSpec(0.0, 1.0),
    }
    for _ in range(2):
        levels.write(path, made)
        after = read_toml(path)
        assert catalog.task(str(path)).levels == made
        assert after.pop("levels")
        assert after.pop("source") == {"licence": "mine"}
        assert after == {key: value for key, value in before.items() if key != "levels"}
        assert "# a remark" in path.read_text()


def test_levels_of_a_metric_with_options_are_written_read_and_shown(
    cli: Callable[..., Any], task: Write
) -> None:
    named = 'metrics]\nmain = "wer(normalizer=english)"\nalso = ["cider_d(idf=recomputed)", "cer"]'
    path = task("mini", ('metrics]\nmain = "rouge_l"\nalso = ["cider_d", "slot_f1"]', named))
    Path(path).write_text(Path(path).read_text().partition("[levels.rouge_l]")[0])
    levels.main([path])
    text = Path(path).read_text()
    assert '[levels."wer(normalizer=english)"]' in text
    assert '[levels."cider_d(idf=recomputed)"]' in text
    assert "[levels.cer]" in text
    levels.main([path])
    assert Path(path).read_text() == text, "written over, not written twice"
    spec = catalog.task(path)
    assert list(spec.levels) == ["wer(normalizer=english)", "cider_d(idf=recomputed)", "cer"]
    level = spec.levels["wer(normalizer=english)"]
    assert level.ceiling < level.floor
    part = _load.load(spec).splits["test"]
    rows = (json.dumps({"id": name, "caption": "a red circle"}) for name in part.ids)
    Path("said.jsonl").write_text("\n".join(rows))
    done = cli("score", "-t", path, "said.jsonl", "--save", "--budget", "brief")
    assert done.code == 0, done.err
    numbers = [f"{x:.3f}" for x in (level.floor, level.ceiling)]
    for shown in (done, cli("show", "mini/said", "--no-figures")):
        assert shown.code == 0, shown.err
        (line,) = (line for line in shown.out.splitlines() if "wer(normalizer=english) (" in line)
        assert all(number in line.split() for number in numbers), line
    (board,) = json.loads(cli("leaderboard", "--json", "--include", path).out)["boards"]
    assert (board["metric"], board["floor"], board["ceiling"]) == (
        "wer(normalizer=english)",
        *(level.floor, level.ceiling),
    )
    other = cli("leaderboard", "--metric", "cider_d(idf=recomputed)", "--json")
    assert (
        json.loads(other.out)["boards"][0]["ceiling"]
        == spec.levels["cider_d(idf=recomputed)"].ceiling
    )


def test_a_dataset_without_an_oracle_has_no_levels(task: Write) -> None:
    spec = catalog.task(task())
    dataset = _load.load(spec)
    blind = Dataset(dataset.signature, dataset.splits, dataset.fingerprint)
    with pytest.raises(UsageError, match="task 'mini': its dataset has no oracle, so no levels"):
        levels.levels(spec, blind)


def test_the_module_writes_levels_of_a_task_by_name(
    task: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = task()
    made = {"rouge_l": LevelSpec(0.25, 0.5)}
    monkeypatch.setattr(levels, "levels", lambda spec, dataset: made)
    levels.main([path])
    assert catalog.task(path).levels == made


@pytest.mark.slow
def test_levels_of_captioning_are_what_its_oracle_scores_and_no_bound_is_passed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    spec = catalog.task("captioning")
    dataset = _load.load(spec)
    made, found = computed(spec, dataset, monkeypatch)
    assert made == spec.levels, "write them anew: python -m mmbench.levels captioning"
    assert check_bounds(spec, dataset, found) > 10
    for metric in spec.metrics.names:
        level = spec.levels[metric]
        assert level.floor < level.ceiling
        assert max(level.alone.values()) <= level.ceiling
    emitter = spec.levels["emitter_f1"]
    assert max(emitter.alone.values()) < 0.4 < emitter.ceiling, "fusion has something to win"
