"""`mmbench.testing`: every registered fusion keeps the contract, and who does not is told why."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, ClassVar

import pytest
import torch
from torch import nn

from mmbench import registry
from mmbench.errors import UnknownNameError, UsageError
from mmbench.models import Branch, Fused, Fusion, Stream
from mmbench.models.layers import pool
from mmbench.testing import CHECKS, BrokenContractError, FusionContract, check_fusion
from mmbench.testing.cases import MODALITIES, Case, cases
from mmbench.testing.checks import complaints

#: These take seconds a fusion.
SLOW = ("overfit", "compile")
QUICK = [name for name in CHECKS if name not in SLOW]


@cache
def cases_of(fusion: str) -> list[Case]:
    return cases(fusion, {}, range(1, len(MODALITIES) + 1))


# --- all that are registered ---------------------------------------------------------------------


def registered() -> list[Any]:
    return [
        pytest.param(fusion, check, id=f"{fusion}-{check}")
        for fusion in registry.names("fusion")
        for check in QUICK
    ]


@pytest.mark.parametrize(("fusion", "check"), registered())
def test_a_registered_fusion_keeps_the_contract(fusion: str, check: str) -> None:
    assert not complaints(cases_of(fusion), [check])


@pytest.mark.slow
@pytest.mark.parametrize("fusion", registry.names("fusion"))
def test_a_registered_fusion_learns_32_items_by_heart(fusion: str) -> None:
    assert not complaints(cases_of(fusion)[-1:], ["overfit"])


@pytest.mark.slow
@pytest.mark.parametrize("fusion", registry.names("fusion"))
def test_a_registered_fusion_can_be_compiled(fusion: str) -> None:
    assert not complaints(cases_of(fusion)[:2][-1:], ["compile"])


INDUCTOR = """
import warnings
import torch
from mmbench.testing.cases import MODALITIES, cases

case = cases("concat", {}, range(1, len(MODALITIES) + 1))[-1]
model = case.model.eval()
with torch.no_grad(), warnings.catch_warnings():
    warnings.simplefilter("ignore")  # what the compiler says to its makers
    streams = model.streams(case.batch)
    plain = model.fusion(streams).branches[0]
    compiled = torch.compile(model.fusion, backend="inductor")(streams).branches[0]
