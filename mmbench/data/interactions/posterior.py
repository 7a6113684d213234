"""The exact posterior p(y | x_S) for every set S of modalities, every noise and every absence."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from mmbench.data.interactions.evidence import log_likelihood, project
from mmbench.data.interactions.law import Law
from mmbench.data.interactions.references import law_of
from mmbench.data.interactions.structures import MODALITIES, Floats
from mmbench.errors import UsageError

if TYPE_CHECKING:
    from mmbench.types import Split

# Items whose tables are contracted at once.
_BLOCK = 4000


def posterior(split: Split, heard: frozenset[str]) -> Floats:
    """Return [N, C], p(y | x_S): ``sum_z p(y, z) prod_m p(x_m | z_m)``, scaled.

    The product is over the modalities that are heard and that the item has.

    Args:
        split: Any split of this dataset, or a part of one.
        heard: The modalities to look at, any subset.

    Raises:
        UsageError: A name is no modality, or the split is of another dataset.
    """
    for name in sorted(heard - set(MODALITIES)):
        raise UsageError(f"unknown modality {name!r}: the data have {', '.join(MODALITIES)}")
    law = law_of(split)
    likelihoods = {}
    for modality, name in enumerate(MODALITIES):
        if name in heard:
            x = np.asarray(split.inputs[name])
            log = log_likelihood(project(x, law, modality), law, modality)
            if name in split.present:
                log = np.where(np.asarray(split.present[name])[:, None], log, 0.0)
            likelihoods[modality] = log
    return of_likelihoods(law, likelihoods, len(split))


def of_likelihoods(law: Law, likelihoods: Mapping[int, Floats], items: int) -> Floats:
    """Return [N, C] from the log-likelihoods [N, S] of the modalities that are heard."""
    table = law.table
    for modality in range(len(MODALITIES)):
        if modality not in likelihoods:
            table = table.sum(axis=modality + 1, keepdims=True)
    scaled = [
        np.exp(log - log.max(axis=1, keepdims=True))
        if (log := likelihoods.get(modality)) is not None
        else np.ones((items, 1))
        for modality in range(len(MODALITIES))
    ]
    blocks = [
        _contracted(table, *(part[start : start + _BLOCK] for part in scaled))
        for start in range(0, items, _BLOCK)
    ]
    joint = np.concatenate(blocks)
    return np.asarray(joint / joint.sum(axis=1, keepdims=True))


def _contracted(table: Floats, text: Floats, vision: Floats, audio: Floats) -> Floats:
    """Return [N, C], the sum over all states of the table times the likelihoods."""
    found = np.tensordot(vision, table, axes=(1, 2))  # [N, C, S_text, S_audio]
    return np.asarray(np.einsum("ncta,nt,na->nc", found, text, audio, optimize=True))
