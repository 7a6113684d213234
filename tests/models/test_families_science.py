"""What is planted in speech, retrieval and video has to come out of trained models.

One seed each, with the steps of the budget ``small`` or fewer. What is asked for lies more than
three standard errors from what was measured; every run is held against the proven bounds, too.
"""

from __future__ import annotations

import pytest
import trained

from mmbench import catalog

pytestmark = pytest.mark.slow


def apart(task: str, metric: str, one: str, other: str, steps: int) -> tuple[float, float]:
    """Return by how much the metric of one model is above another's, and three errors of that."""
    first, second = (trained.tested(task, name, steps).scores[metric] for name in (one, other))
    return first.value - second.value, 3 * (first.se**2 + second.se**2) ** 0.5


def test_lips_help_the_ear_in_noise() -> None:
    """At 0 dB; measured after 500 steps: WER .029, and .367 by ear alone."""
    more, error = apart("speech", "wer", "audio_only", "early", 250)
    assert more > 0.1 + error


def test_no_sum_of_scores_finds_an_exclusive_or() -> None:
    """Measured: R@5 .591 for the outer product, .328 for the sum."""
    more, error = apart("retrieval_xor", "recall_at_5", "tfn", "late", 400)
    assert more > error


def test_where_scores_add_up_late_fusion_is_no_worse_than_one_modality() -> None:
    """Measured: R@1 .788 beside .346."""
    more, error = apart("retrieval", "recall_at_1", "late", "image_only", 200)
    assert more > 0.1 + error


def test_being_in_step_is_seen_by_who_compares_frame_by_frame() -> None:
    """Measured after 700 steps: .999 of frames side by side, .516 of late fusion."""
    joined = trained.tested("events", "early_features", 500).scores["synchrony.accuracy"]
    late = trained.tested("events", "late", 500).scores["synchrony.accuracy"]
    assert joined.value > 0.9
    assert late.value < 0.5 + 4 * late.se + 0.02
    assert trained.tested("events", "late", 500).scores["emotion.accuracy"].value > 0.9


def test_gaps_of_what_is_typed_are_filled_by_what_is_heard() -> None:
    """Measured after 500 steps: BLEU 79, and 64 by the typed source alone."""
    more, error = apart("translation", "sacrebleu", "early", "text_only", 500)
    assert more > error


def test_a_caption_without_its_tone_does_not_tell_the_colour() -> None:
    """Its bound is .875: the colour is one of two (measured: .924 with the tone)."""
    alone = trained.tested("generation", "caption_only", 300).scores["attribute_accuracy"]
    assert 0.4 < alone.value < 0.875 + 4 * alone.se


@pytest.mark.parametrize(
    ("task", "model", "metric", "steps"),
    [
        ("speech", "early", "wer", 250),
        ("retrieval", "late", "recall_at_5", 60),
        ("events", "early_features", "accuracy", 60),
    ],
)
def test_who_learns_from_permuted_targets_is_no_better_than_the_floor(
    task: str, model: str, metric: str, steps: int
) -> None:
    """What is told in training belongs to other items; a score above chance would be a leak.

    In as many steps the items' own targets are learned (.29 in retrieval, .25 for events). A few
    classes are no test: what is learned of noise is one direction, which may be the right one.
    """
    score = trained.tested(task, model, steps, permuted=True).scores[metric]
    floor = catalog.task(task).levels[metric].floor
    above = score.value - floor if score.higher_is_better else floor - score.value
    assert above < 4 * score.se + 0.01
