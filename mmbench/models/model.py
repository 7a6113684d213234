"""A whole model: encoders, fusion, and for each output its heads and its combiner."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from mmbench.errors import SpecError
from mmbench.models.clock import fuse
from mmbench.models.contract import (
    Combined,
    Combiner,
    Encoder,
    Fusion,
    Head,
    HeadOut,
    faults,
    present_of,
    split_out,
    stack,
)
from mmbench.models.sides import of_one_side, pair_names, pairs
from mmbench.types import GALLERY, QUERY, Batch, Branch, Fused, Links, Signature, Stream

#: The stream of a model that looks at no modality: its learned null token.
PRIOR = "prior"


@dataclass
class Verdict:
    """What the heads say on each branch, and what the combiner makes of it."""

    outs: Sequence[HeadOut]
    combined: Combined


class _Encoded(Stream):
    """A stream whose clock is made when somebody asks for it: few fusions do."""

    @classmethod
    def of(
        cls,
        x: Tensor,
        mask: Tensor,
        present: Tensor,
        raw: Tensor,
        lengths: Tensor | None,
        links: Links | None,
    ) -> _Encoded:
        """Make one without a clock."""
        made = cls(x, mask, mask, present, raw, lengths, links)
        del made.time
        return made

    def __getattr__(self, name: str) -> Tensor:
        """Make the clock: 0 at the first token, 1 at the last real one."""
        if name != "time":
            raise AttributeError(name)
        order = torch.arange(self.mask.shape[1], device=self.mask.device)
        last = (self.mask.sum(dim=1, keepdim=True) - 1).clamp(min=1)
        self.time = (order / last).clamp(max=1.0)
        return self.time


def _place(fusion: Fusion) -> str:
    """Name a fusion in an error: by its file, if it is the user's."""
    own = type(fusion)
    file = getattr(sys.modules.get(own.__module__), "__file__", None)
    return f"the fusion {own.__name__}" + (f" of {file}" if file else "")


