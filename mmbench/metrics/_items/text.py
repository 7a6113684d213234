"""What text metrics read: predictions and references, tokenised and counted once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from mmbench import text
from mmbench.errors import ItemError, UsageError
from mmbench.metrics._captions import Captions
from mmbench.metrics._ngrams import NGrams, count

if TYPE_CHECKING:
    from mmbench.references import Said, SlotParser, Slots, TextReferences

#: N-grams of one to so many words are counted, as in BLEU-4 and CIDEr.
ORDERS = 4


@dataclass(frozen=True)
class TextItems:
    """N predicted texts beside their references; what costs time is done once, when asked for.

    Attributes:
        predictions: The N predicted texts.
        references: The reference texts of each, at least one.
        slots: The slots of each item, where the dataset plants them.
        parse: Reads slots out of a predicted text; set exactly where `slots` is.
        tokenizer: Name of the tokeniser that `tokens` and everything counted comes from.
        missing: Of how many items there is no prediction, so that an empty text stands for it.
    """

    predictions: Sequence[str]
    references: Sequence[tuple[str, ...]]
    slots: Sequence[Slots] | None = None
    parse: SlotParser | None = None
    tokenizer: str = "ptb"
    missing: int = 0

    def __len__(self) -> int:
        return len(self.predictions)

    @cached_property
    def tokens(self) -> list[list[str]]:
        """The tokens of each prediction; an empty text has none."""
        return text.tokenize(self.predictions, self.tokenizer)

    @cached_property
    def reference_tokens(self) -> list[list[list[str]]]:
        """For each item, the tokens of each reference."""
        flat = (reference for references in self.references for reference in references)
        tokens = iter(text.tokenize(flat, self.tokenizer))
        return [[next(tokens) for _ in references] for references in self.references]

    @cached_property
    def predicted_slots(self) -> list[Slots]:
        """The slots read out of each prediction.

        Raises:
            UsageError: The references bring no parser.
        """
        if self.parse is None:
            raise UsageError("the references bring no parser, so no slots can be read")
        return [self.parse(prediction) for prediction in self.predictions]

    @cached_property
    def captions(self) -> Captions:
        """Predictions and references as one array of token numbers."""
        tokenizer = text.TOKENIZERS[self.tokenizer]
        return Captions.of_texts(self.predictions, self.references, tokenizer)

    @cached_property
    def ngrams(self) -> list[NGrams]:
        """The n-grams of all texts, counted, for n = 1 to 4."""
        return count(self.captions, ORDERS)


def prepare(said: Said, references: TextReferences) -> TextItems:
    """Put predicted texts beside their references.

    Args:
        said: N texts; an empty one is allowed, and scores as badly as a text can. A missing one
            is an empty one.
        references: Of the same N items, in the same order.

    Raises:
        UsageError: An item has no reference, or a prediction is not text.
    """
    for name, prediction in zip(said.ids, said.values, strict=True):
        if prediction is not None and not isinstance(prediction, str):
            raise ItemError(
                f"the prediction of {name!r} is {prediction!r}, expected text; "
                f"write an empty text where the model said nothing",
                name,
            )
    for name, texts in zip(said.ids, references.texts, strict=True):
        if not texts:
            raise ItemError(
                f"{name!r} has no reference: a text metric needs at least one", name, right=True
            )
    predictions = [prediction or "" for prediction in said.values]
    return TextItems(
        predictions,
        references.texts,
        references.slots,
        references.parse,
        missing=sum(prediction is None for prediction in said.values),
    )


def no_worst_answer(items: TextItems) -> str:
    """Say that a missing text would flatter what is measured, or return an empty string."""
    if not items.missing:
        return ""
    return (
        f"{items.missing:,} items have no prediction, and a text that is not there would make it "
        f"better: predict all items"
    )


def perfect(references: TextReferences) -> tuple[list[str], dict[str, Sequence[Any]]]:
    """Return the first reference of each item."""
    return [texts[0] for texts in references.texts], {}
