"""Transcripts: time axes of fusions, the head, what is refused, and that it learns."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from streams import ITEMS, NAMES, WIDTH, fusion, streams

from mmbench import catalog, registry
from mmbench.errors import DataError, IncompatibleError, SpecError
from mmbench.models import clock as clocks
from mmbench.models.build import build
from mmbench.models.heads.transcript import Transcript
from mmbench.models.model import Model
from mmbench.types import Batch, Branch, Modality, Output, Signature

SYMBOLS = ("<blank>", "bin", "lay", "set", "now")
REFUSING = {"adversarial", "contrastive", "factorised", "mixture_of_experts", "product_of_experts"}
CLOCKS = ("latent:7", "native:vision")


def signature(clock: str = "latent:12", units: tuple[str, ...] = SYMBOLS) -> Signature:
    return Signature(
        {
            "video": Modality("video", (12, 16, 24)),
            "audio": Modality("spectrogram", (1, 48, 10)),
        },
        {"words": Output("transcript", 4, units, clock=clock)},
    )


def model(name: str, clock: str = "latent:12", seed: int = 0) -> Model:
    task = catalog.task("grid_speech")
    settings = ["width=16", "encoders.video.params.depth=1", "encoders.spectrogram.params.depth=1"]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build(catalog.model(name, settings, task), signature(clock))


def batch(items: int = 6, seed: int = 0) -> Batch:
    """Clips in which each word is a square at a place of its own, and a loud band of its own."""
    draw = torch.Generator().manual_seed(seed)
    words = torch.randint(1, len(SYMBOLS), (items, 3), generator=draw)
    video = torch.randint(0, 60, (items, 12, 16, 24), generator=draw, dtype=torch.uint8)
    audio = torch.randint(0, 60, (items, 1, 48, 10), generator=draw, dtype=torch.uint8)
    for row, said in enumerate(words.tolist()):
        for place, word in enumerate(said):
            video[row, 4 * place : 4 * place + 3, 4:12, 5 * word - 4 : 5 * word] = 250
            audio[row, 0, 16 * place : 16 * place + 12, 2 * word : 2 * word + 2] = 250
    here = torch.ones(items, dtype=torch.bool)
    return Batch(
        size=items,
        inputs={"video": video, "audio": audio},
        lengths={"video": torch.full((items,), 12), "audio": torch.full((items,), 48)},
        present={"video": here, "audio": here},
        targets={"words": words},
    )


def test_which_fusions_refuse_transcripts() -> None:
    refusing = {
        name
        for name in registry.names("fusion")
        if "transcript" in registry.load("fusion", name).refuses
    }
    assert refusing == REFUSING
    for name in REFUSING:
        assert "early, late, hybrid" in registry.load("fusion", name).refuses["transcript"]


@pytest.mark.parametrize("clock", CLOCKS)
@pytest.mark.parametrize("name", sorted(set(registry.names("fusion")) - REFUSING))
def test_every_other_fusion_has_a_time_axis(name: str, clock: str) -> None:
    given = streams()
    made = fusion(name)
    fused = clocks.fuse(made, given, clock)
    times, real = clocks.steps_of(given, clock)
    assert [branch.name for branch in fused.branches] == list(made.branches)
    for branch in fused.branches:
        assert branch.seq.shape == (ITEMS, real.shape[1], WIDTH)
        assert torch.equal(branch.mask, real)
        assert branch.time is times or torch.equal(branch.time, times)
        assert torch.isfinite(branch.seq[real]).all()


@pytest.mark.parametrize("clock", CLOCKS)
@pytest.mark.parametrize("name", sorted(set(registry.names("fusion")) - REFUSING))
def test_padding_is_not_heard_on_any_clock(name: str, clock: str) -> None:
    made = fusion(name)
    plain, loud = streams(), streams()
    for stream in loud.values():
        stream.x = torch.where(stream.mask[..., None], stream.x, torch.full_like(stream.x, 50.0))
    one, other = (clocks.fuse(made, given, clock) for given in (plain, loud))
    for a, b in zip(one.branches, other.branches, strict=True):
        torch.testing.assert_close(a.seq[a.mask], b.seq[b.mask], rtol=1e-4, atol=1e-4)


def test_tokens_come_where_they_were() -> None:
    given = streams(("vision",))
    stream = given["vision"]
    moved = clocks.resample(stream.x, stream.mask, stream.time, stream.time, stream.mask)
    torch.testing.assert_close(moved[stream.mask], stream.x[stream.mask], rtol=1e-3, atol=1e-3)


def test_an_item_without_the_clocks_modality_has_the_others_steps() -> None:
    given = streams()
    given["vision"].present = torch.tensor([False, *[True] * (ITEMS - 1)])
    _, real = clocks.steps_of(given, "native:vision")
    longest = max(int(s.mask[0].sum()) for s in given.values())
    assert int(real[0].sum()) == min(longest, given["vision"].x.shape[1])
    assert torch.equal(real[1:], given["vision"].mask[1:])


def test_a_step_says_what_was_there_and_not_what_was_far() -> None:
    given = streams(NAMES[:2])
    fused = clocks.fuse(fusion("concat", NAMES[:2]), given, "latent:9")
    given["text"].x = given["text"].x.clone()
    given["text"].x[0, 0] *= -1.0  # the first of the three tokens of item 0
    moved = clocks.fuse(fusion("concat", NAMES[:2]), given, "latent:9")
    change = (moved.branches[0].seq - fused.branches[0].seq)[0].abs().amax(dim=1)
    assert change[0] > 100 * change[-1]


@pytest.mark.parametrize("name", ["audio_only", "video_only", "late", "early", "hybrid"])
def test_models_learn_six_clips_by_heart(name: str) -> None:
    made, given = model(name), batch()
    made.train()
    optimizer = torch.optim.AdamW(made.parameters(), lr=4e-3)
    head = made.head_of("words", 0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        for _ in range(120):
            branches = made.fuse(given).branches
            loss = head.nll(
                made.verdict("words", branches, given.targets["words"]).combined.answer,
                given.targets["words"],
            )
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    made.eval()
    wanted = [" ".join(SYMBOLS[w] for w in row) for row in given.targets["words"].tolist()]
    for beams in (1, 4):
        said, columns = made.read_out(given, {"beams": beams, "length_penalty": 0.7})
        assert said["words"] == wanted
    weights = columns["words.gate"]
    assert len(weights) == len(wanted)
    assert all(len(row) == len(made.fusion.branches) for row in weights)


@pytest.mark.parametrize("name", ["late", "early", "hybrid", "cross_attention"])
def test_an_absent_modality_is_not_heard(name: str) -> None:
    made, given = model(name).eval(), batch()
    given.present = {**given.present, "audio": torch.zeros(6, dtype=torch.bool)}
    other = batch(seed=1)
    swapped = Batch(
        6, {**given.inputs, "audio": other.inputs["audio"]}, given.lengths, given.present, {}
    )
    options = {"beams": 1, "length_penalty": 0.7}
    nothing = torch.empty(0)
    answers = [
        made.verdict("words", made.fuse(b).branches, nothing).combined.answer
        for b in (given, swapped)
    ]
    assert torch.equal(*answers)
    assert made.read_out(given, options) == made.read_out(swapped, options)


def test_symbols_are_joined_as_what_they_are() -> None:
    words = Transcript(Output("transcript", 2, SYMBOLS, clock="latent:5"), 8)
    letters = Transcript(Output("transcript", 2, ("<blank>", " ", "a", "b"), clock="latent:5"), 8)
    assert words._spell([1, 4]) == "bin now"
    assert letters._spell([2, 3, 1, 2]) == "ab a"


def test_a_target_longer_than_its_clock_is_named() -> None:
    made = Transcript(Output("transcript", 2, SYMBOLS, clock="native:audio"), 8)
    seq, mask = torch.randn(2, 3, 8), torch.ones(2, 3, dtype=torch.bool)
    branch = Branch("audio", seq, mask, seq.mean(dim=1), mask[:, 0])
    made(branch, torch.tensor([[1, 2, 3], [1, 1, 0]]))
    with pytest.raises(DataError, match="3 symbols takes 4 steps of its clock, and its item has 3"):
        made(branch, torch.tensor([[1, 2, 3], [1, 1, 2]]))


def test_a_latent_clock_that_is_too_short_is_refused_before_training() -> None:
    with pytest.raises(SpecError, match=r"a clock of 3 steps is too short.*'latent:4' or more"):
        Transcript(Output("transcript", 4, SYMBOLS, clock="latent:3"), 8)


def test_a_clock_of_a_modality_that_is_not_heard_is_refused() -> None:
    with pytest.raises(IncompatibleError, match=r"does not look at 'audio'.*'latent:L'"):
        model("video_only", "native:audio")
    assert model("audio_only", "native:audio")


def test_a_refused_pair_says_what_would_work() -> None:
    with pytest.raises(
        IncompatibleError, match=r"does not serve outputs of kind 'transcript'.*late"
    ):
        model("contrastive")


def test_a_fusion_that_promises_times_and_gives_none_is_named() -> None:
    made: Any = fusion("concat")
    made.timed = True
    with pytest.raises(IncompatibleError, match=r"set Branch\.time"):
        clocks.fuse(made, streams(), "latent:4")


@pytest.mark.parametrize(
    ("output", "told"),
    [
        ({"kind": "transcript"}, "outputs.words.clock is missing"),
        ({"kind": "transcript", "clock": "latent:0"}, "outputs.words.clock"),
        ({"kind": "transcript", "clock": "native:lips"}, "no modality 'lips': it has video, audio"),
        (
            {"kind": "text", "clock": "latent:9"},
            "is for transcripts and frames, and words is a text",
        ),
    ],
)
def test_a_wrong_clock_in_a_task_is_named(output: dict[str, str], told: str) -> None:
    from mmbench.spec import parse_task, read_toml

    content = read_toml(catalog.task_path("grid_speech"))
    content["outputs"] = {"words": output}
    with pytest.raises(SpecError, match=told):
        parse_task(content, "mine.toml")


def test_a_modality_that_adds_no_nodes_to_a_graph_says_nothing_on_the_clock() -> None:
    seq = torch.randn(2, 4, 3, generator=torch.Generator().manual_seed(0))
    mask = torch.tensor([[True, True, False, False], [True] * 4])
    time = torch.tensor([[0.0, 1.0, 0.0, 1.0]] * 2)
    present = torch.tensor([True, True])
    branch = Branch("joint", seq, mask, seq.mean(dim=1), present, time, (2, 2))
    real = torch.ones(2, 2, dtype=torch.bool)
    moved = clocks._on_clock(branch, time[:, :2], real).seq
    assert torch.allclose(moved[0], seq[0, :2], atol=1e-4), "the other part speaks alone"
    assert torch.allclose(moved[1], (seq[1, :2] + seq[1, 2:]) / 2, atol=1e-4)
