"""What a gate asks: a TOML of margins, tiers and looks.

::

    alpha = 0.05              # one-sided, of passing wrongly and of failing wrongly
    seeds = [3, 5, 8]         # the candidate may be looked at with 3, then 5, then 8 seeds

    [[gates]]
    task = "captioning"       # every task, if it is not said
    model = "hybrid"          # every model
    metric = "emitter_f1"     # the task's main metric
    margin = 0.02             # the loss that is accepted, in the metric's unit ...
    tier = "critical"

    [[gates]]
    metric = "bleu4"
    margin = "5%"             # ... or as a share of the reference's score
    tier = "advisory"

Of the gates that fit a task, model, metric and split, the first counts.
"""

from __future__ import annotations

import contextlib
import re
from pathlib import Path
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct, field

from mmbench import spec
from mmbench.errors import SpecError, UnknownNameError

#: A regression of a critical one fails the gate, and so does one that cannot be judged; of a
#: supporting one only a regression does; an advisory one is shown and decides nothing.
CRITICAL, SUPPORTING, ADVISORY = "critical", "supporting", "advisory"
Tier = Literal["critical", "supporting", "advisory"]
#: The loss that is accepted where there is no policy.
DEFAULT_MARGIN = "2%"


class Gate(Struct, frozen=True, forbid_unknown_fields=True):
    """One thing that is held.

    Attributes:
        task: The task; empty: every one.
        model: The model, as the reference calls it; empty: every one.
        metric: The metric; empty: the task's main one.
        split: Which test split.
        margin: The loss that is accepted: a number in the metric's unit, or ``"2%"`` of the
            reference's score.
        tier: `CRITICAL`, `SUPPORTING` or `ADVISORY`.
    """

    task: str = ""
    model: str = ""
    metric: str = ""
    split: str = "test"
    margin: Annotated[float, Meta(ge=0.0)] | str = DEFAULT_MARGIN
    tier: Tier = "critical"

    @property
    def told(self) -> str:
        """Say what it asks about, for whoever wrote it."""
        asked = (("task", self.task), ("model", self.model), ("metric", self.metric))
        return ", ".join(f"{key} = {value!r}" for key, value in asked if value) or "every task"

    def fits(self, task: str, model: str) -> bool:
        """Whether it asks about a model on a task."""
        return self.task in ("", task) and self.model in ("", model)

    def loss(self, reference: float) -> float:
        """Return the loss that is accepted, in the metric's unit."""
        if isinstance(self.margin, str):
            return abs(reference) * float(self.margin.rstrip("%")) / 100
        return self.margin


class Policy(Struct, frozen=True, forbid_unknown_fields=True):
    """What is asked in all.

    Attributes:
        gates: In the order of the file.
        alpha: One-sided level of every verdict; over all looks together.
        seeds: How many seeds the candidate may be looked at with, growing; none: one look.
        schema: Version of this layout.
    """

    gates: list[Gate] = field(default_factory=lambda: [Gate()])
    alpha: Annotated[float, Meta(gt=0.0, lt=0.5)] = 0.05
    seeds: list[Annotated[int, Meta(ge=2)]] = field(default_factory=list)
    schema: int = spec.SCHEMA


def read(path: Path) -> Policy:
    """Read a policy.

    Raises:
        SpecError: It cannot be read, or something in it is not what it should be: one line.
    """
    content = spec.read_toml(path)
    found: Policy = spec.check_params(content, Policy, str(path))
    if not found.gates:
        raise SpecError(f"{path}: 'gates' is empty: expected [[gates]] tables; without --policy "
                        f"the main metrics are held to {DEFAULT_MARGIN}")  # fmt: skip
    if sorted(set(found.seeds)) != found.seeds:
        raise SpecError(f"{path}: seeds = {found.seeds}: expected growing numbers, as [3, 5, 8]")
    for place, gate in enumerate(found.gates):
        _check(gate, f"{path}: gates[{place}]")
    return found


def asked(metrics: list[str], margin: str | None, split: str = "test") -> Policy:
    """Return what is asked where there is no file.

    Args:
        metrics: The first one is critical, the others are advisory; none: the main metric.
        margin: The loss that is accepted; None: `DEFAULT_MARGIN`.
        split: Which test split.

    Raises:
        SpecError: The margin is none.
    """
    given: float | str = DEFAULT_MARGIN if margin is None else margin
    if margin is not None and not margin.endswith("%"):
        with contextlib.suppress(ValueError):
            given = float(margin)
    tiers: list[Any] = [CRITICAL] + [ADVISORY] * len(metrics)
    names = metrics or [""]
    gates = [
        Gate(metric=name, margin=given, tier=tier, split=split)
        for name, tier in zip(names, tiers, strict=False)
    ]
    for gate in gates:
        _check(gate, "--margin" if margin is not None else "--metric")
    return Policy(gates=gates)


def _check(gate: Gate, where: str) -> None:
    """Refuse a metric that is none, and a margin that is neither a number nor a share.

    Raises:
        SpecError: In one line.
    """
    from mmbench import registry

    text = gate.margin if isinstance(gate.margin, str) else "0%"
    if not re.fullmatch(r"\d+(\.\d+)?%", text):
        raise SpecError(
            f"{where}: margin {text!r}: expected a number in the metric's unit, at least 0, or a "
            f'share of the reference\'s score, such as "2%"'
        )
    if isinstance(gate.margin, float | int) and not 0 <= gate.margin < float("inf"):
        raise SpecError(f"{where}: margin {gate.margin}: expected a number, at least 0")
    if gate.metric:
        try:
            registry.load("metric", gate.metric)
        except UnknownNameError as error:
            raise SpecError(f"{where}: {error}") from None
