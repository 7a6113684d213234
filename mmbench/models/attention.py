"""Layers of fusions in which one token attends to others, of its modality or of another."""

from __future__ import annotations

from torch import Tensor, nn

from mmbench.models.layers import Attention, Block, FeedForward, drop, quiet


def quiet_block(width: int, heads: int = 4, dropout: float = 0.0) -> Block:
    """Return a Transformer layer whose attention says little at first."""
    block = Block(width, heads, dropout=dropout)
    quiet(block.attention)
    return block


class CrossBlock(nn.Module):
    """A pre-norm Transformer layer whose keys and values are someone else's tokens.

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
        self.norm_query = nn.LayerNorm(width)
        self.norm_memory = nn.LayerNorm(width)
        self.attention = quiet(Attention(width, heads))
        self.norm_forward = nn.LayerNorm(width)
        self.forward_part = FeedForward(width, hidden or 2 * width)
        self.dropout = drop(dropout)

    def forward(self, x: Tensor, memory: Tensor, mask: Tensor) -> Tensor:
        """Let x [B, T, D] attend to a memory [B, S, D]; mask [B, S], True = real."""
        heard = self.attention(self.norm_query(x), self.norm_memory(memory), mask)
        x = x + self.dropout(heard)
        changed: Tensor = x + self.dropout(self.forward_part(self.norm_forward(x)))
        return changed
