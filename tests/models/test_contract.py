"""What every model has to keep, whatever it is made of.

Everything here runs over the registry and over the shipped TOMLs: a new fusion, encoder, head,
combiner or baseline is tested by being there.
"""

from __future__ import annotations

import copy
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
import torch
from torch import Tensor, nn

from mmbench import catalog, registry
from mmbench.models.contract import HeadOut, present_of, stack
from mmbench.models.model import Model
from mmbench.models.objectives.supervised import Supervised
from mmbench.predict import predict
from mmbench.run import Run, Settings, make_model
from mmbench.spec import BudgetSpec, ComponentSpec, DecodingSpec, ModelSpec
from mmbench.train import train
from mmbench.types import Batch, Branch, Dataset, Modality, Output, Split

ITEMS = 7  # 0, 5 and 6 have everything
COMPLETE = [0, 5, 6]
BASELINES = catalog.model_names(tiny.TASK)

#: Kind of modality -> one to try an encoder on. A new kind of encoder needs a line here.
SAMPLES: Mapping[str, Modality] = {m.kind: m for m in tiny.SIGNATURE.modalities.values()}
#: Kind of modality -> the axis of [B, ...] that `lengths` counts; None: an item is always whole.
TIME_AXIS = {"image": None, "spectrogram": 2, "text": 1}


def variants() -> dict[str, ModelSpec]:
    """Every shipped model, and every component in a model that has it; none twice."""
    found = {name: tiny.spec(name) for name in BASELINES}
    for name in registry.names("fusion"):
        if "text" not in registry.load("fusion", name).refuses:
            found[f"fusion {name}"] = tiny.spec("early", fusion=ComponentSpec(name))
    base = tiny.spec("hybrid")
    for name in registry.names("encoder"):
        for kind in registry.load("encoder", name).kinds:
            encoders = {**base.encoders, kind: ComponentSpec(name)}
            found[f"encoder {name} of {kind}"] = tiny.spec("hybrid", encoders=encoders)
    for name in registry.names("head"):
        heads = {registry.load("head", name).kind: ComponentSpec(name)}
        found[f"head {name}"] = tiny.spec("hybrid", heads={**base.heads, **heads})
    for name in registry.names("combiner"):
        found[f"combiner {name}"] = tiny.spec("hybrid", combiner=ComponentSpec(name))
    first = {model.digest(): name for name, model in reversed(found.items())}
    return {name: found[name] for name in found if name in first.values()}


VARIANTS = variants()


@cache
def built(variant: str, seed: int = 0) -> Model:
    """Tests change neither weights nor gradients of this one, only its mode."""
    return tiny.make(VARIANTS[variant], seed)


@cache
def world() -> Split:
    return tiny.split(ITEMS)


@pytest.fixture(params=list(VARIANTS))
def model(request: pytest.FixtureRequest) -> Iterator[Model]:
    found = built(request.param)
    yield found.eval()
    found.eval()


@pytest.fixture
def batch(model: Model) -> Batch:
    return tiny.batch(world(), model)


def garbled(batch: Batch) -> Batch:
    """Write rubbish wherever nobody may look: absent modalities, words beyond the end."""
    inputs, lengths = dict(batch.inputs), dict(batch.lengths)
    for name, x in batch.inputs.items():
        absent = ~batch.present[name].view(-1, *[1] * (x.dim() - 1))
        if x.is_floating_point():
            rubbish = torch.full_like(x, float("nan"))
        elif x.dtype == torch.uint8:
            rubbish = 255 - x
        else:
            rubbish = torch.full_like(x, 10**6)
        inputs[name] = torch.where(absent, rubbish, x)
        if name in batch.lengths:
            beyond = torch.arange(x.shape[1]) >= batch.lengths[name][:, None]
            inputs[name] = torch.where(beyond, rubbish, inputs[name])
            lengths[name] = torch.where(absent[:, 0], 99, batch.lengths[name])
    return replace(batch, inputs=inputs, lengths=lengths)


