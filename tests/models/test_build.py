"""Building a model from definitions: what fits is built, what does not is refused in one line."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
import tiny
import torch

from mmbench import catalog, registry
from mmbench import run as run_module
from mmbench.errors import (
    IncompatibleError,
    MissingExtraError,
    MmbenchError,
    SpecError,
    UnknownNameError,
)
from mmbench.models.build import build, objective, used_modalities
from mmbench.run import Settings, promised, sized
from mmbench.spec import ComponentSpec, ModelSpec, ObjectiveSpec, parse_model
from mmbench.sweep import _models, plan
from mmbench.types import Modality, Output, Signature

IMAGE_ONLY = Signature({"image": tiny.SIGNATURE.modalities["image"]}, tiny.SIGNATURE.outputs)


def refused(
    kind: type[MmbenchError], model: ModelSpec, signature: Signature = tiny.SIGNATURE
) -> str:
    with pytest.raises(kind) as caught:
        tiny.make(model, signature=signature)
    message = str(caught.value)
    assert "\n" not in message
    return message


def changed(name: str, **parts: Any) -> ModelSpec:
    """Return a shipped model with components replaced: ``fusion=("late", {"depth": 1})``."""
    made = {
        part: ComponentSpec(*value)
        if isinstance(value, tuple)
        else {kind: ComponentSpec(*given) for kind, given in value.items()}
        for part, value in parts.items()
    }
    return tiny.spec(name, **made)


def test_modalities_come_in_the_tasks_order_and_only_those_that_are_named() -> None:
    model = tiny.spec("late", modalities=("tags", "image"))
    assert used_modalities(model, tiny.SIGNATURE) == ["image", "tags"]
    assert used_modalities(tiny.spec("late"), tiny.SIGNATURE) == ["image", "audio", "tags"]
    assert list(tiny.make(model).encoders) == ["image", "tags"]
    assert used_modalities(tiny.spec("constant"), tiny.SIGNATURE) == []
    assert not tiny.make(tiny.spec("constant")).encoders


def test_a_model_that_looks_at_what_the_task_lacks_is_refused() -> None:
    message = refused(IncompatibleError, tiny.spec("audio_only"), IMAGE_ONLY)
    assert "'audio_only' looks at the modality 'audio'" in message
    assert "it has image" in message


def test_a_fusion_of_several_is_refused_one_modality() -> None:
    message = refused(IncompatibleError, tiny.spec("hybrid"), IMAGE_ONLY)
    assert "'hybrid' needs at least 2 modalities and has 1 (image)" in message
    nothing = refused(IncompatibleError, tiny.spec("hybrid", modalities=()))
    assert "has 0 (none)" in nothing


def test_a_kind_of_modality_or_output_without_a_part_is_refused_by_name() -> None:
    odd = Signature({"image": Modality("smell", (2, 3, 8, 8))}, tiny.SIGNATURE.outputs)
    message = refused(IncompatibleError, tiny.spec("late"), odd)
    assert "no encoder for 'smell'" in message
    assert "add [encoders.smell] to its TOML" in message
    label = Signature(tiny.SIGNATURE.modalities, {"class": Output("smell", 10)})
    assert "no head for 'smell'" in refused(IncompatibleError, tiny.spec("late"), label)


@pytest.mark.parametrize("name", ["keys", "train", "type", "left.ear", ""])
def test_a_name_that_torch_cannot_hold_is_refused(name: str) -> None:
    image, caption = tiny.SIGNATURE.modalities["image"], tiny.SIGNATURE.outputs["caption"]
    for table, signature in (
        ("modalities", Signature({name: image}, {"caption": caption})),
        ("outputs", Signature({"image": image}, {name: caption})),
    ):
        message = refused(SpecError, tiny.spec("late"), signature)
        assert message.startswith(f"{table}.{name}: torch has no place for a part of that name")
    tiny.make(tiny.spec("late"), signature=Signature({"log-mel 2": image}, {"class": caption}))


def test_an_encoder_of_another_kind_is_refused() -> None:
    model = changed(
        "late", encoders={"image": ("logmel",), "spectrogram": ("logmel",), "text": ("gru",)}
    )
    message = refused(IncompatibleError, model)
    assert "encoders.image: the encoder 'logmel' reads spectrogram, not image" in message


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ({"fusion": ("late", {"dept": 3})}, "late: fusion.params: unknown key 'dept'"),
        ({"fusion": ("late", {"dept": 3})}, "did you mean 'depth'?"),
        ({"fusion": ("late", {"width": 3})}, "unknown key 'width'"),
        ({"fusion": ("late", {"modalities": []})}, "unknown key 'modalities'"),
        (
            {"heads": {"text": ("lstm", {"layers": 3})}},
            "late: heads.text.params: unknown key 'layers'",
        ),
        ({"heads": {"text": ("lstm", {"layers": 3})}}, "it takes dropout, heads"),
        ({"combiner": ("mixture", {"gates": "static"})}, "combiner.params: unknown key 'gates'"),
        ({"fusion": ("late", {"depth": "two"})}, "late: fusion.params.depth: expected `int`, got"),
        ({"fusion": ("late", {"depth": 2.5})}, "late: fusion.params.depth: expected `int`, got"),
        ({"combiner": ("mixture", {"gate": 1})}, "combiner.params.gate: expected `str`, got `int`"),
        (
            {"heads": {"text": ("lstm", {"heads": 0})}},
            "heads.text.params.heads: expected `int` >= 1, got 0",
        ),
        (
            {"fusion": ("late", {"dropout": 1.5})},
            "late: fusion.params.dropout: expected `float` < 1.0, got 1.5",
        ),
        (
            {"heads": {"text": ("transformer", {"heads": 3})}},
            "width 16 is not divisible by 3 heads",
        ),
    ],
)
def test_arguments_that_a_component_does_not_take_are_refused(
    parts: dict[str, Any], expected: str
) -> None:
    assert expected in refused(SpecError, changed("late", **parts))


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({"grid": 0}, "params.grid: expected `int` >= 1, got 0"),
        ({"reach": 0}, "grid and reach have to be 1 or more"),
        ({"channels": []}, "channels not empty"),
        ({"channels": [12]}, "the encoder 'cnn' refuses its arguments"),
        ({"channels": [8, "16"]}, "encoders.image.params.channels[1]: expected `int`, got `str`"),
        ({"grid": 100}, "an image of 26 x 28 has no 100 x 100 patches"),
    ],
)
def test_an_encoder_refuses_what_no_image_can_be_cut_into(
    params: dict[str, Any], expected: str
) -> None:
    encoders = {"image": ("cnn", params)}
    assert expected in refused(SpecError, changed("image_only", encoders=encoders))


@pytest.mark.parametrize("shape", [(3, 26, 28), (1, 4, 4), (3, 7, 30), (3, 48, 48), (2, 53, 25)])
def test_an_image_of_any_size_becomes_a_grid_of_tokens(shape: tuple[int, ...]) -> None:
    signature = Signature({"image": Modality("image", shape)}, tiny.SIGNATURE.outputs)
    model = tiny.make(tiny.spec("image_only"), signature=signature)
    tokens, mask = model.encoders["image"](torch.zeros(2, *shape, dtype=torch.uint8), None)
    assert tokens.shape == (2, 16, tiny.WIDTH)
    assert mask.shape == (2, 16)


def test_an_unknown_component_is_refused_with_the_near_name() -> None:
    message = refused(UnknownNameError, changed("late", fusion=("lat",)))
    assert "unknown fusion 'lat': did you mean 'late'?" in message
    assert "unknown head 'rnn'" in refused(
        UnknownNameError, changed("late", heads={"text": ("rnn",)})
    )


def test_a_gate_needs_the_branch_that_it_looks_at() -> None:
    message = refused(IncompatibleError, changed("late", combiner=("mixture", {"gate": "joint"})))
    assert "needs a branch named joint" in message
    assert "image, audio, tags" in message
    odd = refused(IncompatibleError, changed("late", combiner=("mixture", {"gate": "wide"})))
    assert "'wide': expected one of static, equal, own, joint" in odd


@pytest.mark.parametrize("name", ["early", "late", "hybrid"])
def test_arguments_in_a_definition_reach_the_component(name: str) -> None:
    shallow = changed(name, fusion=(tiny.spec(name).fusion.name, {"depth": 0}))
    deep = changed(name, fusion=(tiny.spec(name).fusion.name, {"depth": 3}))
    keys = [set(tiny.make(model).state_dict()) for model in (shallow, deep)]
    assert keys[0] < keys[1]


def test_one_set_of_weights_speaks_for_all_branches_where_the_head_says_so() -> None:
    model = tiny.make(tiny.spec("hybrid"))
    assert len(model.heads["caption"]) == 1
    assert {id(model.head_of("caption", branch)) for branch in range(4)} == {
        id(model.head_of("caption", 0))
    }


def test_an_objective_is_built_with_its_arguments_or_refused() -> None:
    made = objective(ObjectiveSpec("supervised", {"branch_weight": 0.1}), "recipe")
    assert made.branch_weight == 0.1  # type: ignore[attr-defined]
    with pytest.raises(
        SpecError, match=r"recipe.params.branch_weight: expected `float`, got `str`"
    ):
        objective(ObjectiveSpec("supervised", {"branch_weight": "a lot"}), "recipe")
    with pytest.raises(SpecError, match=r"recipe.params: unknown key 'weight'.*branch_weight"):
        objective(ObjectiveSpec("supervised", {"weight": 0.1}), "recipe")


REFUSING = '''
"""A fusion that serves no captions."""
from mmbench.models.fusion.late import Late


class Picky(Late):
    """For labels only."""

    refuses = {"text": "it has no memory that a decoder could attend to"}
'''


def test_a_pair_of_fusion_and_output_that_makes_no_sense_says_why(
    tmp_path: Path, own_components: None
) -> None:
    (tmp_path / "picky.py").write_text(REFUSING)
    assert registry.include(tmp_path / "picky.py") == [("fusion", "picky")]
    message = refused(IncompatibleError, changed("late", fusion=("picky",)))
    assert "'picky' does not serve outputs of kind 'text'" in message
    assert "no memory that a decoder could attend to" in message


def test_a_fusion_file_by_its_path_stands_on_the_shared_recipe(
    tmp_path: Path, own_components: None
) -> None:
    (tmp_path / "mine.py").write_text(REFUSING.replace("refuses", "_refuses"))
    model = catalog.model(str(tmp_path / "mine.py"), ["width=16"])
    assert model.name == "mine"
    assert model.recipe == catalog.model("late").recipe
    assert list(tiny.make(model).fusion.branches) == ["image", "audio", "tags"]


@pytest.mark.parametrize("name", [*catalog.model_names(tiny.TASK)])
def test_a_definition_is_what_a_record_holds(name: str) -> None:
    model = catalog.model(name)
    content = msgspec.json.decode(msgspec.json.encode(msgspec.to_builtins(model)))
    assert parse_model(content, "record") == model


# --- sizes ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("task_name", ["synergy", "sentiment"])
def test_models_have_as_many_parameters_as_the_task_wants_or_say_why_not(task_name: str) -> None:
    task = catalog.task(task_name)
    assert task.parameters
    for name in _models("all", task):
        model = catalog.model(name, (), task)
        if not model.matched:
            assert model.departs or model.family in ("floor", "unimodal"), name
            continue
        with torch.random.fork_rng(devices=[]):
            built = build(sized(model, task), promised(task))
        count = sum(p.numel() for p in built.parameters() if p.requires_grad)
        assert 0.8 <= count / task.parameters <= 1.2, (name, count)


def test_a_width_that_the_parts_refuse_is_passed_over() -> None:
    task = catalog.task("synergy")
    for heads in (8, 3, 5):
        model = sized(catalog.model("mult", [f"fusion.params.heads={heads}"], task), task)
        assert model.width % heads == 0
    usual = sized(catalog.model("mult", (), task), task)
    assert sized(catalog.model("mult", ["fusion.params.heads=8"], task), task).width == usual.width


def test_where_no_width_will_do_the_message_is_about_the_models_own() -> None:
    task = catalog.task("synergy")
    model = catalog.model("mult", ["fusion.params.heads=0.5"], task)
    with pytest.raises(SpecError, match=r"fusion.params.heads: expected `int`, got `float`"):
        sized(model, task)


ASSERTS = """
import torch
from torch import nn
from mmbench.models import Branch, Fused, Fusion


