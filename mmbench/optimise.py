"""Who takes a step: an objective with its parameters, its optimiser and its learning rate."""

from __future__ import annotations

import fnmatch
import inspect
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mmbench.spec import ObjectiveSpec, OptimizerSpec

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from mmbench.models.contract import Objective
    from mmbench.models.model import Model


def chosen(model: Model, spec: ObjectiveSpec) -> dict[str, nn.Parameter]:
    """Return the parameters that an objective trains: matched, and by no ``!`` left out."""
    without = [pattern[1:] for pattern in spec.parameters if pattern.startswith("!")]

    def matches(name: str, patterns: Iterable[str]) -> bool:
        return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)

    return {
        name: parameter
        for name, parameter in model.named_parameters()
        if matches(name, spec.parameters) and not matches(name, without)
    }


@dataclass
class Player:
    """An objective with its optimiser; what makes two of them alternate is period and offset.

    `rate` is the learning rate at each of its turns, `turns` how many it has had.
    """

    objective: Objective
    optimizer: torch.optim.Optimizer
    rate: Callable[[int], float]
    parameters: Sequence[Tensor]
    clip: float
    period: int
    offset: int
    turns: int = 0

    def step(self) -> None:
        """Clip the gradients and take a step at the learning rate of this turn."""
        if self.clip:
            clip(self.parameters, self.clip)
        self.move()

    def move(self) -> None:
        """Take a step at the learning rate of this turn."""
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate(self.turns)
        self.optimizer.step()
        self.turns += 1

    def has_turn(self, at: int) -> bool:
        """Whether it acts at step `at` of its stage."""
        return at >= self.offset and (at - self.offset) % self.period == 0

    def state(self) -> dict[str, Tensor]:
        """Return what its optimiser and its objective remember."""
        # Not `optimizer.state_dict`, which loads torch's compiler to leave itself out of it.
        found = {
            f"optimizer.{place}.{name}": value
            for place, parameter in enumerate(self.parameters)
            for name, value in self.optimizer.state.get(parameter, {}).items()
        }
        own = self.objective.state()
        return found | {f"objective.{name}": value for name, value in own.items()}

    def restore(self, state: dict[str, Tensor], turns: int) -> None:
        """Take up what `state` returned."""
        self.turns = turns
        own: dict[str, Tensor] = {}
        for name, value in state.items():
            kind, _, rest = name.partition(".")
            if kind == "objective":
                own[rest] = value.to(self.parameters[0].device)
                continue
            place, _, key = rest.partition(".")
            parameter = self.parameters[int(place)]
            self.optimizer.state[parameter][key] = value.to(parameter.device)
        self.objective.restore(own)


def player(model: Model, objective: Objective, spec: ObjectiveSpec, steps: int) -> Player:
    """Make what trains a model by an objective.

    Args:
        model: On its device.
        objective: The loss.
        spec: Which parameters, when, and how.
        steps: Of the stage.
    """
    trained = chosen(model, spec)
    settings: OptimizerSpec = spec.optimizer
    return Player(
        objective,
        optimizer([(n, p.dim(), [p]) for n, p in trained.items()], settings),
        rate(spec, steps),
        list(trained.values()),
        settings.clip,
        spec.period,
        spec.offset,
    )


