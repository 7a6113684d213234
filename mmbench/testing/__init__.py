"""What every fusion has to keep, as checks for one of your own.

In a test of yours, either one call::

    from mmbench.testing import check_fusion

    def test_my_fusion() -> None:
        check_fusion("myfusion.toml")  # or a .py file, a class, or a registered name

or a class, by which every check is a test of its own::

    from mmbench.testing import FusionContract

    class TestMyFusion(FusionContract):
        fusion = "myfusion.toml"

Each failure is one line that says what was broken and by how much. The checks are `CHECKS`; they
run on small made-up data with one, two, three and four modalities, two of them of unequal length,
and on items that lack modalities.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from mmbench.errors import MissingExtraError

try:
    import torch as _torch
except ModuleNotFoundError:  # pragma: no cover: the tests have it
    raise MissingExtraError("torch, which mmbench.testing needs,", "train") from None

from mmbench.models.contract import Fusion
from mmbench.testing.cases import Case, cases
from mmbench.testing.checks import CHECKS, complaints

del _torch

__all__ = ["CHECKS", "BrokenContractError", "FusionContract", "check_fusion"]


class BrokenContractError(AssertionError):
    """A fusion does not keep what every fusion has to; one line for each thing."""


def check_fusion(
    fusion: str | Path | type[Fusion],
    *,
    params: Mapping[str, Any] | None = None,
    modalities: Sequence[int] = (1, 2, 3, 4),
    only: Collection[str] | None = None,
    skip: Collection[str] = (),
) -> None:
    """Hold a fusion against the contract.

    Args:
        fusion: A class derived from `mmbench.models.Fusion`, the path of its file or of its TOML,
            or the name of a registered one or of a shipped model.
        params: Arguments of its class, beside those of its TOML.
        modalities: With how many to try it, of 1 to 4; fewer than its `at_least` are left out.
        only: Names of checks, of `CHECKS`; all if None.
        skip: Names of checks to leave out.

    Raises:
        BrokenContractError: Something is broken; a line for each thing.
        mmbench.errors.UsageError: The fusion cannot be found or built, or no check has that name.

    >>> from mmbench.testing import check_fusion
    >>> check_fusion("concat", modalities=[2], only=["shapes", "padding", "absent"])
    """
    found = complaints(cases(fusion, params or {}, modalities), only, skip)
    if found:
        raise BrokenContractError("\n".join(found))


class FusionContract:
    """The contract as a class of tests: derive from it, name the fusion, and pytest does the rest.

    Attributes:
        fusion: See `check_fusion`.
        params: Arguments of its class, beside those of its TOML.
        modalities: With how many to try it.
    """

    fusion: ClassVar[str | Path | type[Fusion]]
    params: ClassVar[Mapping[str, Any]] = {}
    modalities: ClassVar[Sequence[int]] = (1, 2, 3, 4)

    _made: ClassVar[list[Case] | None] = None

    def _check(self, name: str) -> None:
        kind = type(self)
        if kind._made is None or "_made" not in vars(kind):
            kind._made = cases(kind.fusion, kind.params, kind.modalities)
        found = complaints(kind._made, [name])
        if found:
            raise BrokenContractError("\n".join(found))

    def test_shapes(self) -> None:
        """Branches come as they are named: seq [B, T, D], mask [B, T], pooled [B, D]."""
        self._check("shapes")

    def test_padding(self) -> None:
        """What stands where a mask is False, NaN in the data included, is not heard."""
        self._check("padding")

    def test_absent(self) -> None:
        """Whatever is absent, answers are finite, and what an absent input holds is not heard."""
        self._check("absent")

    def test_batch(self) -> None:
        """What is said of an item does not depend on the other items of the batch."""
        self._check("batch")

    def test_order(self) -> None:
        """Where the fusion promises it (`Fusion.unordered`), tokens are a set."""
        self._check("order")

    def test_parameters(self) -> None:
        """Every parameter is registered and learns."""
        self._check("parameters")

    def test_gradients(self) -> None:
        """A gradient reaches every modality that is there, and nothing that is masked."""
        self._check("gradients")

    def test_overfit(self) -> None:
        """32 items are learned by heart."""
        self._check("overfit")

    def test_saved(self) -> None:
        """Weights that are saved and loaded say the same, bit by bit."""
        self._check("saved")

    def test_seed(self) -> None:
        """The same seed gives the same bits, and nobody else's random state is touched."""
        self._check("seed")

    def test_compile(self) -> None:
        """``torch.compile`` says the same (backend ``aot_eager``)."""
        self._check("compile")

    def test_autocast(self) -> None:
        """bfloat16 says about the same and has finite gradients."""
        self._check("autocast")