class Model(nn.Module):
    """Encoders -> fusion -> heads on branches -> combiner. Built by `mmbench.models.build`.

    Args:
        signature: What the task gives and wants.
        encoders: Modality -> encoder; empty for a model that looks at nothing.
        fusion: The strategy.
        heads: Output -> one head (shared), or one per branch.
        combiners: Output -> combiner.
        width: D.
        gallery: For retrieval, the fusion of the gallery's side; see `mmbench.models.sides`.
    """

    gallery: Fusion | None

    def __init__(
        self,
        signature: Signature,
        encoders: Mapping[str, Encoder],
        fusion: Fusion,
        heads: Mapping[str, Sequence[Head]],
        combiners: Mapping[str, Combiner],
        width: int,
        gallery: Fusion | None = None,
    ) -> None:
        super().__init__()
        self.signature = signature
        self.width = width
        graphs = any(signature.modalities[name].relations for name in encoders)
        #: Texts whose words are the names of nodes.
        self._naming = {n for n in encoders if graphs and signature.modalities[n].kind == "text"}
        self._fit: set[str] = set()  # the roles of which what a fusion returns has been looked at
        self.encoders = nn.ModuleDict(encoders)
        self.fusion = fusion
        self.gallery = gallery
        self.heads = nn.ModuleDict({name: nn.ModuleList(group) for name, group in heads.items()})
        self.combiners = nn.ModuleDict(combiners)
        lone = () if self.of_role(QUERY) else (PRIOR,)
        self.null = nn.ParameterDict(
            {name: torch.randn(width) * 0.02 for name in (*encoders, *lone)}
        )

    def of_role(self, role: str) -> list[str]:
        """Return the modalities of a role that it looks at."""
        return [name for name in self.signature.of_role(role) if name in self.encoders]

    @property
    def sides(self) -> list[list[str]]:
        """The modalities that belong to one item: all of them, or those of either role."""
        return [names for role in (QUERY, GALLERY) if (names := self.of_role(role))]

    @property
    def branches(self) -> list[str]:
        """What its heads stand on: branches, or pairs of branches."""
        if self.gallery is None:
            return list(self.fusion.branches)
        return pair_names(self.fusion.branches, self.gallery.branches)

    @property
    def decision_level(self) -> bool:
        """Whether it is late fusion: nothing but what merges decisions sees two modalities.

        The proven bounds for late fusion hold for such a model.
        """
        seen = {str(combiner.sees) for combiner in self.combiners.values()}
        whole = self.fusion.decision_level and (self.gallery is None or self.gallery.decision_level)
        return bool(whole) and "joint" not in seen

    def streams(self, batch: Batch, role: str = QUERY) -> dict[str, Stream]:
        """Encode each modality of a role; an absent one becomes its learned null token."""
        names = self.of_role(role)
        if not names:
            size, device = batch.size, self.null[PRIOR].device
            real = torch.ones(size, 1, dtype=torch.bool, device=device)
            x = self.null[PRIOR].expand(size, 1, -1)
            return {PRIOR: Stream(x, real, torch.zeros(size, 1, device=device), real[:, 0])}
        return {name: self._stream(name, batch) for name in names}

    def _stream(self, name: str, batch: Batch) -> Stream:
        x, present = batch.inputs[name], batch.present[name]
        lengths = batch.lengths.get(name)
        if lengths is not None:
            present = present & (lengths > 0)
            lengths = torch.where(present, lengths, 0)
        # Zeroed before the encoder: NaN in an absent input must not survive as 0 x NaN.
        x = torch.where(present.view(-1, *[1] * (x.dim() - 1)), x, 0)
        tokens, mask = self.encoders[name](x, lengths)
        first = torch.arange(tokens.shape[1], device=tokens.device) == 0
        here = present[:, None]
        tokens = torch.where(here[..., None], tokens, self.null[name].to(tokens.dtype))
        mask = torch.where(here, mask, first)
        encoder = self.encoders[name]
        assert isinstance(encoder, Encoder)
        links = encoder.links(x, mask)
        if links is None and name in self._naming and mask.shape == x.shape:  # a token is a word
            size, count = mask.shape
            links = Links(mask.new_zeros(size, 0, count, count), x.long(), line=True)
        return _Encoded.of(tokens, mask, present, x, lengths, links)

    def fuse(self, batch: Batch) -> Fused:
        """Encode and fuse.

        Raises:
            SpecError: The fusion does not return what every fusion has to.
        """
        fused = self.side(batch, QUERY)
        if self.gallery is None:
            return fused
        return pairs(fused, self.side(batch, GALLERY))

    def side(self, batch: Batch, role: str) -> Fused:
        """Encode and fuse the modalities of a role."""
        fusion = self.gallery if role == GALLERY else self.fusion
        assert isinstance(fusion, Fusion)
        clocks = {self.head_of(name, 0).clock for name in self.heads}
        fused = fuse(fusion, self.streams(batch, role), clocks.pop())
        if role not in self._fit:
            wrong = next(faults(fused, fusion.branches, batch.size, self.width), "")
            if wrong:
                raise SpecError(f"{_place(fusion)}: {wrong}")
            self._fit.add(role)  # it depends on the model, not on the batch
        return fused

    def head_of(self, output: str, branch: int) -> Head:
        """Return the head that stands on a branch."""
        group = self.heads[output]
        assert isinstance(group, nn.ModuleList)
        head = group[min(branch, len(group) - 1)]
        assert isinstance(head, Head)
        return head

    def verdict(self, output: str, branches: Sequence[Branch], target: Tensor) -> Verdict:
        """Let the heads speak on all branches, and merge."""
        first = self.head_of(output, 0)
        if first.shared and len(branches) > 1:
            outs = split_out(first(stack(branches), target.repeat(len(branches), 1)), len(branches))
        else:
            outs = [self.head_of(output, k)(branch, target) for k, branch in enumerate(branches)]
        return Verdict(outs, self.combiners[output](outs, present_of(branches)))

    @torch.no_grad()
    def read_out(
        self, batch: Batch, options: Mapping[str, Any], role: str = QUERY
    ) -> tuple[dict[str, list[Any]], dict[str, list[Any]]]:
        """Decide on every output: predictions by output, further columns by ``output.column``.

        For retrieval, say what is to be compared of one side; see `Match.read_out`.
        """
        branches = self.side(batch, role).branches
        if self.gallery is not None:
            other = self.fusion if role == GALLERY else self.gallery
            branches = of_one_side(branches, len(other.branches), role == QUERY)
            options = {**options, "role": role}
        outputs: dict[str, list[Any]] = {}
        columns: dict[str, list[Any]] = {}
        for name in self.heads:
            heads = [self.head_of(name, k) for k in range(len(branches))]
            combiner = self.combiners[name]
            assert isinstance(combiner, Combiner)
            outputs[name], more = heads[0].read_out(heads, branches, combiner, options)
            columns.update({f"{name}.{column}": values for column, values in more.items()})
        return outputs, columns
