"""Generated images: equal to brute force and to torchmetrics, and honest about what they know."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmbench import registry
from mmbench.errors import UsageError
from mmbench.metrics import _neighbours, perfect, prepare, pseudo_values
from mmbench.metrics._items.image import ImageItems
from mmbench.references import ImageReferences
from mmbench.stats import crossed

# --- corpora -------------------------------------------------------------------------------------


def images(real: np.ndarray, generated: Any, **attributes: Any) -> ImageItems:
    """Put features beside one another; attributes are pairs of right and said values."""
    true = {name: np.array(pair[0]) for name, pair in attributes.items()}
    said = {name: list(pair[1]) for name, pair in attributes.items()}
    return prepare([None] * len(real), ImageReferences(real, true), {"features": generated, **said})


def normal(
    seed: int, size: int, width: int, shift: float = 0.0, scale: float = 1.0, alike: float = 0.0
) -> ImageItems:
    """Draw normal features; `alike` is the correlation of an image with its real one."""
    draw = np.random.default_rng(seed)
    real, other = draw.standard_normal((2, size, width))
    generated = scale * (alike * real + (1 - alike**2) ** 0.5 * other)
    generated[:, 0] += shift
    colours = draw.integers(0, 4, (2, size))
    shapes = draw.integers(0, 3, (2, size))
    return images(real, generated, colour=colours, shape=(shapes[0], shapes[0] * (shapes[1] > 0)))


def copies() -> ImageItems:
    """Generated images that are real ones, some of them several times, in another order."""
    draw = np.random.default_rng(5)
    real = draw.standard_normal((30, 4))
    real[20:25] = real[0]
    generated = real[draw.integers(0, 30, 30)]
    return images(real, generated, colour=(np.arange(30) % 3, [None, *range(29)]))


def on_a_grid() -> ImageItems:
    """Few different distances, so that many points lie exactly on the surface of a ball."""
    draw = np.random.default_rng(6)
    real, generated = draw.integers(0, 4, (2, 40, 2)).astype(float) + 1000.0
    return images(real, generated, shape=(np.zeros(40, dtype=int), np.arange(40) % 2))


CORPORA: dict[str, ImageItems] = {
    "equal distributions": normal(0, 60, 5),
    "shifted": normal(1, 50, 8, shift=1.0, scale=1.3),
    "alike": normal(2, 80, 3, shift=0.2, alike=0.9),
    "one feature": normal(3, 40, 1, scale=0.5),
    "copies": copies(),
    "grid": on_a_grid(),
    "far off": images(
        np.random.default_rng(7).standard_normal((40, 3)) + 100.0,
        np.random.default_rng(8).standard_normal((40, 3)) - 100.0,
        colour=(np.zeros(40, dtype=int), np.ones(40, dtype=int)),
    ),
    "collapsed": images(
        np.random.default_rng(9).standard_normal((25, 6)), np.zeros((25, 6)), shape=([1] * 25,) * 2
    ),
}

# --- brute force ---------------------------------------------------------------------------------


def kernel(x: np.ndarray, y: np.ndarray) -> float:
    return float((x @ y / len(x) + 1) ** 3)


def kid(items: ImageItems) -> float:
    x, y = items.real, items.generated
    pairs = [(i, j) for i in range(len(x)) for j in range(len(x)) if i != j]
    return float(
        np.mean(
            [
                kernel(x[i], x[j]) + kernel(y[i], y[j]) - kernel(x[i], y[j]) - kernel(x[j], y[i])
                for i, j in pairs
            ]
        )
    )


def frechet(x: np.ndarray, y: np.ndarray) -> float:
    first, second = (np.atleast_2d(np.cov(side, rowvar=False)) for side in (x, y))
    # None of these is below 0 but for rounding.
    roots = np.sqrt(np.clip(np.linalg.eigvals(first @ second).real, 0, None))
    apart = x.mean(axis=0) - y.mean(axis=0)
    return float(apart @ apart + np.trace(first) + np.trace(second) - 2 * roots.sum())


def fid(items: ImageItems) -> float:
    return frechet(items.real, items.generated)


def tenths(x: np.ndarray, y: np.ndarray) -> list[np.ndarray]:
    """Return what is left without each tenth: items in turn, in the order of their checksums."""
    sums = [tuple(zlib.crc32(side.tobytes()) for side in pair) for pair in zip(x, y, strict=True)]
    place = {item: k for k, item in enumerate(sorted(range(len(x)), key=sums.__getitem__))}
    return [np.array([place[item] % 10 != g for item in range(len(x))]) for g in range(10)]


def fid_infinite(items: ImageItems) -> float:
    """Fit Chong and Forsyth's line by least squares."""
    x, y, size = items.real, items.generated, len(items)
    parts = tenths(x, y)
    inverse = [1 / size, np.mean([1 / part.sum() for part in parts])]
    values = [frechet(x, y), np.mean([frechet(x[part], y[part]) for part in parts])]
    return float(np.polyfit(inverse, values, 1)[1])


