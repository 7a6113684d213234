"""Which model serves which kind of output: one table, held against models that are built."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

import msgspec
import pytest
import tiny

from mmbench import catalog, registry
from mmbench.errors import IncompatibleError
from mmbench.models.sides import fewest
from mmbench.run import Run, check, promised
from mmbench.spec import TaskSpec, parse_task

KINDS = ("label", "multilabel", "scalar", "text", "transcript", "match", "frames", "image")
#: Kind of output -> what a task says of it.
OUTPUTS: dict[str, dict[str, Any]] = {
    "label": {"classes": ["a", "b", "c"]},
    "multilabel": {"classes": ["a", "b", "c"]},
    "transcript": {"clock": "latent:20"},
    "frames": {"classes": ["a", "b", "c"], "clock": "latent:20"},
    "image": {"shape": [3, 16, 16]},
}

#: Families of fusion as the science has them -> the kinds that they have to serve, and those that
#: they must not. What is neither may be as it is.
ALL = frozenset(KINDS)
STEPS = frozenset({"transcript", "frames"})
WHOLE = ALL - STEPS
FAMILIES: dict[str, tuple[tuple[str, ...], frozenset[str], frozenset[str]]] = {
    "joint": (
        (
            "early",
            "early_features",
            "hybrid",
            "parallel",
            "sequential",
            "multimodal_self_attention",
            "mult",
            "mbt",
        ),
        ALL,
        frozenset(),
    ),
    "late": (
        ("late", "late_equal", "late_mixture", "late_precision"),
        ALL - {"image"},
        frozenset({"image"}),
    ),
    "one vector": (("concat", "tfn", "lmf", "gmu"), ALL, frozenset()),
    "graph": (("gcn", "gat", "gatv2", "rgcn", "graph_plain"), ALL, frozenset()),
    "latent": (("mvae", "mmvae", "mopoe", "mfm"), WHOLE, STEPS),
    "adversarial": (("argf",), WHOLE - {"text", "image"}, STEPS),
    "contrastive": (("contrastive",), WHOLE - {"image"}, STEPS),
}


@cache
def served() -> dict[str, dict[str, str]]:
    return catalog.served()


def task_of(kind: str) -> TaskSpec:
    """Return a task with one output of a kind; of retrieval the items are a text's."""
    modalities: Mapping[str, Any] = {
        "vision": {"kind": "image", "shape": [3, 24, 24]},
        "audio": {"kind": "spectrogram", "shape": [1, 12, 6]},
        "words": {"kind": "text", "shape": [5]},
    }
    if kind == "match":
        modalities = {**modalities, "words": {**modalities["words"], "role": "gallery"}}
    return parse_task(
        {
            "schema": 1,
            "name": "one",
            "version": 1,
            "summary": "for tests",
            "dataset": {"name": "scenecap", "version": 1},
            "modalities": modalities,
            "outputs": {"what": {"kind": kind, **OUTPUTS.get(kind, {})}},
            "splits": {"train": 8, "val": 4, "test": 4},
            "metrics": {"main": "accuracy"},
            "budgets": {"small": {"items": 8, "steps": 4}},
        },
        "one",
    )


def test_the_table_has_every_shipped_model_and_every_kind_that_has_a_head() -> None:
    table = served()
    assert sorted(table) == catalog.model_names(shipped=True)
    kinds = {registry.load("head", name).kind for name in registry.names("head")}
    for row in table.values():
        assert set(row) == kinds >= ALL


@pytest.mark.parametrize("kind", KINDS)
def test_what_the_table_says_is_what_can_be_built(kind: str) -> None:
    task = task_of(kind)
    table, built = served(), 0
    for pattern, row in table.items():
        name = pattern.replace("{modality}", "audio")
        spec = catalog.model(name, (), task)
        if row[kind]:
            with pytest.raises(IncompatibleError) as caught:
                check(Run(task, spec, "small", 0))
            message = str(caught.value)
            assert "\n" not in message
            assert f"model {name!r}" in message
            assert row[kind] in message
            works = [n for n, other in table.items() if not other[kind]]
            assert f"add [heads.{kind}]" in message or any(n in message for n in works)
            continue
        alone = kind == "match" and "{modality}" in pattern
        if alone and fewest(registry.load("fusion", spec.fusion.name)) > 1:
            with pytest.raises(IncompatibleError, match=r"merges modalities of one side.*run late"):
                check(Run(task, spec, "small", 0))
            continue
        model = tiny.make(msgspec.structs.replace(spec, width=16), 0, promised(task))
        assert list(model.heads) == ["what"]
        built += 1
    assert built > 40


@pytest.mark.parametrize("family", FAMILIES)
def test_families_serve_what_the_science_gives_them(family: str) -> None:
    table = served()
    names, must, must_not = FAMILIES[family]
    for name in names:
        can = {kind for kind, why in table[name].items() if not why}
        assert must <= can, name
        assert not must_not & can, name


def test_lists_show_the_same_table() -> None:
    shown = {row["name"]: set(row["outputs"]) for row in catalog.model_summaries()}
    assert shown == {name: {k for k in row if not row[k]} for name, row in served().items()}


def test_a_pair_that_makes_no_sense_is_named_with_what_would_work() -> None:
    spec = catalog.model("mvae", (), task_of("transcript"))
    with pytest.raises(IncompatibleError) as caught:
        check(Run(task_of("transcript"), spec, "small", 0))
    assert str(caught.value) == (
        "model 'mvae': the fusion 'product_of_experts' does not serve outputs of kind "
        "'transcript': it makes whole items again from one vector, and has no step of time; "
        "early, late, hybrid, concat and cross_attention serve it"
    )
    spec = catalog.model("dual_encoder", (), task_of("label"))
    with pytest.raises(IncompatibleError, match=r"'dual_encoder' has no head for 'label': its "):
        check(Run(task_of("label"), spec, "small", 0))
