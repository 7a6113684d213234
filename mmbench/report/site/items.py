"""Items on a page: what they are, what was said about them, and what would have been right."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mmbench import rng, store
from mmbench.data import _load
from mmbench.errors import MmbenchError
from mmbench.references import readable
from mmbench.report import samples, verdicts, voices
from mmbench.report.samples import Answers, Sample
from mmbench.report.site.contents import Run
from mmbench.report.site.media import Media, Medium
from mmbench.report.site.names import short, slug
from mmbench.spec import TaskSpec
from mmbench.types import Dataset

#: Letters of a prediction or a reference, and references of an item.
_TEXT, _RIGHT = 600, 3


@dataclass(frozen=True)
class Shown:
    """One item.

    Attributes:
        id: Its name.
        why: Why it was chosen.
        score: What it adds to the main metric, in words.
        media: What it consists of; None where enough others are shown.
        words: The prediction: (word, ``right``, ``wrong`` or nothing).
        wrong: What it states that does not hold.
        right: What would have been right.
        gate: For each word, the share of each branch.
        said: Model -> prediction, where several are side by side.
    """

    id: str
    why: str = ""
    score: str = ""
    media: Sequence[Medium] | None = ()
    words: Sequence[tuple[str, str]] = ()
    wrong: Sequence[str] = ()
    right: Sequence[str] = ()
    gate: Sequence[tuple[str, Sequence[str]]] = ()
    said: Sequence[tuple[str, str]] = ()


@dataclass(frozen=True)
class Gallery:
    """Items of one split.

    Attributes:
        split: Its name.
        items: The items.
        branches: Of the gate's shares.
        judged: Whether words are marked by whether they hold.
        notes: What could not be had, a line each.
    """

    split: str
    items: Sequence[Shown] = ()
    branches: Sequence[str] = ()
    judged: bool = False
    notes: Sequence[str] = ()


@dataclass
class Source:
    """Where items come from.

    Attributes:
        root: Folder of the user's data.
        media: Writes pictures and sounds.
        count: Items on a page.
        said: Task -> model -> item -> prediction: what `of_run` met, for `of_task`.
        licences: Task -> licence, where items that are shown are from the user's own data.
    """

    root: Path | None
    media: Media
    count: int
    said: dict[str, dict[str, dict[str, str]]] = field(default_factory=dict)
    licences: dict[str, str] = field(default_factory=dict)

    def of_run(self, run: Run) -> Gallery | None:
        """Return samples of what a run said; None where none are asked for."""
        record, task = run.record, run.task
        splits = [split for split in ("test", *sorted(record.scores)) if split in record.scores]
        if not self.count or not splits:
            return None
        split = splits[0]
        if (
            store.PREDICTIONS not in record.files
            or not (run.stored.folder / store.PREDICTIONS).exists()
        ):
            return Gallery(split, notes=["the record is here without its predictions"])
        try:
            answers, warnings = samples.collect(run.stored, task, split, self.root)
        except MmbenchError as error:
            return Gallery(split, notes=[str(error).replace(f"{run.stored.folder}/", "")])
        notes = [line.replace(f"{run.stored.folder}/", "") for line in warnings]
        if answers is None:
            return Gallery(split, notes=notes)
        self._keep(run, answers)
        return self._gallery(run, answers, samples.choose(answers, self.count), notes)

    def of_task(self, task: TaskSpec, fingerprint: str, names: Sequence[str]) -> Gallery:
        """Return items of a task, the same as its runs' random ones, and what models said."""
        if not task.modalities:
            return Gallery("test", notes=["the task stands for a file of references"])
        try:
            dataset = _load.load(task, self.root)
        except MmbenchError as error:
            return Gallery("test", notes=[f"the data are not here: {error}"])
        if dataset.fingerprint != fingerprint:
            return Gallery("test", notes=["the data here are not those of the records"])
        return self._of_dataset(dataset, task, names)

    def _of_dataset(self, dataset: Dataset, task: TaskSpec, names: Sequence[str]) -> Gallery:
        split = dataset.splits["test"]
        right = readable(split.references[task.main_output])
        rows = _random(task.name, "test", len(split), self.count)
        told = self.said.get(task.name, {})
        self._licence(task)
        place = _place(task, dataset.fingerprint)
        items = [
            Shown(
                id=split.ids[row],
                media=self.media.of(place, split, dict(dataset.signature.modalities), row),
                right=_few(right[row]) if right is not None else (),
                said=[
                    (name, told[name][split.ids[row]])
                    for name in names
                    if split.ids[row] in told.get(name, {})
                ],
            )
            for row in rows
        ]
        notes = ["beside what is true: what the first run of each model said"] if told else []
        return Gallery("test", items, notes=notes)

    def _licence(self, task: TaskSpec) -> None:
        """Remember that a site holds items that are somebody's: whoever passes it on must know."""
        if task.name not in self.licences and _load.source_digest(task, self.root):
            self.licences[task.name] = short(task.source.licence, 200) or "not known"

    def _keep(self, run: Run, answers: Answers) -> None:
        """Remember what a model's first seed said about the items that all models are shown on."""
        own = self.said.setdefault(run.record.task, {})
        if run.record.model not in own and answers.split == "test" and not run.why_not:
            rows = _random(run.record.task, "test", len(answers.ids), self.count)
            said = {answers.ids[row]: answers.texts[row] or "(nothing)" for row in rows}
            own[run.record.model] = {name: short(text, _TEXT) for name, text in said.items()}

    def _gallery(
        self, run: Run, answers: Answers, chosen: Sequence[Sample], notes: list[str]
    ) -> Gallery:
        references = answers.references
        judged = references is not None and references.parse is not None
        swaps = verdicts.swap_words(references) if judged and references is not None else []
        if answers.data is not None:
            self._licence(run.task)
        place = _place(run.task, run.record.data.get("fingerprint", ""))
        items = []
        for sample in chosen:
            media: Sequence[Medium] | None = ()
            if answers.data is not None and sample.row is not None:
                modalities = dict(answers.modalities)
                media = self.media.of(place, answers.data, modalities, sample.row)
                if media is not None and sample.picture is not None:
                    real = answers.data.targets[answers.output][sample.row]
                    stem = f"media/{place}/{slug(sample.id)}"
                    own = f"{stem}-{slug(run.record.name)}"
                    media = [
                        *media,
                        self.media.picture(f"{own}-generated", "generated", sample.picture),
                        self.media.picture(f"{stem}-real", "real", real),
                    ]
            items.append(
                Shown(
                    id=sample.id,
                    why=sample.why,
                    score=""
                    if sample.score is None
                    else samples.scored(answers.metric, sample.score),
                    media=media,
                    words=_words(answers, sample, swaps),
                    wrong=verdicts.wrong_facts(answers, sample) or (),
                    right=_few(sample.references),
                    gate=_gate(sample),
                )
            )
        if any(item.media is None for item in items):
            notes.append("pictures and sounds of some items are left out: 'mmbench show' has them")
        branches = answers.branches if answers.weights is not None else ()
        return Gallery(answers.split, items, branches, judged, notes)


