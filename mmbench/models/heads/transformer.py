"""Text head: a Transformer decoder."""

from __future__ import annotations

from torch import Tensor, nn

from mmbench.models.heads._text import State, TextHead
from mmbench.models.layers import Attention, FeedForward, Places, Positions, drop
from mmbench.spec import Count, Decay, Positive
from mmbench.text import EOS, PAD
from mmbench.types import Branch, Output


class _Layer(nn.Module):
    """Self-attention, attention to the memory, feed-forward; each pre-norm and residual."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.norm_self = nn.LayerNorm(width)
        self.self_attention = Attention(width, heads)
        self.norm_memory = nn.LayerNorm(width)
        self.memory_attention = Attention(width, heads)
        self.norm_forward = nn.LayerNorm(width)
        self.forward_part = FeedForward(width, 2 * width)
        self.dropout = drop(dropout)

    def forward(self, x: Tensor, places: Places, memory: Tensor, mask: Tensor) -> Tensor:
        """Hear the words before, then the memory; x [P, D], real words only."""
        x = x + self.dropout(self.self_attention.packed(self.norm_self(x), places))
        told = self.memory_attention.packed(self.norm_memory(x), places, memory, mask)
        x = x + self.dropout(told)
        changed: Tensor = x + self.dropout(self.forward_part(self.norm_forward(x)))
        return changed

    def advance(self, x: Tensor, state: State, name: str, step: int) -> Tensor:
        """Do the same for word number `step`, x [B k, 1, D], writing into the caches."""
        normed = self.norm_self(x)
        keys, values = self.self_attention.keys_values(normed)
        state[f"{name}.keys"][:, :, step] = keys[:, :, 0]
        state[f"{name}.values"][:, :, step] = values[:, :, 0]
        past_keys = state[f"{name}.keys"][:, :, : step + 1]
        past_values = state[f"{name}.values"][:, :, : step + 1]
        x = x + self.self_attention.attend(normed, past_keys, past_values)
        # An item's hypotheses hear one memory: they ask it together, and it is kept once.
        asking = self.norm_memory(x).view(len(state["mask"]), -1, x.shape[2])  # [B, k, D]
        heard = self.memory_attention.attend(
            asking,
            state[f"{name}.memory_keys"],
            state[f"{name}.memory_values"],
            state["mask"],
        )
        x = x + heard.view_as(x)
        changed: Tensor = x + self.forward_part(self.norm_forward(x))
        return changed


class Transformer(TextHead):
    """A pre-norm Transformer decoder (Vaswani et al. 2017, arXiv:1706.03762).

    Args:
        output: ``text``.
        width: D.
        dropout: Probability on embeddings and residual branches.
        depth: Layers.
        heads: Attention heads.
    """

    def __init__(
        self,
        output: Output,
        width: int,
        dropout: Decay = 0.0,
        depth: Count = 2,
        heads: Positive = 4,
    ) -> None:
        super().__init__(output, width, dropout)
        self.positions = Positions(output.size, width)
        self.layers = nn.ModuleList(_Layer(width, heads, dropout) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        self.prompt = nn.Linear(width, width)
        self.scale = width**0.5
        names = [str(i) for i in range(depth)]
        memory = (f"{n}.memory_{part}" for n in names for part in ("keys", "values"))
        self.fixed = ("mask", "prompt", *memory)

    def teach(self, branch: Branch, words: Tensor) -> Tensor:
        """See `TextHead.teach`; zero where no word follows any more."""
        x = self.embed(words) * self.scale + self.prompt(branch.pooled)[:, None]
        # Captions are of unequal length: two in five of a batch's words are padding.
        places = Places((words != PAD) & (words != EOS))
        x = self.dropout(places.gather(self.positions(x)))
        for layer in self.layers:
            x = layer(x, places, branch.seq, branch.mask)
        return places.spread(self.norm(x))

    def begin(self, branch: Branch, beams: int) -> State:
        """See `TextHead.begin`."""
        prompt = self.prompt(branch.pooled).repeat_interleave(beams, dim=0)
        state = {"mask": branch.mask, "prompt": prompt}
        for name, layer in enumerate(self.layers):
            assert isinstance(layer, _Layer)
            keys, values = layer.memory_attention.keys_values(branch.seq)
            # In one piece: attention of one word at a time takes half as long.
            state[f"{name}.memory_keys"] = keys.contiguous()
            state[f"{name}.memory_values"] = values.contiguous()
            shape = (len(keys) * beams, keys.shape[1], self.limit, keys.shape[3])
            state[f"{name}.keys"] = keys.new_zeros(shape)
            state[f"{name}.values"] = keys.new_zeros(shape)
        return state

    def advance(self, state: State, words: Tensor, step: int) -> tuple[Tensor, State]:
        """See `TextHead.advance`."""
        x = (self.embed(words) * self.scale + state["prompt"])[:, None]
        x = self.positions(x, start=step)
        for name, layer in enumerate(self.layers):
            assert isinstance(layer, _Layer)
            x = layer.advance(x, state, str(name), step)
        return self.norm(x)[:, 0], state
