"""Models that paint: heads, their objectives, what they draw, and what is refused by name."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

import msgspec
import numpy as np
import pytest
import torch
from torch import Tensor

from mmbench import catalog, registry
from mmbench.errors import IncompatibleError, SpecError
from mmbench.models.build import build, objective
from mmbench.models.combiners.blend import Blend
from mmbench.models.contract import Generative, HeadOut, Inferring
from mmbench.models.feed import Feed
from mmbench.models.heads.image_latent import ImageLatent
from mmbench.models.heads.image_vae import ImageVAE
from mmbench.models.latents import divergence
from mmbench.models.model import Model
from mmbench.models.objectives.gan_discriminator import GANDiscriminator
from mmbench.models.pictures import Looker, Painter, to_pixels, to_unit
from mmbench.optimise import chosen
from mmbench.predict import predict
from mmbench.references import ImageReferences
from mmbench.spec import (
    BudgetSpec,
    ComponentSpec,
    DecodingSpec,
    ModelSpec,
    ObjectiveSpec,
    TaskSpec,
    parse_task,
)
from mmbench.text import SPECIALS
from mmbench.train import train
from mmbench.types import Batch, Modality, Output, Ragged, Signature, Split

WORDS = (*SPECIALS, "red", "blue", "cube", "ball")
SHAPE = (3, 14, 18)  # sides that three halvings do not divide
SIGNATURE = Signature(
    {"words": Modality("text", (4,), WORDS), "sound": Modality("spectrogram", (1, 6, 4))},
    {"picture": Output("image", SHAPE[1], shape=SHAPE)},
)
ITEMS = 6


def definition(**changes: Any) -> dict[str, Any]:
    content: dict[str, Any] = {
        "schema": 1,
        "name": "painted",
        "version": 1,
        "summary": "for tests",
        "dataset": {"name": "generation", "version": 1},
        "modalities": {
            name: {"kind": m.kind, "shape": list(m.shape)}
            for name, m in SIGNATURE.modalities.items()
        },
        "outputs": {"picture": {"kind": "image", "shape": list(SHAPE)}},
        "splits": {"train": 8, "val": 4, "test": 4},
        "metrics": {"main": "attribute_accuracy"},
        "budgets": {"small": {"items": 8, "steps": 4}},
    }
    return {**content, **changes}


TASK: TaskSpec = parse_task(definition(), "painted.toml")
MODELS = ("early", "hybrid", "cvae", "cgan", "mvae", "words_only", "constant")


def spec(name: str, **changes: Any) -> ModelSpec:
    small = msgspec.structs.replace(catalog.model(name, (), TASK), width=16, matched=False)
    heads = {
        kind: msgspec.structs.replace(head, params={**head.params, "channels": 8})
        for kind, head in small.heads.items()
    }
    return msgspec.structs.replace(small, heads=heads, **changes)


def made(what: ModelSpec, seed: int = 0) -> Model:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build(what, SIGNATURE).eval()


@cache
def built(name: str) -> Model:
    return made(spec(name))


def items(count: int = ITEMS, seed: int = 0) -> Split:
    draw = np.random.default_rng(seed)
    pictures = draw.integers(0, 256, (count, *SHAPE), dtype=np.uint8)
    return Split(
        ids=[f"item {k}" for k in range(count)],
        inputs={
            "words": Ragged(draw.integers(4, 8, (count, 4)), np.full(count, 4)),
            "sound": draw.integers(0, 256, (count, 1, 6, 4), dtype=np.uint8),
        },
        targets={"picture": pictures},
        references={"picture": ImageReferences(draw.standard_normal((count, 5)), {})},
    )


def batch(model: Model, split: Split, index: list[int] | None = None) -> Batch:
    rows = np.arange(len(split)) if index is None else np.array(index)
    with Feed(split, torch.device("cpu"), list(model.encoders), targets=True) as feed:
        return feed.batch(rows)


@pytest.fixture(params=MODELS)
def model(request: pytest.FixtureRequest) -> Iterator[Model]:
    found = built(request.param)
    yield found.eval()
    found.eval()


def painted(model: Model, split: Split, seed: int = 0, limit: int | None = None) -> np.ndarray:
    said = predict(model, split, DecodingSpec(), limit, seed=seed)
    return np.asarray(said.outputs["picture"])


# --- networks ------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 9, 5), (2, 16, 24)], ids=str)
def test_pictures_of_any_sides_are_painted_and_looked_at(shape: tuple[int, ...]) -> None:
    picture = Painter(7, shape, 8)(torch.randn(3, 7))
    assert picture.shape == (3, *shape)
    assert picture.abs().max() <= 1.0
    assert Looker(shape, 5, 8)(picture).shape == (3, 5)


def test_pixels_come_back_as_they_were() -> None:
    pixels = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16)
    assert torch.equal(to_pixels(to_unit(pixels)), pixels)
    assert to_unit(pixels).min() == -1.0
    assert to_unit(pixels).max() == 1.0


# --- what is painted -----------------------------------------------------------------------------


def test_predictions_are_pixels_one_picture_an_item(model: Model) -> None:
    found = painted(model, items())
    assert found.shape == (ITEMS, *SHAPE)
    assert found.dtype == np.uint8


def test_an_item_is_painted_alike_whatever_is_beside_it_and_how_often_it_is_asked(
    model: Model,
) -> None:
    split = items()
    together = painted(model, split)
    assert np.array_equal(painted(model, split), together)
    order = [4, 0, 3]
    apart = painted(model, split.take(np.array(order)))
    # The order of sums may turn a pixel by one.
    assert np.abs(apart.astype(int) - together[order].astype(int)).max() <= 1


@pytest.mark.parametrize("name", MODELS)
def test_what_draws_draws_by_the_seed_of_the_run_and_the_items_name(name: str) -> None:
    model, split = built(name), items()
    same = np.array_equal(painted(model, split, 1), painted(model, split, 2))
    assert same == (name not in ("cvae", "cgan", "mvae"))
    twins = split.take(np.array([0, 0]))
    renamed = Split(["a", "b"], twins.inputs, twins.targets, twins.references)
    one, other = painted(model, renamed)
    assert np.array_equal(one, other) == same


def test_absent_content_does_not_reach_the_picture(model: Model) -> None:
    split = items()
    there = {"words": np.arange(ITEMS) % 2 == 0}
    lacking = Split(split.ids, split.inputs, split.targets, split.references, present=there)
    rubbish = split.inputs["words"].values.copy()  # type: ignore[union-attr]
    rubbish[1::2] = 4
    inputs = {**split.inputs, "words": Ragged(rubbish, np.full(ITEMS, 4))}
    other = Split(split.ids, inputs, split.targets, split.references, present=there)
    assert np.array_equal(painted(model, lacking), painted(model, other))


@pytest.mark.parametrize("heard", [("words",), ("sound",), ()], ids="+".join)
def test_a_joint_model_paints_from_any_part_of_the_modalities(heard: tuple[str, ...]) -> None:
    split = items()
    present = {name: np.full(ITEMS, name in heard) for name in SIGNATURE.modalities}
    part = Split(split.ids, split.inputs, split.targets, split.references, present=present)
    found = painted(built("mvae"), part)
    assert found.shape == (ITEMS, *SHAPE)


# --- what is learned from ------------------------------------------------------------------------


def objectives(name: str) -> list[tuple[Any, Any]]:
    return [(o, objective(o, "recipe")) for o in spec(name).recipe.stages[0].objectives]


@pytest.mark.parametrize("name", MODELS)
def test_every_parameter_is_trained_by_one_objective_that_reaches_it(name: str) -> None:
    model = made(spec(name)).train()
    split = items()
    reached: dict[str, int] = {}
    for described, loss in objectives(name):
        own = chosen(model, described)
        model.zero_grad()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            value = loss.loss(model, batch(model, split))
        assert torch.isfinite(value)
        value.backward()
        for key, parameter in own.items():
            if parameter.grad is not None and parameter.grad.abs().sum() > 0:
                reached[key] = reached.get(key, 0) + 1
        # What is not its own it may reach as well; the loop lets it move only its own.
    named = {key for key, p in model.named_parameters() if p.requires_grad}
    idle = {key for key in named - set(reached) if not _idle(name, key)}
    assert not idle
    assert set(reached.values()) == {1}


def _idle(name: str, key: str) -> bool:
    """Whether a parameter is of no use here: null tokens of what is there, what z makes needless.

    And the offset of a discriminator as long as all its answers are within the margin: what is real
    pulls it up as much as what is not pulls it down.
    """
    joint = name == "mvae" and key.startswith(("fusion.project", "fusion.mix"))
    return key.startswith("null.") or joint or key.endswith("discriminator.real.bias")


def test_the_generator_leaves_conditions_to_the_discriminator_unless_it_is_told_to_train_them() -> (
    None
):
    model = made(spec("cgan")).train()
    held = batch(model, items())
    for conditions in (False, True):
        loss = objective(ObjectiveSpec("gan_generator", {"conditions": conditions}), "recipe")
        model.zero_grad()
        loss.loss(model, held).backward()
        encoders = [p.grad for n, p in model.named_parameters() if n.startswith("encoders.")]
        assert any(g is not None and g.abs().sum() > 0 for g in encoders) == conditions
        critics = [p for n, p in model.named_parameters() if ".discriminator." in n]
        assert all(p.grad is None for p in critics)
        assert all(p.requires_grad for p in critics)


def test_the_hinge_of_the_discriminator_and_its_penalty_are_those_of_the_formula() -> None:
    class Straight(Generative):
        """D(x, c) = <w, x> + <c, 1>: its slope is w everywhere."""

        def __init__(self) -> None:
            self.w = torch.tensor([0.5, -1.0])

            def judge(picture: Tensor, *known: Tensor) -> Tensor:
                return torch.stack([picture.flatten(1) @ self.w + c.sum(dim=1) for c in known])

            self.discriminator = judge  # type: ignore[assignment]

        def drawn(self, branch: Any) -> Tensor:
            return torch.zeros(2, 2)

    class Known:
        pooled = torch.tensor([[0.2], [-0.4]])

    real = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    loss = GANDiscriminator(mismatched=0.25, r1=2.0, penalised=0.5)
    found = loss._of_branch(Straight(), Known(), real)  # type: ignore[arg-type]
    right = np.array([0.5 + 0.2, -1.0 - 0.4])
    other = np.array([0.5 - 0.4, -1.0 + 0.2])
    fake = np.array([0.2, -0.4])
    expected = np.maximum(0, 1 - right).mean() + 0.75 * np.maximum(0, 1 + fake).mean()
    expected += 0.25 * np.maximum(0, 1 + other).mean() + 0.5 * 2.0 * (0.25 + 1.0)
    assert found.item() == pytest.approx(expected)


def test_the_loss_of_the_autoencoder_is_its_bound_in_nats_a_pixel() -> None:
    model = made(spec("cvae")).train()
    held = batch(model, items())
    head = model.head_of("picture", 0)
    assert isinstance(head, ImageVAE)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        out = head(model.fuse(held).branches[0], held.targets["picture"])
    pixels = 3 * 14 * 18
    picture, mean, spread = out.answer[:, :pixels], *out.answer[:, pixels:].chunk(2, dim=1)
    real = held.targets["picture"].float().flatten(1) / 127.5 - 1.0
    nats = 0.5 * ((picture - real) / 0.1).square().sum(dim=1)
    kl = 0.5 * (mean**2 + spread.exp() - 1 - spread).sum(dim=1)
    found = head.nll(out.answer, held.targets["picture"])
    assert found.item() == pytest.approx(((nats + kl) / pixels).mean().item(), rel=1e-5)


def test_the_joint_bound_goes_over_everything_each_alone_and_the_inputs() -> None:
    model = made(spec("mvae")).train()
    held = batch(model, items())
    (described, loss), head = objectives("mvae")[0], model.head_of("picture", 0)
    assert described.name == "joint_elbo"
    assert isinstance(head, ImageLatent)
    assert isinstance(model.fusion, Inferring)
    loss.kl, loss.inputs, head.spread = 1.0, 0.0, 1e6  # only the divergences are left
    mean, log_variance, _ = model.fusion.judge(model.streams(held))
    seen = head.of_picture(held.targets["picture"])
    means = torch.cat([mean, seen.mean[:, None]], dim=1)
    logs = torch.cat([log_variance, seen.log_variance[:, None]], dim=1)
    total = 0.0
    for members in ([0, 1, 2], [0, 1], [0], [1], [2]):
        precision = 1.0 + (-logs[:, members]).exp().sum(dim=1)
        centre = ((-logs[:, members]).exp() * means[:, members]).sum(dim=1) / precision
        total += divergence(type(seen)(centre, -precision.log())).mean().item()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        found = loss.loss(model, held).item()
    assert found == pytest.approx(total / 5 / head.pixels, rel=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["early", "cvae", "cgan", "mvae"])
def test_a_few_pictures_of_two_kinds_are_learned(name: str) -> None:
    """Items say red or blue, and are bright or dark: pictures of either end up apart."""
    draw = np.random.default_rng(0)
    kind = np.arange(32) % 2
    pixels = np.where(kind == 0, 60, 200)[:, None, None, None] + draw.integers(
        -20, 20, (32, *SHAPE)
    )
    split = Split(
        [f"item {k}" for k in range(32)],
        {
            "words": Ragged(np.repeat(4 + kind[:, None], 4, axis=1), np.full(32, 4)),
            "sound": np.full((32, 1, 6, 4), 90, dtype=np.uint8),
        },
        {"picture": pixels.astype(np.uint8)},
        {"picture": ImageReferences(draw.standard_normal((32, 5)), {})},
    )
    model = made(spec(name))
    budget = BudgetSpec(items=32, steps=250, validations=1)
    train(
        model, {"train": split, "val": split}, spec(name).recipe, budget, 0, lambda _: 0.0, Mute()
    )
    found = painted(model, split).reshape(32, -1).mean(axis=1)
    assert abs(found[kind == 0].mean() - 60) < 35
    assert abs(found[kind == 1].mean() - 200) < 35


class Mute:
    def step(self, done: int, total: int, loss: float | None, score: float | None) -> None: ...

    def note(self, text: str) -> None: ...


# --- what goes together --------------------------------------------------------------------------


def test_late_fusion_of_pictures_is_refused_by_name_and_one_modality_is_not() -> None:
    with pytest.raises(IncompatibleError, match="'late' does not serve outputs of kind 'image': a"):
        made(spec("late"))
    assert built("words_only").branches == ["words"]
    assert "late" not in {row["name"] for row in catalog.model_summaries(TASK)}
    names = {row["name"] for row in catalog.model_summaries(TASK)}
    assert {"words_only", "constant", "early", "hybrid", "cvae", "cgan", "mvae"} <= names


FUSIONS = [
    name
    for name in registry.names("fusion")
    if not {"image"} & set(registry.load("fusion", name).refuses)
    and not registry.load("fusion", name).refuses_merging
]


@pytest.mark.parametrize("fusion", FUSIONS)
def test_every_other_fusion_tells_a_painter_what_to_paint(fusion: str) -> None:
    base = spec("hybrid" if fusion == "hybrid" else "early", fusion=ComponentSpec(fusion))
    model = made(base)
    split = items()
    assert painted(model, split, limit=3).shape == (3, *SHAPE)
    model.train()
    loss = objectives("early")[0][1].loss(model, batch(model, split))
    loss.backward()
    for name in SIGNATURE.modalities:
        heard = [p.grad for n, p in model.named_parameters() if n.startswith(f"encoders.{name}.")]
        assert any(g is not None and g.abs().sum() > 0 for g in heard), name


def test_a_mean_of_pictures_weighs_what_is_there() -> None:
    blend = Blend(["joint", "words"], 4, "static")
    outs = [HeadOut(torch.zeros(2, 4), torch.full((2, 6), value)) for value in (1.0, 0.0)]
    merged = blend(outs, torch.tensor([[True, True], [True, False]]))
    assert merged.weights.tolist() == [[0.5, 0.5], [1.0, 0.0]]
    assert merged.answer[:, 0].tolist() == [0.5, 1.0]


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        (
            "early",
            {"heads": {"image": ComponentSpec("image_latent")}},
            "that the fusion infers, and Early",
        ),
        (
            "mvae",
            {"heads": {"image": ComponentSpec("image_latent", {"latent": 5})}},
            "latent = 5, and the fusion's is 32: .* write 32",
        ),
        (
            "early",
            {"heads": {"image": ComponentSpec("image", {"channels": 12})}},
            "refuses its arg",
        ),
        (
            "early",
            {"heads": {"image": ComponentSpec("label")}},
            "serves outputs of the kind 'label'",
        ),
        ("early", {"combiners": {"image": ComponentSpec("mixture")}}, "'mixture' merges text, "),
        (
            "hybrid",
            {"heads": {"image": ComponentSpec("image_vae")}},
            "draws pictures, and Hybrid has the branches .* such as early_tokens",
        ),
    ],
)
def test_parts_that_do_not_fit_are_refused_by_name(
    name: str, changes: dict[str, Any], message: str
) -> None:
    what = msgspec.structs.replace(
        catalog.model(name, (), TASK), width=16, matched=False, **changes
    )
    with pytest.raises((IncompatibleError, SpecError), match=message):
        made(what)


@pytest.mark.parametrize("name", ["gan_generator", "gan_discriminator", "joint_elbo"])
def test_objectives_say_which_head_they_need(name: str) -> None:
    model = built("early")
    loss = objective(ObjectiveSpec(name), "recipe")
    with pytest.raises(IncompatibleError, match=rf"the objective '{name}' needs "):
        loss.loss(model, batch(model, items()))


@pytest.mark.parametrize(
    ("outputs", "message"),
    [
        ({"picture": {"kind": "image"}}, r"outputs.picture.shape is missing: a picture has"),
        ({"picture": {"kind": "image", "shape": [3, 3]}}, r"shape is \[3, 3\]: a picture has chan"),
        (
            {"picture": {"kind": "scalar", "shape": [3, 3, 3]}},
            r"it is for pictures, and picture is a scalar",
        ),
    ],
)
def test_a_task_names_the_shape_of_its_pictures(outputs: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        parse_task(definition(outputs=outputs), "painted.toml")
