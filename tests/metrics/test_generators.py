"""How images came about: equal to plain loops, and right about generators that are known."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from mmbench import registry
from mmbench.errors import UsageError
from mmbench.metrics import _frechet, prepare
from mmbench.metrics._items.image import ImageItems
from mmbench.references import ImageReferences
from mmbench.scoring import combine


def items(seed: int, size: int = 60, width: int = 4, shift: float = 0.0) -> ImageItems:
    """Draw pairs of items: an edit of one of two attributes, images that follow it or do not."""
    draw = np.random.default_rng(seed)
    real, generated, known = draw.standard_normal((3, size, width))
    generated = generated + shift
    true = {name: draw.integers(0, 3, size) for name in ("colour", "shape")}
    for name, values in true.items():
        same = draw.random(size // 2) < 0.5
        values[1::2] = np.where(same, values[::2], values[1::2])
        true[name] = values
    said = {
        n: np.where(draw.random(size) < 0.8, v, draw.integers(0, 3, size)) for n, v in true.items()
    }
    references = ImageReferences(real, true, pairs=np.arange(size) // 2, known=known)
    columns = {"features": generated, **{n: v.tolist() for n, v in said.items()}}
    return prepare([None] * size, references, columns)


def copied(which: str) -> ImageItems:
    """Generated images that are training images, or held-out ones of other items."""
    found = items(3, 40)
    assert found.known is not None
    assert found.generated is not None
    source = found.known if which == "known" else found.real
    return replace(found, generated=source[(np.arange(40) + 7) % 39])


CORPORA = {
    "alike": items(0),
    "shifted": items(1, shift=1.0),
    "few": items(2, 12, 2, 0.5),
    "copies of training images": copied("known"),
    "copies of held-out images": copied("real"),
}


def detector(items: ImageItems) -> float:
    """Do ridge regression on the side by least squares on stacked rows, count pairs by a loop."""
    real, made = items.real, items.generated
    assert made is not None
    half = _frechet.groups(real, made, 2)
    areas = []
    for own in (0, 1):
        trained = [side[half != own] for side in (real, made)]
        middle, spread = trained[0].mean(axis=0), trained[0].std(axis=0)

        def terms(
            x: np.ndarray, middle: np.ndarray = middle, spread: np.ndarray = spread
        ) -> np.ndarray:
            x = np.clip((x - middle) / spread, -10, 10)
            return np.hstack([x, x * x, np.ones((len(x), 1))])

        z = np.vstack([terms(side) for side in trained])
        y = np.array([-1.0] * len(trained[0]) + [1.0] * len(trained[1]))
        held = np.sqrt(0.01 * (1 + (z**2).mean(axis=0)) * len(z))
        weights = np.linalg.lstsq(np.vstack([z, np.diag(held)]), np.r_[y, 0 * held], rcond=None)[0]
        left, right = (terms(side[half == own]) @ weights for side in (real, made))
        areas.append(np.mean([(b > a) + 0.5 * (b == a) for a in left for b in right]))
    return float(np.mean(areas))


def heart(items: ImageItems) -> float:
    made, total = items.generated, 0.0
    assert made is not None
    assert items.known is not None
    chance = len(items.known) / (len(items.known) + len(made) - 1)
    for i, x in enumerate(made):
        seen = min(((x - y) ** 2).sum() for y in items.known)
        unseen = min(((x - y) ** 2).sum() for j, y in enumerate(items.real) if j != i)
        total += 1.0 if seen < unseen else chance if seen == unseen else 0.0
    return float((total / len(made) - chance) / (1 - chance))


def edits(items: ImageItems) -> float:
    found = []
    assert items.pairs is not None
    for number in set(items.pairs.tolist()):
        own = np.flatnonzero(items.pairs == number)
        if len(own) == 2:
            a, b = own
            ok = True
            for name, true in items.true.items():
                said = items.said[name]
                if true[a] != true[b]:
                    ok = ok and said[a] == true[a] and said[b] == true[b]
                else:
                    ok = ok and said[a] == said[b] and said[b] >= 0
            found.append(ok)
    return float(np.mean(found))


#: Metric -> its value, by loops.
REFERENCES: dict[str, Callable[[ImageItems], float]] = {
    "real_fake_auc": detector,
    "memorised": heart,
    "edit_accuracy": edits,
}


def value(name: str, items: ImageItems) -> float:
    metric = registry.load("metric", name)
    return float(metric.of(metric.measure(items)))


@pytest.mark.parametrize("name", REFERENCES)
@pytest.mark.parametrize("which", CORPORA)
def test_a_metric_equals_plain_loops(name: str, which: str) -> None:
    assert value(name, CORPORA[which]) == pytest.approx(REFERENCES[name](CORPORA[which]), abs=1e-9)


def test_every_metric_of_generators_has_a_reference() -> None:
    ours = registry.names("metric")
    own = {n for n in ours if registry.load("metric", n).module == "mmbench.metrics.generators"}
    assert set(REFERENCES) == own


def test_a_detector_tells_what_is_shifted_and_nothing_else() -> None:
    alike = [value("real_fake_auc", items(seed, 200, 8)) for seed in range(20)]
    assert abs(np.mean(alike) - 0.5) < 0.02
    assert value("real_fake_auc", items(1, 200, 8, shift=2.0)) > 0.95
    spread = items(5, 400, 4)
    assert spread.generated is not None
    wider = replace(spread, generated=2.0 * spread.generated)  # the means are equal
    assert value("real_fake_auc", wider) > 0.7


def test_the_interval_of_the_detector_holds_one_half_for_equal_distributions() -> None:
    metric, held = registry.load("metric", "real_fake_auc"), 0
    for seed in range(60):
        rows = metric.measure(items(seed, 120, 3))
        score = combine("real_fake_auc", [np.asarray(rows)])
        held += score.low <= 0.5 <= score.high
    assert held >= 50  # 95 % of 60 are 57


def test_copies_of_training_images_are_found_out_and_those_of_held_out_ones_are_not() -> None:
    assert value("memorised", CORPORA["copies of training images"]) == 1.0
    assert value("memorised", CORPORA["copies of held-out images"]) == pytest.approx(-40 / 39)
    mean = np.mean([value("memorised", items(seed, 80, 6)) for seed in range(20)])
    assert mean == pytest.approx(0.0, abs=0.1)
    # However poor the images are: far away from both, both are as near.
    far = np.mean([value("memorised", items(seed, 80, 6, shift=3.0)) for seed in range(20)])
    assert far == pytest.approx(0.0, abs=0.25)


def test_the_share_of_copies_is_told_whatever_the_number_of_training_images() -> None:
    draw = np.random.default_rng(0)
    for known in (100, 400):
        found = replace(items(7, 200, 6), known=draw.standard_normal((known, 6)))
        assert found.generated is not None
        assert found.known is not None
        some = np.arange(200) % 10 < 3
        made = np.where(some[:, None], found.known[np.arange(200) % known], found.generated)
        score = registry.load("metric", "memorised")
        assert value("memorised", replace(found, generated=made)) == pytest.approx(0.3, abs=0.35)
        rows = score.measure(replace(found, generated=made))
        assert (rows[some, 0] == 1.0).all()


def test_an_image_that_shows_nothing_keeps_nothing() -> None:
    found = items(0, 12)
    blank = {name: np.full(12, -1) for name in found.true}
    assert value("edit_accuracy", replace(found, said=blank)) == 0.0


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("edit_accuracy", {"pairs": None}, "no two items are a pair"),
        ("edit_accuracy", {"pairs": np.arange(60)}, "no two items are a pair"),
        ("edit_accuracy", {"said": {}}, "it needs all attributes of the references"),
        ("memorised", {"known": None}, "the references name no training images"),
        ("memorised", {"known": np.zeros((0, 4))}, "the references name no training images"),
        ("memorised", {"generated": None}, "no column 'features'"),
        ("real_fake_auc", {"generated": None}, "no column 'features'"),
    ],
)
def test_what_is_lacking_is_said(name: str, changes: dict[str, object], message: str) -> None:
    lacking = replace(CORPORA["alike"], **changes)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=message):
        registry.load("metric", name).measure(lacking)