def _place(task: TaskSpec, fingerprint: str) -> str:
    """Return the folder of an item's media: data that differ never share one."""
    return f"{slug(task.name)}-{fingerprint[:8] if fingerprint.isalnum() else 'x'}"


def _random(task: str, split: str, items: int, count: int) -> list[int]:
    """Return the rows that `samples.choose` draws first, whichever model is looked at."""
    order: list[int] = rng.permutation(0, "samples", task, split, count=items).tolist()
    return order[:count]


def _few(texts: Sequence[str]) -> list[str]:
    return [short(text, _TEXT) for text in texts[:_RIGHT]]


def _words(answers: Answers, sample: Sample, swaps: Sequence[str]) -> list[tuple[str, str]]:
    words = [short(word, _TEXT) for word in sample.words[:200]]
    if not sample.said.strip():
        return [("(nothing)", "")]
    references = answers.references
    if references is None or references.parse is None or sample.truth is None:
        return [(word, "") for word in words]
    judged = verdicts.verdicts(sample.said, sample.truth, references.parse, swaps)
    names: Mapping[bool | None, str] = {True: "right", False: "wrong", None: ""}
    return [(word, names[found]) for word, found in zip(words, judged, strict=False)]


def _gate(sample: Sample) -> list[tuple[str, list[str]]]:
    found = voices.voices(sample)
    return [(short(v.word, 40), [voices.share(weight) for weight in v.weights]) for v in found]
