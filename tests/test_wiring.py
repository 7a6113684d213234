"""The picture of a model is that of its code: what meets what is read off the gradients."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import pytest
from PIL import Image

from mmbench import catalog, registry
from mmbench.run import sized
from mmbench.spec import ModelSpec, TaskSpec
from mmbench.sweep import _models
from mmbench.wiring import Wiring, trace

Cli: TypeAlias = Callable[..., Any]

TASK = catalog.task("sentiment")
ALL = ("text", "vision", "audio")

LIAR = '''
"""A late fusion that is none."""
from mmbench.models import Branch, Fusion


class Liar(Fusion):
    """Adds one modality to the others."""

    decision_level = True

    def __init__(self, modalities, width):
        super().__init__()
        from torch import nn

        self.names = list(modalities)
        self.own = nn.ModuleDict({name: nn.Linear(width, width) for name in modalities})

    @property
    def branches(self):
        return self.names

    def forward(self, streams, clock="pool"):
        from mmbench.models import Fused

        first = self.own[self.names[0]](streams[self.names[0]].x).mean(1)
        found = []
        for name in self.names:
            stream = streams[name]
            seq = self.own[name](stream.x) + first[:, None]
            found.append(Branch(name, seq, stream.mask, seq.mean(1), stream.present))
        return Fused(found)
'''


def wiring(name: str, task: TaskSpec = TASK) -> Wiring:
    return traced(catalog.model(name, (), task), task)


def traced(model: ModelSpec, task: TaskSpec = TASK) -> Wiring:
    return trace(sized(model, task), task)


def stage(found: Wiring, name: str) -> dict[str, tuple[str, ...]]:
    return {part.name: part.sees for part in found.parts if part.stage == name}


@pytest.mark.parametrize("name", _models("all", TASK))
def test_late_is_late_and_what_is_not_lets_modalities_meet(name: str) -> None:
    found = wiring(name)
    inner = [part for part in found.parts if part.stage in ("encoder", "fusion", "branch")]
    most = max((len(part.sees) for part in inner), default=0)
    model = catalog.model(name, (), TASK)
    late = registry.load("fusion", model.fusion.name).decision_level
    assert most <= 1 if late or len(found.modalities) < 2 else most == len(found.modalities)
    assert set(stage(found, "input")) == set(found.modalities)
    for part in found.parts:
        if part.stage == "decision":
            assert part.sees == found.modalities
    fed = {b for _, b in found.edges}
    for k, part in enumerate(found.parts):
        assert (k in fed) == (bool(part.sees) and part.stage != "input") or name in (
            "constant",
            "majority",
        )
    assert all(a < b for a, b in found.edges), "from the inputs on, without a circle"


def test_hybrid_has_a_branch_of_each_and_one_of_all() -> None:
    wanted = {"text": ("text",), "vision": ("vision",), "audio": ("audio",), "joint": ALL}
    assert stage(wiring("hybrid"), "branch") == wanted


def test_parts_are_named_as_in_the_code_and_ways_around_are_left_out() -> None:
    found = wiring("tfn")
    inner = stage(found, "fusion")
    assert inner == {
        "factors.text": ("text",),
        "factors.vision": ("vision",),
        "factors.audio": ("audio",),
        "merge": ALL,
    }
    at = {part.name: k for k, part in enumerate(found.parts)}
    assert {(at[f"factors.{m}"], at["merge"]) for m in ALL} <= set(found.edges)
    assert not {(at[f"encoders.{m}"], at["merge"]) for m in ALL} & set(found.edges)


def test_what_only_training_has_is_marked() -> None:
    training = {part.name for part in wiring("mvae").parts if part.training}
    assert training == {"decoders"}
    assert not any(part.training for part in wiring("early").parts)


def test_a_fusion_that_claims_to_be_late_is_caught(own_components: None, tmp_path: Path) -> None:
    path = tmp_path / "liar.py"
    path.write_text(LIAR)
    branches = stage(traced(catalog.model(str(path), (), TASK)), "branch")
    assert branches == {"text": ("text",), "vision": ("text", "vision"), "audio": ("text", "audio")}


def test_other_kinds_of_input_and_output() -> None:
    found = wiring("hybrid", catalog.task("captioning"))
    assert stage(found, "branch")["joint"] == ("image", "audio")
    assert [part.kind for part in found.parts if part.stage == "decision"] == [
        "text: mixture, joint gate"
    ]
    assert wiring("constant").modalities == ()


def test_figures_and_gallery(cli: Cli) -> None:
    done = cli("describe", "hybrid", "-t", "sentiment", "--figures", "pictures")
    assert done.code == 0, done.err
    assert "figure      pictures/hybrid.png" in done.out
    with Image.open("pictures/hybrid.png") as image:
        assert image.width > 800
        assert len(image.convert("RGB").getcolors(1 << 20)) > 20
    first = Path("pictures/hybrid.png").read_bytes()
    assert cli("describe", "hybrid", "-t", "sentiment", "--figures", "pictures").code == 0
    assert Path("pictures/hybrid.png").read_bytes() == first
    done = cli("list", "models", "--gallery", "gallery", "-t", "synergy")
    assert done.code == 0, done.err
    page = Path("gallery/README.md").read_text()
    shown = [path.stem for path in Path("gallery").glob("*.png")]
    assert sorted(shown) == sorted(_models("all", catalog.task("synergy")))
    assert all(f"![{name}]({name}.png)" in page for name in shown)


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("describe hybrid --figures pictures", "--figures: the wiring depends on the task"),
        ("describe captioning -t synergy", "--task: is for models, and 'captioning' is none"),
        ("describe image_only -t synergy --figures p", "'image', which this task lacks"),
        ("describe hybrid -t synergi", "unknown task 'synergi': did you mean 'synergy'?"),
        ("list tasks --gallery p", "--gallery: is of models"),
        ("list models --gallery p -t synergi", "unknown task 'synergi'"),
    ],
)
def test_wrong_usage(cli: Cli, line: str, complaint: str) -> None:
    done = cli(*line.split())
    assert done.code == 2
    assert complaint in done.error
