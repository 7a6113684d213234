"""Frames: the head, its clock, key frames, who is refused, and from a run to a score."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mmbench import catalog, registry, store
from mmbench.errors import DataError, IncompatibleError, SpecError
from mmbench.models.build import build
from mmbench.models.heads.frames import Frames, onsets
from mmbench.models.model import Model
from mmbench.spec import parse_task, read_toml
from mmbench.types import Batch, Branch, Modality, Output, Signature

CLASSES = ("background", "flash", "beep", "both")
REFUSING = {"adversarial", "contrastive", "factorised", "mixture_of_experts", "product_of_experts"}
STEPS = 8


def output(clock: str = f"latent:{STEPS}", background: int | None = 0) -> Output:
    return Output("frames", len(CLASSES), CLASSES, clock=clock, background=background)


def model(name: str, clock: str = f"latent:{STEPS}", seed: int = 0) -> Model:
    task = catalog.task("event_detection")
    signature = Signature(
        {
            "video": Modality("video", (STEPS, 16, 16)),
            "audio": Modality("spectrogram", (1, 2 * STEPS, 8)),
        },
        {"events": output(clock)},
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build(catalog.model(name, ("width=16",), task), signature)


def batch(items: int = 6, seed: int = 0) -> Batch:
    """Clips in which something flashes, something beeps, or both, at each frame."""
    draw = torch.Generator().manual_seed(seed)
    seen, heard = torch.randint(0, 2, (2, items, STEPS), generator=draw)
    video = torch.randint(0, 40, (items, STEPS, 16, 16), generator=draw, dtype=torch.uint8)
    audio = torch.randint(0, 40, (items, 1, 2 * STEPS, 8), generator=draw, dtype=torch.uint8)
    video[:, :, 4:12, 4:12] += (200 * seen)[..., None, None].to(torch.uint8)
    audio[:, 0, :, 2:5] += (200 * heard).repeat_interleave(2, dim=1)[..., None].to(torch.uint8)
    here = torch.ones(items, dtype=torch.bool)
    return Batch(
        items,
        {"video": video, "audio": audio},
        {},
        {"video": here, "audio": here},
        {"events": seen + 2 * heard},
    )


def branch(steps: int, real: list[int]) -> Branch:
    seq = torch.randn(len(real), steps, 8, generator=torch.Generator().manual_seed(0))
    mask = torch.arange(steps) < torch.tensor(real)[:, None]
    return Branch("joint", seq, mask, seq.mean(dim=1), mask[:, 0])


def test_which_fusions_refuse_frames_and_what_they_say() -> None:
    found = {n for n in registry.names("fusion") if "frames" in registry.load("fusion", n).refuses}
    assert found == REFUSING
    with pytest.raises(IncompatibleError, match=r"does not serve outputs of kind 'frames'.*late"):
        model("mvae")


@pytest.mark.parametrize("name", sorted(set(registry.names("fusion")) - REFUSING))
def test_every_other_fusion_says_a_class_for_every_frame(name: str) -> None:
    shipped = catalog.model_names(catalog.task("event_detection"))
    found = [m for m in shipped if catalog.model(m).fusion.name == name and "_" not in m]
    if not found:
        found = [m for m in shipped if catalog.model(m).fusion.name == name]
    served = [m for m in found if "frames" in catalog.model(m).heads]
    if not served:
        pytest.skip("only published recipes have it, and they name their heads")
    made, given = model(served[0]).eval(), batch(3)
    said, columns = made.read_out(given, {"beams": 1, "length_penalty": 0.7})
    assert [len(row) for row in said["events"]] == [STEPS] * 3
    assert set(np.ravel(said["events"])) <= set(CLASSES)
    assert [len(row) for row in columns["events.gate"]] == [len(made.branches)] * 3
    numbers = [[CLASSES.index(name) for name in row] for row in said["events"]]
    assert columns["events.keys"] == [onsets(row, 0) for row in numbers]


@pytest.mark.parametrize("name", ["late", "early", "hybrid", "concat", "late_precision"])
def test_models_learn_six_clips_by_heart(name: str) -> None:
    made, given = model(name), batch()
    made.train()
    optimizer = torch.optim.AdamW(made.parameters(), lr=4e-3)
    head, target = made.head_of("events", 0), given.targets["events"]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        for _ in range(120):
            answer = made.verdict("events", made.fuse(given).branches, target).combined.answer
            loss = head.nll(answer, target)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    made.eval()
    said, _ = made.read_out(given, {"beams": 1, "length_penalty": 0.7})
    assert said["events"] == [[CLASSES[k] for k in row] for row in target.tolist()]


@pytest.mark.parametrize("name", ["late", "early", "hybrid", "multimodal_self_attention"])
def test_an_absent_modality_is_not_heard(name: str) -> None:
    made, given, other = model(name).eval(), batch(), batch(seed=1)
    present = {**given.present, "audio": torch.zeros(6, dtype=torch.bool)}
    swapped = {**given.inputs, "audio": other.inputs["audio"]}
    options = {"beams": 1, "length_penalty": 0.7}
    one, two = (made.read_out(Batch(6, x, {}, present), options) for x in (given.inputs, swapped))
    assert one == two


def test_the_loss_is_the_mean_over_frames_whose_class_is_known() -> None:
    head = Frames(output(), 8)
    out = head(branch(STEPS, [STEPS, STEPS]), torch.empty(0))
    target = torch.full((2, STEPS), -1)
    target[0, 2], target[1, 5] = 3, 1
    wanted = -(out.answer[0, 2, 3] + out.answer[1, 5, 1]) / 2
    torch.testing.assert_close(head.nll(out.answer, target), wanted)
    assert float(head.nll(out.answer, torch.full((2, STEPS), -1)).detach()) == 0.0


def test_shorter_recordings_end_early_and_other_clocks_are_refused() -> None:
    head = Frames(output("native:video"), 8)
    target = torch.tensor([[1, 0, 2, -1, -1], [3, 3, -1, -1, -1]])
    short = branch(3, [3, 2])
    out = head(short, target)
    cut = head.nll(out.answer, target[:, :3])
    torch.testing.assert_close(head.nll(out.answer, target), cut)
    for wrong in (torch.tensor([[1, 0, 2, 1], [3, 3, -1, -1]]), target[:, :2]):
        with pytest.raises(DataError, match=r"'native:video' has 3 steps here .* have [24] frames"):
            head(short, wrong)


def test_key_frames_are_where_an_event_begins() -> None:
    assert onsets([], 0) == []
    assert onsets([1, 1, 0, 1, 2], 0) == [0, 3, 4]
    assert onsets([1, 1, 0, 1, 2], None) == [0, 2, 3, 4]


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"clock": None}, r"outputs.events.clock is missing: transcripts and frames have one"),
        ({"clock": "native:lips"}, "no modality 'lips'"),
        ({"classes": None}, "outputs.events.classes is missing"),
    ],
)
def test_a_task_of_frames_that_lacks_something_is_named(changed: dict[str, Any], told: str) -> None:
    content = read_toml(catalog.task_path("event_detection"))
    whole = {**content["outputs"]["events"], **changed}
    content["outputs"] = {"events": {k: v for k, v in whole.items() if v is not None}}
    with pytest.raises(SpecError, match=told):
        parse_task(content, "mine.toml")


TOML = """
schema = 1
name = "mine"
version = 1
summary = "events"
default_budget = "tiny"
dataset = { name = "events", version = 1, seed = 3 }
modalities.video = { kind = "video", shape = [16, 24, 24] }
modalities.audio = { kind = "spectrogram", shape = [1, 32, 16] }
outputs.events = { kind = "frames", clock = "latent:16", classes = [
  "background", "bounce", "sound", "impact", "left", "right", "circle", "grow", "shrink", "blink",
] }
splits = { train = 24, val = 8, test = 12 }
metrics = { main = "frame_accuracy", also = ["event_f1", "key_frame_f1"] }
budgets.tiny = { items = 24, steps = 4, validations = 1, validation_items = 8 }
"""


def test_from_a_run_to_a_file_of_predictions_and_its_scores(cli: Any, workplace: Path) -> None:
    (workplace / "mine.toml").write_text(TOML)
    done = cli("run", "-t", "./mine.toml", "-m", "late,video_only,concat", "--set", "width=16")
    assert done.code == 0, done.err
    (folder,) = (workplace / "results/mine/late").iterdir()
    found = store.read(folder)
    columns = store.read_predictions(found, "test")
    assert [len(row) for row in columns["events"]] == [16] * 12
    assert cli("verify", "mine/late").code == 0
    assert cli("show", "mine/late").code == 0
    rows = [
        {"id": name, "frames": frames, "keys": list(keys)}
        for name, frames, keys in zip(
            columns["id"], columns["events"], columns["events.keys"], strict=True
        )
    ]
    Path("said.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    scored = cli("score", "-t", "./mine.toml", "said.jsonl", "--json")
    assert scored.code == 0, scored.err
    told = json.loads(scored.out)["metrics"]
    for metric, stored in found.record.scores["test"].items():
        assert told[metric]["value"] == pytest.approx(stored.value, abs=1e-9), metric
    refused = cli("run", "-t", "./mine.toml", "-m", "mvae")
    assert "does not serve outputs of kind 'frames'" in refused.error
    (workplace / "mine.toml").write_text(TOML.replace("latent:16", "latent:9"))
    short = cli("run", "-t", "./mine.toml", "-m", "late", "--set", "width=16")
    assert "has 9 steps here and the recordings have 16 frames" in short.error
