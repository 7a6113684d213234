"""Layers that encoders, fusions and heads share."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import handle_torch_function, has_torch_function


def real_places(real: Tensor) -> Tensor:
    """Return the places [P] of what is True in `real` [N].

    How many there are depends on what is in it, so that this is the one step that cannot be taken
    for several models at once as it stands; `mmbench.models.stacked` has its own way to take it.
    """
    if has_torch_function((real,)):
        return handle_torch_function(real_places, (real,), real)
    return real.nonzero().flatten()


class Places:
    """Where the real tokens of sequences of unequal length stand: layers need no others.

    Args:
        real: [B, L] bool.
    """

    def __init__(self, real: Tensor) -> None:
        self.shape = tuple(real.shape)
        self.index = real_places(real.flatten())

    def gather(self, x: Tensor) -> Tensor:
        """Return the real tokens [P, D] of x [B, L, D]."""
        return x.flatten(0, 1).index_select(0, self.index)

    def spread(self, x: Tensor) -> Tensor:
        """Put real tokens [P, D] into their places in zeros [B, L, D]."""
        size, length = self.shape
        whole = x.new_zeros(size * length, x.shape[-1])
        return whole.index_copy(0, self.index, x).view(size, length, -1)


class Attention(nn.Module):
    """Scaled dot-product attention with several heads (Vaswani et al. 2017, arXiv:1706.03762).

    Departs from the paper only in what it leaves out: no dropout on the attention weights.

    Args:
        width: D of queries, keys and values.
        heads: H; has to divide `width`.
    """

    def __init__(self, width: int, heads: int = 4) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"width {width} is not divisible by {heads} heads")
        self.heads = heads
        self.query = nn.Linear(width, width)
        self.key_value = nn.Linear(width, 2 * width)
        self.out = nn.Linear(width, width)
        # Queries and keys of unit variance and more: with torch's smaller default all keys are
        # heard alike at first, and a small model spends most of its training on that.
        nn.init.normal_(self.query.weight, std=1.5 * width**-0.5)
        nn.init.normal_(self.key_value.weight[:width], std=1.5 * width**-0.5)
        nn.init.normal_(self.key_value.weight[width:], std=width**-0.5)
        nn.init.normal_(self.out.weight, std=width**-0.5)
        for layer in (self.query, self.key_value, self.out):
            nn.init.zeros_(layer.bias)

    def keys_values(self, memory: Tensor) -> tuple[Tensor, Tensor]:
        """Project a memory [B, T, D] to keys and values, each [B, H, T, D/H]."""
        keys, values = self.key_value(memory).chunk(2, dim=-1)
        return self._split(keys), self._split(values)

    def attend(
        self,
        x: Tensor,
        keys: Tensor,
        values: Tensor,
        mask: Tensor | None = None,
        causal: bool = False,
    ) -> Tensor:
        """Attend from x [B, L, D] to keys and values; mask [B, T], True = may be attended to."""
        bias = None if mask is None else mask[:, None, None, :]
        heard = F.scaled_dot_product_attention(
            self._split(self.query(x)), keys, values, attn_mask=bias, is_causal=causal
        )
        return self.out(heard.transpose(1, 2).flatten(2))  # type: ignore[no-any-return]

    def forward(
        self, x: Tensor, memory: Tensor, mask: Tensor | None = None, causal: bool = False
    ) -> Tensor:
        """Attend from x [B, L, D] to memory [B, T, D]."""
        keys, values = self.keys_values(memory)
        return self.attend(x, keys, values, mask, causal)

    def packed(
        self, x: Tensor, places: Places, memory: Tensor | None = None, mask: Tensor | None = None
    ) -> Tensor:
        """Attend from the tokens of ragged sequences: to those before them, or to a memory.

        Args:
            x: [P, D] the real tokens of B sequences, of those of the first item first.
            places: Where they stand.
            memory: [B, T, D]; None: causal attention to themselves.
            mask: [B, T], True = may be attended to.

        Returns:
            [P, D].
        """
        query = self._split(places.spread(self.query(x)))
        if memory is None:
            keys, values = self.key_value(x).chunk(2, dim=-1)
            keys, values = self._split(places.spread(keys)), self._split(places.spread(values))
            # What stands behind an item's last token is heard by nothing that is kept.
            heard = F.scaled_dot_product_attention(query, keys, values, is_causal=True)
        else:
            keys, values = self.keys_values(memory)
            bias = None if mask is None else mask[:, None, None, :]
            heard = F.scaled_dot_product_attention(query, keys, values, attn_mask=bias)
        return self.out(places.gather(heard.transpose(1, 2).flatten(2)))  # type: ignore[no-any-return]

    def _split(self, x: Tensor) -> Tensor:
        size, length, width = x.shape
        return x.view(size, length, self.heads, width // self.heads).transpose(1, 2)


class FeedForward(nn.Sequential):
    """Two linear layers with a GELU between them.

    Args:
        width: D, in and out.
        hidden: Width between.
        dropout: Probability, after the GELU.
    """

    def __init__(self, width: int, hidden: int, dropout: float = 0.0) -> None:
        super().__init__(
            nn.Linear(width, hidden), nn.GELU(), drop(dropout), nn.Linear(hidden, width)
        )


class Block(nn.Module):
    """A pre-norm Transformer layer over [B, T, D].

    Args:
        width: D.
        heads: Attention heads.
        hidden: Width of the feed-forward part; 2 D if None.
        dropout: Probability on both residual branches.
    """

    def __init__(
        self, width: int, heads: int = 4, hidden: int | None = None, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.norm_attention = nn.LayerNorm(width)
        self.attention = Attention(width, heads)
        self.norm_forward = nn.LayerNorm(width)
        self.forward_part = FeedForward(width, hidden or 2 * width)
        self.dropout = drop(dropout)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Let every token attend to the real ones; mask [B, T], True = real."""
        normed = self.norm_attention(x)
        x = x + self.dropout(self.attention(normed, normed, mask))
        changed: Tensor = x + self.dropout(self.forward_part(self.norm_forward(x)))
        return changed