def distances(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    return ((left[:, None] - right[None]) ** 2).sum(axis=-1)


def radii(x: np.ndarray, k: int) -> np.ndarray:
    return np.sort(distances(x, x), axis=1)[:, k]  # the 0th is the distance to itself


def precision(centres: np.ndarray, points: np.ndarray, k: int = 3) -> float:
    return float((distances(points, centres) <= radii(centres, k)).any(axis=1).mean())


def density(real: np.ndarray, generated: np.ndarray, k: int = 5) -> float:
    return float((distances(generated, real) < radii(real, k)).sum() / k / len(generated))


def coverage(real: np.ndarray, generated: np.ndarray, k: int = 5) -> float:
    return float((distances(generated, real) < radii(real, k)).any(axis=0).mean())


def attributes(items: ImageItems) -> float:
    return float(np.mean([items.said[name] == items.true[name] for name in items.true]))


#: Metric -> its value, by brute force.
REFERENCES: dict[str, Callable[[ImageItems], float]] = {
    "kid": kid,
    "fid": fid,
    "fid_infinite": fid_infinite,
    "image_precision": lambda items: precision(items.real, items.generated),
    "image_recall": lambda items: precision(items.generated, items.real),
    "image_density": lambda items: density(items.real, items.generated),
    "image_coverage": lambda items: coverage(items.real, items.generated),
    "attribute_accuracy": attributes,
}
NEIGHBOURS = [name for name in REFERENCES if name.startswith("image_")]


def value(name: str, items: ImageItems) -> float:
    metric = registry.load("metric", name)
    return float(metric.of(metric.measure(items)))


@pytest.mark.parametrize("name", REFERENCES)
@pytest.mark.parametrize("which", CORPORA)
def test_a_metric_equals_brute_force(name: str, which: str) -> None:
    items = CORPORA[which]
    size = float(np.abs(items.generated).max() ** 2)
    expected = REFERENCES[name](items)
    # The square root of a singular matrix has half of the digits.
    slack = 1e-6 * size if "fid" in name and which in ("copies", "collapsed") else 1e-11 * size**3
    slack = max(slack, 1e-9) if "fid" in name or name == "kid" else 1e-12
    assert value(name, items) == pytest.approx(expected, rel=1e-9, abs=slack)


def test_every_image_metric_has_a_reference() -> None:
    ours = {
        n
        for n in registry.names("metric")
        if registry.load("metric", n).module == "mmbench.metrics.images"
    }
    assert set(REFERENCES) == ours


@pytest.mark.parametrize("which", ["equal distributions", "shifted", "alike", "far off"])
def test_fid_equals_that_of_torchmetrics(which: str) -> None:
    module = pytest.importorskip("torchmetrics.image.fid")
    torch = pytest.importorskip("torch")
    items = CORPORA[which]
    sides = [torch.from_numpy(side) for side in (items.real, items.generated)]
    moments = [m for side in sides for m in (side.mean(dim=0), torch.cov(side.T))]
    theirs = float(module._compute_fid(*moments))
    assert value("fid", items) == pytest.approx(theirs, rel=1e-9)


@pytest.mark.parametrize("which", ["equal distributions", "shifted", "alike", "far off"])
def test_fid_equals_the_formula_with_the_root_of_a_matrix(which: str) -> None:
    from scipy.linalg import sqrtm

    x, y = CORPORA[which].real, CORPORA[which].generated
    first, second = np.cov(x, rowvar=False), np.cov(y, rowvar=False)
    apart = x.mean(axis=0) - y.mean(axis=0)
    expected = apart @ apart + np.trace(first + second - 2 * sqrtm(first @ second).real)
    assert value("fid", CORPORA[which]) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("which", ["equal distributions", "shifted", "alike"])
def test_kid_is_that_of_torchmetrics_but_for_the_pairs_of_one_item(which: str) -> None:
    module = pytest.importorskip("torchmetrics.image.kid")
    torch = pytest.importorskip("torch")
    items = CORPORA[which]
    size = len(items)
    sides = [torch.from_numpy(side) for side in (items.real, items.generated)]
    theirs = float(module.poly_mmd(*sides))  # one subset that is everything
    cross = np.array([[kernel(x, y) for y in items.generated] for x in items.real])
    own, other = np.diag(cross).mean(), (cross.sum() - np.trace(cross)) / size / (size - 1)
    # Theirs averages over all N^2 cross pairs, of which N are an image and its own real one.
    assert value("kid", items) == pytest.approx(theirs + 2 / size * (own - other), rel=1e-9)


def test_images_that_are_like_their_own_real_ones_gain_nothing_by_it() -> None:
    with_own, without = [], []
    for trial in range(200):
        items = normal(trial, 40, 4, alike=0.9)
        x, y = items.real, items.generated
        cross = (x @ y.T / 4 + 1) ** 3
        own, other = np.diag(cross).mean(), (cross.sum() - np.trace(cross)) / 40 / 39
        without.append(value("kid", items))
        with_own.append(without[-1] - 2 / 40 * (own - other))
    for values, unbiased in ((without, True), (with_own, False)):
        off = abs(np.mean(values)) / (np.std(values) / 200**0.5)
        assert (off < 3) == unbiased


# --- leaving items out ---------------------------------------------------------------------------


def leave_out(items: ImageItems, gone: int) -> ImageItems:
    kept = np.arange(len(items)) != gone
    return images(items.real[kept], items.generated[kept])


@pytest.mark.parametrize("name", [*NEIGHBOURS, "kid"])
@pytest.mark.parametrize("which", [name for name in CORPORA if name != "far off"])
def test_pseudo_values_are_those_of_the_jackknife(name: str, which: str) -> None:
    items = CORPORA[which]
    metric = registry.load("metric", name)
    without = np.array([value(name, leave_out(items, i)) for i in range(len(items))])
    expected = value(name, items) + (len(items) - 1) * (without.mean() - without)
    np.testing.assert_allclose(
        pseudo_values(metric, metric.measure(items)), expected, rtol=1e-9, atol=1e-8
    )


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**6), size=st.integers(7, 14), levels=st.integers(1, 9))
def test_leaving_items_out_is_exact_with_ties_too(seed: int, size: int, levels: int) -> None:
    draw = np.random.default_rng(seed)
    real, generated = draw.integers(0, levels, (2, size, 2)).astype(float)
    items = images(real, generated)
    for name in NEIGHBOURS:
        name = f"{name}(k=2)"
        rows = registry.load("metric", name).measure(items)
        assert rows[:, 0].mean() == pytest.approx(value(name, items))
        without = [value(name, leave_out(items, i)) for i in range(size)]
        np.testing.assert_allclose(rows[:, 1], without, rtol=1e-12)


