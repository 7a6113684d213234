"""The checks, one function each: a case -> lines that say what is broken and by how much.

Where a check compares, both sides draw the same random numbers, so a fusion that samples while it
trains is held to the same.
"""

from __future__ import annotations

import itertools
import math
import random
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, cast

import msgspec
import numpy as np
import torch
from torch import Tensor, nn

from mmbench.errors import MmbenchError, UnknownNameError
from mmbench.models.build import objective
from mmbench.models.contract import Fusion, faults
from mmbench.models.model import Model
from mmbench.spec import BudgetSpec
from mmbench.testing.cases import (
    ITEMS,
    WHOLE,
    WIDTH,
    Case,
    drawn,
    garbled,
    items,
    take,
)
from mmbench.train import train
from mmbench.types import Batch, Ragged, Split, Stream

Lines = Iterator[str]

#: What is of the order of rounding, in float32, and in bfloat16 as a share of the spread.
CLOSE, CLOSE_BF16 = 1e-4, 0.5
#: Items to be learned by heart, steps for it, and width of the model that does.
BY_HEART, STEPS, WIDER = 32, 600, 32
#: Written where a mask is False: large, since what leaks a little must be seen.
RUBBISH = 1000.0


def complaints(
    cases: Sequence[Case], only: Collection[str] | None = None, skip: Collection[str] = ()
) -> list[str]:
    """Run checks on cases, and return a line for each thing that is broken.

    Raises:
        UnknownNameError: No check has one of the names.
    """
    for name in (*(only or ()), *skip):
        if name not in CHECKS:
            raise UnknownNameError("check", name, CHECKS)
    chosen = [n for n in CHECKS if (only is None or n in only) and n not in skip]
    found = []
    for name in chosen:
        for case in cases:
            where = f"{name}: {case.spec.fusion.name}, {len(case.names)} of modalities"
            try:
                found += [f"{where}: {line}" for line in CHECKS[name](case)]
            except MmbenchError:
                raise
            except Exception as error:  # a check that cannot be run has failed: by what, is said
                why = str(error).strip().partition("\n")[0]
                found.append(f"{where}: {type(error).__name__}: {why}")
            finally:
                case.model.eval()
    return found


# --- what is compared ----------------------------------------------------------------------------


def said(model: Model, streams: Mapping[str, Stream], batch: Batch) -> dict[str, Tensor]:
    """Return all that is heard of a model: real tokens, summaries and answers, [B, ...] each."""
    with drawn(0):
        branches = model.fusion(streams).branches
        found = {}
        for branch in branches:
            real = branch.mask[..., None]
            tokens = torch.where(real, branch.seq, torch.zeros((), dtype=branch.seq.dtype))
            found[f"the tokens of branch {branch.name!r}"] = tokens
            found[f"the summary of branch {branch.name!r}"] = branch.pooled
        for name in model.heads:
            answer = model.verdict(name, branches, batch.targets[name]).combined.answer
            found[f"the answer {name!r}"] = answer
    return found


def heard(model: Model, batch: Batch) -> dict[str, Tensor]:
    """Do the same from what comes in."""
    with drawn(1):
        streams = model.streams(batch)
    return said(model, streams, batch)


def apart(one: Tensor, other: Tensor) -> float:
    """Return the largest difference; infinite where shapes differ or something is not finite."""
    if one.shape != other.shape:
        return math.inf
    if not one.numel():
        return 0.0
    gap = float((one.detach().double() - other.detach().double()).abs().max())
    return gap if math.isfinite(gap) else math.inf


def changes(
    before: Mapping[str, Tensor], after: Mapping[str, Tensor], when: str, limit: float = CLOSE
) -> Lines:
    """Say what differs by more than `limit`."""
    for name, tensor in before.items():
        gap = apart(tensor, after[name])
        if gap > limit:
            yield f"{name} changes by {gap:.3g} when {when}"


