"""Time axes: what a head that answers step by step (CTC) needs of a fusion, and who has one.

A clock says how many steps an item has and when they are: ``native:NAME`` those of that modality's
tokens, ``latent:L`` L steps at even distances, whatever the item. Branches on one clock can be
merged step by step, so that early, late and hybrid fusion are one program for transcripts, too.

Two kinds of fusion get there in two ways (`Fusion.timed`). One that hands on tokens says when each
of them is (`Branch.time`), and they are brought to the clock. One that hands on a single vector
fuses every step of the clock by itself, as if each were an item of one token a modality: what is
heard around a step has to come from its encoders then.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from mmbench.errors import IncompatibleError
from mmbench.models.layers import pool
from mmbench.types import Branch, Fused, Stream

if TYPE_CHECKING:
    from mmbench.models.contract import Fusion


def check_clock(clock: str, modalities: Sequence[str], model: str, output: str) -> None:
    """Refuse a clock that a model cannot have.

    Raises:
        IncompatibleError: It is that of a modality which the model does not look at.
    """
    kind, _, name = clock.partition(":")
    if kind == "native" and name not in modalities:
        raise IncompatibleError(
            f"model {model!r} does not look at {name!r}, on whose clock the output {output!r} "
            f"stands: name a clock that all models have, outputs.{output}.clock = 'latent:L' with "
            f"L steps"
        )


def steps_of(streams: Mapping[str, Stream], clock: str) -> tuple[Tensor, Tensor]:
    """Return when each item's steps are, [B, T] in 0..1, and which of them are real.

    Padding must not be heard, so an item's steps depend on its own tokens alone. With ``pool``
    each item's clock has as many steps as its longest modality has tokens; so has an item that
    lacks the modality of a ``native`` clock, as far as the others' steps go.

    Args:
        streams: Modality -> its tokens.
        clock: See `Fusion.forward`.
    """
    kind, _, argument = clock.partition(":")
    some = next(iter(streams.values())).x
    longest = torch.stack([s.mask.sum(dim=1) for s in streams.values()]).amax(dim=0)
    if kind == "native":
        own = streams[argument]
        grid, real = _even(longest.clamp(max=own.x.shape[1]), own.x.shape[1], some)
        here = own.present[:, None]
        return torch.where(here, own.time.to(grid.dtype), grid), torch.where(here, own.mask, real)
    if kind == "latent":
        return _even(
            torch.full((len(some),), int(argument), device=some.device), int(argument), some
        )
    return _even(longest, max(stream.x.shape[1] for stream in streams.values()), some)


def _even(steps: Tensor, length: int, like: Tensor) -> tuple[Tensor, Tensor]:
    order = torch.arange(length, device=like.device)
    times = order / (steps[:, None] - 1).clamp(min=1)
    return times.clamp(max=1.0).to(like.dtype), order < steps[:, None]


def resample(x: Tensor, mask: Tensor, time: Tensor, times: Tensor, real: Tensor) -> Tensor:
    """Bring tokens to other times: [B, T_m, D] -> [B, T, D].

    What stands at a step is the mean of the real tokens, weighted by nearness in time (a triangular
    kernel as wide as the wider of the two spacings), so that padding has no say.

    Args:
        x: [B, T_m, D] tokens.
        mask: [B, T_m], True = real.
        time: [B, T_m] in 0..1, when they are.
        times: [B, T] in 0..1, when they are wanted.
        real: [B, T], which of those are real.
    """
    count, steps = (m.sum(dim=1).clamp(min=2).to(x.dtype) for m in (mask, real))
    reach = torch.maximum(1.0 / (count - 1.0), 1.0 / (steps - 1.0))  # [B]
    apart = (times[:, :, None] - time[:, None, :]).abs()  # [B, T, T_m]
    near = (1.0 - apart / reach[:, None, None]).clamp(min=0.0) + 1e-6
    near = near * mask[:, None, :].to(near.dtype)
    # Where nothing is real (an absent modality that adds no nodes to a graph) nothing is said.
    return (near / near.sum(dim=-1, keepdim=True).clamp(min=1e-12)) @ x


def timeline(streams: Mapping[str, Stream]) -> tuple[Tensor, tuple[int, ...]]:
    """Return `Branch.time` and `Branch.parts` of tokens that lie one modality after the other."""
    time = torch.cat([stream.time for stream in streams.values()], dim=1)
    return time, tuple(stream.x.shape[1] for stream in streams.values())


def fuse(fusion: Fusion, streams: Mapping[str, Stream], clock: str) -> Fused:
    """Fuse, and bring every branch to the clock; with ``pool`` branches stay as they are."""
    if clock == "pool":
        return fusion(streams, clock=clock)  # type: ignore[no-any-return]
    times, real = steps_of(streams, clock)
    if fusion.timed:
        fused: Fused = fusion(streams, clock=clock)
        return Fused([_on_clock(b, times, real) for b in fused.branches], fused.losses)
    return _step_by_step(fusion, streams, times, real)


def _on_clock(branch: Branch, times: Tensor, real: Tensor) -> Branch:
    """Bring a branch's tokens to the clock; those of several modalities are averaged there."""
    if branch.time is None:
        raise IncompatibleError(
            f"the branch {branch.name!r} does not say when its tokens are, which a time axis "
            f"needs: set Branch.time, or leave out timed = True"
        )
    blocks = list(branch.parts) or [branch.seq.shape[1]]
    masks = torch.split(branch.mask, blocks, dim=1)
    parts = zip(
        torch.split(branch.seq, blocks, dim=1),
        masks,
        torch.split(branch.time.to(branch.seq.dtype), blocks, dim=1),
        strict=True,
    )
    moved = [resample(x, mask, time, times.to(x.dtype), real) for x, mask, time in parts]
    seq = moved[0]
    if len(moved) > 1:  # the mean of those parts that an item has
        there = torch.stack([mask.any(dim=1) for mask in masks]).sum(dim=0).clamp(min=1)
        seq = torch.stack(moved).sum(dim=0) / there[:, None, None]
    return Branch(branch.name, seq, real, branch.pooled, branch.present, times)


def _step_by_step(
    fusion: Fusion, streams: Mapping[str, Stream], times: Tensor, real: Tensor
) -> Fused:
    """Let a fusion of vectors fuse each step of the clock as an item of its own."""
    size, length = real.shape
    cut = {}
    for name, stream in streams.items():
        x = resample(stream.x, stream.mask, stream.time.to(stream.x.dtype), times, real)
        x = x.flatten(0, 1)[:, None]  # [B T, 1, D]
        one = torch.ones(x.shape[:2], dtype=torch.bool, device=x.device)
        present = stream.present.repeat_interleave(length)
        cut[name] = Stream(x, one, torch.zeros_like(x[..., 0]), present)
    fused: Fused = fusion(cut, clock="pool")
    branches = []
    for branch in fused.branches:
        seq = branch.pooled.view(size, length, -1)
        present = branch.present.view(size, length)[:, 0]
        branches.append(Branch(branch.name, seq, real, pool(seq, real), present, times))
    return Fused(branches, fused.losses)
