"""The words of mmbench as types: what data, models and metrics hand to each other.

`data`, `models` and `metrics` never import one another. They meet here: a dataset makes
`Split` objects and a `Signature`; a model is built from the signature alone and makes
`Predictions`; a metric reads predictions and references.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, TypeAlias

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from mmbench.references import References

Array: TypeAlias = "NDArray[Any]"
Floats: TypeAlias = "NDArray[np.float64]"

#: The roles of a modality.
QUERY: Final = "query"
GALLERY: Final = "gallery"


@dataclass(frozen=True)
class Modality:
    """One input: what an encoder has to know.

    Attributes:
        kind: ``image`` [C, H, W] uint8, ``video`` [T, H, W] uint8 grey, ``spectrogram`` [C, T, F]
            uint8, ``text`` [L] token ids, ``sequence`` [T, d], ``set`` [T, d] (a sequence whose
            order means nothing), ``points`` [N, d] (a set of places) and ``vector`` [d] floats of
            about unit variance; ``graph`` [1 + R, N, W], see `Links`; or any kind that an encoder
            is for (`mmbench.models.Encoder.usual_for`), which are floats too.
        shape: Shape of ONE item.
        vocabulary: For text, the word of each token id; empty otherwise.
        role: For retrieval, whose it is: an item's, which is the ``query``, or ``gallery``, of the
            entries that are looked through.
    """

    kind: str
    shape: tuple[int, ...]
    vocabulary: tuple[str, ...] = ()
    role: str = QUERY

    @property
    def relations(self) -> int:
        """Kinds of edge R that it tells: none, unless it is a graph."""
        return self.shape[0] - 1 if self.kind == "graph" else 0


@dataclass(frozen=True)
class Output:
    """One thing to predict: what a head has to know.

    Attributes:
        kind: ``text`` (a caption), ``transcript`` (what was said, in the order in which it was),
            ``label`` (one class), ``multilabel`` (any number of classes), ``frames`` (one class a
            step of time), ``scalar`` (a number), ``match`` (entries of a gallery), ``image`` (a
            picture that is generated).
        size: For text, the most tokens a target has, the end mark included; for a transcript, the
            most steps of a clock that a target takes, its symbols and a blank between equal ones;
            for classes, how many there are; for an image, the pixels of its height; 1 for a number
            and for a match.
        vocabulary: For text, the word of each token id; for a transcript, the blank of CTC, then
            its symbols: characters where one of them is a blank space, else words; for classes,
            their names.
        main: Whether the task's main metric is on this output.
        offset: For a number, the mean of the training targets.
        scale: For a number, their standard deviation.
        clock: For a transcript and for frames, the time axis that they are read from; see
            `Fusion.forward`.
        background: For frames, the number of the class that is no event; None: every class is one.
        shape: For an image, channels, height and width; empty otherwise.
    """

    kind: str
    size: int
    vocabulary: tuple[str, ...] = ()
    main: bool = True
    offset: float = 0.0
    scale: float = 1.0
    clock: str = "pool"
    background: int | None = 0
    shape: tuple[int, ...] = ()


@dataclass(frozen=True)
class Signature:
    """All that `models.build` needs to make encoders and heads; stored in every record."""

    modalities: Mapping[str, Modality]
    outputs: Mapping[str, Output]

    def of_role(self, role: str) -> list[str]:
        """Return the modalities of a role, in the task's order."""
        return [name for name, modality in self.modalities.items() if modality.role == role]

    @property
    def main(self) -> str:
        """The name of the main output."""
        return next(name for name, output in self.outputs.items() if output.main)


@dataclass(frozen=True)
class Ragged:
    """Sequences of unequal length: `values` [N, T, ...] padded, `lengths` [N] >= 0."""

    values: Array
    lengths: Array

    def __len__(self) -> int:
        return len(self.lengths)


