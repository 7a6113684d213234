"""What a dataset builder is: ``build(request) -> Dataset``, in a file that bears its name.

A builder module also has ``VERSION`` (an int, raised whenever its data change), ``Params`` (a
strict msgspec struct of its parameters), and ``source_digest(request) -> str``: a cheap digest of
what lies on the user's disk, empty for generated data.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmbench.spec import ModalitySpec, OutputSpec


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
