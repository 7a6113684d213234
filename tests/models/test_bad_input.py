"""What does not fit a model is refused in one line or handled as documented; never a NaN."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
import tiny
import torch

from mmbench import catalog, registry
from mmbench.errors import IncompatibleError, SpecError, UsageError
from mmbench.models.model import Model
from mmbench.spec import ComponentSpec
from mmbench.testing import check_fusion
from mmbench.types import Batch, Modality, Signature

#: World -> its modality of unequal lengths.
RAGGED = {"captions": "tags", "answers": "steps"}
FUSIONS = registry.names("fusion")

Write = Callable[..., str]
Cli = Callable[..., Any]


def models(key: str) -> list[Model]:
    world = tiny.WORLDS[key]
    kinds = {output.kind for output in world.signature.outputs.values()}
    names = [n for n in FUSIONS if not kinds & set(registry.load("fusion", n).refuses)]
    return [world.make(world.spec("concat", fusion=ComponentSpec(name))) for name in names]


def emptied(batch: Batch, name: str) -> Batch:
    return replace(batch, lengths={**batch.lengths, name: torch.zeros_like(batch.lengths[name])})


# --- sequences without a step --------------------------------------------------------------------


@pytest.mark.parametrize("key", list(tiny.WORLDS))
@torch.no_grad()
def test_a_sequence_of_length_zero_is_an_absent_modality(key: str) -> None:
    world, ragged = tiny.WORLDS[key], RAGGED[key]
    for model in models(key):
        whole = tiny.batch(world.split(4, whole=True), model)
        gone = replace(whole, present={**whole.present, ragged: torch.zeros(4, dtype=torch.bool)})
        for mode in (False, True):
            model.train(mode)
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(0)
                found = tiny.log_probs(model, emptied(whole, ragged))
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(0)
                expected = tiny.log_probs(model, gone)
            assert torch.isfinite(found).all(), type(model.fusion).__name__
            assert torch.equal(found, expected), type(model.fusion).__name__


# --- numbers of modalities -----------------------------------------------------------------------


@pytest.mark.parametrize("name", FUSIONS)
def test_one_modality_is_fused_or_refused_by_name(name: str) -> None:
    one = Signature({"image": tiny.SIGNATURE.modalities["image"]}, tiny.SIGNATURE.outputs)
    kind = registry.load("fusion", name)
    spec = msgspec.structs.replace(tiny.spec("concat"), name="own", fusion=ComponentSpec(name))
    if "text" in kind.refuses:
        with pytest.raises(IncompatibleError, match="does not serve outputs of kind 'text'"):
            tiny.make(spec, signature=one)
    elif kind.at_least > 1:
        told = f"'own': the fusion '{name}' needs at least {kind.at_least} modalities and has 1"
        with pytest.raises(IncompatibleError, match=told):
            tiny.make(spec, signature=one)
    else:
        assert list(tiny.make(spec, signature=one).encoders) == ["image"]


# --- sizes ---------------------------------------------------------------------------------------

#: Encoder, what one item looks like -> what is said of it.
MISFITS: list[tuple[str, Modality, dict[str, Any], str]] = [
    ("cnn", Modality("image", (3, 3, 9)), {}, "an image of 3 x 9 has no 4 x 4 patches"),
    ("conv_pool", Modality("image", (3, 3, 9)), {}, "a picture of 3 x 9 is too small"),
    (
        "pretrained",
        Modality("sequence", (5, 2)),
        {"heads": 3},
        "width 16 is not divisible by 3 heads",
    ),
]


@pytest.mark.parametrize(("encoder", "modality", "params", "told"), MISFITS)
def test_a_size_that_does_not_fit_is_told_with_both_sizes(
    encoder: str, modality: Modality, params: dict[str, Any], told: str
) -> None:
    spec = tiny.spec("late", encoders={modality.kind: ComponentSpec(encoder, params)})
    with pytest.raises(SpecError) as caught:
        tiny.make(spec, signature=Signature({"eye": modality}, tiny.SIGNATURE.outputs))
    message = str(caught.value)
    where = f"late: encoders.{modality.kind}: the encoder '{encoder}' refuses its arguments: "
    assert message == where + message.removeprefix(where)
    assert told in message
    assert "\n" not in message


@pytest.mark.parametrize("name", ["cross_transformer", "crossmodal", "cross_attention"])
def test_a_width_that_heads_do_not_divide_is_told(name: str) -> None:
    if name not in FUSIONS:
        pytest.skip("there is no such fusion")
    spec = tiny.spec("concat", fusion=ComponentSpec(name, {"heads": 5}))
    with pytest.raises(SpecError, match="width 16 is not divisible by 5 heads"):
        tiny.make(spec)


def test_what_a_linear_concatenation_takes_is_one_of_three() -> None:
    spec = tiny.spec("concat", fusion=ComponentSpec("linear_concat", {"take": "middle"}))
    with pytest.raises(SpecError, match="take: expected one of mean, first, last, got 'middle'"):
        tiny.make(spec)


# --- files ---------------------------------------------------------------------------------------

ENCODER = """
from mmbench.models import Encoder


class Own(Encoder):
    kinds = ("image",)
"""
FUSION = """
import torch
from mmbench.models import Branch, Fused, Fusion


class Own(Fusion):
    branches = ("joint",)

    def forward(self, streams, clock="pool"):
        s = streams["image"]
        return Fused([Branch("joint", s.x, s.mask, s.x[:, 0], s.present)])
