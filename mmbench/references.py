"""What metrics compare predictions with: the right answers of N items, by kind of output.

A kind of output has one class here, one file ``mmbench/metrics/items/<kind>.py`` that puts
predictions beside them, and metrics that read those items.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Protocol, TypeAlias

from mmbench.errors import IncompatibleError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

#: The slots of one caption: slot name -> the set of its fillers, each a tuple of words.
Slots: TypeAlias = Mapping[str, frozenset[tuple[str, ...]]]
#: Reads the slots out of one caption. Must never raise, whatever the text.
SlotParser: TypeAlias = Callable[[str], Slots]


#: Kind of output -> that of its right answers, where the two differ: a transcript is a text to
#: metrics, whichever head wrote it.
ANSWERED_BY = {"transcript": "text"}


class References(Protocol):
    """The right answers of one output, N items."""

    @property
    def kind(self) -> str:
        """The kind of output."""
        ...

    def __len__(self) -> int: ...

    def take(self, index: Sequence[int]) -> References:
        """Return the references of the items `index`, in that order."""
        ...


@dataclass(frozen=True)
class TextReferences:
    """The right answers of a text output (a caption, a translation, a transcript), N items.

    Attributes:
        texts: For each item, its reference texts; as people wrote them.
        slots: For each item, its slots, where the dataset plants them.
        parse: Reads slots out of a predicted text; set exactly where `slots` is.
    """

    texts: Sequence[tuple[str, ...]]
    slots: Sequence[Slots] | None = None
    parse: SlotParser | None = None
    kind: ClassVar[str] = "text"

    def __len__(self) -> int:
        return len(self.texts)

    def take(self, index: Sequence[int]) -> TextReferences:
        """Return the references of the items `index`, in that order."""
        slots = None if self.slots is None else [self.slots[i] for i in index]
        return replace(self, texts=[self.texts[i] for i in index], slots=slots)


def texts_of(references: References) -> TextReferences:
    """Return references that have to be texts.

    Raises:
        IncompatibleError: They are of another kind.
    """
    if not isinstance(references, TextReferences):
        raise IncompatibleError(f"expected a text output, got one of the kind {references.kind!r}")
    return references


@dataclass(frozen=True)
class LabelReferences:
    """One right class an item.

    Attributes:
        labels: [N] int, the number of the right class, 0 to C - 1.
        classes: The C names; the order is that of predicted probabilities.
    """

    labels: NDArray[np.int64]
    classes: tuple[str, ...]
    kind: ClassVar[str] = "label"

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, index: Sequence[int]) -> LabelReferences:
        """Return the references of the items `index`, in that order."""
        return replace(self, labels=self.labels[list(index)])


@dataclass(frozen=True)
class MultilabelReferences:
    """Any number of right classes an item.

    Attributes:
        labels: [N, C] bool, whether a class is right.
        classes: The C names; the order is that of predicted probabilities.
    """

    labels: NDArray[np.bool_]
    classes: tuple[str, ...]
    kind: ClassVar[str] = "multilabel"

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, index: Sequence[int]) -> MultilabelReferences:
        """Return the references of the items `index`, in that order."""
        return replace(self, labels=self.labels[list(index)])


@dataclass(frozen=True)
class ScalarReferences:
    """One number an item.

    Attributes:
        values: [N] float64, finite.
    """

    values: NDArray[np.float64]
    kind: ClassVar[str] = "scalar"

    def __len__(self) -> int:
        return len(self.values)

    def take(self, index: Sequence[int]) -> ScalarReferences:
        """Return the references of the items `index`, in that order."""
        return replace(self, values=self.values[list(index)])


@dataclass(frozen=True)
class MatchReferences:
    """Right answers of retrieval: N queries (images, say) beside a gallery of M (captions).

    The items are the N queries. In the other direction the M gallery entries ask and the queries
    are found; an entry then counts with the first query that it is right for, so that the five
    captions of an image stay one independent unit. An entry that is right for none only distracts.

    Attributes:
        relevant: For each query, the numbers of the gallery entries that are right; at least one.
        gallery: M.
        names: What the M entries are called, or say, where people can read it; may be empty.
    """

    relevant: Sequence[tuple[int, ...]]
    gallery: int
    names: Sequence[str] = ()
    kind: ClassVar[str] = "match"

    def __len__(self) -> int:
        return len(self.relevant)

    def take(self, index: Sequence[int]) -> MatchReferences:
        """Return the references of the queries `index`; the gallery stays whole."""
        return replace(self, relevant=[self.relevant[i] for i in index])


@dataclass(frozen=True)
class FrameReferences:
    """One class a frame (a step of time), N recordings of their own lengths.

    Attributes:
        frames: For each recording, [T] int, the number of the class of each frame.
        classes: The C names.
        background: The number of the class that is no event; None: every class is one.
        keys: For each recording, the numbers of its key frames; None where there are none.
    """

    frames: Sequence[NDArray[np.int64]]
    classes: tuple[str, ...]
    background: int | None = 0
    keys: Sequence[NDArray[np.int64]] | None = None
    kind: ClassVar[str] = "frames"

    def __len__(self) -> int:
        return len(self.frames)

    def take(self, index: Sequence[int]) -> FrameReferences:
        """Return the references of the recordings `index`, in that order."""
        keys = None if self.keys is None else [self.keys[i] for i in index]
        return replace(self, frames=[self.frames[i] for i in index], keys=keys)


class ImageReading(NamedTuple):
    """What is read off N images.

    Attributes:
        features: [N, D] float64.
        attributes: Attribute -> [N] int, -1 where an image shows none of its values.
    """

    features: NDArray[np.float64]
    attributes: Mapping[str, NDArray[np.int64]]


class ImageReader(Protocol):
    """Reads images [N, C, H, W] uint8, of the shape [C, H, W] that it names."""

    shape: tuple[int, ...]

    def __call__(self, images: NDArray[np.uint8]) -> ImageReading:
        """Read; every image has features, whatever it shows."""
        ...


@dataclass(frozen=True)
class ImageReferences:
    """Real images beside generated ones, as features; and what a generated image has to show.

    Attributes:
        features: [N, D] float64 features of the real images, from a fixed network or recipe.
        attributes: Attribute -> [N] int, its right value; may be empty.
        names: Attribute -> the names of its values, in the order of their numbers; where known.
        read: Reads generated images, where the dataset can; else their features have to be given.
        pairs: [N] int, a number that two items share of which one is an edit of the other.
        known: [M, D] features of images that models were trained on; none where that is not known.
    """

    features: NDArray[np.float64]
    attributes: Mapping[str, NDArray[np.int64]]
    names: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    read: ImageReader | None = None
    pairs: NDArray[np.int64] | None = None
    known: NDArray[np.float64] | None = None
    kind: ClassVar[str] = "image"

    def __len__(self) -> int:
        return len(self.features)

    def take(self, index: Sequence[int]) -> ImageReferences:
        """Return the references of the items `index`, in that order."""
        rows = list(index)
        taken = {name: values[rows] for name, values in self.attributes.items()}
        pairs = None if self.pairs is None else self.pairs[rows]
        return replace(self, features=self.features[rows], attributes=taken, pairs=pairs)


@dataclass(frozen=True)
class Said:
    """What was predicted for one output, in the order of its references.

    Attributes:
        ids: The N ids, for messages.
        values: N predictions; None where one is missing and shall count as a failure.
        columns: Further columns of the output, name -> N values (``scores``: probabilities, ...);
            ``gallery`` alone, what retrieval looks through, has a length of its own.
    """

    ids: Sequence[str]
    values: Sequence[Any]
    columns: Mapping[str, Sequence[Any]]

    def __len__(self) -> int:
        return len(self.values)


def readable(references: References) -> list[list[str]] | None:
    """Return [N] what is right, as texts; None where it is not to be read."""
    if isinstance(references, TextReferences):
        return [list(texts) for texts in references.texts]
    if isinstance(references, LabelReferences):
        return [[references.classes[label]] for label in references.labels]
    if isinstance(references, MultilabelReferences):
        return [
            [", ".join(name for name, there in zip(references.classes, row, strict=True) if there)]
            for row in references.labels
        ]
    if isinstance(references, FrameReferences):
        names = references.classes
        return [[", ".join(names[k] for k in frames)] for frames in references.frames]
    if isinstance(references, ScalarReferences):
        return [[f"{value:g}"] for value in references.values]
    if isinstance(references, ImageReferences) and references.names:
        called, shown = references.names, references.attributes
        return [
            [", ".join(called[name][values[item]] for name, values in shown.items())]
            for item in range(len(references))
        ]
    if isinstance(references, MatchReferences) and references.names:
        return [[references.names[entry] for entry in own] for own in references.relevant]
    return None
