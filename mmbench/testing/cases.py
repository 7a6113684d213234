"""What the checks run on: a fusion in a small model, and made-up items with one to four modalities.

``steps`` (a sequence) and ``words`` are of unequal length; ``picture`` and ``frames`` are whole.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec
import torch
from torch import Tensor

from mmbench import catalog, registry
from mmbench.errors import UsageError
from mmbench.models.build import build
from mmbench.models.contract import Fusion
from mmbench.models.model import Model
from mmbench.spec import ComponentSpec, ModelSpec, TaskSpec, parse_task
from mmbench.text import EOS, SPECIALS
from mmbench.types import Batch, Modality, Output, Signature

WIDTH = 16
#: Items of a case: 0 and 1 are whole, 2 lacks the first modality, 3 the last, 4 all; the steps of 5
#: are none.
ITEMS = 6
WHOLE = (0, 1)
WORDS = (*SPECIALS, "red", "blue", "cube", "ball")
CLASSES = ("a", "b", "c", "d")
TEXT = 5

MODALITIES = {
    "steps": Modality("sequence", (7, 3)),
    "words": Modality("text", (6,), WORDS),
    "picture": Modality("image", (3, 16, 16)),
    "frames": Modality("sequence", (4, 2)),
}
RAGGED = ("steps", "words")
OUTPUTS = {
    "class": Output("label", len(CLASSES), CLASSES),
    "text": Output("text", TEXT, WORDS, main=False),
    "classes": Output("multilabel", len(CLASSES), CLASSES, main=False),
    "number": Output("scalar", 1, (), main=False),
}


@dataclass
class Case:
    """A fusion in a model for M modalities, and items for it.

    Attributes:
        spec: What the model is made of.
        signature: What it was made for.
        model: Built from seed 0; checks leave its weights as they are.
        batch: `ITEMS` items.
        lent: A fusion's class that is registered only while its models are built.
    """

    spec: ModelSpec
    signature: Signature
    model: Model
    batch: Batch
    lent: type[Fusion] | None = None

    @property
    def names(self) -> list[str]:
        """The modalities, M of them."""
        return list(self.signature.modalities)

    def build(self, seed: int, width: int = WIDTH) -> Model:
        """Build the model anew; torch's own random state stays as it is."""
        spec = msgspec.structs.replace(self.spec, width=width)
        with _lending(self.lent), drawn(seed):
            return build(spec, self.signature).eval()


def cases(
    fusion: str | Path | type[Fusion], params: Mapping[str, Any], counts: Sequence[int]
) -> list[Case]:
    """Return a case for each number of modalities that the fusion can work with.

    Raises:
        UsageError: It cannot be found or built, or not with any of these numbers.
    """
    if not counts or not set(counts) <= set(range(1, len(MODALITIES) + 1)):
        raise UsageError(f"modalities: expected numbers of 1 to {len(MODALITIES)}, got {counts!r}")
    lent = fusion if isinstance(fusion, type) else None
    with _lending(lent):
        found = [_case(fusion, params, count, lent) for count in sorted(set(counts))]
    made = [case for case in found if case is not None]
    if not made:
        raise UsageError(
            f"modalities: the fusion needs more than {max(counts)}, and is tried with no more"
        )
    return made


def _case(
    fusion: str | Path | type[Fusion],
    params: Mapping[str, Any],
    count: int,
    lent: type[Fusion] | None,
) -> Case | None:
    spec = _spec(fusion, _task(list(OUTPUTS), count))
    kind = registry.load("fusion", spec.fusion.name)
    if count < kind.at_least:
        return None
    served = [name for name, output in OUTPUTS.items() if output.kind not in kind.refuses]
    task = _task(served, count)
    spec = _spec(fusion, task)
    component = ComponentSpec(spec.fusion.name, {**spec.fusion.params, **params})
    spec = msgspec.structs.replace(spec, fusion=component, width=WIDTH)
    names = list(MODALITIES)[:count]
    signature = Signature(
        {name: MODALITIES[name] for name in names},
        {n: replace(OUTPUTS[n], main=n == served[0]) for n in served},
    )
    with drawn(0):
        model = build(spec, signature).eval()
    return Case(spec, signature, model, items(signature, ITEMS), lent)


def _spec(fusion: str | Path | type[Fusion], task: TaskSpec) -> ModelSpec:
    """Return the model that a fusion stands in: its own TOML's, or on the shared recipe."""
    name = _lent_name(fusion) if isinstance(fusion, type) else str(fusion)
    if name.endswith((".py", ".toml")):
        return catalog.model(name, (), task)
    shipped = catalog.model_names(task, shipped=True)
    if name not in registry.names("fusion") and name in shipped:
        return catalog.model(name, (), task)
    registry.load("fusion", name)
    models = [catalog.model(model, (), task) for model in shipped]
    kinds = {output.kind for output in task.outputs.values()}
    own = [
        m
        for m in models
        if m.fusion.name == name and m.modalities is None and kinds <= set(m.heads)
    ]
    if own:
        return min(own, key=lambda model: (model.name != name, len(model.name), model.name))
    plain = catalog.model("concat", (), task)
    return msgspec.structs.replace(plain, fusion=ComponentSpec(name))


