"""Draws lesions: 32 x 32 pixels of skin with one dark spot that shows its border, size and texture.

Everything else varies and says nothing: where the spot lies, how it is turned, skin and its shade,
how dark the spot is, and even noise on every pixel.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mmbench.data.scenecap.noise import byte_noise

if TYPE_CHECKING:
    from mmbench.types import Array, Floats

SIDE = 32
SHAPE = (3, SIDE, SIDE)
#: Radius in pixels of the disc that has a spot's area, for each size.
RADII = np.array([4.5, 6.0, 7.5, 9.0])
#: How far lobes reach out, as a share of the radius, for each degree of the border; how many.
REACH = np.array([0.0, 0.13, 0.26, 0.39])
LOBES = 5
#: Pixels of a mesh of the netlike texture, and by how much it is darker and brighter.
_MESH, _DEPTH = 4.5, 26.0
_SKIN = np.array([198.0, 164.0, 140.0])
_SPOT = np.array([112.0, 74.0, 60.0])
#: Even numbers in [0, 1) that a picture takes.
DRAWS = 9


def render(signs: Array, draws: Floats, raw: Array, noise: int) -> Array:
    """Draw pictures.

    Args:
        signs: [n, 3] border, size, texture.
        draws: [n, DRAWS] in [0, 1).
        raw: [n, 3, 32, 32] random bytes.
        noise: Even noise of at most so many levels.

    Returns:
        [n, 3, 32, 32] uint8.
    """
    border, size, texture = signs.T
    across, down, turn, mesh_turn, mesh_x, mesh_y, skin, shade, dark = draws.T[:, :, None, None]
    place = np.arange(SIDE) - (SIDE - 1) / 2
    x = place[None, None, :] - 4.0 * (across - 0.5)
    y = place[None, :, None] - 4.0 * (down - 0.5)
    reach = REACH[border][:, None, None]
    # Lobes would add to the area; the radius makes up for that, so that size is size.
    radius = RADII[size][:, None, None] / np.sqrt(1.0 + reach**2 / 2)
    angle = np.arctan2(y, x)
    edge = radius * (1.0 + reach * np.cos(LOBES * angle + 2 * np.pi * turn))
    inside = np.clip(edge - np.hypot(x, y) + 0.5, 0.0, 1.0)
    cosine, sine = np.cos(np.pi * mesh_turn), np.sin(np.pi * mesh_turn)
    along, beside = x * cosine + y * sine, y * cosine - x * sine
    wave = 2 * np.pi / _MESH
    net = np.sin(wave * along + 2 * np.pi * mesh_x) * np.sin(wave * beside + 2 * np.pi * mesh_y)
    net *= _DEPTH * texture[:, None, None]
    lit = 40.0 * (skin - 0.5) + 0.6 * (shade - 0.5) * place[None, None, :]
    ground = _SKIN[None, :, None, None] + lit[:, None]
    spot = _SPOT[None, :, None, None] + (30.0 * (dark - 0.5) + net)[:, None]
    pixels = ground + (spot - ground) * inside[:, None] + byte_noise(raw, noise)
    return np.asarray(np.clip(np.rint(pixels), 0, 255), dtype=np.uint8)