"""


def test_a_file_of_another_kind_is_no_fusion(cli: Cli, task: Write) -> None:
    Path("own.py").write_text(ENCODER)
    done = cli("run", "-t", task(), "-m", "./own.py")
    assert done.code == 2
    assert "own.py: expected a fusion, and it holds encoder only" in done.error
    assert "put own.toml beside it" in done.error


def test_a_file_without_a_fusion_or_with_two_is_refused_by_the_checks_too(workplace: Path) -> None:
    del workplace
    Path("none.py").write_text("x = 1\n")
    with pytest.raises(UsageError, match="holds no component"):
        check_fusion("none.py")
    Path("two.py").write_text(FUSION + FUSION.replace("Own", "Other"))
    with pytest.raises(UsageError, match=r"two classes are a fusion \(Own, Other\)"):
        check_fusion("two.py")


def test_a_modality_that_the_task_lacks_is_told(workplace: Path) -> None:
    del workplace
    text = 'schema = 1\nextends = "matched"\nname = "own"\nsummary = "x"\nfamily = "own"\n'
    Path("own.toml").write_text(f'{text}modalities = ["smell"]\nfusion = {{ name = "late" }}\n')
    with pytest.raises(IncompatibleError, match="'smell', which this task lacks: it has image"):
        tiny.make(catalog.model("own.toml"))


# --- fusions of one's own ------------------------------------------------------------------------

OWN = """
import torch
from mmbench.models import Branch, Fused, Fusion
from mmbench.models.layers import pool


class Own(Fusion):
    "The sum of all summaries."

    def __init__(self, modalities, width):
        super().__init__()
        self.layer = torch.nn.Linear(width, width)

    @property
    def branches(self):
        return ("joint",)

    def forward(self, streams, clock="pool"):
        found = [self.layer(pool(s.x, s.mask)) for s in streams.values()]
        joint = torch.stack(found).sum(dim=0)
        ones = torch.ones(len(joint), 1, dtype=torch.bool)
        return Fused([Branch("joint", joint[:, None], ones, joint, ones[:, 0])])
"""

#: What is written otherwise -> what has to be said.
FAULTS = {
    "works": ("", "", ""),
    "shape": (
        "torch.stack(found).sum(dim=0)",
        "torch.cat(found, dim=1)",
        "branch 'joint': seq is [48, 1, 32], expected [48, T, 16]",
    ),
    "nothing": ("return Fused(", "return (", "forward returns list, expected mmbench.models.Fused"),
    "names": (
        'Branch("joint"',
        'Branch("all"',
        "branches are ['all'], and `branches` promises ['joint']",
    ),
    "mask": ("dtype=torch.bool", "dtype=torch.float", "mask is torch.float32, expected bool"),
    "branches": (
        "def branches(self)",
        "def twigs(self)",
        "the fusion 'own' lacks branches, which every fusion has: define it in the class",
    ),
    "arguments": (
        "(self, modalities, width)",
        "(self, width)",
        "its __init__ does not take modalities: expected __init__(self, modalities, width, ...)",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_an_own_fusion_that_is_none_is_told_by_its_file(
    cli: Cli, task: Write, workplace: Path, fault: str
) -> None:
    old, new, told = FAULTS[fault]
    Path("own.py").write_text(OWN.replace(old, new) if old else OWN)
    done = cli("run", "-t", task(), "-m", "./own.py", "--set", "width=16", "-q")
    if not told:
        assert done.code == 0, done.err
        return
    assert done.code == 2
    assert told in done.error
    assert "own.py" in done.error
    assert "internal" not in done.error


@pytest.mark.parametrize(
    ("fusion", "params", "told"),
    [
        ("bottleneck", {"tokens": 0}, "params.tokens: expected `int` >= 1, got 0"),
        ("product_of_experts", {"latent": 0}, "params.latent: expected `int` >= 1, got 0"),
        ("tensor", {"size": 9999}, "would have 1,000,000,000,000 numbers, (size + 1)^3: choose"),
        ("late", {"depth": -1}, "params.depth: expected `int` >= 0, got -1"),
        ("adversarial", {"confusion": -1.0}, "params.confusion: expected `float` >= 0.0, got -1.0"),
        ("mixture_of_experts", {"weights": {"smell": 2.0}}, "weights.smell: there is no such"),
        (
            "weighted_average",
            {"weights": "dynmic"},
            "'dynmic' is none of its values: did you mean 'dynamic'? known: static, dynamic",
        ),
        ("contrastive", {"temperature": 0.0}, "params.temperature: expected `float` > 0.0"),
        ("concat", {"dropout": 1.0}, "params.dropout: expected `float` < 1.0, got 1.0"),
    ],
)
def test_a_size_that_makes_no_sense_is_refused_by_name(
    fusion: str, params: dict[str, Any], told: str
) -> None:
    spec = msgspec.structs.replace(tiny.spec("concat"), fusion=ComponentSpec(fusion, params))
    with pytest.raises(SpecError) as caught:
        tiny.make(spec)
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_matched_model_of_another_size_is_told(cli: Cli, workplace: Path) -> None:
    text = catalog.task_path("synergy").read_text().replace('"synergy"', '"mine"', 1)
    for size, said in ((10, True), (50_000, False)):
        changed = "\n".join(
            f"parameters = {size}" if line.startswith("parameters") else line
            for line in text.splitlines()
        )
        Path("mine.toml").write_text(changed)
        done = cli("run", "-t", "./mine.toml", "-m", "concat", "--dry-run")
        assert done.code == 0, done.err
        assert ("note: concat has " in done.err) is said