def own_gradients(model: Model, value: Tensor) -> dict[str, Tensor | None]:
    """Differentiate by every parameter, leaving ``.grad`` alone; None: cut off."""
    parameters = dict(model.named_parameters())
    found = torch.autograd.grad(
        value, list(parameters.values()), allow_unused=True, retain_graph=True
    )
    return dict(zip(parameters, found, strict=True))


def heard(model: Model) -> list[str]:
    return list(model.encoders)


# --- what must not matter -----------------------------------------------------------------------


@pytest.mark.parametrize("training", [False, True], ids=["eval", "train"])
@pytest.mark.parametrize("floats", [False, True], ids=["integers", "floats with NaN"])
def test_absent_content_and_padding_change_nothing(
    model: Model, batch: Batch, floats: bool, training: bool
) -> None:
    assert not any(isinstance(part, nn.Dropout) for part in model.modules())
    model.train(training)
    clean = tiny.as_floats(batch) if floats else batch
    dirty = garbled(clean)
    if heard(model):
        assert any(not torch.equal(dirty.inputs[n], clean.inputs[n]) for n in heard(model))
    expected = tiny.log_probs(model, clean)
    assert torch.isfinite(expected).all()
    assert torch.equal(tiny.log_probs(model, dirty), expected)
    with_rubbish = own_gradients(model, Supervised().loss(model, dirty))
    for name, gradient in own_gradients(model, Supervised().loss(model, clean)).items():
        other = with_rubbish[name]
        assert (gradient is None) == (other is None)
        if gradient is not None and other is not None:
            assert torch.isfinite(gradient).all(), name
            assert torch.equal(gradient, other), name


@pytest.mark.parametrize("beams", [1, 3])
def test_absent_content_and_padding_do_not_reach_what_is_read_out(
    model: Model, batch: Batch, beams: int
) -> None:
    options = {"beams": beams, "length_penalty": 0.7}
    clean = tiny.as_floats(batch)
    assert model.read_out(garbled(clean), options) == model.read_out(clean, options)


@torch.no_grad()
def test_masked_tokens_have_no_say_in_any_branch(model: Model, batch: Batch) -> None:
    streams = model.streams(batch)
    masked = {
        name: replace(
            s,
            x=torch.where(s.mask[..., None], s.x, torch.full_like(s.x, 1000.0)),
            time=torch.where(s.mask, s.time, torch.full_like(s.time, 0.5)),
        )
        for name, s in streams.items()
    }
    if "tags" in heard(model):
        assert not torch.equal(masked["tags"].x, streams["tags"].x)
    pairs = zip(model.fusion(streams).branches, model.fusion(masked).branches, strict=True)
    for before, after in pairs:
        assert torch.equal(before.mask, after.mask)
        real = before.mask[..., None]
        assert torch.allclose(before.seq * real, after.seq * real, atol=1e-5)
        assert torch.allclose(before.pooled, after.pooled, atol=1e-5)


@pytest.mark.parametrize("training", [False, True], ids=["eval", "train"])
@torch.no_grad()
def test_neighbours_in_the_batch_change_nothing(model: Model, batch: Batch, training: bool) -> None:
    model.train(training)
    together = tiny.log_probs(model, batch)
    for item in range(ITEMS):
        alone = tiny.batch(world(), model, [item])
        own = tiny.log_probs(model, alone)  # shorter where the others' captions are longer
        assert torch.allclose(own[0], together[item, : own.shape[1]], atol=1e-5)
    order = [3, 6, 1, 1, 4]
    mixed = tiny.log_probs(model, tiny.batch(world(), model, order))
    assert torch.allclose(mixed, together[order, : mixed.shape[1]], atol=1e-5)