@pytest.mark.parametrize("which", ["equal distributions", "shifted", "alike", "one feature"])
@pytest.mark.parametrize("name", ["fid", "fid_infinite"])
def test_pseudo_values_of_fid_are_its_derivatives(name: str, which: str) -> None:
    from mmbench.metrics import _frechet

    items = CORPORA[which]
    function = _frechet.frechet if name == "fid" else _frechet.extrapolated
    moved = function(items.real, items.generated)[1]
    assert moved.sum() == pytest.approx(0.0, abs=1e-9 * np.abs(moved).max() * len(moved))
    # Give each item the weight 1 + e / N in turn, in a plain implementation.
    step, size = 1e-4, len(items)

    def weighted(weights: np.ndarray) -> float:
        parts = [np.ones(size, dtype=bool)]
        parts += tenths(items.real, items.generated) if name != "fid" else []
        found = []
        for part in parts:
            moments = []
            for side in (items.real[part], items.generated[part]):
                w = weights[part] / weights[part].sum()
                mean = w @ side
                centred = side - mean
                n = part.sum()
                moments.append((mean, (centred.T * w) @ centred * n / (n - 1)))
            (m1, s1), (m2, s2) = moments
            roots = np.sqrt(np.linalg.eigvals(s1 @ s2).real).sum()
            found.append((m1 - m2) @ (m1 - m2) + np.trace(s1) + np.trace(s2) - 2 * roots)
        if name == "fid":
            return float(found[0])
        inverse = np.mean([1 / part.sum() for part in parts[1:]])
        reach = (1 / size) / (inverse - 1 / size)
        return float(found[0] + reach * (found[0] - np.mean(found[1:])))

    for item in range(0, size, 7):
        change = step * (np.arange(size) == item)
        slope = (weighted(1 + change) - weighted(1 - change)) / (2 * step)
        assert size * slope == pytest.approx(moved[item], rel=1e-5, abs=1e-5)


