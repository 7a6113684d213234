"""An objective with its optimiser for several seeds at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from mmbench.optimise import Player, chosen, optimizer, rate
from mmbench.spec import ObjectiveSpec, StageSpec
from mmbench.train import (
    below,
)

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from mmbench.models.contract import Objective
    from mmbench.models.stacked import Stack

#: Numbers that the widest processors take at once.
LANES = 16


class SeedsPlayer(Player):
    """An objective with its optimiser, for all seeds.

    Args:
        stack: The models.
        spec: The objective.
        stage: Of which stage.
        steps: Of the stage.
    """

    def __init__(self, stack: Stack, spec: ObjectiveSpec, stage: StageSpec, steps: int) -> None:
        from mmbench.models.contract import Objective

        objective = objective_of(spec, stage)
        trained = {name: stack.parameters[name] for name in chosen(stack.template, spec)}
        #: For each parameter what the optimiser knows of it.
        self.pieces = [_pieces(parameter) for parameter in trained.values()]
        known = [
            (name, parameter.dim() - 1, pieces)
            for (name, parameter), pieces in zip(trained.items(), self.pieces, strict=True)
        ]
        super().__init__(
            objective,
            optimizer(known, spec.optimizer),
            rate(spec, steps),
            list(trained.values()),
            spec.optimizer.clip,
            spec.period,
            spec.offset,
        )
        self.name = spec.name
        #: For each seed, where validations change it.
        reviews = type(objective).review is not Objective.review
        self.own = [objective_of(spec, stage) for _ in range(stack.size)] if reviews else []

    def step(self) -> None:
        """Clip each seed's gradients by their own norm, and take a step."""
        import torch

        gradients = [p.grad for p in self.parameters if p.grad is not None]
        if self.clip and gradients:
            count = len(gradients[0])
            norms = [torch.linalg.vector_norm(g.reshape(count, -1), dim=1) for g in gradients]
            whole = torch.linalg.vector_norm(torch.stack(norms, dim=1), dim=1)
            shares = (self.clip / (whole + 1e-6)).clamp(max=1.0)
            # Where none is too long all shares are 1; to look costs a GPU more than to multiply.
            cut = gradients if whole.is_cuda or bool((shares < 1).any()) else []
            for gradient in cut:
                gradient.mul_(shares.view(count, *[1] * (gradient.dim() - 1)))
        for parameter, pieces in zip(self.parameters, self.pieces, strict=True):
            if pieces[0] is not parameter:
                its = parameter.grad
                for row, piece in enumerate(pieces):
                    piece.grad = None if its is None else its[row]
        self.move()

    def state(self) -> dict[str, Tensor]:
        """Return what its optimiser and its objectives remember."""
        found = {
            f"optimizer.{place}.{row}.{name}": value
            for place, pieces in enumerate(self.pieces)
            for row, piece in enumerate(pieces)
            for name, value in self.optimizer.state.get(piece, {}).items()
        }
        for row, objective in enumerate(self.own):
            found |= {f"own.{row}.{name}": value for name, value in objective.state().items()}
        return found

    def restore(self, state: dict[str, Tensor], turns: int) -> None:
        """Take up what `state` returned."""
        self.turns = turns
        for name, value in below(state, "optimizer.").items():
            at, which, key = name.split(".", 2)
            piece = self.pieces[int(at)][int(which)]
            self.optimizer.state[piece][key] = value.to(piece.device)
        for row, objective in enumerate(self.own):
            device = self.parameters[0].device
            mine = below(state, f"own.{row}.")
            objective.restore({name: value.to(device) for name, value in mine.items()})

    def keep(self, rows: Sequence[int]) -> None:
        """Go on with some of the seeds; the parameters are cut already."""
        self.own = [self.own[row] for row in rows] if self.own else []
        state = self.optimizer.state
        new: dict[Tensor, list[Tensor]] = {}
        for place, (parameter, before) in enumerate(zip(self.parameters, self.pieces, strict=True)):
            self.pieces[place] = _pieces(parameter)
            new[before[0]] = self.pieces[place]
            if before[0] is parameter:
                for name, value in state.get(parameter, {}).items():
                    if name != "step":
                        state[parameter][name] = value[list(rows)].contiguous()
                continue
            kept = [state.pop(piece, {}) for piece in before]
            for row, piece in zip(rows, self.pieces[place], strict=True):
                state[piece] = kept[row]
        for group in self.optimizer.param_groups:
            group["params"] = [p for first in group["params"] for p in new.get(first, [])]


def _pieces(parameter: Tensor) -> list[Tensor]:
    """Return a parameter [S, ...] as the optimiser is to see it: whole, or each seed's by itself.

    Optimisers take numbers by the vector, and what is left at the end of a tensor one by one, which
    rounds otherwise: so a seed's numbers have to end where they end when it is alone.
    """
    if parameter[0].numel() % LANES == 0:
        return [parameter]
    return list(parameter.detach().unbind())


def objective_of(spec: ObjectiveSpec, stage: StageSpec) -> Objective:
    """Make an objective of a stage."""
    from mmbench.models.build import objective

    return objective(spec, f"recipe.stages.{stage.name}")


def bf16(device: torch.device) -> bool:
    """Whether layers compute in bfloat16 there."""
    import torch

    return device.type == "cuda" and torch.cuda.is_bf16_supported()


def autocast(device: torch.device) -> Any:
    """Let layers compute in bfloat16 where the device can."""
    import torch

    return torch.autocast(device.type, torch.bfloat16, enabled=bf16(device))
