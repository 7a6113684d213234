"""What a dataset builder is: ``build(request) -> Dataset``, in a file that bears its name.

A builder module also has ``VERSION`` (an int, raised whenever its data change), ``Params`` (a
strict msgspec struct of its parameters), and ``source_digest(request) -> str``: a cheap digest of
what lies on the user's disk, empty for generated data.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from mmbench import catalog
from mmbench.errors import SpecError
from mmbench.spec import ModalitySpec, OutputSpec, check_params


@dataclass(frozen=True)
class Request:
    """What a task asks of a builder.

    Attributes:
        task: The task's name, for messages.
        version: The dataset version that the task's TOML names.
        seed: The data seed.
        params: The TOML's ``dataset.params``, not yet checked.
        splits: Split name -> items. Generated data have exactly these; real data must match.
        root: Folder of the user's data (``--data``), or None.
        cache: Folder for prepared arrays.
        modalities: What the TOML says that models are given; for data whose shape is the user's.
        outputs: What it says that models have to say, the main one marked.
        home: The folder of the TOML, where it is the user's own; paths may be relative to it.
    """

    task: str
    version: int
    seed: int
    params: Mapping[str, Any]
    splits: Mapping[str, int]
    root: Path | None
    cache: Path = field(default_factory=Path)
    modalities: Mapping[str, ModalitySpec] = field(default_factory=dict)
    outputs: Mapping[str, OutputSpec] = field(default_factory=dict)
    home: Path | None = None


ParamsT = TypeVar("ParamsT")


def checked(request: Request, name: str, version: int, kind: type[ParamsT]) -> ParamsT:
    """Return the parameters of a task, held against its builder's `Params` and `VERSION`.

    Args:
        request: What the task asks for.
        name: The dataset.
        version: The one that this mmbench makes.
        kind: The struct of its parameters.

    Raises:
        SpecError: Another version is asked for, or a parameter is unknown or wrong.
    """
    where = f"{catalog.task_where(request.task)}: dataset"
    if request.version != version:
        raise SpecError(
            f"{where}.version = {request.version}: this mmbench makes {name} {version}; "
            f"write version = {version}"
        )
    found: ParamsT = check_params(request.params, kind, f"{where}.params")
    return found
