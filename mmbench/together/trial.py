"""Whether models can be trained as a batch: losses and gradients together against those alone."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from mmbench import rng
from mmbench.room import USUAL, Allowance
from mmbench.spec import BudgetSpec, RecipeSpec
from mmbench.together.data import Data, parts
from mmbench.together.player import autocast, bf16, objective_of
from mmbench.train import (
    check_recipe,
    lacks_memory,
)
from mmbench.types import Split

if TYPE_CHECKING:
    from torch import Tensor

    from mmbench.models.model import Model

#: Share of the largest gradient by which those of all seeds at once may differ from each one's own:
#: float32 sums in another order differ by a thousandth of that, and what is wrong by far more.
WITHIN = 1e-4
#: The same where layers compute in bfloat16.
WITHIN_BF16 = 5e-2


def tried(
    models: Sequence[Model],
    splits: Mapping[str, Split],
    recipe: RecipeSpec,
    budget: BudgetSpec,
    seeds: Sequence[int],
    memory: Allowance = USUAL,
) -> str:
    """Take all losses and gradients of a batch together and alone; say why they do not agree.

    Models and random streams are left as they were.

    Args:
        models: On their device.
        splits: Those that the recipe's stages name.
        recipe: Its stages' objectives are tried.
        budget: Caps the items.
        seeds: The models' seeds.
        memory: What data may take of it.

    Returns:
        Why these models cannot be trained together; nothing where they can.
    """
    from mmbench.models.stacked import Stack, Stream

    check_recipe(recipe, models[0], splits)
    device = next(models[0].parameters()).device
    for stage in recipe.stages:
        with Data(models[0], splits, stage, recipe, budget, seeds, memory) as data:
            together = data.next()
        for item in stage.objectives:
            streams = [Stream(rng.torch_seed(seed, "dropout"), device) for seed in seeds]
            copies = [copy.deepcopy(model) for model in models]
            objective = objective_of(item, stage)
            try:
                stack = Stack(copies, [copy.copy(stream) for stream in streams])
                with autocast(device):
                    losses = stack.losses(objective, together)
                losses.sum().backward()  # type: ignore[no-untyped-call]
                grads = {name: p.grad for name, p in stack.parameters.items()}
                said = losses.tolist()
            # Whatever the model's own code raises when it meets several models at once: that it
            # cannot is what is found out here.
            except Exception as error:
                if lacks_memory(error):
                    raise
                return why(item.name, error)
            for at, (model, batch, stream) in enumerate(
                zip(copies, parts(together), streams, strict=True)
            ):
                model.train()
                with stream.drawn_from(), autocast(device):
                    loss = objective_of(item, stage).loss(model, batch)
                loss.backward()  # type: ignore[no-untyped-call]
                own = {name: p.grad for name, p in model.named_parameters()}
                apart = _apart(own, {n: None if g is None else g[at] for n, g in grads.items()})
                apart = max(apart, abs(said[at] - loss.item()) / max(abs(loss.item()), 1.0))
                within = WITHIN_BF16 if bf16(device) else WITHIN
                if not apart <= within:
                    return (
                        f"{item.name}: together its gradients differ from those of a seed alone "
                        f"by {apart:.1g} of the largest"
                    )
    return ""


def why(name: str, error: Exception) -> str:
    """Say in a line what an objective cannot do for several models at once."""
    told = str(error).strip().partition("\n")[0].partition(". ")[0][:200]
    return f"{name}: {told or type(error).__name__}"


def _apart(own: Mapping[str, Tensor | None], other: Mapping[str, Tensor | None]) -> float:
    """Return the largest difference between gradients as a share of the largest gradient."""
    largest, most = 0.0, 0.0
    for name, gradient in own.items():
        theirs = other[name]
        if gradient is None and theirs is None:
            continue
        here = gradient if gradient is not None else theirs.new_zeros(())  # type: ignore[union-attr]
        there = theirs if theirs is not None else here.new_zeros(())
        largest = max(largest, float(here.abs().max()))
        most = max(most, float((here - there).abs().max()))
    if largest == 0.0:
        return most
    return most / largest
