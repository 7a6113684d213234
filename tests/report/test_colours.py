from __future__ import annotations

import itertools

import numpy as np
import pytest

from mmbench.report import colours

# Machado, Oliveira and Fernandes 2009, severity 1, on linear RGB.
SIGHT = {
    "usual": np.eye(3),
    "protanopia": np.array(
        [
            [0.152286, 1.052583, -0.204868],
            [0.114503, 0.786281, 0.099216],
            [-0.003882, -0.048116, 1.051998],
        ]
    ),
    "deuteranopia": np.array(
        [
            [0.367322, 0.860646, -0.227968],
            [0.280085, 0.672501, 0.047413],
            [-0.011820, 0.042940, 0.968881],
        ]
    ),
}
TO_XYZ = np.array(
    [
        [0.4124564, 0.3575761, 0.1804375],
        [0.2126729, 0.7151522, 0.0721750],
        [0.0193339, 0.1191920, 0.9503041],
    ]
)
WHITE = TO_XYZ @ np.ones(3)


def linear(colour: str) -> np.ndarray:
    srgb = np.array([int(colour[k : k + 2], 16) for k in (1, 3, 5)]) / 255
    return np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)


def lab(colour: str, sight: str) -> np.ndarray:
    xyz = TO_XYZ @ np.clip(SIGHT[sight] @ linear(colour), 0, 1) / WHITE
    x, y, z = np.where(xyz > 216 / 24389, np.cbrt(xyz), (24389 / 27 * xyz + 16) / 116)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize("sight", list(SIGHT))
@pytest.mark.parametrize(
    "branches",
    [("joint", "image", "audio"), ("joint", "image", "tags"), ("image", "audio", "video")],
)
def test_branches_of_a_model_are_told_apart(branches: tuple[str, ...], sight: str) -> None:
    used = colours.of_branches(branches)
    for one, two in itertools.combinations(used.values(), 2):
        assert np.linalg.norm(lab(one, sight) - lab(two, sight)) > 20


@pytest.mark.parametrize("colour", [colours.RIGHT, colours.WRONG, colours.INK, colours.FAINT])
def test_texts_have_enough_contrast_on_white(colour: str) -> None:
    luminance = float(TO_XYZ[1] @ linear(colour))
    assert 1.05 / (luminance + 0.05) >= 4.5  # WCAG 2, level AA


def test_a_branch_keeps_its_colour_in_other_company() -> None:
    alone = colours.of_branches(["audio"])["audio"]
    assert colours.of_branches(["joint", "image", "audio"])["audio"] == alone
    assert colours.of_branches(["depth", "audio"])["audio"] == alone
    lidar = colours.of_branches(["lidar"])["lidar"]
    assert colours.of_branches(["joint", "lidar"])["lidar"] in {lidar, *colours.OTHERS}


@pytest.mark.parametrize("count", [1, 2, 5, 8])
def test_up_to_eight_branches_have_as_many_colours(count: int) -> None:
    names = ["joint", "image", "depth", "lidar", "touch", "smell", "#7", "#8"][:count]
    used = colours.of_branches(names)
    assert list(used) == names
    assert len(set(used.values())) == count


def test_more_branches_than_colours_still_have_one_each() -> None:
    used = colours.of_branches([f"sensor{k}" for k in range(20)])
    assert len(used) == 20
    assert set(used.values()) == set(colours.OTHERS)