# --- what holds ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", REFERENCES)
def test_perfect_predictions_reach_the_bound(name: str) -> None:
    draw = np.random.default_rng(0)
    references = ImageReferences(draw.standard_normal((50, 4)), {"colour": draw.integers(0, 3, 50)})
    items = prepare(perfect(references), references)
    best = {"kid": 0.0, "fid": 0.0, "fid_infinite": 0.0}.get(name, 1.0)
    assert value(name, items) == pytest.approx(best, abs=1e-9)


@pytest.mark.parametrize("name", REFERENCES)
def test_the_order_of_items_changes_nothing(name: str) -> None:
    items = CORPORA["shifted"]
    order = np.random.default_rng(0).permutation(len(items))
    pairs = {n: (items.true[n][order], items.said[n][order].tolist()) for n in items.true}
    moved = images(items.real[order], items.generated[order], **pairs)
    # The groups that `fid_infinite` leaves out go by the order: another line, the same end.
    slack = 0.2 if name == "fid_infinite" else 1e-9
    assert value(name, moved) == pytest.approx(value(name, items), rel=slack)


@pytest.mark.parametrize("name", NEIGHBOURS)
def test_the_sizes_of_blocks_change_no_bit(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    for which in ("grid", "copies", "shifted"):
        expected = registry.load("metric", name).measure(CORPORA[which])
        for rows in (1, 7, 64):
            monkeypatch.setattr(_neighbours, "_ROWS", rows)
            np.testing.assert_array_equal(
                registry.load("metric", name).measure(CORPORA[which]), expected
            )
        monkeypatch.undo()


def test_fewer_images_worsen_fid_but_not_fid_infinite() -> None:
    def mean(name: str, size: int) -> float:
        return float(np.mean([value(name, normal(s, size, 6, shift=0.5)) for s in range(60)]))

    assert mean("fid", 60) > mean("fid", 600) + 0.2
    assert mean("fid_infinite", 60) == pytest.approx(0.25, abs=0.12)
    assert mean("fid_infinite", 600) == pytest.approx(0.25, abs=0.03)


def test_a_generator_of_one_image_is_precise_and_covers_nothing() -> None:
    items = CORPORA["collapsed"]
    assert value("image_precision", items) == 1.0
    assert value("image_recall", items) == 0.0
    assert value("image_coverage", items) < 1.0


# --- attributes ----------------------------------------------------------------------------------


def test_attributes_come_as_columns_or_as_mappings() -> None:
    references = ImageReferences(
        np.zeros((3, 2)), {"colour": np.array([0, 1, 2]), "shape": np.array([1, 1, 1])}
    )
    columns = {"colour": [0, 1, 0], "shape": [1, None, 1]}
    said = [{"colour": 0, "shape": 1}, {"colour": 1}, {"colour": 0, "shape": 1}]
    for items in (prepare(["a.png"] * 3, references, columns), prepare(said, references)):
        assert value("attribute_accuracy", items) == 4 / 6
        assert value("attribute_accuracy(attribute=colour)", items) == 2 / 3
        assert value("attribute_accuracy(attribute=shape)", items) == 2 / 3
        rows = registry.load("metric", "attribute_accuracy").measure(items)
        np.testing.assert_array_equal(rows, [[2, 2], [1, 2], [1, 2]])


def test_a_missing_image_shows_nothing() -> None:
    references = ImageReferences(np.zeros((2, 2)), {"colour": np.array([0, 1])})
    items = prepare([{"colour": 0}, None], references)
    assert items.missing.tolist() == [False, True]
    assert value("attribute_accuracy", items) == 0.5


# --- bad input -----------------------------------------------------------------------------------

FOUR = ImageReferences(np.zeros((4, 2)), {"colour": np.array([0, 1, 2, 3])})


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({}, "no predictions: give the column 'features'"),
        ({"features": np.zeros((4, 3))}, "generated images have 3 features, the real ones 2"),
        ({"features": [[0, 1]] * 3 + [[0]]}, r"'features' of '3' has the shape \(1,\)"),
        ({"features": [["a", "b"]] * 4}, "'features' holds <U1, expected numbers"),
        ({"features": [[0, 1]] * 3 + [[0, np.inf]]}, "'features' of '3': expected finite numbers"),
        ({"colour": [0, 1, 2, 0.5]}, "attribute 'colour' of '3' is 0.5: expected a whole number"),
        ({"colour": [0, 1, -1, 0]}, "attribute 'colour' of '2' is -1"),
        ({"colour": [0, 1, True, 0]}, "attribute 'colour' of '2' is True"),
    ],
)
def test_predictions_that_do_not_fit_are_one_line(columns: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        prepare([None] * 4, FOUR, columns)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", [name for name in REFERENCES if name != "attribute_accuracy"])
def test_sets_of_images_with_gaps_are_refused(name: str) -> None:
    items = prepare([None] * 4, FOUR, {"features": [[0, 1], None, [1, 0], [2, 2]]})
    with pytest.raises(UsageError, match=r"1 generated images are missing \(item 1 first\)"):
        registry.load("metric", name).measure(items)
    said = prepare([None] * 4, FOUR, {"colour": [0, 1, 2, 3]})
    with pytest.raises(UsageError, match="no column 'features'"):
        registry.load("metric", name).measure(said)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("fid_infinite", "4 images are too few: it needs 20"),
        ("image_precision", "4 images are too few: it needs 5"),
        ("image_density(k=0)", "k = 0: expected the number of a nearest neighbour"),
        ("attribute_accuracy", "say nothing of any attribute: give a column for each of colour"),
    ],
)
def test_what_cannot_be_computed_says_why(name: str, message: str) -> None:
    items = prepare([None] * 4, FOUR, {"features": np.eye(4, 2)})
    with pytest.raises(UsageError, match=message):
        registry.load("metric", name).measure(items)