class Tower(nn.Module):
    """`depth` blocks and a final norm: [B, T, D] -> [B, T, D].

    Args:
        width: D.
        depth: Number of blocks; 0 leaves only the norm.
        heads: Attention heads.
        dropout: Probability on residual branches.
        summary: How `read` sums tokens up: ``mean``, of the normed tokens; or ``peak``, the largest
            value of each feature before the norm. One telling token among ten is a tenth of the
            mean; it is found by its peaks, as long as attention does not drown it from the start,
            so that with ``peak`` attention says little at first.
    """

    def __init__(
        self,
        width: int,
        depth: int,
        heads: int = 4,
        dropout: float = 0.0,
        summary: str = "mean",
    ) -> None:
        super().__init__()
        if summary not in ("mean", "peak"):
            raise ValueError(f"summary = {summary!r}: expected mean or peak")
        self.summary = summary
        self.blocks = nn.ModuleList(Block(width, heads, dropout=dropout) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        if summary == "peak":
            for block in self.blocks:
                quiet(block.attention)  # type: ignore[arg-type]

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Encode; mask [B, T], True = real."""
        return self.read(x, mask)[0]

    def read(self, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Encode, and sum up: [B, T, D] -> [B, T, D] and [B, D]."""
        for block in self.blocks:
            x = block(x, mask)
        seq = self.norm(x)
        if self.summary == "mean":
            return seq, pool(seq, mask)
        return seq, self.norm(peak(x, mask))


class Positions(nn.Module):
    """Learned position embeddings, added to the first T tokens.

    Large enough at the start to be seen beside normalised tokens.

    Args:
        count: Most positions.
        width: D.
    """

    def __init__(self, count: int, width: int) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.randn(count, width) * 0.3)

    def forward(self, x: Tensor, start: int = 0) -> Tensor:
        """Add positions ``start .. start + T`` to x [B, T, D]."""
        return x + self.table[start : start + x.shape[1]]


def pool(x: Tensor, mask: Tensor) -> Tensor:
    """Return the mean of the real tokens: [B, T, D], [B, T] -> [B, D]."""
    weight = mask.to(x.dtype).unsqueeze(-1)
    return (x * weight).sum(dim=1) / weight.sum(dim=1).clamp(min=1.0)


def peak(x: Tensor, mask: Tensor) -> Tensor:
    """Return the largest value of each feature among the real tokens: [B, T, D] -> [B, D]."""
    return x.masked_fill(~mask[..., None], -torch.inf).amax(dim=1)


def quiet(attention: Attention) -> Attention:
    """Let attention say little at first, and return it.

    A token that is louder than the others tells something, and it is found by its loudness: what
    attention adds at random would drown it.
    """
    with torch.no_grad():
        attention.out.weight.mul_(0.1)
    return attention


def drop(probability: float) -> nn.Module:
    """Return dropout; nothing at all for probability 0, since drawing masks of ones costs time."""
    return nn.Dropout(probability) if probability else nn.Identity()
