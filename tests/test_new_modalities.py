"""A fourth and a fifth modality, of kinds that mmbench has never heard of, from one file."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pytest

from mmbench import catalog, registry
from mmbench.audit import floors
from mmbench.data import _load
from mmbench.errors import UsageError
from mmbench.report import clouds
from mmbench.run import Run

Cli: TypeAlias = Callable[..., Any]

#: All that has to be written: an encoder that says for which kinds it is, and here data to go on.
SENSES = '''
"""Taste, a vector, and warmth, a map, beside text, vision and audio."""

from dataclasses import replace

import numpy as np
import torch
from torch import nn

from mmbench import rng
from mmbench.data import interactions
from mmbench.models import Encoder
from mmbench.types import Dataset, Modality, Signature

VERSION = 1
KINDS = {"taste": (4,), "warmth": (3, 5, 2)}


class Senses(Encoder):
    """One token for each place."""

    kinds = ("taste", "warmth")
    usual_for = ("taste", "warmth")

    def __init__(self, modality: Modality, width: int) -> None:
        super().__init__()
        self.layer = nn.Linear(modality.shape[-1], width)

    def forward(self, x, lengths):
        x = x.flatten(1, -2) if x.dim() > 2 else x[:, None]
        return self.layer(x), torch.ones(x.shape[:2], dtype=torch.bool, device=x.device)


def build(request):
    made = interactions.build(replace(request, params={"structure": "unique"}))
    splits = {}
    for name, split in made.splits.items():
        inputs = dict(split.inputs)
        for modality, shape in KINDS.items():
            size = (len(split), *shape)
            noise = rng.uniform(request.seed, name, modality, count=int(np.prod(size)))
            told = np.eye(4)[split.targets["label"]][:, : shape[-1]]
            told = told.reshape(len(split), *[1] * (len(shape) - 1), shape[-1])
            inputs[modality] = (told + 0.2 * noise.reshape(size)).astype(np.float32)
        splits[name] = replace(split, inputs=inputs)
    more = {name: Modality(name, shape) for name, shape in KINDS.items()}
    signature = Signature({**made.signature.modalities, **more}, made.signature.outputs)
    return Dataset(signature, splits, made.fingerprint + "senses")
'''
TASK = """
schema = 1
name = "five"
version = 1
summary = "Five senses."
default_budget = "brief"

[dataset]
name = "senses"
version = 1
seed = 3

[modalities]
text = { kind = "sequence", shape = [8, 16] }
vision = { kind = "sequence", shape = [10, 12] }
audio = { kind = "sequence", shape = [12, 8] }
taste = { kind = "taste", shape = [4] }
warmth = { kind = "warmth", shape = [3, 5, 2] }

[outputs]
label = { kind = "label", classes = ["0", "1", "2", "3"] }

[splits]
train = 96
val = 16
test = 40

[metrics]
main = "accuracy"

