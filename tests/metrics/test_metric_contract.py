"""A metric is one function, ours or the user's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mmbench import registry, store
from mmbench.errors import UsageError
from mmbench.metrics import Metric, TextItems, family, influence, metric, prepare, pseudo_values
from mmbench.references import TextReferences
from mmbench.scoring import score
from mmbench.types import Predictions

REFERENCES = TextReferences([("a dog", "the dog"), ("a cat",), ("a cow runs",)])


@pytest.fixture
def items() -> TextItems:
    return prepare(["a dog", "a dog", "a cow"], REFERENCES)


@pytest.fixture
def own_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_included", {})
    monkeypatch.setattr(registry, "_included_files", {})


@metric
def exact_match(items: TextItems) -> list[bool]:
    """Share of predictions that equal a reference.

    More about it.
    """
    pairs = zip(items.predictions, items.references, strict=True)
    return [text in references for text, references in pairs]


@metric(columns=("said", "true"), value=lambda sums: sums[..., 0] / sums[..., 1], version=3)
def brevity(items: TextItems) -> list[tuple[int, int]]:
    """Tokens predicted per token of the first reference."""
    pairs = zip(items.tokens, items.reference_tokens, strict=True)
    return [(len(said), len(true[0])) for said, true in pairs]


def test_one_function_that_scores_items_is_the_metric_of_their_mean(items: TextItems) -> None:
    rows = exact_match.measure(items)
    np.testing.assert_array_equal(rows, [[1, 1], [0, 1], [0, 1]])
    assert exact_match.value(rows.sum(axis=0)) == pytest.approx(1 / 3)
    assert exact_match.columns == ("exact_match", "count")
    assert exact_match.summary == "Share of predictions that equal a reference."
    assert (exact_match.name, exact_match.family) == ("exact_match", "exact_match")


def test_one_function_with_columns_and_value_is_a_metric_of_the_corpus(items: TextItems) -> None:
    rows = brevity.measure(items)
    assert brevity.value(rows.sum(axis=0)) == 6 / 7
    assert brevity.value(np.stack([rows.sum(axis=0)] * 2)).shape == (2,)
    assert brevity.signature == "brevity|v3"


def test_metrics_of_a_family_share_their_statistics() -> None:
    def rows(items: TextItems) -> list[tuple[int, int]]:
        return [(1, 2)] * len(items)

    made = family(
        rows,
        name="pair",
        columns=("one", "two"),
        values={"left": lambda sums: sums[..., 0], "right": lambda sums: sums[..., 1]},
        settings="how:so",
    )
    assert [m.name for m in made] == ["left", "right"]
    assert {m.family for m in made} == {"pair"}
    assert made[1].signature == "right|v1|how:so"


def test_columns_without_a_value_are_refused() -> None:
    with pytest.raises(UsageError, match="columns belong to value or whole"):
        metric(columns=("a",))


def make(function: object) -> Metric:
    function.__name__ = "broken"  # type: ignore[attr-defined]
    return metric(function)  # type: ignore[call-overload,no-any-return]


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda items: [1.0], r"'broken'.*one row for each item, shape \(3, 2\), got \(1, 2\)"),
        (lambda items: [1.0, float("nan"), 0.0], r"'broken'.*not finite on item 1"),
        (lambda items: ["a", "b", "c"], r"'broken'.*failed: ValueError"),
        (lambda items: items.nowhere, r"'broken'.*failed: AttributeError.*nowhere"),
    ],
)
def test_a_broken_function_is_one_line_that_names_the_metric(
    items: TextItems, function: object, message: str
) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        make(function).measure(items)
    assert "\n" not in str(caught.value)


def test_a_bug_of_our_own_keeps_its_traceback(items: TextItems) -> None:
    ours = make(lambda items: items.nowhere)
    ours = Metric(**{**vars(ours), "module": "mmbench.metrics.text"})
    with pytest.raises(AttributeError, match="nowhere"):
        ours.measure(items)


def test_a_metric_is_a_component_and_its_class_is_none() -> None:
    assert exact_match.component == "metric"
    assert not isinstance(getattr(Metric, "component", None), str)


@pytest.mark.usefixtures("own_registry")
def test_a_metric_in_a_file_of_the_users_scores_with_the_others(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text(
        "from mmbench.metrics import Metric, metric\n\n"
        "@metric(bounds=(0.0, None))\n"
        "def mean_length(items):\n"
        '    "Mean number of tokens."\n'
        "    return [len(tokens) for tokens in items.tokens]\n"
    )
    assert registry.include(path) == [("metric", "mean_length")]
    said = Predictions(["1", "2", "3"], {"caption": ["a dog.", "A cat", "a big cow"]})
    found = score(said, {"caption": REFERENCES}, "caption", ["mean_length", "bleu1"])
    assert found.scores["mean_length"].value == pytest.approx(7 / 3)
    assert found.scores["mean_length"].bounds == (0.0, None)
    assert set(found.statistics) == {"mean_length", "bleu"}


def test_a_signature_shows_what_differs_and_what_a_metric_always_tells() -> None:
    def rows(items: TextItems, bins: int = 3, side: str = "left") -> list[float]:
        return [float(bins)] * len(items)

    def made(**fields: Any) -> Metric:
        rows.__name__ = "own"
        return metric(**fields)(rows)

    before = made(options={"bins": 3}, shown=("bins",))
    later = made(options={"bins": 3, "side": "left"}, shown=("bins",))
    assert before.signature == later.signature == "own|v1|bins:3", "its records stay on the board"
    assert later.configure({"side": "left"}).signature == before.signature
    assert later.configure({"side": "right"}).signature == "own|v1|bins:3|side:right"
    assert later.configure({"bins": 5}).signature == "own|v1|bins:5"


def test_committed_records_are_scored_as_the_metrics_score_now() -> None:
    paths = sorted(Path(__file__).parents[2].glob("results/reference/**/record.json"))
    assert paths
    for path in paths:
        for scores in store.read(path.parent).record.scores.values():
            for name, got in scores.items():
                assert got.signature == registry.load("metric", name).signature, path


def test_every_metric_of_ours_says_what_it_is() -> None:
    for name in registry.names("metric"):
        found = registry.load("metric", name)
        assert found.summary, name
        assert found.signature.startswith(f"{name}|v{found.version}|"), name
        if found.value is not None:
            sums = np.zeros((2, len(found.columns)))
            assert np.isfinite(found.of_sums(sums)).all(), name


def test_metrics_of_one_family_of_ours_agree_on_their_columns() -> None:
    columns: dict[str, tuple[str, ...]] = {}
    for name in registry.names("metric"):
        found = registry.load("metric", name)
        assert columns.setdefault(found.family, found.columns) == found.columns


def test_pseudo_values_of_a_mean_are_the_scores_themselves(items: TextItems) -> None:
    rows = exact_match.measure(items)
    np.testing.assert_allclose(pseudo_values(exact_match, rows), rows[:, 0], atol=1e-15)


def test_pseudo_values_of_a_corpus_metric_have_its_value_as_mean(items: TextItems) -> None:
    rows = brevity.measure(items)
    assert pseudo_values(brevity, rows).mean() == pytest.approx(6 / 7, rel=1e-12)
    assert influence(brevity, rows).sum() == pytest.approx(0.0, abs=1e-12)


def test_a_metric_without_a_finite_value_is_refused_by_name() -> None:
    def rows(items: TextItems) -> list[tuple[float]]:
        return [(0.0,)] * len(items)

    (log,) = family(
        rows, name="log", columns=("x",), values={"log": lambda s: np.full(s.shape[:-1], np.inf)}
    )
    with pytest.raises(UsageError, match=r"'log'.*not finite"):
        pseudo_values(log, np.zeros((3, 1)))


@pytest.mark.parametrize(
    ("predictions", "references", "message"),
    [
        (["a"], [("a",), ("b",)], "2 items, 1 predictions"),
        ([], [], "nothing to score"),
        (["a", 3], [("a",), ("b",)], "prediction of '1' is 3, expected text"),
        (["a", "b"], [("a",), ()], "'1' has no reference"),
    ],
)
def test_items_that_do_not_fit_are_refused(
    predictions: list[str], references: list[tuple[str, ...]], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        prepare(predictions, TextReferences(references))


def test_a_whole_that_asks_for_clusters_gets_them() -> None:
    seen: list[Any] = []

    def whole(rows: Any, clusters: Any = None) -> tuple[float, Any]:
        seen.append(clusters)
        return float(rows.mean()), rows[:, 0]

    @metric(columns=("x",), whole=whole)
    def own(items: Any) -> Any:
        """Any number."""
        return np.arange(4.0)[:, None]

    def other(rows: Any) -> tuple[float, Any]:
        return float(rows.mean()), rows[:, 0]

    rows = np.arange(4.0)[:, None]
    names = ["a", "a", "b", "b"]
    np.testing.assert_array_equal(pseudo_values(own, rows, names), rows[:, 0])
    np.testing.assert_array_equal(pseudo_values(own, rows), rows[:, 0])
    assert seen == [names, None]
    deaf = metric(columns=("x",), whole=other)(own.stats)
    np.testing.assert_array_equal(pseudo_values(deaf, rows, names), rows[:, 0])
