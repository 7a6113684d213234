"""One training step of every fusion beside a bare three-encoder concatenation.

    python tests/bench/bench_fusions.py [--width 64] [--tokens 10] [--batch 256] [--repeats 7]

Three modalities of ten tokens, four classes; forward, backward and optimiser step, one thread.
Each fusion and the bare model take their steps in turn in one process; what counts is the ratio of
the medians. The bare model is what one would write in torch alone: each modality projected and read
by one of torch's Transformer layers, the means side by side, two layers on top.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from functools import partial

import msgspec
import torch
from _side_by_side import compare
from torch import Tensor, nn

from mmbench import catalog, registry
from mmbench.models.build import build, objective
from mmbench.optimise import chosen as _chosen
from mmbench.types import Batch, Modality, Output, Signature

CLASSES = ("a", "b", "c", "d")
FEATURES = {"text": 16, "vision": 12, "audio": 8}
#: Steps that are timed together.
STEPS = 3
#: Models of sizes of their own whose fusion no other model has.
ALONE = ("seed_linear_concat", "seed_cross_transformer", "seed_encoder_decoder")
#: None may take more times the bare model's time, but the full tensor, the six stacks of MulT and
#: the game of two.
MOST, EXCUSED = 6, ("tfn", "mult", "argf")


class Bare(nn.Module):
    """Three encoders, three means, two layers."""

    def __init__(self, signature: Signature, width: int) -> None:
        super().__init__()
        self.projections = nn.ModuleDict(
            {name: nn.Linear(m.shape[-1], width) for name, m in signature.modalities.items()}
        )
        layer = partial(
            nn.TransformerEncoderLayer, width, 4, 2 * width, 0.0, "gelu", batch_first=True
        )
        self.encoders = nn.ModuleDict({name: layer() for name in signature.modalities})
        self.head = nn.Sequential(
            nn.Linear(3 * width, width), nn.GELU(), nn.Linear(width, len(CLASSES))
        )

    def forward(self, batch: Batch) -> Tensor:
        """Classify."""
        read = [self.encoders[n](self.projections[n](x)) for n, x in batch.inputs.items()]
        pooled = [tokens.mean(dim=1) for tokens in read]
        logits: Tensor = self.head(torch.cat(pooled, dim=-1))
        return logits


def draw(signature: Signature, size: int) -> Batch:
    """Draw a batch."""
    generator = torch.Generator().manual_seed(0)
    there = torch.ones(size, dtype=torch.bool)
    return Batch(
        size=size,
        inputs={
            n: torch.randn(size, *m.shape, generator=generator)
            for n, m in signature.modalities.items()
        },
        lengths={},
        present=dict.fromkeys(signature.modalities, there),
        targets={"label": torch.randint(0, len(CLASSES), (size,), generator=generator)},
    )


def stepper(losses: list[tuple[Callable[[], Tensor], list[nn.Parameter]]]) -> Callable[[], None]:
    """Return what takes a few steps of all objectives."""
    players = [(loss, torch.optim.AdamW(own, fused=True), own) for loss, own in losses]

    def steps() -> None:
        for _ in range(STEPS):
            for loss, optimizer, own in players:
                value = loss()
                optimizer.zero_grad()
                value.backward()  # type: ignore[no-untyped-call]
                torch.nn.utils.clip_grad_norm_(own, 1.0, foreach=True)
                optimizer.step()

    return steps


def main() -> int:
    """Print a line a model: the bare model's seconds for a few steps, its own, and the ratio.

    Returns how many take longer than they may.
    """
    slow: list[str] = []
    options = argparse.ArgumentParser()
    for name, value in (("width", 64), ("tokens", 10), ("batch", 256), ("repeats", 7)):
        options.add_argument(f"--{name}", type=int, default=value)
    given = options.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    signature = Signature(
        {name: Modality("sequence", (given.tokens, d)) for name, d in FEATURES.items()},
        {"label": Output("label", len(CLASSES), CLASSES)},
    )
    batch = draw(signature, given.batch)
    bare = Bare(signature, given.width)
    target = batch.targets["label"]
    plain = stepper(
        [(lambda: nn.functional.cross_entropy(bare(batch), target), list(bare.parameters()))]
    )
    print(f"{f'{STEPS} steps of':42} {'bare':>10} {'it':>10}   times the bare one's")
    task = catalog.task("synergy")
    for name in catalog.model_names(task, shipped=True):
        spec = catalog.model(name, (), task)
        if not (spec.matched or name in ALONE) or "label" in registry.refused(spec.fusion.name):
            continue
        model = build(msgspec.structs.replace(spec, width=given.width), signature).train()
        losses = []
        for item in spec.recipe.stages[-1].objectives:
            made = objective(item, name)
            loss = lambda made=made, model=model: made.loss(model, batch)  # noqa: E731
            losses.append((loss, list(_chosen(model, item).values())))
        ratio = compare(name, plain, stepper(losses), given.repeats)
        if ratio > MOST and name not in EXCUSED:
            slow.append(f"{name} {ratio:.1f}")
    if slow:
        print(f"beyond {MOST} times the bare model: {', '.join(slow)}")
    return len(slow)


if __name__ == "__main__":
    sys.exit(main())