@dataclass(frozen=True)
class Split:
    """Items of one split, N of them, in numpy arrays that may be memory-mapped.

    Attributes:
        ids: N unique names.
        inputs: Modality -> [N, ...] array, or `Ragged`.
        targets: Output -> what a model is trained on. Text: token ids [N, R, L] int, R texts an
            item, 0 where there is none (token 0 is padding); an item has at least one. Transcript:
            symbols [N, L] int, then zeros. Label: [N] int, -1 where it is not known. Multilabel:
            [N, C] of 0 and 1. Frames: [N, T] int, the class of each step, -1 where it is not known
            or there is none. Scalar: [N] float, NaN where it is not known. Image: pixels
            [N, C, H, W] uint8. Match: [N, R] int, the
            entries of the gallery that are right for an item, -1 behind them where there are fewer;
            an item has at least one.
        references: Output -> what a metric compares with.
        present: Modality -> [N] bool, False where an item lacks it; absent key: always there.
        groups: Column -> [N] values to report subgroups by.
        clusters: [N] the unit that items share (speaker, video); None: each item is its own.
        gallery: For retrieval, the M entries that the items are to find, as a split without targets
            and references: its inputs are the modalities whose role is ``gallery``.
    """

    ids: Sequence[str]
    inputs: Mapping[str, Array | Ragged]
    targets: Mapping[str, Array]
    references: Mapping[str, References]
    present: Mapping[str, Array] = field(default_factory=dict)
    groups: Mapping[str, Array] = field(default_factory=dict)
    clusters: Array | None = None
    gallery: Split | None = None

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, index: Array) -> Split:
        """Return the items `index` [n] int, in that order; copies what it takes.

        The gallery stays whole.
        """

        def pick(values: Array | Ragged) -> Array | Ragged:
            if isinstance(values, Ragged):
                return Ragged(values.values[index], values.lengths[index])
            return values[index]

        rows = [int(i) for i in index]
        return Split(
            ids=[self.ids[i] for i in rows],
            inputs={name: pick(values) for name, values in self.inputs.items()},
            targets={name: values[index] for name, values in self.targets.items()},
            references={name: refs.take(rows) for name, refs in self.references.items()},
            present={name: values[index] for name, values in self.present.items()},
            groups={name: values[index] for name, values in self.groups.items()},
            clusters=None if self.clusters is None else self.clusters[index],
            gallery=self.gallery,
        )


#: Answers with the oracle's texts for a split, given the modalities that it may look at.
Oracle: TypeAlias = Callable[[Split, frozenset[str]], "Predictions"]


@dataclass(frozen=True)
class Dataset:
    """What a dataset builder returns.

    Attributes:
        signature: What models need to know.
        splits: Split name -> items. ``train`` and ``val`` are for training, the rest for tests.
        fingerprint: SHA-256 over the content of all arrays, as hex.
        oracle: For planted data, the best predictor known for any subset of the modalities.
        left_out: Split -> a line for each item that could not be read and was left out on demand.
    """

    signature: Signature
    splits: Mapping[str, Split]
    fingerprint: str
    oracle: Oracle | None = None
    left_out: Mapping[str, Sequence[str]] = field(default_factory=dict)


@dataclass(frozen=True)
class Predictions:
    """What a model says about N items.

    Attributes:
        ids: The N ids, in the order of the split.
        outputs: Output -> N predictions (texts as str; images as one array [N, C, H, W] uint8).
        columns: Further columns to keep, name -> N values (which modality spoke each word, ...);
            one called ``OUTPUT.gallery`` has M, one for each entry of the gallery.
    """

    ids: Sequence[str]
    outputs: Mapping[str, Sequence[Any]]
    columns: Mapping[str, Sequence[Any]] = field(default_factory=dict)


# --- what a model hands around inside; torch, so only named here ---------------------------------


