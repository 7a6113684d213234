from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from mmbench.errors import UsageError
from mmbench.stats.detector import RATES, detect

#: The error of one commit, and the margin, in points.
SE, MARGIN = 0.6, 1.0


def alarms(
    times: int, commits: int, shift: float, threshold: float, **options: float
) -> np.ndarray:
    """Return the number of commits up to the alarm in each history, infinite without one."""
    rng = np.random.default_rng(0)
    reference = options.pop("reference_error", 0.0)
    found = []
    for _ in range(times):
        history = shift + SE * rng.normal(size=commits) - reference * rng.normal()
        alarm = detect(history, SE, MARGIN, threshold=threshold, **options).alarm  # type: ignore[arg-type]
        found.append(np.inf if alarm is None else alarm + 1)
    return np.array(found)


def test_it_follows_the_formula() -> None:
    history = np.array([-1.2, -0.5, -2.0, 0.3])
    found = detect(history, SE, MARGIN)
    states = np.zeros(len(RATES))
    for t, change in enumerate(history):
        y = -(change + MARGIN) / SE
        states = (states + 1) * np.exp(np.array(RATES) * y - np.array(RATES) ** 2 / 2)
        assert np.exp(found.log_statistics[t]) == pytest.approx(states.mean())
    assert found.alarm is None


def test_long_histories_do_not_overflow() -> None:
    found = detect(np.full(5000, -20.0), SE, MARGIN)
    assert np.isfinite(found.log_statistics).all()
    assert found.alarm == 0
    quiet = detect(np.full(5000, 20.0), SE, MARGIN)
    assert np.isfinite(quiet.log_statistics).all()
    assert quiet.alarm is None


@pytest.mark.parametrize("threshold", [20, 60])
def test_false_alarms_come_after_the_threshold_on_average_and_are_rare_before(
    threshold: float,
) -> None:
    # All commits are exactly at the margin: the worst that is not to be alarmed about.
    found = alarms(400, 30 * int(threshold), -MARGIN, threshold)
    assert np.minimum(found, 30 * threshold).mean() > threshold
    for commits in (threshold / 4, threshold / 2):
        assert np.mean(found <= commits) <= commits / threshold
    assert np.isfinite(found).mean() > 0.9, "an alarm that never comes proves nothing"


def test_testing_each_commit_alarms_in_nearly_every_fine_history() -> None:
    rng = np.random.default_rng(1)
    history = -MARGIN + SE * rng.normal(size=(300, 200))
    each = (history + MARGIN) / SE < stats.norm.ppf(0.05)
    assert each.any(axis=1).mean() > 0.99
    assert np.mean(alarms(200, 200, -MARGIN, 1000.0) <= 200) <= 0.2


def test_nothing_has_happened_is_never_alarmed_about() -> None:
    assert np.isinf(alarms(100, 400, 0.0, 1000.0)).all()


@pytest.mark.parametrize(
    ("shift", "low", "high"), [(-1.25, 30, 70), (-1.5, 10, 24), (-2.0, 4, 8), (-3.0, 1, 3)]
)
def test_a_regression_is_found_the_sooner_the_larger_it_is(
    shift: float, low: float, high: float
) -> None:
    assert low <= np.median(alarms(100, 400, shift, 1000.0)) <= high


def test_where_lower_is_better_a_rise_is_a_regression() -> None:
    history = np.r_[np.zeros(20), np.full(20, 3.0)]
    assert detect(history, SE, MARGIN).alarm is None
    risen = detect(history, SE, MARGIN, higher_is_better=False)
    assert risen.alarm is not None
    assert 20 <= risen.alarm < 30
    mirrored = detect(-history, SE, MARGIN)
    assert (risen.log_statistics == mirrored.log_statistics).all()


def test_each_commit_may_have_its_own_error() -> None:
    rng, ses = np.random.default_rng(2), np.array([0.3, 0.6, 1.2, 0.9] * 300)
    found = []
    for _ in range(200):
        alarm = detect(-MARGIN + ses * rng.normal(size=1200), ses, MARGIN, threshold=40).alarm
        found.append(1200 if alarm is None else alarm + 1)
    assert np.mean(found) > 40


def test_an_error_that_all_commits_share_breaks_the_promise_unless_it_is_allowed_for() -> None:
    # The reference was lucky in half of the histories, and every commit is compared with it.
    ignored = alarms(300, 500, -MARGIN, 500, reference_error=0.4)
    assert np.mean(ignored <= 50) > 3 * 50 / 500
    allowed = alarms(300, 500, -MARGIN, 500, reference_error=0.4, reference_se=0.4)
    # With 95 % of references n / A holds, with the rest nothing does.
    assert np.mean(allowed <= 50) <= 0.05 + 0.95 * 50 / 500
    assert np.mean(allowed <= 50) < np.mean(ignored <= 50) / 2
    widened = detect([0.0], SE, MARGIN, reference_se=0.4).margin
    assert widened == pytest.approx(MARGIN + stats.norm.ppf(0.95) * 0.4)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: detect([], SE, MARGIN), r"differences: expected numbers of shape \[commits\]"),
        (lambda: detect([0.1, 0.2], [0.1], MARGIN), "one number, or one for each difference"),
        (lambda: detect([0.1], 0.0, MARGIN), "se must be above 0"),
        (lambda: detect([0.1], SE, -1.0), "margin must be at least 0"),
        (lambda: detect([0.1], SE, MARGIN, threshold=0.5), "threshold must be at least 1"),
        (lambda: detect([0.1], SE, MARGIN, rates=()), "rates must be above 0, at least one"),
        (lambda: detect([0.1], SE, MARGIN, reference_se=-1), "reference_se must be at least 0"),
        (lambda: detect([0.1], SE, MARGIN, reference_alpha=1), "reference_alpha must lie between"),
    ],
)
def test_what_is_no_history_is_refused(call: object, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        call()  # type: ignore[operator]