def infinite(found: Mapping[str, Tensor], when: str) -> Lines:
    """Say what is not finite."""
    for name, tensor in found.items():
        bad = int((~torch.isfinite(tensor)).sum())
        if bad:
            yield f"{name} has {bad} of {tensor.numel()} numbers that are not finite when {when}"


def modes(case: Case) -> Iterator[str]:
    """Yield ``eval`` and ``train``, with the model in that mode."""
    for mode in ("eval", "train"):
        case.model.train(mode == "train")
        yield mode


# --- the checks ----------------------------------------------------------------------------------


@torch.no_grad()
def shapes(case: Case) -> Lines:
    """Check names, shapes, types and masks of the branches."""
    model = case.model
    fused = model.fusion(model.streams(case.batch))
    yield from faults(fused, model.fusion.branches, ITEMS, WIDTH)


@torch.no_grad()
def padding(case: Case) -> Lines:
    """Check that nothing that a mask hides is heard."""
    for mode in modes(case):
        clean = heard(case.model, case.batch)
        yield from changes(
            clean, heard(case.model, garbled(case.batch)), f"padding holds NaN ({mode})", 0.0
        )
        streams = case.model.streams(case.batch)
        hidden = {
            name: replace(
                s,
                x=torch.where(s.mask[..., None], s.x, torch.full_like(s.x, RUBBISH)),
                time=torch.where(s.mask, s.time, torch.full_like(s.time, 0.5)),
            )
            for name, s in streams.items()
        }
        after = said(case.model, hidden, case.batch)
        yield from changes(
            said(case.model, streams, case.batch), after, f"masked tokens hold {RUBBISH:g} ({mode})"
        )
    case.model.eval()
    streams = case.model.streams(case.batch)
    longer = {name: _longer(stream) for name, stream in streams.items()}
    before, after = (_together(said(case.model, s, case.batch)) for s in (streams, longer))
    yield from changes(before, after, "three masked tokens more stand behind the others (eval)")


def _longer(stream: Stream) -> Stream:
    """Return a stream with three masked tokens more."""
    more = (*stream.x.shape[:1], 3)
    return replace(
        stream,
        x=torch.cat([stream.x, stream.x.new_full((*more, stream.x.shape[2]), RUBBISH)], dim=1),
        mask=torch.cat([stream.mask, stream.mask.new_zeros(more)], dim=1),
        time=torch.cat([stream.time, stream.time.new_full(more, 0.5)], dim=1),
    )


@torch.no_grad()
def absent(case: Case) -> Lines:
    """Check every pattern of absent modalities: finite, and their content is not heard."""
    for mode in modes(case):
        for size in range(len(case.names) + 1):
            for there in itertools.combinations(case.names, size):
                when = f"there {'are' if size > 1 else 'is'} {' and '.join(there) or 'nothing'}"
                present = {
                    n: torch.full((ITEMS,), n in there, dtype=torch.bool) for n in case.names
                }
                batch = replace(case.batch, present=present)
                found = heard(case.model, batch)
                yield from infinite(found, f"{when} ({mode})")
                after = heard(case.model, garbled(batch))
                what = f"what is absent holds NaN, and {when} ({mode})"
                yield from changes(found, after, what, 0.0)


@torch.no_grad()
def batch(case: Case) -> Lines:
    """Check that the other items of a batch do not matter."""
    for mode in modes(case):
        other = items(case.signature, ITEMS, seed=1)
        for item in (*WHOLE, ITEMS - 1):
            mixed = _with_item(other, case.batch, item)
            before, after = heard(case.model, case.batch), heard(case.model, mixed)
            one, same = ({n: x[item] for n, x in found.items()} for found in (before, after))
            yield from changes(one, same, f"the other items of the batch do ({mode}, item {item})")
    case.model.eval()
    together = heard(case.model, case.batch)
    for order in ([0], [3], [5, 2, 2, 1]):
        found = heard(case.model, take(case.batch, order))
        expected = {name: x[order] for name, x in together.items()}
        yield from changes(expected, found, f"the batch is made of the items {order} (eval)")


