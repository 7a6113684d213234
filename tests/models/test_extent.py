"""How large a model is: counted with items that are made up."""

from __future__ import annotations

import pytest
import torch

from mmbench import catalog
from mmbench.models.build import build
from mmbench.models.extent import extent, made_up
from mmbench.models.model import Model
from mmbench.models.operations import Operations
from mmbench.run import promised


@pytest.fixture
def model() -> Model:
    return build(catalog.model("late"), promised(catalog.task("captioning")))


def test_what_computes_is_counted_and_views_are_not() -> None:
    x = torch.ones(3, 4)
    with Operations() as counter:
        y = (x + x).T[0]
        y @ y
    assert (counter.calls, counter.elements) == (2, 12 + 1)
    assert Operations().calls == 0


def test_a_model_stays_as_it_was_and_is_counted_the_same_twice(model: Model) -> None:
    signature = promised(catalog.task("captioning"))
    before = {name: x.clone() for name, x in model.state_dict().items()}
    model.train()
    first, one, again = (extent(model, signature) for _ in range(3))
    assert one == again
    assert first.calls == pytest.approx(one.calls, rel=0.2), "some of it is kept for later passes"
    assert model.training
    for name, x in model.state_dict().items():
        assert torch.equal(x, before[name])
    assert one.parameters == sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert one.calls > 20
    pixels = 3 * 64 * 64
    assert one.elements > pixels
    head = sum(p.numel() for p in model.head_of("caption", 0).parameters())
    assert one.spoken == 2 * head, "one that speaks for each modality"


def test_what_breaks_is_left_to_the_run(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(batch: object) -> None:
        raise RuntimeError

    monkeypatch.setattr(model, "fuse", broken)
    model.train()
    found = extent(model, promised(catalog.task("captioning")))
    assert (found.calls, found.elements, found.spoken) == (0, 0.0, 0)
    assert found == extent(model, None)
    assert found.parameters > 0
    assert model.training


@pytest.mark.parametrize("task", ["captioning", "speech", "intent", "reasoning", "retrieval"])
def test_items_are_made_up_as_the_task_promises(task: str) -> None:
    spec = catalog.task(task)
    batch = made_up(promised(spec), 2)
    assert batch.size == 2
    for name, modality in spec.modalities.items():
        assert tuple(batch.inputs[name].shape) == (2, *modality.shape)
        assert batch.present[name].all()
