"""What is planted has to come out: each strategy on tasks whose answer is known.

One seed each at the budget ``small``. What is compared with a number lies more than three standard
errors (0.03 at most) from it. Two differences between models are small beside what seeds add, and
are asked for on three seeds, in the table of README (`tests/test_readme.py`); here only their sign
with a margin.
"""

from __future__ import annotations

from functools import cache, partial

import pytest
import torch

from mmbench import catalog
from mmbench.data import _load
from mmbench.predict import predict
from mmbench.records import leaks, scores_of
from mmbench.run import Run, Settings, make_model, score_tests, sized, validation_score
from mmbench.spec import DecodingSpec
from mmbench.store import StoredScore
from mmbench.train import train

pytestmark = pytest.mark.slow

#: Strategies whose parts meet before they decide.
JOINT = ["concat", "early", "hybrid", "tfn", "lmf", "gmu", "multimodal_self_attention", "gcn"]
#: Those whose parts meet in a latent variable that has to explain the modalities.
GENERATIVE = ["mvae", "mopoe", "mmvae", "mfm"]


class Silent:
    def step(self, done: int, total: int, loss: float | None, score: float | None) -> None:
        pass


@cache
def scores(task_name: str, name: str) -> dict[str, dict[str, StoredScore]]:
    """Train and test one model; nothing may lie above a proven bound."""
    torch.set_num_threads(1)
    task = catalog.task(task_name)
    dataset = _load.load(task)
    model = sized(catalog.model(name, (), task), task)
    run = Run(task, model, "small", 0, Settings(device="cpu"))
    built = make_model(run, dataset)
    validate = partial(validation_score, run=run, dataset=dataset)
    train(built, dataset.splits, model.recipe, task.budgets["small"], 0, validate, Silent())
    splits = [split for split in task.splits if split not in ("train", "val")]
    told = {s: predict(built, dataset.splits[s], DecodingSpec(beams=1)) for s in splits}
    found = scores_of(score_tests(run, dataset, told))
    late = built.decision_level and len(run.heard) > 1
    assert not leaks(found["test"], task.levels, run.heard, late)
    return found


def accuracy(task: str, model: str, split: str = "test") -> float:
    value = scores(task, model)[split]["accuracy"].value
    assert value is not None
    return value


@pytest.mark.parametrize(
    "model", ["text_only", "vision_only", "audio_only", "late", "late_mixture"]
)
@pytest.mark.parametrize("task", ["synergy", "grounding"])
def test_what_takes_two_modalities_is_not_to_be_had_from_one_nor_by_late_fusion(
    task: str, model: str
) -> None:
    assert accuracy(task, model) < 0.35


@pytest.mark.parametrize("model", [*JOINT, *GENERATIVE])
def test_joint_strategies_solve_a_sum_of_two(model: str) -> None:
    assert accuracy("synergy", model) > 0.85


@pytest.mark.parametrize("model", ["tfn", "lmf"])
def test_only_strategies_that_multiply_solve_a_sum_of_three(model: str) -> None:
    assert accuracy("synergy3", model) > 0.8
    assert accuracy("synergy3", "concat") < 0.35


@pytest.mark.parametrize("model", ["early", "multimodal_self_attention", "mult"])
def test_attention_to_tokens_passes_the_shortcut_further_than_a_concatenation(model: str) -> None:
    """Vision alone reaches .545. A concatenation of vectors pooled by peaks gets past it on most
    seeds, though not all the way: .819, .601 and .698 on three, where early has .963 to .972.
    """
    assert accuracy("shortcut", model) > accuracy("shortcut", "concat") + 0.05


@pytest.mark.parametrize("model", ["gat", "gatv2"])
def test_attention_over_a_graph_finds_the_object_that_the_text_names(model: str) -> None:
    """GAT gives all nodes one order of their neighbours, and was expected to fail where GATv2 does
    not (Brody et al. 2022). Inside of residual layers with a feed-forward part it does not fail:
    GAT .971, .974, .942 on three seeds, GATv2 .960, .967, .976; with a single layer .975 and .970.
    """
    assert accuracy("grounding", model) > 0.85


def test_late_fusion_stands_noise_that_it_never_trained_on_better_than_early() -> None:
    """Means over noise in one modality at a time; measured on three seeds: late .716, .726, .740,
    early .686, .687, .685.
    """
    noisy = [f"noisy_{name}" for name in ("text", "vision", "audio")]
    means = [sum(accuracy("redundant", m, s) for s in noisy) / 3 for m in ("late", "early")]
    assert means[0] > means[1] + 0.01