@pytest.mark.parametrize("beams", [1, 3])
def test_neighbours_do_not_change_what_is_read_out(model: Model, batch: Batch, beams: int) -> None:
    options = {"beams": beams, "length_penalty": 0.7}
    together, columns = model.read_out(batch, options)
    for order in [[item] for item in range(ITEMS)] + [[6, 2, 2, 0]]:
        said, more = model.read_out(tiny.batch(world(), model, order), options)
        assert said["caption"] == [together["caption"][item] for item in order]
        for own, item in zip(more["caption.gate"], order, strict=True):
            expected = columns["caption.gate"][item]
            assert np.allclose(own, expected, atol=1e-5)
            assert len(own) in {len(together["caption"][item].split()) + n for n in (0, 1)}


def test_the_batch_size_of_prediction_changes_nothing(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoding = DecodingSpec(beams=2)
    whole = predict(model, world(), decoding)
    monkeypatch.setattr("mmbench.predict.BATCH", 3)
    parts = predict(model, world(), decoding)
    assert whole.ids == parts.ids == world().ids
    assert whole.outputs == parts.outputs
    for one, other in zip(
        whole.columns["caption.gate"], parts.columns["caption.gate"], strict=True
    ):
        assert np.allclose(one, other, atol=1e-5)
    assert whole.columns["branches"] == [list(model.fusion.branches)] * ITEMS


@torch.no_grad()
def test_without_any_modality_it_still_speaks(model: Model, batch: Batch) -> None:
    nothing = replace(batch, present={n: torch.zeros_like(p) for n, p in batch.present.items()})
    found = tiny.log_probs(model, garbled(tiny.as_floats(nothing)))
    assert torch.isfinite(found).all()
    assert torch.allclose(found[:, 0], found[:1, 0].expand_as(found[:, 0]), atol=1e-6)
    said, _ = model.read_out(nothing, {"beams": 2, "length_penalty": 0.7})
    assert len(set(said["caption"])) == 1


@torch.no_grad()
def test_every_modality_that_it_looks_at_matters(model: Model, batch: Batch) -> None:
    other = tiny.batch(tiny.split(ITEMS, seed=1), model)
    before = tiny.log_probs(model, batch)
    for name in heard(model):
        lengths = {n: (other if n == name else batch).lengths[n] for n in batch.lengths}
        inputs = {**batch.inputs, name: other.inputs[name]}
        after = tiny.log_probs(model, replace(batch, inputs=inputs, lengths=lengths))
        apart = (after - before).abs().amax(dim=(1, 2))
        assert (apart[COMPLETE] > 1e-4).all(), name


# --- parameters ---------------------------------------------------------------------------------


def test_every_parameter_learns(model: Model, batch: Batch) -> None:
    gradients = own_gradients(model, Supervised().loss(model, batch))
    assert not [name for name, g in gradients.items() if g is None]
    assert not [name for name, g in gradients.items() if not torch.isfinite(g).all()]  # type: ignore[arg-type]
    # Of a head that attends to a single token, the queries rightly have no say.
    still = [n for n, g in gradients.items() if not n.startswith("heads.") and not g.any()]  # type: ignore[union-attr]
    assert not still


def test_what_is_always_there_needs_no_null_token(model: Model) -> None:
    complete = tiny.batch(tiny.split(4, whole=True), model)
    gradients = own_gradients(model, Supervised().loss(model, complete))
    for name, gradient in gradients.items():
        if name.startswith("null.") and heard(model):
            assert gradient is None or not gradient.any(), name
        else:
            assert gradient is not None, name


def test_no_module_or_parameter_hides_in_a_list(model: Model) -> None:
    known = {id(part) for part in (*model.modules(), *model.parameters(), *model.buffers())}
    for owner in model.modules():
        for name, value in vars(owner).items():
            if not name.startswith("_"):
                hidden = [part for part in inside(value) if id(part) not in known]
                assert not hidden, f"{type(owner).__name__}.{name}"


def inside(value: Any) -> Iterator[nn.Module | nn.Parameter]:
    if isinstance(value, nn.Module | nn.Parameter):
        yield value
    elif isinstance(value, list | tuple | set):
        for part in value:
            yield from inside(part)
    elif isinstance(value, dict):
        yield from inside(list(value.values()))


@torch.no_grad()
def test_weights_survive_the_disk_bit_by_bit(
    request: pytest.FixtureRequest, model: Model, batch: Batch, tmp_path: Path
) -> None:
    from safetensors.torch import load_file

    from mmbench.run import _save_weights

    variant = request.node.callspec.params["model"]
    other = tiny.make(VARIANTS[variant], seed=1)
    expected = tiny.log_probs(model, batch)
    assert not torch.equal(tiny.log_probs(other, batch), expected)
    _save_weights(model, tmp_path / "weights.safetensors")
    other.load_state_dict(load_file(tmp_path / "weights.safetensors"))
    for name, value in model.state_dict().items():
        assert torch.equal(other.state_dict()[name], value), name
    assert torch.equal(tiny.log_probs(other, batch), expected)


@pytest.mark.parametrize("name", BASELINES)
def test_the_same_seed_builds_the_same_bits_and_draws_from_no_global_state(name: str) -> None:
    dataset = Dataset(tiny.SIGNATURE, {"train": world()}, "")
    states = (torch.get_rng_state(), np.random.get_state(legacy=False), random.getstate())
    one, again, other = (
        make_model(Run(tiny.TASK, tiny.spec(name), "small", seed, Settings(device="cpu")), dataset)
        for seed in (3, 3, 4)
    )
    torch.rand(5)  # whatever else happens in the process
    late = make_model(Run(tiny.TASK, tiny.spec(name), "small", 3, Settings(device="cpu")), dataset)
    torch.set_rng_state(states[0])
    for key, value in one.state_dict().items():
        assert torch.equal(value, again.state_dict()[key])
        assert torch.equal(value, late.state_dict()[key])
    drawn = [key for key, value in one.state_dict().items() if len(value.unique()) > 2]
    assert drawn
    assert not [key for key in drawn if torch.equal(one.state_dict()[key], other.state_dict()[key])]

    recipe = tiny.spec(name).recipe
    train(one, {"train": world()}, recipe, BudgetSpec(8, 2, 1), 3, lambda _: 0.0, Silent())
    assert torch.equal(torch.get_rng_state(), states[0])
    assert str(np.random.get_state(legacy=False)) == str(states[1])
    assert random.getstate() == states[2]


class Silent:
    def step(self, done: int, total: int, loss: float, score: float | None) -> None:
        pass


# --- branches -----------------------------------------------------------------------------------


@torch.no_grad()
def test_branches_have_the_names_and_shapes_that_they_promise(model: Model, batch: Batch) -> None:
    found = model.fuse(batch).branches
    assert [branch.name for branch in found] == list(model.fusion.branches)
    assert len(set(model.fusion.branches)) == len(found)
    for branch in found:
        tokens = branch.seq.shape[1]
        assert branch.seq.shape == (ITEMS, tokens, tiny.WIDTH)
        assert branch.pooled.shape == (ITEMS, tiny.WIDTH)
        assert branch.mask.shape == (ITEMS, tokens)
        assert branch.mask.dtype == branch.present.dtype == torch.bool
        assert branch.mask.any(dim=1).all(), "an item without a real token cannot be attended to"
        if branch.name in heard(model):
            assert torch.equal(branch.present, model.streams(batch)[branch.name].present)
        elif heard(model):
            anything = torch.stack([s.present for s in model.streams(batch).values()]).any(dim=0)
            assert torch.equal(branch.present, anything)


def test_a_branch_named_after_a_modality_hears_no_other(model: Model, batch: Batch) -> None:
    branches = model.fuse(batch).branches
    verdict = model.verdict("caption", branches, batch.targets["caption"])
    for branch, out in zip(branches, verdict.outs, strict=True):
        gradients = own_gradients(model, probe(out))
        for name in heard(model):
            reached = [
                key
                for key, g in gradients.items()
                if key.startswith((f"encoders.{name}.", f"null.{name}"))
                and g is not None
                and g.any()
            ]
            if branch.name == name or branch.name not in heard(model):
                assert reached, f"{branch.name} does not hear {name}"
            else:
                assert not reached, f"{branch.name} hears {name}"


def probe(out: HeadOut) -> Tensor:
    """Sum up log-probabilities by fixed random weights: nothing cancels out."""
    generator = torch.Generator().manual_seed(0)
    return (out.log_probs * torch.randn(out.log_probs.shape, generator=generator)).sum()


@torch.no_grad()
def test_other_modalities_do_not_change_a_bit_of_a_modalitys_branch(
    model: Model, batch: Batch
) -> None:
    other = tiny.batch(tiny.split(ITEMS, seed=1), model)
    named = [name for name in model.fusion.branches if name in heard(model)]
    before = verdicts(model, batch)
    for name in named:
        mixed = replace(
            batch,
            inputs={n: (batch if n == name else other).inputs[n] for n in heard(model)},
            lengths={n: (batch if n == name else other).lengths[n] for n in batch.lengths},
        )
        after = verdicts(model, mixed)
        assert torch.equal(after[name], before[name])
        for joint in set(before) - set(heard(model)):
            assert not torch.equal(after[joint], before[joint])


def verdicts(model: Model, batch: Batch) -> dict[str, Tensor]:
    branches = model.fuse(batch).branches
    outs = model.verdict("caption", branches, batch.targets["caption"]).outs
    return {b.name: out.log_probs for b, out in zip(branches, outs, strict=True)}


def test_late_fusion_has_a_branch_for_each_modality_and_no_other() -> None:
    found = [variant for variant in VARIANTS if VARIANTS[variant].family in ("late", "unimodal")]
    assert len(found) >= 4
    for variant in found:
        assert list(built(variant).fusion.branches) == heard(built(variant))


# --- what merges --------------------------------------------------------------------------------


@torch.no_grad()
def test_weights_add_up_and_leave_out_what_heard_nothing(model: Model, batch: Batch) -> None:
    branches = model.fuse(batch).branches
    merged = model.verdict("caption", branches, batch.targets["caption"]).combined
    present = present_of(branches)
    assert merged.weights.shape == (*batch.targets["caption"].shape, len(branches))
    assert torch.allclose(merged.weights.sum(dim=-1), torch.ones(()), atol=1e-6)
    for item in range(ITEMS):
        silent = ~present[item] if present[item].any() else torch.zeros_like(present[item])
        assert (merged.weights[item][:, silent] == 0).all()
        assert (merged.weights[item][:, ~silent] > 0).all()
    if len(branches) > 1 and "joint" not in model.fusion.branches:
        assert not present[[tiny.NO_IMAGE, tiny.NO_AUDIO, tiny.NO_TAGS]].all(dim=1).any()


@torch.no_grad()
def test_the_mixture_is_a_distribution_and_equals_the_formula(model: Model, batch: Batch) -> None:
    branches = model.fuse(batch).branches
    verdict = model.verdict("caption", branches, batch.targets["caption"])
    found = verdict.combined.log_probs.double().numpy()
    assert np.allclose(np.exp(found).sum(axis=-1), 1.0, atol=1e-5)
    each = np.stack([out.log_probs.double().numpy() for out in verdict.outs], axis=-1)
    weights = verdict.combined.weights.double().numpy()[..., None, :]
    assert np.allclose(found, np.log((weights * np.exp(each)).sum(axis=-1)), atol=1e-5)


@torch.no_grad()
def test_static_weights_see_no_input_and_a_joint_gate_does() -> None:
    for name, sees in (("late", False), ("hybrid", True)):
        model = built(name)
        before = copy.deepcopy(model.combiners["caption"].state_dict())
        combiner = model.combiners["caption"]
        if sees:  # at birth it does not yet
            nn.init.normal_(combiner.score.weight, generator=torch.Generator().manual_seed(0))
        else:
            combiner.logits.copy_(torch.tensor([0.3, -1.0, 0.5]))
        weights = []
        for seed in (0, 1):
            items = tiny.batch(tiny.split(4, seed, whole=True), model)
            merged = model.verdict("caption", model.fuse(items).branches, items.targets["caption"])
            weights.append(merged.combined.weights.flatten(0, 1))
        rows = torch.cat(weights)
        assert (len(rows.unique(dim=0)) == 1) is (not sees)
        if not sees:
            expected = torch.tensor([0.3, -1.0, 0.5]).softmax(dim=0)
            assert torch.allclose(rows[0], expected, atol=1e-6)
        combiner.load_state_dict(before)


# --- encoders -----------------------------------------------------------------------------------


def encoders() -> list[Any]:
    return [
        pytest.param(name, kind, id=f"{name} of {kind}")
        for name in registry.names("encoder")
        for kind in registry.load("encoder", name).kinds
    ]


@pytest.mark.parametrize(("name", "kind"), encoders())
@torch.no_grad()
def test_an_encoder_masks_what_lies_beyond_the_length(name: str, kind: str) -> None:
    modality = SAMPLES[kind]
    axis = TIME_AXIS[kind]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        encoder = registry.load("encoder", name)(modality, tiny.WIDTH).eval()
    generator = torch.Generator().manual_seed(1)
    high = len(modality.vocabulary) or 256
    dtype = torch.int64 if modality.vocabulary else torch.uint8
    x = torch.randint(0, high, (4, *modality.shape), generator=generator, dtype=dtype)
    tokens, mask = encoder(x, None)
    assert tokens.shape == (4, mask.shape[1], tiny.WIDTH)
    assert mask.all()
    assert mask.dtype == torch.bool
    if axis is None:
        return
    full = x.shape[axis]
    lengths = torch.tensor([full, full - 1, 2, 1])
    beyond = torch.arange(full) >= lengths[:, None]
    beyond = beyond.view(4, *[full if a == axis else 1 for a in range(1, x.dim())])
    for clean in [x] if modality.vocabulary else [x, x.float()]:
        rubbish = float("nan") if clean.is_floating_point() else 10**6 if high < 256 else 7
        dirty = torch.where(beyond, torch.full_like(clean, rubbish), clean)
        tokens, mask = encoder(clean, lengths)
        again, same = encoder(dirty, lengths)
        assert torch.equal(mask, same)
        assert torch.isfinite(again).all()
        assert torch.equal(tokens[mask], again[mask])
        assert (mask.sum(dim=1).diff() <= 0).all()
        assert mask.sum(dim=1)[0] == mask.shape[1]
        assert mask.any(dim=1).all()
        cut = clean.narrow(axis, 0, 2)  # an item of two steps says the same as two of many
        short, own = encoder(cut[2:3], torch.tensor([2]))
        assert torch.allclose(short[0][own[0]], tokens[2][mask[2]], atol=1e-5)


# --- heads --------------------------------------------------------------------------------------

TEXT_HEADS = [n for n in registry.names("head") if registry.load("head", n).kind == "text"]


def memory(name: str, items: int, tokens: int, seed: int) -> Branch:
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(1, tokens + 1, (items, 1), generator=generator)
    return Branch(
        name,
        torch.randn(items, tokens, tiny.WIDTH, generator=generator),
        torch.arange(tokens) < lengths,
        torch.randn(items, tiny.WIDTH, generator=generator),
        torch.ones(items, dtype=torch.bool),
    )


def head_of(name: str) -> Any:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return registry.load("head", name)(tiny.SIGNATURE.outputs["caption"], tiny.WIDTH).eval()


@pytest.mark.parametrize("name", TEXT_HEADS)
@torch.no_grad()
def test_a_head_says_word_by_word_what_it_says_when_taught(name: str) -> None:
    head = head_of(name)
    branch = memory("joint", items=3, tokens=5, seed=1)
    draw = torch.Generator().manual_seed(2)
    texts = torch.randint(4, len(tiny.WORDS), (6, tiny.LONGEST), generator=draw)  # 2 beams each
    each = Branch(
        "joint",
        *(
            x.repeat_interleave(2, dim=0)
            for x in (branch.seq, branch.mask, branch.pooled, branch.present)
        ),
    )
    taught = head(each, texts).log_probs
    state = head.begin(branch, beams=2)
    words = torch.full((6,), 1)
    for at in range(tiny.LONGEST):
        hidden, state = head.advance(state, words, at)
        assert torch.allclose(head.log_probs(hidden), taught[:, at], atol=1e-5), f"word {at}"
        words = texts[:, at]


@pytest.mark.parametrize("name", TEXT_HEADS)
@torch.no_grad()
def test_hypotheses_may_change_places_between_words(name: str) -> None:
    head = head_of(name)
    branch = memory("joint", items=2, tokens=5, seed=1)
    draw = torch.Generator().manual_seed(2)
    texts = torch.randint(4, len(tiny.WORDS), (6, 4), generator=draw)  # 3 beams each
    state = head.begin(branch, beams=3)
    words = torch.full((6,), 1)
    for at in range(2):
        _, state = head.advance(state, words, at)
        words = texts[:, at]
    for entry in head.fixed:  # what need not change places is the same for all of an item
        for item in state[entry].split(3):
            assert torch.equal(item, item[:1].expand_as(item)), entry
    order = torch.tensor([2, 0, 0, 4, 5, 3])
    state = {n: x if n in head.fixed else x[order] for n, x in state.items()}
    mixed = torch.cat([texts[order, :2], texts[:, 2:]], dim=1)
    each = Branch(
        "joint",
        *(
            x.repeat_interleave(3, dim=0)
            for x in (branch.seq, branch.mask, branch.pooled, branch.present)
        ),
    )
    taught = head(each, mixed).log_probs
    for at in range(2, 4):
        hidden, state = head.advance(state, mixed[:, at - 1], at)
        assert torch.allclose(head.log_probs(hidden), taught[:, at], atol=1e-5)


@pytest.mark.parametrize("name", TEXT_HEADS)
@torch.no_grad()
def test_stacked_branches_say_what_each_says_by_itself(name: str) -> None:
    head = head_of(name)
    branches = [memory(n, 3, tokens, tokens) for n, tokens in (("a", 5), ("b", 1), ("c", 9))]
    texts = torch.randint(4, len(tiny.WORDS), (3, 4), generator=torch.Generator().manual_seed(2))
    together = stack(branches)
    assert together.seq.shape == (9, 9, tiny.WIDTH)
    outs = head(together, texts.repeat(3, 1))
    for place, branch in enumerate(branches):
        own = head(branch, texts)
        rows = slice(3 * place, 3 * place + 3)
        assert torch.allclose(outs.log_probs[rows], own.log_probs, atol=1e-5)
        assert torch.allclose(outs.states[rows], own.states, atol=1e-5)


@pytest.mark.parametrize("name", TEXT_HEADS)
@torch.no_grad()
def test_a_word_depends_on_no_later_word(name: str) -> None:
    head = head_of(name)
    branch = memory("joint", 1, 5, 1)
    text = torch.tensor([[4, 5, 6, 7, 8, 2]])
    before = head(branch, text).log_probs
    for at in range(tiny.LONGEST):
        changed = text.clone()
        changed[0, at] = 9
        after = head(branch, changed).log_probs
        assert torch.equal(after[:, : at + 1], before[:, : at + 1])
        if at + 1 < tiny.LONGEST:
            assert not torch.equal(after[:, at + 1], before[:, at + 1])


@pytest.mark.parametrize("name", TEXT_HEADS)
@torch.no_grad()
def test_the_loss_is_nats_per_word_without_padding(name: str) -> None:
    head = head_of(name)
    scores = torch.randn(2, 4, len(tiny.WORDS), generator=torch.Generator().manual_seed(3))
    scores = scores.log_softmax(dim=-1)
    target = torch.tensor([[4, 5, 2, 0], [6, 2, 0, 0]])
    real = [scores[b, t, target[b, t]] for b in range(2) for t in range(4) if target[b, t]]
    expected = -sum(float(value) for value in real) / 5
    assert float(head.nll(scores, target)) == pytest.approx(expected, abs=1e-6)


# --- learning -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [name for name in BASELINES if name != "constant"])
def test_a_shipped_model_learns_a_few_items_by_heart(name: str) -> None:
    items = tiny.split(16, seed=5, whole=True)
    model = tiny.make(tiny.spec(name, width=32))
    recipe = tiny.spec(name).recipe
    budget = BudgetSpec(16, 150, 1)
    train(model, {"train": one_text(items)}, recipe, budget, 0, lambda _: 0.0, Silent())
    said = predict(model, items, DecodingSpec(beams=1)).outputs["caption"]
    wrong = [s for s, r in zip(said, items.references["caption"].texts, strict=True) if s != r[0]]
    assert not wrong


def test_a_model_that_looks_at_nothing_learns_no_item() -> None:
    items = tiny.split(16, seed=5, whole=True)
    said = predict(built("constant"), items, DecodingSpec(beams=1)).outputs["caption"]
    assert len(set(said)) == 1


def one_text(items: Split) -> Split:
    """Keep the first text of each item: what is learnt by heart must have one answer."""
    targets = items.targets["caption"].copy()
    targets[:, 1:] = 0
    return replace(items, targets={"caption": targets})


# --- shipped definitions ------------------------------------------------------------------------

TOMLS: Sequence[Path] = sorted(catalog._folder("baselines").glob("[!_]*.toml"))


@pytest.mark.parametrize("path", TOMLS, ids=lambda path: path.stem)
def test_a_shipped_definition_names_what_exists_and_builds(path: Path) -> None:
    pattern = catalog._raw_model(path).get("expand")
    names = [path.stem]
    if pattern is not None:
        names = [pattern.replace("{modality}", name) for name in tiny.SIGNATURE.modalities]
    for name in names:
        model = catalog.model(name)
        assert model.name == name
        assert model.summary
        assert "{" not in f"{model.summary}{model.modalities}"
        parts = [("fusion", model.fusion), ("combiner", model.combiner)]
        parts += [("encoder", c) for c in model.encoders.values()]
        parts += [("head", c) for c in model.heads.values()]
        parts += [("objective", o) for s in model.recipe.stages for o in s.objectives]  # type: ignore[misc]
        for kind, part in parts:
            assert part.name in registry.names(kind)
        built_model = tiny.make(model)
        expected = list(tiny.SIGNATURE.modalities)
        if model.modalities is not None:
            expected = list(model.modalities)
        assert heard(built_model) == expected


def test_every_shipped_definition_is_one_of_the_baselines() -> None:
    assert {path.stem for path in TOMLS} - {"unimodal"} == set(BASELINES) - {
        f"{name}_only" for name in tiny.SIGNATURE.modalities
    }


def test_every_kind_of_encoder_and_head_has_a_sample() -> None:
    kinds = {k for n in registry.names("encoder") for k in registry.load("encoder", n).kinds}
    assert kinds <= set(SAMPLES) == set(TIME_AXIS)
    outputs: set[Output] = set(tiny.SIGNATURE.outputs.values())
    assert {registry.load("head", n).kind for n in registry.names("head")} <= {
        o.kind for o in outputs
    }