torch.testing.assert_close(compiled.pooled, plain.pooled, rtol=1e-4, atol=1e-5)
torch.testing.assert_close(compiled.seq, plain.seq, rtol=1e-4, atol=1e-5)
print("alike")
"""


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="inductor needs a C++ compiler")
def test_inductor_compiles_what_it_says_alike() -> None:
    # In a process of its own: it fails where another distutils has been loaded already.
    done = subprocess.run(
        [sys.executable, "-c", INDUCTOR], capture_output=True, text=True, check=False
    )
    assert done.stdout == "alike\n", done.stderr


# --- what is broken is caught --------------------------------------------------------------------


class Good(Fusion):
    """The mean of all modalities, through a layer: the shortest fusion that keeps the contract."""

    def __init__(self, modalities: Sequence[str], width: int, gain: float = 1.0) -> None:
        super().__init__()
        self.names = list(modalities)
        self.gain = gain
        self.layers = nn.ModuleDict({m: nn.Linear(width, width) for m in modalities})

    @property
    def branches(self) -> Sequence[str]:
        return ("joint",)

    def summary(self, name: str, stream: Stream) -> torch.Tensor:
        summed: torch.Tensor = self.layers[name](pool(stream.x, stream.mask))
        return summed

    def joint(self, streams: Mapping[str, Stream]) -> torch.Tensor:
        found = [self.summary(name, streams[name]) for name in self.names]
        return self.gain * torch.stack(found).mean(dim=0)

    def forward(self, streams: Mapping[str, Stream], clock: str = "pool") -> Fused:
        pooled = self.joint(streams)
        one = torch.ones(len(pooled), 1, dtype=torch.bool)
        present = torch.stack([s.present for s in streams.values()]).any(dim=0)
        return Fused([Branch("joint", pooled[:, None], one, pooled, present)])


class Leaks(Good):
    """Takes the mean over padding too."""

    def summary(self, name: str, stream: Stream) -> torch.Tensor:
        summed: torch.Tensor = self.layers[name](stream.x.mean(dim=1))
        return summed


class Mixes(Good):
    """Normalises over the batch."""

    def __init__(self, modalities: Sequence[str], width: int) -> None:
        super().__init__(modalities, width)
        self.norm = nn.BatchNorm1d(width)

    def joint(self, streams: Mapping[str, Stream]) -> torch.Tensor:
        normed: torch.Tensor = self.norm(super().joint(streams))
        return normed


class Compares(Good):
    """Takes away what the whole batch has in common."""

    def joint(self, streams: Mapping[str, Stream]) -> torch.Tensor:
        found = super().joint(streams)
        return found - found.mean(dim=0)


class Hides(Good):
    """Keeps its layers in a list, where torch does not look."""

    def __init__(self, modalities: Sequence[str], width: int) -> None:
        super().__init__(modalities, width)
        self.factors = [nn.Linear(width, width) for _ in modalities]

    def summary(self, name: str, stream: Stream) -> torch.Tensor:
        found = self.factors[self.names.index(name)](super().summary(name, stream))
        assert isinstance(found, torch.Tensor)
        return found


class Divides(Good):
    """Divides by the number of modalities that are there, which may be none."""

    def joint(self, streams: Mapping[str, Stream]) -> torch.Tensor:
        there = torch.stack([streams[n].present for n in self.names])[..., None]  # [M, B, 1]
        each = torch.stack([self.summary(n, streams[n]) for n in self.names])
        return (each * there).sum(dim=0) / there.sum(dim=0)


class Forgets(Good):
    """Has a layer that nothing goes through."""

    def __init__(self, modalities: Sequence[str], width: int) -> None:
        super().__init__(modalities, width)
        self.spare = nn.Linear(width, width)


class Deaf(Good):
    """Hears the first modality alone."""

    def joint(self, streams: Mapping[str, Stream]) -> torch.Tensor:
        return self.summary(self.names[0], streams[self.names[0]])


class Counts(Good):
    """Promises to hear sets, and weighs tokens by where they stand."""

    unordered = True

    def summary(self, name: str, stream: Stream) -> torch.Tensor:
        weight = 1.0 + torch.arange(stream.x.shape[1])[:, None]
        summed: torch.Tensor = self.layers[name](pool(stream.x * weight, stream.mask))
        return summed


class Narrow(Good):
    """Returns a summary of another width."""

    def forward(self, streams: Mapping[str, Stream], clock: str = "pool") -> Fused:
        (branch,) = super().forward(streams, clock).branches
        branch.pooled = branch.pooled[:, :3]
        return Fused([branch])


class Renames(Good):
    """Names another branch than it returns."""

    @property
    def branches(self) -> Sequence[str]:
        return ("everything",)


class Draws(Good):
    """Draws its weights from numpy."""

    def __init__(self, modalities: Sequence[str], width: int) -> None:
        import numpy as np

        super().__init__(modalities, width)
        self.weight = nn.Parameter(torch.from_numpy(np.random.randn(width)).float())

    def joint(self, streams: Mapping[str, Stream]) -> torch.Tensor:
        return super().joint(streams) * self.weight


class Reads(Good):
    """Looks at what came in where it should look at what was encoded."""

    def summary(self, name: str, stream: Stream) -> torch.Tensor:
        return super().summary(name, stream) + (
            stream.raw.float().sum() * 0.0 if stream.raw is not None else 0.0
        )


class Overflows(Good):
    """Is so loud that half precision loses it."""

    def joint(self, streams: Mapping[str, Stream]) -> torch.Tensor:
        found = super().joint(streams)
        return found if not torch.is_autocast_enabled("cpu") else found * float("inf")


class Blind(Good):
    """Says the same of everything."""

    def joint(self, streams: Mapping[str, Stream]) -> torch.Tensor:
        return super().joint(streams) * 1e-9


#: Who is broken -> the check that has to catch it, and what it has to say.
BROKEN: Mapping[type[Fusion], tuple[str, str]] = {
    Leaks: ("padding", "changes by"),
    Mixes: ("batch", "when the other items of the batch do (train, item 0)"),
    Compares: ("batch", "when the other items of the batch do (eval, item 0)"),
    Hides: ("parameters", "Hides.factors hides"),
    Divides: ("absent", "not finite when there is nothing"),
    Forgets: ("parameters", "fusion.spare.weight: no loss of the recipe has a gradient in it"),
    Deaf: ("gradients", "no gradient reaches 'words'"),
    Narrow: ("shapes", "pooled is [6, 3], expected [6, 16]"),
    Renames: ("shapes", "branches are ['joint'], and `branches` promises ['everything']"),
    Counts: ("order", "changes by"),
    Draws: ("seed", "parameters differ with the same seed: fusion.weight"),
    Reads: ("padding", "when padding holds NaN"),
    Overflows: ("autocast", "not finite when it computes in bfloat16"),
    Blind: ("overfit", "of 32 items are known by heart"),
}


@pytest.mark.parametrize("fusion", BROKEN, ids=lambda kind: kind.__name__)
def test_a_broken_fusion_is_caught_by_the_check_of_that_name(fusion: type[Fusion]) -> None:
    check, told = BROKEN[fusion]
    with pytest.raises(BrokenContractError) as caught:
        check_fusion(fusion, modalities=[2], only=[check])
    lines = str(caught.value).splitlines()
    assert any(told in line for line in lines), lines
    start = f"{check}: lent_{fusion.__name__.lower()}, 2 of modalities: "
    assert all(line.startswith(start) for line in lines)
    assert all(len(line) < 200 for line in lines)


def test_what_hides_is_not_saved_either() -> None:
    with pytest.raises(BrokenContractError, match="saved and loaded"):
        check_fusion(Hides, modalities=[2], only=["saved"])


def test_a_fusion_that_cannot_be_run_is_one_line() -> None:
    class Raises(Good):
        """Raises."""

        def joint(self, streams: Mapping[str, Stream]) -> torch.Tensor:
            raise KeyError("image")

    with pytest.raises(BrokenContractError) as caught:
        check_fusion(Raises, modalities=[1], only=["shapes"])
    assert str(caught.value) == "shapes: lent_raises, 1 of modalities: KeyError: 'image'"


# --- how it is called ----------------------------------------------------------------------------


def test_a_good_fusion_passes_everything() -> None:
    check_fusion(Good, params={"gain": 2.0}, modalities=[1, 3])
    assert "lent_good" not in registry.names("fusion"), "it was registered for as long as it took"


def test_too_few_modalities_are_left_out_and_none_left_is_told() -> None:
    class Pair(Good):
        """Takes three."""

        at_least = 3

    with pytest.raises(UsageError, match="the fusion needs more than 2"):
        check_fusion(Pair, modalities=[1, 2])
    check_fusion(Pair, only=["shapes"])
    assert [len(case.names) for case in cases("hybrid", {}, [1, 2, 4])] == [2, 4]
    with pytest.raises(UsageError, match="expected numbers of 1 to 4"):
        check_fusion(Good, modalities=[5])


def test_kinds_of_output_that_a_fusion_refuses_are_left_out() -> None:
    class Wordless(Good):
        """Serves no text."""

        refuses: ClassVar[Mapping[str, str]] = {"text": "it has no words"}

    (case,) = cases(Wordless, {}, [2])
    assert set(case.signature.outputs) == {"class", "classes", "number"}
    check_fusion(Wordless, modalities=[2], only=["shapes", "parameters"])


def test_unknown_names_are_told() -> None:
    with pytest.raises(UnknownNameError, match="unknown check 'pading': did you mean 'padding'"):
        check_fusion(Good, only=["pading"])
    with pytest.raises(UnknownNameError, match="unknown fusion 'hybird': did you mean 'hybrid'"):
        check_fusion("hybird")


def test_the_class_of_tests_has_one_for_each_check() -> None:
    found = {name.removeprefix("test_") for name in dir(FusionContract) if name.startswith("test_")}
    assert found == set(CHECKS)


class TestGood(FusionContract):
    fusion = Good
    modalities = (2,)


class TestByName(FusionContract):
    fusion = "gmu"  # a model: its fusion is called ``gated``
    modalities = (3,)


def test_it_needs_no_pytest() -> None:
    import subprocess
    import sys

    code = "import sys, mmbench.testing; print('pytest' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