def optimizer(
    trained: Iterable[tuple[str, int, Sequence[Tensor]]], settings: OptimizerSpec
) -> torch.optim.AdamW:
    """Make an optimiser in which matrices decay, and embeddings and vectors do not.

    Args:
        trained: Name of a parameter, its axes in a model by itself, and what holds it.
        settings: Rates and decay.
    """
    matrices: list[Tensor] = []
    others: list[Tensor] = []
    for name, axes, pieces in trained:
        # Decay is for matrices; an embedding row that is seldom seen should not fade meanwhile.
        (matrices if axes > 1 and "embed" not in name else others).extend(pieces)
    groups: list[dict[str, Any]] = [
        {"params": matrices, "weight_decay": settings.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    return adamw(groups, settings)


def rate(spec: ObjectiveSpec, steps: int) -> Callable[[int], float]:
    """Return what says the learning rate at each turn of an objective in a stage of `steps`."""
    settings = spec.optimizer
    turns = max(1, math.ceil((steps - spec.offset) / spec.period))
    return lambda at: settings.lr * factor(at, turns, settings)


def adamw(groups: list[dict[str, Any]], settings: OptimizerSpec) -> torch.optim.AdamW:
    """Make an optimiser without loading torch's compiler, and with little to do beside its work.

    What torch wraps ``add_param_group`` and ``step`` in imports the compiler, which takes as long
    to load as torch itself, to leave them out of what is compiled. Here nothing is. And it sorts
    parameters by device and type at every step, which here are all of one: for small models that
    takes longer than the step.
    """
    import torch

    known: list[_Known] = []  # of each group

    class AdamW(torch.optim.AdamW):
        def add_param_group(self, param_group: dict[str, Any]) -> None:
            inspect.unwrap(torch.optim.Optimizer.add_param_group)(self, param_group)

        @torch.no_grad()
        def step(self) -> None:  # type: ignore[override]
            moving = [
                [p for p in group["params"] if p.grad is not None] for group in self.param_groups
            ]
            if len(known) != len(moving) or not all(map(_Known.covers, known, moving)):
                known[:] = []
                for those in moving:
                    if any("step" not in self.state[p] for p in those) or not _alike(those):
                        # The first step, or what only torch itself can sort out.
                        inspect.unwrap(torch.optim.AdamW.step)(self)
                        return
                known[:] = [_Known(those, [self.state[p] for p in those]) for those in moving]
            for group, each in zip(self.param_groups, known, strict=True):
                each.move(group)

    return AdamW(groups, lr=settings.lr, betas=settings.betas, fused=True)


class _Known:
    """Parameters that move at a step and what an optimiser knows of them, as the kernel takes it.

    To look all of it up takes longer than a step of a small model, and it seldom changes.
    """

    def __init__(self, moving: list[Tensor], states: list[dict[str, Tensor]]) -> None:
        self.moving, self.states = moving, states
        self.steps = [state["step"] for state in states]
        self.means = [state["exp_avg"] for state in states]
        self.squares = [state["exp_avg_sq"] for state in states]

    def covers(self, moving: list[Tensor]) -> bool:
        """Whether it is about these, and nothing of it was replaced."""
        return len(moving) == len(self.moving) and all(
            one is other and state["exp_avg"] is mean
            for one, other, state, mean in zip(
                moving, self.moving, self.states, self.means, strict=True
            )
        )

    def move(self, group: dict[str, Any]) -> None:
        """Do what ``torch.optim.adam._fused_adam`` does with tensors of one kind."""
        import torch

        if not self.moving:
            return
        torch._foreach_add_(self.steps, 1)
        torch._fused_adamw_(
            self.moving,
            [p.grad for p in self.moving if p.grad is not None],
            self.means,
            self.squares,
            [],
            self.steps,
            amsgrad=False,
            lr=group["lr"],
            beta1=group["betas"][0],
            beta2=group["betas"][1],
            weight_decay=group["weight_decay"],
            eps=group["eps"],
            maximize=False,
        )


def _alike(tensors: Sequence[Tensor]) -> bool:
    """Whether tensors are of one type and on one device."""
    return len({(x.dtype, x.device) for x in tensors}) <= 1


def clip(parameters: Sequence[Tensor], most: float) -> None:
    """Scale gradients so that their norm, of all as one vector, is at most `most`.

    The bits of ``torch.nn.utils.clip_grad_norm_``, which sorts gradients by device and type twice.
    """
    import torch

    gradients = [p.grad for p in parameters if p.grad is not None]
    if not _alike(gradients):
        torch.nn.utils.clip_grad_norm_(parameters, most, foreach=True)
    elif gradients:
        norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients, 2.0)), 2.0)
        share = torch.clamp(most / (norm + 1e-6), max=1.0)
        if norm.is_cuda or share < 1:  # to look costs a GPU more than to multiply by one
            torch._foreach_mul_(gradients, share)


def factor(at: int, turns: int, settings: OptimizerSpec) -> float:
    """Return the share of the peak learning rate at step `at` of `turns`.

    >>> one_cycle = OptimizerSpec(warmup=0.5)
    >>> [round(factor(at, 4, one_cycle), 2) for at in range(5)]
    [0.5, 1.0, 1.0, 0.5, 0.0]
    """
    if settings.schedule == "constant":
        return 1.0
    warm = max(1, round(turns * settings.warmup))
    if at < warm:
        return (at + 1) / warm
    fall = warm + round(turns * settings.hold)
    return 0.5 * (1.0 + math.cos(math.pi * min(1.0, max(0, at - fall) / max(1, turns - fall))))