def _with_item(other: Batch, own: Batch, item: int) -> Batch:
    def put(there: Mapping[str, Tensor], here: Mapping[str, Tensor]) -> dict[str, Tensor]:
        made = {name: x.clone() for name, x in there.items()}
        for name, x in made.items():
            x[item] = here[name][item]
        return made

    return Batch(
        own.size,
        put(other.inputs, own.inputs),
        put(other.lengths, own.lengths),
        put(other.present, own.present),
        put(other.targets, own.targets),
    )


@torch.no_grad()
def order(case: Case) -> Lines:
    """Check that a fusion that promises so (`Fusion.unordered`) hears tokens as a set."""
    if not type(case.model.fusion).unordered:
        return
    case.model.eval()
    streams = case.model.streams(case.batch)
    mixed = {name: _mixed(stream, seed) for seed, (name, stream) in enumerate(streams.items())}
    before, after = (_together(said(case.model, s, case.batch)) for s in (streams, mixed))
    yield from changes(before, after, "tokens come in another order, each with its time (eval)")


def _mixed(stream: Stream, seed: int) -> Stream:
    """Return a stream with its tokens in another order, what is masked among them."""
    places = torch.randperm(stream.x.shape[1], generator=torch.Generator().manual_seed(seed))
    return replace(
        stream, x=stream.x[:, places], mask=stream.mask[:, places], time=stream.time[:, places]
    )