class Eight(Fusion):
    branches = ("joint",)

    def __init__(self, modalities, width):
        super().__init__()
        self.attention = nn.MultiheadAttention(width, 8, batch_first=True)

    def forward(self, streams, clock="pool"):
        x = torch.cat([s.x for s in streams.values()], dim=1)
        mask = torch.cat([s.mask for s in streams.values()], dim=1)
        heard, _ = self.attention(x, x, x, key_padding_mask=~mask)
        present = torch.stack([s.present for s in streams.values()]).any(dim=0)
        return Fused([Branch("joint", heard, mask, heard.mean(dim=1), present)])
"""


def test_a_fusion_of_eight_heads_competes_like_any_other(tmp_path: Path) -> None:
    path = tmp_path / "eight.py"
    path.write_text(ASSERTS)
    task = catalog.task("synergy")
    assert sized(catalog.model(str(path), (), task), task).width % 8 == 0


def test_all_leaves_out_what_needs_an_extra_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    monkeypatch.setattr(run_module, "_fitting", {})  # another test may have built it
    left_out: list[str] = []
    runs = plan(["synergy"], ["all"], [0, 1], "smoke", Settings(), left_out=left_out)
    names = {run.model.name for run in runs}
    assert "late" in names
    assert "seed_bert_vit" not in names
    assert len(left_out) == 1
    assert "seed_bert_vit is left out: transformers" in left_out[0]
    assert "mmbench[hf]" in left_out[0]
    with pytest.raises(MissingExtraError, match=r"mmbench\[hf\]"):
        plan(["synergy"], ["late", "seed_bert_vit"], [0], "smoke", Settings(), left_out=left_out)


def test_a_head_of_another_kind_is_refused_before_anything_is_trained() -> None:
    task = catalog.task("synergy")
    model = catalog.model("concat", ["heads.label.name=lstm"], task)
    with pytest.raises(IncompatibleError, match=r"head 'lstm' serves .* 'text', not 'label'"):
        sized(model, task)