def _task(outputs: Sequence[str], count: int) -> TaskSpec:
    """Return a task that promises what the items are."""
    names = list(MODALITIES)[:count]
    return parse_task(
        {
            "schema": 1,
            "name": "made_up",
            "version": 1,
            "summary": "for checks",
            "dataset": {"name": "scenecap", "version": 1},
            "modalities": {
                n: {"kind": MODALITIES[n].kind, "shape": list(MODALITIES[n].shape)} for n in names
            },
            "outputs": {
                name: {
                    "kind": OUTPUTS[name].kind,
                    "main": name == outputs[0],
                    **({"classes": list(CLASSES)} if "class" in name else {}),
                }
                for name in outputs
            },
            "splits": {"train": 8, "val": 4, "test": 4},
            "metrics": {"main": "accuracy"},
            "budgets": {"small": {"items": 8, "steps": 4}},
        },
        "made_up",
    )


def _lent_name(fusion: type[Fusion]) -> str:
    return f"lent_{fusion.__name__.lower()}"


@contextmanager
def _lending(fusion: type[Fusion] | None) -> Iterator[None]:
    if fusion is None:
        yield
        return
    with registry.lent("fusion", _lent_name(fusion), fusion):
        yield


@contextmanager
def drawn(seed: int) -> Iterator[None]:
    """Draw torch's random numbers from a seed for a while, and leave its state as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def items(signature: Signature, count: int, seed: int = 0, whole: bool = False) -> Batch:
    """Draw items; unless `whole`, items 2 to 5 lack what `ITEMS` says."""
    generator = torch.Generator().manual_seed(seed)
    names = list(signature.modalities)
    inputs = {n: _content(signature.modalities[n], count, generator) for n in names}
    lengths = {}
    for name in [n for n in names if n in RAGGED]:
        most = signature.modalities[name].shape[0]
        lengths[name] = torch.randint(2, most, (count,), generator=generator)
        lengths[name][0] = most
    present = {name: torch.ones(count, dtype=torch.bool) for name in names}
    if not whole:
        present[names[0]][2] = present[names[-1]][3] = False
        for name in names:
            present[name][4] = False
        lengths[names[0]][5] = 0
    return Batch(count, inputs, lengths, present, _targets(signature, count, generator))


def _content(modality: Modality, count: int, generator: torch.Generator) -> Tensor:
    shape = (count, *modality.shape)
    if modality.kind == "text":
        return torch.randint(len(SPECIALS), len(WORDS), shape, generator=generator)
    if modality.kind == "image":
        return torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)
    return torch.randn(shape, generator=generator)


def _targets(signature: Signature, count: int, generator: torch.Generator) -> dict[str, Tensor]:
    text = torch.randint(len(SPECIALS), len(WORDS), (count, TEXT), generator=generator)
    text[:, -1] = EOS
    every = {
        "class": torch.randint(0, len(CLASSES), (count,), generator=generator),
        "text": text,
        "classes": torch.randint(0, 2, (count, len(CLASSES)), generator=generator).float(),
        "number": torch.randn(count, generator=generator),
    }
    return {name: every[name] for name in signature.outputs}


def take(batch: Batch, index: Sequence[int]) -> Batch:
    """Return the items `index` of a batch, in that order."""
    rows = torch.tensor(list(index))
    return Batch(
        len(rows),
        {name: x[rows] for name, x in batch.inputs.items()},
        {name: x[rows] for name, x in batch.lengths.items()},
        {name: x[rows] for name, x in batch.present.items()},
        {name: x[rows] for name, x in batch.targets.items()},
    )


def garbled(batch: Batch) -> Batch:
    """Write NaN, or what no word is, wherever nobody may look: absent inputs, beyond the end."""
    inputs = {}
    for name, x in batch.inputs.items():
        x = x.float() if x.dtype == torch.uint8 else x
        rubbish = torch.full_like(x, float("nan") if x.is_floating_point() else 10**6)
        unseen = (~batch.present[name]).view(-1, *[1] * (x.dim() - 1)).expand_as(x)
        if name in batch.lengths:
            beyond = torch.arange(x.shape[1]) >= batch.lengths[name][:, None]
            unseen = unseen | beyond.view(*beyond.shape, *[1] * (x.dim() - 2))
        inputs[name] = torch.where(unseen, rubbish, x)
    return replace(batch, inputs=inputs)
