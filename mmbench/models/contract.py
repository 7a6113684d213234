"""The contracts of everything that a model is made of.

Training, prediction and scoring hold a `mmbench.models.model.Model` and never learn which fusion
is inside. What makes that possible: a fusion returns *branches*, a head stands on every branch,
and a combiner merges *predictions*. Early fusion gives one branch, late fusion one per modality,
hybrid fusion those and the joint one.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmbench.errors import IncompatibleError
from mmbench.types import Batch, Branch, Fused, Links, Stream

if TYPE_CHECKING:
    from mmbench.models.model import Model


class Encoder(nn.Module, ABC):
    """Turns one modality of a batch into tokens.

    Args:
        modality: What one item looks like.
        width: D, the width of every token in the model.
    """

    component = "encoder"
    #: The kinds of modality that it reads.
    kinds: tuple[str, ...] = ()
    #: Those of them for which it is taken where a model names no encoder. A new kind of modality is
    #: one file with an encoder that says so: every model then reads it. A plain tuple of strings.
    usual_for: tuple[str, ...] = ()

    @abstractmethod
    def forward(self, x: Tensor, lengths: Tensor | None) -> tuple[Tensor, Tensor]:
        """Encode.

        Args:
            x: [B, ...] as the dataset gives it (uint8 pixels, token ids, ...).
            lengths: [B] valid steps of a ragged input, else None. Content beyond must not matter.

        Returns:
            Tokens [B, T, D] and their mask [B, T], True = real.
        """

    def links(self, x: Tensor, mask: Tensor) -> Links | None:
        """Return how the tokens hang together, for strategies that send messages along edges.

        Args:
            x: [B, ...] as `forward` has it.
            mask: [B, T] what `forward` returned.

        Returns:
            None: they follow one another, which is what most encoders have.
        """
        return None


class Fusion(nn.Module, ABC):
    """Turns streams into branches.

    Args:
        modalities: Their names, in the order of the task. Use names, never positions.
        width: D.
        inputs: Given only to a class that has a parameter of this name: modality -> `Modality`,
            for strategies that reconstruct what the encoders read (`Stream.raw`), or that know
            what kinds of edge a graph has (`Stream.links`).
    """

    component = "fusion"
    #: Kinds of output for which it makes no sense, with the reason that a user reads.
    refuses: Mapping[str, str] = {}
    #: Kinds of output that it does not serve where it has several branches, with the reason.
    refuses_merging: Mapping[str, str] = {}
    #: The fewest modalities that it can work with.
    at_least: int = 1
    #: Whether each branch hears one modality only, so that only decisions are merged.
    decision_level: bool = False
    #: Whether it draws random numbers while it trains (a latent variable, not dropout).
    draws: bool = False
    #: Whether its branches say when each of their tokens is (`Branch.time`). One that does not is
    #: let fuse every step by itself for a head that answers step by step: `mmbench.models.clock`.
    timed: bool = False
    #: Whether a modality's tokens are a set to it: in another order, each with its time and its
    #: mask, they give the same summaries and answers, and equally reordered tokens.
    unordered: bool = False

    @property
    @abstractmethod
    def branches(self) -> Sequence[str]:
        """The names of the branches that `forward` returns, in that order."""

    @abstractmethod
    def forward(self, streams: Mapping[str, Stream], clock: str = "pool") -> Fused:
        """Fuse.

        Args:
            streams: Modality -> its tokens.
            clock: The time axis that the head needs of ``seq``: ``pool`` (any),
                ``native:NAME`` (that modality's), ``latent:L`` (L steps).
        """


def faults(fused: Any, promised: Sequence[str], items: int, width: int) -> Iterator[str]:
    """Say what of a fusion's result is not as every fusion's has to be: names, shapes, types.

    Args:
        fused: What `Fusion.forward` returned for a batch.
        promised: The names that `Fusion.branches` gives.
        items: B.
        width: D.
    """
    if not isinstance(fused, Fused):
        yield f"forward returns {type(fused).__name__}, expected mmbench.models.Fused"
        return
    names = [branch.name for branch in fused.branches]
    if names != list(promised):
        yield f"branches are {names}, and `branches` promises {list(promised)}"
    if len(set(names)) < len(names):
        yield f"branches share a name: {names}"
    for branch in fused.branches:
        yield from _faults_of(branch, items, width)
    if not names:
        yield "there is no branch"


def _faults_of(branch: Branch, items: int, width: int) -> Iterator[str]:
    where = f"branch {branch.name!r}"
    size = branch.seq.shape[1] if branch.seq.dim() == 3 else 0
    wanted: dict[str, tuple[tuple[int, ...], bool]] = {
        "seq": ((items, size, width), False),
        "mask": ((items, size), True),
        "pooled": ((items, width), False),
        "present": ((items,), True),
    }
    for name, (shape, flags) in wanted.items():
        tensor: Tensor = getattr(branch, name)
        if tuple(tensor.shape) != shape:
            told = f"[{items}, T, {width}]" if name == "seq" else f"{list(shape)}"
            yield f"{where}: {name} is {list(tensor.shape)}, expected {told}"
        if (tensor.dtype == torch.bool) is not flags:
            yield f"{where}: {name} is {tensor.dtype}, expected {'bool' if flags else 'float'}"
    if branch.mask.dim() == 2 and branch.mask.dtype == torch.bool:
        empty = int((~branch.mask.any(dim=1)).sum())
        if empty:
            yield f"{where}: {empty} of {items} items have no real token to attend to"


@dataclass
class HeadOut:
    """What a head says on one branch.

    Attributes:
        states: [B, ..., D] the head's last hidden state, for gates.
        answer: [B, ..., C] normalised log-probabilities of C symbols or classes; for a number,
            [B, 2] its mean and the logarithm of its variance; for a match, [B, B] how alike each
            item is to the entry that stands beside each; for an image, [B, C H W] pixels of -1..1,
            and what else its head needs behind them.
    """

    states: Tensor
    answer: Tensor


@dataclass
class Combined:
    """What a combiner makes of K branches: one answer, as in `HeadOut`, and weights [B, ..., K]."""

    answer: Tensor
    weights: Tensor


class Combiner(nn.Module, ABC):
    """Merges the predictions of branches.

    Args:
        branches: Their names.
        width: D, the width of a head's states.
    """

    component = "combiner"
    #: The kinds of output whose answers it can merge.
    kinds: tuple[str, ...] = ()

    @property
    def sees(self) -> str:
        """What its weights depend on: ``nothing``, each its branch's ``own`` state, or ``joint``.

        Only with weights that see nothing, or their own modality and no sum over others, is late
        fusion late.
        """
        return "nothing"

    @abstractmethod
    def forward(self, outs: Sequence[HeadOut], present: Tensor) -> Combined:
        """Merge; `present` [B, K] is False where a branch heard nothing and has to be left out."""


class Head(nn.Module, ABC):
    """Turns a branch into a prediction.

    Args:
        output: What is predicted.
        width: D.
    """

    component = "head"
    #: The kind of output that it serves.
    kind = ""
    #: Whether one set of weights serves all branches.
    shared = False
    #: The time axis that it needs of a branch; see `Fusion.forward`.
    clock = "pool"

    def check(self, fusion: Fusion) -> None:
        """Refuse a fusion that lacks what this head needs.

        Raises:
            IncompatibleError: That.
        """

    @abstractmethod
    def forward(self, branch: Branch, target: Tensor) -> HeadOut:
        """Predict, knowing the `target` only where teacher forcing needs it."""

    @abstractmethod
    def nll(self, answer: Tensor, target: Tensor) -> Tensor:
        """Return the mean negative log-likelihood (nats) of the targets, a scalar."""

    @abstractmethod
    def read_out(
        self,
        heads: Sequence[Head],
        branches: Sequence[Branch],
        combiner: Combiner,
        options: Mapping[str, Any],
    ) -> tuple[list[Any], dict[str, list[Any]]]:
        """Decide: return B predictions and further columns of B values.

        `heads` holds the head of each branch; `options` is the recipe's decoding.
        """


class Additive(ABC):
    """What a combiner offers that adds answers up, with weights that see no item."""

    @abstractmethod
    def weights(self) -> Tensor:
        """Return the weights of the branches, [K], none negative."""


class Adversarial(ABC):
    """What a fusion offers whose features a discriminator tries to tell apart by their modality.

    Its parameters are ``fusion.discriminator.*``, and the objective `discriminator` trains them.
    """

    @abstractmethod
    def features(self, streams: Mapping[str, Stream]) -> Mapping[str, Tensor]:
        """Return the features that are judged: modality -> [B, D]."""

    @abstractmethod
    def discriminate(self, features: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Guess where features [B, D] came from: modality -> log-probabilities [B, M].

        The M guesses stand in the order of the features.
        """


class Inferring(ABC):
    """What a fusion offers in which each modality is an expert on a latent variable z [B, L].

    Attributes:
        latent: L.
    """

    latent: int

    @abstractmethod
    def judge(self, streams: Mapping[str, Stream]) -> tuple[Tensor, Tensor, Tensor]:
        """Return what each modality says of z: mean and log-variance [B, M, L], who is there."""

    @abstractmethod
    def recollect(self, name: str, z: Tensor, stream: Stream) -> Tensor:
        """Return [B], how badly z gives back what a modality's encoder read."""


class Generative(ABC):
    """What a head offers whose pictures a discriminator tells from real ones.

    Attributes:
        discriminator: Judges pictures [B, C, H, W] of -1..1 beside each of K summaries [B, D], how
            real and how fitting they are: -> [K, B]. Its parameters are
            ``heads.*.discriminator.*``.
    """

    discriminator: nn.Module

    @abstractmethod
    def drawn(self, branch: Branch) -> Tensor:
        """Paint pictures [B, C, H, W] of -1..1 from noise."""


def adversaries(
    model: Model, output: str, branches: Sequence[Branch], asking: str
) -> Iterator[tuple[Generative, Branch]]:
    """Yield the head of each branch that has a discriminator, with the branch.

    Raises:
        IncompatibleError: One has none; `asking` is the objective that needs it.
    """
    for at, branch in enumerate(branches):
        head = model.head_of(output, at)
        if not isinstance(head, Generative):
            raise IncompatibleError(
                f"the objective {asking!r} needs a head with a discriminator, such as 'image_gan', "
                f"and the one of {output!r} is {type(head).__name__}: name it in "
                f"[heads.{head.kind}]"
            )
        yield head, branch


class Objective(ABC):
    """A loss over a model and a batch."""

    component = "objective"

    @abstractmethod
    def loss(self, model: Model, batch: Batch) -> Tensor:
        """Return a scalar to minimise."""

    def review(self, model: Model, seen: Batch, unseen: Batch) -> None:  # noqa: B027 - a hook
        """Look at the model at each validation: at items it trains on, and validation items.

        An objective that weighs its parts by how they generalise does so here; the others leave
        it alone, and no batch is made for them.
        """

    def state(self) -> dict[str, Tensor]:
        """Return what it remembers from one step to the next, for a run that is interrupted."""
        return {}

    def restore(self, state: Mapping[str, Tensor]) -> None:  # noqa: B027 - a hook
        """Take up what `state` returned."""


def present_of(branches: Sequence[Branch]) -> Tensor:
    """Stack the branches' presence: [B, K]."""
    return torch.stack([branch.present for branch in branches], dim=1)


def stack(branches: Sequence[Branch]) -> Branch:
    """Lay K branches of B items on top of each other, [K B, T, D], T the longest memory.

    A head whose weights serve all branches then runs once instead of K times. The padding is
    masked, so nothing of it is heard.
    """
    longest = max(branch.seq.shape[1] for branch in branches)
    pads = [longest - branch.seq.shape[1] for branch in branches]
    return Branch(
        name="+".join(branch.name for branch in branches),
        seq=torch.cat([F.pad(b.seq, (0, 0, 0, n)) for b, n in zip(branches, pads, strict=True)]),
        mask=torch.cat([F.pad(b.mask, (0, n)) for b, n in zip(branches, pads, strict=True)]),
        pooled=torch.cat([branch.pooled for branch in branches]),
        present=torch.cat([branch.present for branch in branches]),
    )


def split_out(out: HeadOut, count: int) -> list[HeadOut]:
    """Undo `stack` on what a head says: `count` times [B, ...]."""
    pairs = zip(out.states.chunk(count), out.answer.chunk(count), strict=True)
    return [HeadOut(states, answer) for states, answer in pairs]