[budgets]
brief = { items = 96, steps = 30, validations = 1, validation_items = 16 }
"""


@pytest.fixture
def five(workplace: Path) -> str:
    Path("senses.py").write_text(SENSES)
    Path("five.toml").write_text(TASK)
    return "./five.toml"


def run(cli: Cli, *more: str) -> Any:
    return cli("run", "-t", "./five.toml", *more, "--set", "width=16", "-q", "--json")


def test_models_read_them_without_an_edit(cli: Cli, five: str) -> None:
    done = run(cli, "--include", "./senses.py", "-m", "mvae,taste_only")
    assert done.code == 0, done.err
    rows = {row["model"]: row for row in json.loads(done.out)}
    assert {row["status"] for row in rows.values()} == {"finished"}
    record = json.loads(Path(rows["mvae"]["folder"], "record.json").read_text())
    told = json.dumps(record)
    assert '"encoder senses": "' in told, "what file it was is part of the run's identity"
    assert record["definition"]["model"]["encoders"]["warmth"]["name"] == "senses"
    taste = json.loads(Path(rows["taste_only"]["folder"], "record.json").read_text())
    assert taste["scores"]["test"]["accuracy"]["value"] > 0.6
    assert set(taste["definition"]["model"]["encoders"]) == {"taste"}
    shown = cli("show", "five/mvae")
    assert shown.code == 0, shown.err
    assert list(Path(rows["mvae"]["folder"]).rglob("*.png"))
    site = cli("report", "--out", "site")
    assert site.code == 0, site.err


def test_another_file_is_another_run(five: str, own_components: None) -> None:
    identities = []
    for change in ("", "# another remark\n"):
        Path("senses.py").write_text(SENSES + change)
        registry._included.clear()
        registry._included_files.clear()
        catalog.include(Path("senses.py"))
        task = catalog.task(five)
        identities.append(Run(task, catalog.model("concat", (), task), "brief", 0).identity)
    assert len(set(identities)) == 2


def test_a_kind_that_nothing_reads_is_one_line_that_says_what_would_help(
    cli: Cli, five: str
) -> None:
    text = Path("senses.py").read_text()
    Path("senses.py").write_text(text.replace('usual_for = ("taste", "warmth")', "usual_for = ()"))
    done = run(cli, "--include", "./senses.py", "-m", "concat")
    assert done.code == 2
    assert "has no encoder for 'taste'" in done.error
    assert "usual_for = ('taste',)" in done.error
    named = run(
        cli, "--include", "./senses.py", "-m", "concat",
        "--set", 'encoders.taste.name="senses"', "--set", 'encoders.warmth.name="senses"',
    )  # fmt: skip
    assert named.code == 0, named.err


def test_two_that_both_say_so_are_refused(five: str, own_components: None) -> None:
    catalog.include(Path("senses.py"))
    Path("others.py").write_text(SENSES.partition("def build")[0])
    catalog.include(Path("others.py"))
    task = catalog.task(five)
    with pytest.raises(UsageError, match=r"others and senses both say .* kind 'taste'"):
        catalog.model("late", (), task)


def test_the_floors_of_an_audit_know_them(five: str, own_components: None) -> None:
    catalog.include(Path("senses.py"))
    dataset = _load.load(catalog.task(five))
    for name, numbers in (("taste", 4), ("warmth", 4)):
        found = floors._features(dataset, name, dataset.signature.modalities[name])
        assert found["test"].shape == (40, numbers)


# --- points --------------------------------------------------------------------------------------


def test_points_are_built_in_by_their_encoder_alone() -> None:
    assert registry.usual_encoder("points") == "points"
    assert registry.usual_encoder("imgae") == ""
    task = catalog.task("tactile")
    encoders = catalog.model("early", (), task).encoders
    assert {kind: part.name for kind, part in encoders.items()} == {
        "sequence": "mlp", "points": "points", "vector": "mlp",
    }  # fmt: skip
    assert "points" not in catalog.model("early", (), catalog.task("synergy")).encoders
    assert catalog.model("logistic", (), task).encoders["points"].name == "linear"


def test_the_order_of_points_says_nothing() -> None:
    import torch

    from mmbench.types import Modality

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        encoder = registry.load("encoder", "points")(Modality("points", (9, 3)), 16).eval()
        x, order = torch.randn(4, 9, 3), torch.randperm(6)
    lengths = torch.full((4,), 6)
    mixed = torch.cat([x[:, order], x[:, 6:]], dim=1)
    first, mask = encoder(x, lengths)
    torch.testing.assert_close(first, encoder(mixed, lengths)[0])
    assert first.shape == (4, 4, 16)
    assert mask.all()
    moved = torch.cat([x[:, :1] + 0.5, x[:, 1:]], dim=1)
    assert not torch.allclose(first, encoder(moved, lengths)[0], atol=1e-3)
    assert not encoder(x, torch.zeros(4, dtype=torch.long))[1].any()


def test_points_are_drawn_where_they_are() -> None:
    pixels = clouds.drawn(np.array([[-2.0, -2.0, 0.0], [2.0, 2.0, 1.0], [0.0, 0.0, -1.0]]))
    assert pixels.shape == (96, 96)
    assert (pixels[93:, :3] < 255).all(), "left, at the bottom"
    assert (pixels[:3, 93:] < 255).all(), "right, at the top"
    assert pixels[0, 95] < pixels[95, 0] < pixels[48, 48] < 255, "near ones are darker"
    assert (pixels < 255).sum() == 27
    assert (clouds.drawn(np.zeros((0, 2))) == 255).all()
