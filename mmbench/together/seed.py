"""What belongs to one seed of a batch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

from mmbench import rng
from mmbench.checkpoint import Place
from mmbench.keeper import Keeper
from mmbench.train import (
    Trained,
    below,
    read_back,
    write_down,
)

if TYPE_CHECKING:
    from torch import Tensor

    from mmbench.models.model import Model


class Seed:
    """What belongs to one seed of a batch.

    Args:
        seed: Its number.
        model: Holds its weights where they are looked at: before, at validations, at the end.

    Attributes:
        stream: What is drawn inside of its model.
        trained: Its curve and counts.
        keeper: Keeps the weights of its best validation in this stage.
        began: Its steps when the stage began; a seed without patience left has fewer than others.
        done: Its steps over all stages.
        last: The step that ends the stage.
        unread: Steps since its loss was read last.
    """

    def __init__(self, seed: int, model: Model) -> None:
        from mmbench.models.stacked import Stream

        self.seed, self.model = seed, model
        self.stream = Stream(rng.torch_seed(seed, "dropout"), next(model.parameters()).device)
        self.trained = Trained()
        self.keeper = Keeper(model, 0)
        self.began = self.done = self.last = self.unread = 0

    @property
    def ended(self) -> bool:
        """Whether it has no step to take in this stage."""
        over = bool(self.trained.diverged) or self.trained.stopped_early
        return over or self.done >= self.last

    def begin(self, steps: int, patience: int, always: bool, place: Place | None = None) -> None:
        """Begin a stage of so many steps, or go on with it at a place."""
        self.keeper = Keeper(self.model, patience, always)
        if place is None:
            self.began, self.unread = self.done, 0
            self.trained.best_score, self.trained.stopped_early = -math.inf, False
        else:
            self.began, self.unread, self.keeper.since = place.began, place.unread, place.since
        self.last = self.began + steps

    def offer(self, score: float) -> None:
        """Keep the weights if they are wanted; take note of whether patience has run out."""
        trained = self.trained
        taken, trained.stopped_early = self.keeper.offer(score, trained.best_score)
        if taken:
            trained.best_score, trained.best_step = score, self.done

    def state(self, stage: int) -> tuple[Place, dict[str, Tensor]]:
        """Return where it stands; its model holds its weights."""
        place = Place(
            stage=stage,
            seed=self.seed,
            began=self.began,
            done=self.done,
            since=self.keeper.since,
            unread=self.unread,
        )
        write_down(self.trained, place)
        tensors = {"stream": self.stream.state}
        tensors |= {f"model.{name}": x for name, x in self.model.state_dict().items()}
        tensors |= {f"best.{name}": x for name, x in (self.keeper.weights or {}).items()}
        return place, tensors

    def take_up(self, place: Place, tensors: Mapping[str, Tensor]) -> None:
        """Take up what `state` returned, but for what a stage begins with."""
        self.trained, self.done = read_back(place), place.done
        self.stream.state = tensors["stream"].cpu()
        self.model.load_state_dict(below(tensors, "model."))

    def take_up_best(self, tensors: Mapping[str, Tensor]) -> None:
        """Take up the weights that were kept."""
        best = below(tensors, "best.")
        self.keeper.weights = {name: x.cpu() for name, x in best.items()} or None