def test_an_attribute_that_nobody_knows_is_refused_by_name() -> None:
    items = prepare([None] * 4, FOUR, {"colour": [0, 1, 2, 3]})
    with pytest.raises(UsageError, match=r"attribute 'size': expected one .* have: colour"):
        registry.load("metric", "attribute_accuracy(attribute=size)").measure(items)


# --- intervals -----------------------------------------------------------------------------------

TRIALS = [150, pytest.param(2000, marks=pytest.mark.slow)]


def slack(trials: int) -> float:
    """Return two standard errors of a simulated coverage of 95 %."""
    return 2 * (0.05 * 0.95 / trials) ** 0.5


def covered(name: str, truth: float, trials: int, **how: Any) -> float:
    metric = registry.load("metric", name)
    inside = 0
    for trial in range(trials):
        found = crossed.interval(pseudo_values(metric, metric.measure(normal(trial, **how))))
        inside += found.low <= truth <= found.high
    return inside / trials


def true_fid(width: int, shift: float, scale: float) -> float:
    return shift**2 + width * (1 - scale) ** 2


@pytest.mark.parametrize("trials", TRIALS)
@pytest.mark.parametrize(
    ("size", "width", "shift", "scale", "alike", "most"),
    [
        (200, 8, 1.0, 1.5, 0.0, 0.97),
        (200, 8, 0.5, 1.2, 0.8, 0.97),
        (100, 4, 1.0, 1.0, 0.0, 0.97),
        # Equal distributions: the pseudo-values spread 1.4 times too far.
        (100, 8, 0.0, 1.0, 0.0, 1.0),
        (100, 8, 0.0, 1.0, 0.8, 1.0),
    ],
)
def test_intervals_of_fid_infinite_cover_the_distance(
    size: int, width: int, shift: float, scale: float, alike: float, most: float, trials: int
) -> None:
    how = {"size": size, "width": width, "shift": shift, "scale": scale, "alike": alike}
    found = covered("fid_infinite", true_fid(width, shift, scale), trials, **how)
    assert 0.93 - slack(trials) <= found <= most + slack(trials)


