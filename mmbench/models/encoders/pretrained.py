"""Encoder of anything: BERT, ViT or Wav2Vec2-BERT of `transformers`, random or pretrained."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmbench.models.contract import Encoder
from mmbench.models.encoders._networks import Pieces, network, tokenizer
from mmbench.models.encoders._tokens import with_a_key
from mmbench.models.layers import pool
from mmbench.spec import Count, Positive
from mmbench.types import Modality


class Pretrained(Encoder):
    """A network of `transformers` (extra ``hf``); the first token sums the item up.

    By kind of modality:

    - ``text``: `BertModel` (arXiv:1810.04805) between [CLS] and [SEP]. With real weights the words
      are cut into the pieces of their tokenizer; without, every word is one.
    - ``sequence``, ``vector``: `BertModel` behind a linear layer, a [CLS] before the steps.
    - ``image``: `ViTModel` (arXiv:2010.11929), pixels scaled to [-1, 1] and, for real weights,
      resized to what they were trained on.
    - ``spectrogram``: `Wav2Vec2BertModel` (Wav2Vec 2.0, arXiv:2006.11477, on frames of a
      spectrogram instead of a waveform), frames as they come; it has no [CLS], so the mean over
      what was heard comes first. Real weights have to be for as many channels x bands.

    The textbook example that this mends takes the first token, as here, and gives neither network
    an attention mask: padding is read as words. It also cannot be made without a download. Here
    nothing is fetched unless `download` says so, no weights at all means a small network with
    random ones, and nothing but safetensors is read.

    To train what follows and leave the network as it is, leave ``encoders.*.network.*`` out of an
    objective: ``parameters = ["*", "!encoders.*.network.*"]``.

    Args:
        modality: What one item looks like.
        width: D; also of the network where its weights are random.
        weights: A folder, or the name of a published model; empty: random.
        download: Whether a name that is not in the local cache may be fetched.
        depth: Layers, where weights are random.
        heads: Attention heads, where weights are random.
        patch: Side of an image's patches, where weights are random; 0: about six patches a side.
    """

    kinds = ("image", "spectrogram", "text", "sequence", "vector")

    def __init__(
        self,
        modality: Modality,
        width: int,
        weights: str = "",
        download: bool = False,
        depth: Count = 2,
        heads: Positive = 4,
        patch: Count = 0,
    ) -> None:
        super().__init__()
        if not weights and width % heads:
            raise ValueError(f"width {width} is not divisible by {heads} heads")
        self.kind = modality.kind
        small = {
            "hidden_size": width,
            "num_hidden_layers": depth,
            "num_attention_heads": heads,
            "intermediate_size": 4 * width,
        }
        makers = {"image": self._image, "spectrogram": self._sound, "text": self._text}
        makers.get(self.kind, self._steps)(modality, small, weights, download, patch)
        inner = int(self.network.config.hidden_size)
        self.project = nn.Identity() if inner == width else nn.Linear(inner, width)

    def forward(self, x: Tensor, lengths: Tensor | None) -> tuple[Tensor, Tensor]:
        """Encode [B, ...] as the dataset gives it; see `Encoder.forward`. T counts the first."""
        if self.kind == "image":
            states, mask = self._see(x)
        else:
            axis = 2 if self.kind == "spectrogram" else 1
            count = 1 if self.kind == "vector" else x.shape[axis]
            if lengths is None:
                lengths = torch.full((x.shape[0],), count, device=x.device)
            mask = torch.arange(count, device=x.device) < lengths[:, None]
            hear = {"spectrogram": self._hear, "text": self._read}.get(self.kind, self._follow)
            states, mask = hear(x, mask)
        return self.project(states), mask

    # --- text -------------------------------------------------------------------------------------

    def _text(
        self, modality: Modality, small: dict[str, Any], weights: str, download: bool, patch: int
    ) -> None:
        del patch
        words = modality.vocabulary
        reader = tokenizer(weights, download) if weights else None
        limit = modality.shape[0] + 2
        own = _bert(small, len(words) + 2, limit)
        self.network = network("BertModel", own, weights, download)
        self.pieces = Pieces(words, reader, int(self.network.config.max_position_embeddings))

    def _read(self, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        pieces, real = self.pieces(x, mask)
        return self.network(input_ids=pieces, attention_mask=real)[0], real

    # --- steps of numbers -------------------------------------------------------------------------

    def _steps(
        self, modality: Modality, small: dict[str, Any], weights: str, download: bool, patch: int
    ) -> None:
        del patch
        count = 1 if self.kind == "vector" else modality.shape[0]
        # Two words: padding, which is never read, and [CLS].
        self.network = network("BertModel", _bert(small, 2, count + 1), weights, download)
        self.first = int(tokenizer(weights, download).cls_token_id) if weights else 1
        limit = int(self.network.config.max_position_embeddings)
        if count + 1 > limit:
            raise ValueError(f"{count} steps and a first token are more than the {limit} it reads")
        self.enter = nn.Linear(modality.shape[-1], int(self.network.config.hidden_size))

    def _follow(self, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        steps = x[:, None] if self.kind == "vector" else x
        entered = self.enter(torch.where(mask[..., None], steps, 0.0).float())
        first = torch.full((len(x), 1), self.first, device=x.device)
        embedded = torch.cat([self.network.get_input_embeddings()(first), entered], dim=1)
        real = F.pad(mask, (1, 0), value=True)
        return self.network(inputs_embeds=embedded, attention_mask=real)[0], real

    # --- images -----------------------------------------------------------------------------------

    def _image(
        self, modality: Modality, small: dict[str, Any], weights: str, download: bool, patch: int
    ) -> None:
        channels, height, breadth = modality.shape
        own = {
            **small,
            "image_size": (height, breadth),
            "num_channels": channels,
            "patch_size": patch or max(1, min(height, breadth) // 6),
            "hidden_dropout_prob": 0.0,
            "attention_probs_dropout_prob": 0.0,
        }
        self.network = network("ViTModel", own, weights, download)
        wanted = int(self.network.config.num_channels)
        if wanted != channels:
            raise ValueError(f"an image of {channels} channels, and weights for {wanted}")
        size = self.network.config.image_size
        self.size = (size, size) if isinstance(size, int) else tuple(size)

    def _see(self, x: Tensor) -> tuple[Tensor, Tensor]:
        pixels = x.float() / 127.5 - 1.0
        if tuple(pixels.shape[2:]) != self.size:
            pixels = F.interpolate(pixels, self.size, mode="bilinear", antialias=True)
        states = self.network(pixel_values=pixels)[0]
        return states, torch.ones(states.shape[:2], dtype=torch.bool, device=x.device)

    # --- sounds -----------------------------------------------------------------------------------

    def _sound(
        self, modality: Modality, small: dict[str, Any], weights: str, download: bool, patch: int
    ) -> None:
        del patch
        bands = modality.shape[0] * modality.shape[2]
        own = {
            **small,
            "feature_projection_input_dim": bands,
            "conv_depthwise_kernel_size": 5,
            "left_max_position_embeddings": modality.shape[1],
            "hidden_dropout": 0.0,
            "activation_dropout": 0.0,
            "attention_dropout": 0.0,
            "conformer_conv_dropout": 0.0,
            "feat_proj_dropout": 0.0,
            "layerdrop": 0.0,
            "apply_spec_augment": False,
            "mask_time_prob": 0.0,
            "mask_feature_prob": 0.0,
        }
        self.network = network("Wav2Vec2BertModel", own, weights, download)
        wanted = int(self.network.config.feature_projection_input_dim)
        if wanted != bands:
            raise ValueError(
                f"frames of {modality.shape[0]} x {modality.shape[2]} = {bands} numbers, and "
                f"weights for {wanted}"
            )

    def _hear(self, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        frames = x.transpose(1, 2).flatten(2).float() / 127.5 - 1.0  # [B, T, C F]
        frames = frames.masked_fill(~mask[..., None], 0.0)
        real = with_a_key(mask)
        states = self.network(input_features=frames, attention_mask=real.long())[0]
        mean = pool(torch.where(real[..., None], states, 0.0), real)
        return torch.cat([mean[:, None], states], dim=1), F.pad(mask, (1, 0), value=True)


def _bert(small: dict[str, Any], words: int, limit: int) -> dict[str, Any]:
    """Return what a small BERT's configuration is made of."""
    return {
        **small,
        "vocab_size": words,
        "max_position_embeddings": limit,
        "type_vocab_size": 1,
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
    }
