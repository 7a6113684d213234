"""Where a run stands, on disk: killed at any moment, it goes on and ends with the same bits.

A checkpoint is a folder with ``state.json`` (where training stands: stage, step, place in the
epoch, curve, what patience has left; sealed with a checksum) and ``tensors.safetensors`` (weights,
best weights, averages, what optimisers and objectives remember, every random stream). It is
written beside and renamed, and the one before is kept until then, so one of both is always whole.
It lies in a hidden folder beside the place of the record, and goes when the record is there.

Only what would end in the same bits is gone on from: a checkpoint says which run it is of and what
made it (code, packages, threads, device). From any other, and from a damaged one, the run begins
anew, and says why.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec import Struct, field

from mmbench import provenance, sealed, store
from mmbench.errors import NewerError, StoreError

if TYPE_CHECKING:
    from torch import Tensor

SCHEMA = 1
STATE, TENSORS = "state.json", "tensors.safetensors"
#: Seconds between two checkpoints, unless the command line says otherwise.
EVERY = 60.0


class Place(Struct, kw_only=True):
    """Where training stands, after a whole step.

    Attributes:
        stage: Number of the stage; as many as there are stages when training is done.
        began: Steps that had been taken when the stage began.
        done: Steps taken, over all stages.
        epoch, start: Where in which epoch of the stage the next batch begins.
        turns: How often each objective of the stage had its turn.
        averaged: Steps that the average of the weights has seen.
        since: Validations since the best one.
        unread: Steps whose loss was not read yet.
        items, seconds: As in `mmbench.train.Trained`, and so are the others.
        resumed: The steps at which training was gone on with before.
        seed: The run's, in a batch of seeds.
        seeds: Where each seed of a batch stands (`mmbench.together`).
    """

    stage: int
    began: int = 0
    done: int = 0
    epoch: int = 0
    start: int = 0
    turns: list[int] = field(default_factory=list)
    averaged: int = 0
    since: int = 0
    unread: int = 0
    items: int = 0
    seconds: float = 0.0
    best_step: int = 0
    best_score: float | None = None
    stopped_early: bool = False
    diverged: str = ""
    pieces: int = 1
    #: Step, loss, validation, and whether there was none: null is a number that is not finite.
    curve: list[tuple[int, float | None, float | None, bool]] = field(default_factory=list)
    resumed: list[int] = field(default_factory=list)
    seed: int = 0
    seeds: list[Place] = field(default_factory=list)


class State(Struct, frozen=True, kw_only=True):
    """What stands in ``state.json``: whose checkpoint, made by what, and the place."""

    schema: int = SCHEMA
    identity: str
    made_by: dict[str, str]
    place: Place
    files: dict[str, str]
    checksum: str = ""


def maker(device: str, threads: int) -> dict[str, str]:
    """Return all beside the run itself that its bits depend on."""
    code = {"mmbench": provenance.code_digest(), "platform": provenance.platform_name()}
    machine = {"cpu": provenance.cpu(), "device": device, "threads": str(threads)}
    packages = provenance.packages()
    return (
        code | machine | {name: packages[name] for name in ("numpy", "torch") if name in packages}
    )


def seeds_of(folder: Path) -> list[int]:
    """Return the seeds whose checkpoints are in a folder; none where that cannot be read."""
    for name in ("current", "previous"):
        with suppress(StoreError, NewerError):
            state = sealed.read(folder / name / STATE, State, SCHEMA)
            return [one.seed for one in state.place.seeds]
    return []


class Checkpoints:
    """The checkpoints of one run.

    Args:
        folder: Theirs alone; made when the first one is written.
        identity: The run's.
        made_by: As `maker` returns it.
        every: Seconds between two of them; 0: one after every step.
        note: Told, in a line, why a checkpoint is of no use.
    """

    def __init__(
        self,
        folder: Path,
        identity: str,
        made_by: Mapping[str, str],
        every: float = EVERY,
        note: Callable[[str], None] = lambda line: None,
    ) -> None:
        self.folder = folder
        self.identity = identity
        self.made_by = dict(made_by)
        self.every = every
        self.note = note
        self.last = time.monotonic()

    def due(self) -> bool:
        """Whether it is time for another one."""
        return time.monotonic() - self.last >= self.every

    def save(self, place: Place, tensors: Mapping[str, Tensor]) -> None:
        """Write a checkpoint; the one before stays until it is whole.

        Raises:
            PlaceError: It cannot be written; the ones before are as they were.
        """
        from safetensors.torch import save

        with store.explained(self.folder.parents[2]):
            self.folder.mkdir(parents=True, exist_ok=True)
            self._clean()
            fresh = Path(tempfile.mkdtemp(prefix=".writing-", dir=self.folder))
            try:
                # Through Python's own file, so that a full disk is an OSError like any other.
                with (fresh / TENSORS).open("wb") as file:
                    file.write(save({name: _plain(x) for name, x in tensors.items()}))
                    file.flush()
                    os.fsync(file.fileno())
                state = State(
                    identity=self.identity,
                    made_by=self.made_by,
                    place=place,
                    files={TENSORS: _checksum(fresh / TENSORS)},
                )
                sealed.put(fresh / STATE, sealed.encode(sealed.seal(state)))
                self._swap(fresh)
            finally:
                shutil.rmtree(fresh, ignore_errors=True)
        self.last = time.monotonic()

    def load(self, device: Any = "cpu") -> tuple[Place, dict[str, Tensor]] | None:
        """Return the newest whole checkpoint of this run; None if there is none to go on from.

        Raises:
            NewerError: A newer mmbench wrote it: to begin anew would write over it.
        """
        refused: list[StoreError] = []
        for name in ("current", "previous"):
            if not (self.folder / name).is_dir():
                continue
            try:
                found = self._read(self.folder / name, device)
            except NewerError as error:
                raise NewerError(
                    f"{error}, or remove {self.folder}, which holds how far the run is"
                ) from None
            except StoreError as error:
                refused.append(error)
                continue
            for why in refused:
                self.note(f"{why}; the one before is taken")
            self.last = time.monotonic()
            return found
        if refused:
            self.note(f"{refused[0]}; the run begins anew")
        return None

    def clear(self) -> None:
        """Remove them all: the record is there, or they are of no use."""
        if self.folder.exists():
            owner = self.folder.name.removeprefix(".").removesuffix(".checkpoint")
            with suppress(OSError):
                store.discard(self.folder, self.folder.with_name(owner))

    def _read(self, folder: Path, device: Any) -> tuple[Place, dict[str, Tensor]]:
        from safetensors import SafetensorError
        from safetensors.torch import load

        state = sealed.read(folder / STATE, State, SCHEMA)
        if state.identity != self.identity:
            raise StoreError(f"{folder}: is a checkpoint of another run")
        others = [
            f"{key} {state.made_by.get(key, 'none')} -> {value}"
            for key, value in self.made_by.items()
            if state.made_by.get(key) != value
        ]
        if others:
            raise StoreError(
                f"{folder}: going on from it would not give the same bits: {', '.join(others)}"
            )
        path = folder / TENSORS
        try:
            content = path.read_bytes()
        except OSError as error:
            raise StoreError(f"{path}: cannot be read: {error.strerror}") from None
        if _digest(content) != state.files.get(TENSORS):
            raise StoreError(f"{path}: does not match its checksum: it was cut off or damaged")
        try:
            tensors = load(content)
        except (SafetensorError, ValueError) as error:
            raise StoreError(f"{path}: cannot be read: {error}") from None
        return state.place, {name: x.to(device) for name, x in tensors.items()}

    def _swap(self, fresh: Path) -> None:
        current, previous = self.folder / "current", self.folder / "previous"
        if current.exists():
            if previous.exists():
                shutil.rmtree(previous)
            os.replace(current, previous)
        os.replace(fresh, current)

    def _clean(self) -> None:
        """Remove what a killed process left half written."""
        for path in self.folder.glob(".writing-*"):
            shutil.rmtree(path, ignore_errors=True)


def _plain(x: Tensor) -> Tensor:
    """Return a copy that shares memory with nothing."""
    return x.detach().to("cpu", copy=True).contiguous()


def _checksum(path: Path) -> str:
    return _digest(path.read_bytes())


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
