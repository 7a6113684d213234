"""Networks of `transformers`: small ones with random weights, or published ones from a folder."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mmbench.errors import MissingExtraError, SpecError

#: The network that reads a kind of modality -> the ``model_type`` of its weights.
TYPES = {"BertModel": "bert", "ViTModel": "vit", "Wav2Vec2BertModel": "wav2vec2-bert"}
#: Those that end with a layer for a task of their own unless they are told not to.
POOLED = ("BertModel", "ViTModel")


def network(name: str, small: dict[str, Any], weights: str, download: bool) -> Any:
    """Return a network without its pooling layer, in training mode.

    Args:
        name: Its class, one of `TYPES`.
        small: What its configuration is made of where `weights` is empty.
        weights: A folder, or the name of a published model.
        download: Whether a name that is not in the cache may be fetched.

    Raises:
        MissingExtraError: `transformers` is not installed.
        SpecError: The weights are not there, or are of another network.
    """
    transformers = library()
    kind = getattr(transformers, name)
    options: dict[str, Any] = {"add_pooling_layer": False} if name in POOLED else {}
    if not weights:
        made = kind(kind.config_class(**small), **options)
    else:
        made = _loaded(transformers, kind, weights, download, options)
    return _without_idle_dropout(made).train()


def library() -> Any:
    """Import `transformers`."""
    try:
        import transformers
    except ModuleNotFoundError as error:
        what = f"{error.name}, which the encoder 'pretrained' needs,"
        raise MissingExtraError(what, "hf") from None
    return transformers


def tokenizer(weights: str, download: bool) -> Any:
    """Return the tokenizer that goes with weights.

    Raises:
        SpecError: There is none.
    """
    with _quiet(transformers := library()):
        try:
            return transformers.AutoTokenizer.from_pretrained(
                weights, local_files_only=not download
            )
        except (OSError, ValueError) as error:
            why = _first_line(error)
            raise SpecError(f"weights {weights!r}: the tokenizer cannot be read: {why}") from None


def _loaded(
    transformers: Any, kind: Any, weights: str, download: bool, options: dict[str, Any]
) -> Any:
    name = kind.__name__
    where = f"weights {weights!r}"
    with _quiet(transformers):
        try:
            # A folder or a cache; nothing is fetched unless that was asked for, and nothing is
            # unpickled: of a model's files only safetensors are read.
            found = transformers.AutoConfig.from_pretrained(weights, local_files_only=not download)
            if found.model_type != TYPES[name]:
                raise SpecError(
                    f"{where}: are of a network of type {found.model_type!r}, and {name} is needed"
                )
            # Random numbers of the networks' own are not those of a run's seed.
            for off in ("layerdrop", "mask_time_prob", "mask_feature_prob"):
                if hasattr(found, off):
                    setattr(found, off, 0.0)
            made, report = kind.from_pretrained(
                weights,
                config=found,
                local_files_only=not download,
                use_safetensors=True,
                output_loading_info=True,
                **options,
            )
        except (OSError, ValueError, RuntimeError) as error:
            hint = "" if download or Path(weights).is_dir() else "; download = true fetches a name"
            raise SpecError(f"{where}: cannot be read: {_first_line(error)}{hint}") from None
    lacking = sorted(report["missing_keys"])
    if lacking:
        raise SpecError(f"{where}: lack {len(lacking)} parameters of {name}, such as {lacking[0]}")
    return made.float()


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0].rstrip(".")


@contextmanager
def _quiet(transformers: Any) -> Iterator[None]:
    """Keep progress bars and reports off the screen for a while."""
    log = transformers.utils.logging
    before, bars = log.get_verbosity(), log.is_progress_bar_enabled()
    log.set_verbosity_error()
    log.disable_progress_bar()
    try:
        yield
    finally:
        log.set_verbosity(before)
        if bars:
            log.enable_progress_bar()


class _Idle(nn.Identity):
    """What stands where dropout stood; networks ask it for its probability."""

    p = 0.0


def _without_idle_dropout(made: Any) -> Any:
    """Take out the dropout that drops nothing."""
    for part in list(made.modules()):
        for name, child in part.named_children():
            if isinstance(child, nn.Dropout) and not child.p:
                setattr(part, name, _Idle())
    return made


class Pieces(nn.Module):
    """Turns a task's words into the pieces that a network knows, between [CLS] and [SEP].

    Args:
        words: The task's vocabulary, V words.
        reader: The network's tokenizer; None: every word is one piece, with its own number.
        limit: The most pieces that the network reads, both marks included.
    """

    table: Tensor
    counts: Tensor

    def __init__(self, words: tuple[str, ...], reader: Any, limit: int) -> None:
        super().__init__()
        if reader is None:
            each = [[number] for number in range(len(words))]
            self.first, self.last, self.pad = len(words), len(words) + 1, 0
        else:
            each = [_pieces(word, reader) for word in words]
            self.first, self.last = int(reader.cls_token_id), int(reader.sep_token_id)
            self.pad = int(reader.pad_token_id)
        self.limit = limit
        longest = max(1, *map(len, each))
        table = torch.full((len(each), longest), self.pad)
        for number, row in enumerate(each):
            table[number, : len(row)] = torch.tensor(row, dtype=torch.int64)
        # They follow from words and tokenizer: not part of what is trained and saved.
        self.register_buffer("table", table, persistent=False)
        self.register_buffer("counts", torch.tensor([len(r) for r in each]), persistent=False)

    def forward(self, words: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Turn words [B, L] with their mask into pieces [B, K] and theirs; K >= 2."""
        words = torch.where(mask, words, 0).long()
        pieces = self.table[words].flatten(1)  # [B, L P]
        place = torch.arange(self.table.shape[1], device=words.device)
        real = ((place < self.counts[words][..., None]) & mask[..., None]).flatten(1)
        order = (~real).to(torch.uint8).argsort(dim=1, stable=True)  # real ones come first
        pieces = pieces.gather(1, order)[:, : self.limit - 2]
        count = real.sum(dim=1, keepdim=True).clamp(max=self.limit - 2)
        first = torch.full_like(pieces[:, :1], self.first)
        pieces = torch.cat([first, pieces, torch.full_like(first, self.pad)], dim=1)
        steps = torch.arange(pieces.shape[1], device=words.device)
        pieces = torch.where(steps <= count, pieces, self.pad)
        return pieces.scatter(1, count + 1, self.last), steps < count + 2


def _pieces(word: str, reader: Any) -> list[int]:
    """Return a word's pieces; marks such as <pad> are none, and <unk> is the network's own."""
    if word == "<unk>":
        return [int(reader.unk_token_id)]
    if word.startswith("<") and word.endswith(">"):
        return []
    found: list[int] = reader(word, add_special_tokens=False)["input_ids"]
    return found