def _together(found: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return what is said of all tokens together; single ones stand in another order."""
    return {name: x for name, x in found.items() if not name.startswith("the tokens")}


def parameters(case: Case) -> Lines:
    """Check that every parameter is registered, and that a loss of the recipe reaches it."""
    model = case.model
    known = {id(part) for part in (*model.modules(), *model.parameters(), *model.buffers())}
    for owner in model.fusion.modules():
        for name, value in vars(owner).items():
            if name.startswith("_"):
                continue
            hidden = [part for part in _inside(value) if id(part) not in known]
            if hidden:
                yield (
                    f"{type(owner).__name__}.{name} hides {_count(hidden)} parameters in a "
                    f"{type(value).__name__}: they are neither trained nor saved"
                )
    if len(case.names) == 1:
        return  # with one modality there may be nothing to weigh
    model.train()
    largest = _largest_gradients(case)
    for name in (n for n in largest if n.startswith("fusion.")):
        if largest[name] is None:
            yield f"{name}: no loss of the recipe has a gradient in it"
        elif not math.isfinite(largest[name] or 0.0):
            yield f"{name}: its gradient is not finite"
        elif not largest[name]:
            yield f"{name}: its gradient is 0"


def _inside(value: Any) -> Iterator[nn.Module | Tensor]:
    learns = isinstance(value, Tensor) and value.requires_grad and value.is_leaf
    if learns or isinstance(value, nn.Module):
        yield value
    elif isinstance(value, list | tuple | set):
        for part in value:
            yield from _inside(part)
    elif isinstance(value, dict):
        yield from _inside(list(value.values()))


def _count(parts: Sequence[nn.Module | Tensor]) -> int:
    tensors = [
        tensor
        for part in parts
        for tensor in (part.parameters() if isinstance(part, nn.Module) else [part])
    ]
    return sum(tensor.numel() for tensor in tensors)


def _largest_gradients(case: Case) -> dict[str, float | None]:
    """Return the largest slope in each parameter over all losses; None: none is connected."""
    named = {n: p for n, p in case.model.named_parameters() if p.requires_grad}
    found: dict[str, float | None] = dict.fromkeys(named)
    for stage in case.spec.recipe.stages:
        for item in stage.objectives:
            with drawn(0):
                loss = objective(item, "recipe").loss(case.model, case.batch)
            slopes = torch.autograd.grad(loss, list(named.values()), allow_unused=True)
            for name, slope in zip(named, slopes, strict=True):
                if slope is not None:
                    largest = float(slope.abs().max())
                    found[name] = max(found[name] or 0.0, largest)
                    if not math.isfinite(largest):
                        found[name] = math.inf
    return found


def gradients(case: Case) -> Lines:
    """Check that answers depend on every modality that is there, and on nothing that is masked."""
    for mode in modes(case):
        with torch.no_grad(), drawn(1):
            streams = case.model.streams(case.batch)
        leaves = {name: s.x.clone().requires_grad_() for name, s in streams.items()}
        own = {name: replace(s, x=leaves[name]) for name, s in streams.items()}
        draw = torch.Generator().manual_seed(0)
        total = torch.zeros(())
        for name, tensor in said(case.model, own, case.batch).items():
            if not name.startswith("the answer"):
                total = total + (tensor * torch.randn(tensor.shape, generator=draw)).sum()
        slopes = torch.autograd.grad(total, list(leaves.values()), allow_unused=True)
        for name, slope in zip(leaves, slopes, strict=True):
            yield from _slope(name, slope, streams[name], mode)


def _slope(name: str, slope: Tensor | None, stream: Stream, mode: str) -> Lines:
    if slope is None or not slope.any():
        yield f"no gradient reaches {name!r} ({mode})"
        return
    if not torch.isfinite(slope).all():
        yield f"the gradient that reaches {name!r} is not finite ({mode})"
        return
    reached = slope.abs().amax(dim=(1, 2)) > 0
    deaf = [item for item in range(ITEMS) if stream.present[item] and not reached[item]]
    if deaf:
        yield f"no gradient reaches {name!r} of the items {deaf}, which have it ({mode})"
    leak = float(slope[~stream.mask].abs().max()) if (~stream.mask).any() else 0.0
    if leak > 0.0:
        yield f"a gradient of {leak:.3g} reaches masked tokens of {name!r} ({mode})"


class _Learned(Exception):  # noqa: N818 - it is good news
    """Everything is known by heart: no need to go on."""


def overfit(case: Case) -> Lines:
    """Check that 32 items are learned by heart, by the recipe of the model."""
    main = case.signature.main
    if case.signature.outputs[main].kind != "label":
        return
    whole = items(case.signature, BY_HEART, seed=2, whole=True)
    inputs: dict[str, Any] = {
        name: Ragged(x.numpy(), whole.lengths[name].numpy()) if name in whole.lengths else x.numpy()
        for name, x in whole.inputs.items()
    }
    split = Split(
        ids=[f"item{item}" for item in range(BY_HEART)],
        inputs=inputs,
        targets={main: whole.targets[main].numpy()},
        references={},
    )
    best = 0

    @torch.no_grad()
    def validate(model: Model) -> float:
        nonlocal best
        model.eval()
        branches = model.fuse(whole).branches
        answer = model.verdict(main, branches, whole.targets[main]).combined.answer
        best = max(best, int((answer.argmax(dim=-1) == whole.targets[main]).sum()))
        if best == BY_HEART:
            raise _Learned
        return best / BY_HEART

    recipe = msgspec.structs.replace(case.spec.recipe, modality_dropout=0.0, patience=0)
    budget = BudgetSpec(BY_HEART, STEPS, validations=STEPS // 20, validation_items=BY_HEART)
    model = case.build(0, WIDER)
    try:
        train(model, {"train": split, "val": split}, recipe, budget, 0, validate, _Silent())
    except _Learned:
        return
    yield f"{best} of {BY_HEART} items are known by heart after {STEPS} steps"


class _Silent:
    def step(self, done: int, total: int, loss: float | None, score: float | None) -> None:
        """Take note of nothing."""

    def note(self, text: str) -> None:
        """Say nothing."""


@torch.no_grad()
def saved(case: Case) -> Lines:
    """Check that weights in another model of the same kind say the same, bit by bit."""
    from safetensors.torch import load, save

    other = case.build(1)
    held = {name: x.contiguous() for name, x in case.model.state_dict().items()}
    other.load_state_dict(load(save(held)))
    before, after = heard(case.model, case.batch), heard(other, case.batch)
    yield from changes(before, after, "its weights are saved and loaded", 0.0)


@torch.no_grad()
def seed(case: Case) -> Lines:
    """Check that the seed decides, and that nobody else's random state is touched."""
    before = (str(np.random.get_state(legacy=False)), random.getstate())
    again = case.build(0)
    first, second = case.model.state_dict(), again.state_dict()
    differ = [name for name in first if not torch.equal(first[name], second[name])]
    if differ:
        yield f"{len(differ)} of {len(first)} parameters differ with the same seed: {differ[0]}"
    for mode in modes(case):
        again.train(mode == "train")
        one, two = heard(case.model, case.batch), heard(again, case.batch)
        yield from changes(one, two, f"it is built again with the same seed ({mode})", 0.0)
    if (str(np.random.get_state(legacy=False)), random.getstate()) != before:
        yield "it draws from numpy's or Python's random state, which no seed of a run sets"


def compile(case: Case) -> Lines:  # noqa: A001 - it is what it checks
    """Check that ``torch.compile`` with the backend ``aot_eager`` says the same."""
    model = case.model.eval()
    with torch.no_grad():
        streams = model.streams(case.batch)
    leaves = {n: replace(s, x=s.x.clone().requires_grad_()) for n, s in streams.items()}
    eager = model.fusion
    plain = said(model, leaves, case.batch)
    torch._dynamo.reset()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what the compiler says to its makers
            model.fusion = cast("Fusion", torch.compile(eager, backend="aot_eager"))
            found = said(model, leaves, case.batch)
            total = torch.stack([x.sum() for n, x in found.items() if "branch" in n]).sum()
            xs = [s.x for s in leaves.values()]
            slopes = torch.autograd.grad(total, xs, allow_unused=True)
    finally:
        model.fusion = eager
        torch._dynamo.reset()
    yield from changes(plain, found, "it is compiled")
    for name, slope in zip(leaves, slopes, strict=True):
        if slope is None or not torch.isfinite(slope).all():
            yield f"compiled, the gradient that reaches {name!r} is missing or not finite"


def autocast(case: Case) -> Lines:
    """Check that bfloat16 says about the same, and that its gradients are finite."""
    for mode in modes(case):
        with torch.no_grad():
            plain = heard(case.model, case.batch)
        with torch.autocast("cpu", torch.bfloat16):
            found = heard(case.model, case.batch)
            with drawn(0):
                loss = sum(
                    objective(item, "recipe").loss(case.model, case.batch)
                    for stage in case.spec.recipe.stages
                    for item in stage.objectives
                )
        yield from infinite(found, f"it computes in bfloat16 ({mode})")
        for name, tensor in plain.items():
            spread = float(tensor.double().std()) + 0.1
            gap = apart(tensor, found[name].detach()) / spread
            if CLOSE_BF16 < gap < math.inf:
                yield f"{name} changes by {gap:.3g} of its spread in bfloat16 ({mode})"
        assert isinstance(loss, Tensor)
        named = {n: p for n, p in case.model.named_parameters() if p.requires_grad}
        slopes = torch.autograd.grad(loss, list(named.values()), allow_unused=True)
        for name, slope in zip(named, slopes, strict=True):
            if slope is not None and not torch.isfinite(slope).all():
                yield f"{name}: its gradient in bfloat16 is not finite ({mode})"


#: Name -> check, in the order in which they run.
CHECKS: Mapping[str, Callable[[Case], Lines]] = {
    check.__name__: check
    for check in (
        shapes,
        padding,
        absent,
        batch,
        order,
        parameters,
        gradients,
        saved,
        seed,
        autocast,
        compile,
        overfit,
    )
}