@pytest.mark.parametrize("trials", TRIALS)
@pytest.mark.parametrize(
    ("size", "width", "shift", "scale", "alike", "most"),
    [
        (200, 16, 1.0, 1.5, 0.0, 0.97),
        (200, 8, 1.0, 1.5, 0.5, 0.97),
        (100, 16, 0.0, 1.0, 0.0, 1.0),
        (100, 16, 0.0, 1.0, 0.8, 1.0),
    ],
)
def test_intervals_of_kid_cover_the_distance(
    size: int, width: int, shift: float, scale: float, alike: float, most: float, trials: int
) -> None:
    how = {"size": size, "width": width, "shift": shift, "scale": scale, "alike": alike}
    found = covered("kid", true_kid(width, shift, scale), trials, **how)
    assert 0.93 - slack(trials) <= found <= most + slack(trials)


def true_kid(width: int, shift: float, scale: float) -> float:
    """Return the distance of a standard normal from a shifted and scaled one, exactly.

    The cube of ``t / D + 1`` is ``1 + 3 t / D + 3 (t / D)^2 + (t / D)^3`` with t an inner product,
    so the distance is that of means, second and third moments.
    """
    mean = np.zeros(width)
    mean[0] = shift
    eye = np.eye(width)
    first = mean
    second = scale**2 * eye + np.outer(mean, mean) - eye
    third = np.einsum("i,j,k->ijk", mean, mean, mean)
    for axes in ("i,jk->ijk", "j,ik->ijk", "k,ij->ijk"):
        third += scale**2 * np.einsum(axes, mean, eye)
    terms = [3 * (first**2).sum() / width, 3 * (second**2).sum() / width**2]
    return float(sum(terms) + (third**2).sum() / width**3)


def test_the_exact_kid_is_that_of_many_images() -> None:
    values = [value("kid", normal(s, 600, 3, shift=0.7, scale=1.2)) for s in range(40)]
    se = np.std(values) / 40**0.5
    assert np.mean(values) == pytest.approx(true_kid(3, 0.7, 1.2), abs=3 * se)


@pytest.mark.slow
@pytest.mark.parametrize("name", NEIGHBOURS)
def test_intervals_of_neighbours_cover_the_value_of_so_many_images(name: str) -> None:
    how = {"size": 150, "width": 4, "shift": 0.8, "scale": 1.1}
    truth = float(np.mean([value(name, normal(10**6 + s, **how)) for s in range(2000)]))
    assert covered(name, truth, 1000, **how) >= 0.93 - slack(1000)


@pytest.mark.slow
def test_the_interval_of_fid_is_about_samples_of_its_size() -> None:
    how = {"size": 150, "width": 6, "shift": 1.0, "scale": 1.2}
    typical = float(np.mean([value("fid", normal(10**6 + s, **how)) for s in range(2000)]))
    assert typical > true_fid(6, 1.0, 1.2) + 0.2
    assert 0.93 - slack(1000) <= covered("fid", typical, 1000, **how) <= 0.98