@dataclass
class Batch:
    """B items on the model's device.

    Attributes:
        size: B.
        inputs: Modality -> [B, ...].
        lengths: Modality -> [B] valid lengths of ragged inputs.
        present: Modality -> [B] bool.
        targets: Output -> training targets (text: token ids [B, L]; match: [B, 1 + R] int,
            the entry that stands beside an item, then all that are right for it; else as in
            `Split`); empty when predicting.
    """

    size: int
    inputs: Mapping[str, Tensor]
    lengths: Mapping[str, Tensor]
    present: Mapping[str, Tensor]
    targets: Mapping[str, Tensor] = field(default_factory=dict)

    def cut(self, start: int, stop: int) -> Batch:
        """Return the items from `start` to before `stop`."""
        tables = (self.inputs, self.lengths, self.present, self.targets)
        parts = [{name: x[start:stop] for name, x in table.items()} for table in tables]
        return Batch(stop - start, *parts)


@dataclass
class Links:
    """How the tokens of a stream hang together that do not follow one another.

    A ``graph`` is an array [1 + R, N, W], W >= N. Plane 0 has a row for each of N nodes: who it is
    (1, 2, ...; 0: there is no such node), then W - 1 numbers about it. Plane r has a 1 in row i and
    column j (of the first N) where node i points at node j by relation r. Numbers of who is who and
    of relations mean the same in all graphs of a task, and if it has a text, the number of a thing
    is that of the word for it.

    Attributes:
        edges: [B, R, N, N] bool, True where node j points at node i: j speaks to i. The nodes are
            the first N tokens; those behind them tell the edges to who knows no graphs.
        names: [B, N] int, who a node is, 0 where there is none. What has one name in two streams
            is one thing. None: they have no names.
        line: Whether tokens follow one another all the same, as words do that name things.
    """

    edges: Tensor
    names: Tensor | None = None
    line: bool = False

    @property
    def graph(self) -> bool:
        """Whether there are kinds of edge."""
        return self.edges.shape[1] > 0


@dataclass
class Stream:
    """One modality of a batch after its encoder.

    Attributes:
        x: [B, T, D] features. An absent modality is one learned null token.
        mask: [B, T] bool, True = real. No row is ever all False.
        time: [B, T] float in [0, 1], the position of each token on the item's own clock.
        present: [B] bool.
        raw: [B, ...] what the encoder read, absent items zeroed; None for a stream that has no
            input. Only for auxiliary losses that reconstruct: a prediction must not depend on it.
        lengths: [B] valid steps of `raw` where it is ragged, else None.
        links: Of a graph or a set, its edges; of a text beside a graph, what its words name. None:
            tokens follow one another.
    """

    x: Tensor
    mask: Tensor
    time: Tensor
    present: Tensor
    raw: Tensor | None = None
    lengths: Tensor | None = None
    links: Links | None = None


@dataclass
class Branch:
    """One line of evidence that a head stands on.

    Attributes:
        name: The modality it hears, or ``joint``.
        seq: [B, T, D] memory.
        mask: [B, T] bool, True = real.
        pooled: [B, D] summary.
        present: [B] bool, False where the branch has heard nothing; a combiner leaves it out.
        time: [B, T] float in [0, 1], when each token is; None where tokens have no time.
        parts: How many of the T tokens come from each modality, one after the other; empty: all
            are of one line of time.
        partner: For retrieval, the branch of the gallery's side that it is compared with.
        belief: Mean and log-variance, [B, L] each, of a latent variable, where it has one: for
            heads that draw from it.
    """

    name: str
    seq: Tensor
    mask: Tensor
    pooled: Tensor
    present: Tensor
    time: Tensor | None = None
    parts: Sequence[int] = ()
    partner: Branch | None = None
    belief: tuple[Tensor, Tensor] | None = None


@dataclass
class Fused:
    """What a fusion returns: its branches, and named auxiliary losses (scalars) if it has any."""

    branches: Sequence[Branch]
    losses: Mapping[str, Tensor] = field(default_factory=dict)
