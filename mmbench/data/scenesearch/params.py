"""What a task may set: what texts tell, how many values there are of it, and how noisy it is."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

import msgspec

from mmbench.errors import SpecError

Structure: TypeAlias = Literal["independent", "xor"]
Most12 = Annotated[int, msgspec.Meta(ge=2, le=12)]
Noise = Annotated[int, msgspec.Meta(ge=0, le=60)]

#: Numbers of values that an exclusive or of two numbers stays within.
POWERS = (2, 4)


class Params(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a task may set.

    Attributes:
        structure: ``independent``: ground of the image and air of the sound are one time of day,
            and the text names it. ``xor``: they are drawn apart, and the text names a heading
            instead, the exclusive or of their numbers.
        shapes: Shapes that the image shows, 2..12.
        colours: Colours that the image shows, 2..12.
        sounds: Animals that are heard, 2..12.
        times: Grounds and airs, 2..4; in ``xor`` 2 or 4.
        image_noise: Even noise on every pixel of at most so many of 255 levels, 0..60.
        audio_noise: The same on every band of the spectrogram.
    """

    structure: Structure = "independent"
    shapes: Most12 = 12
    colours: Most12 = 12
    sounds: Most12 = 12
    times: Annotated[int, msgspec.Meta(ge=2, le=4)] = 3
    image_noise: Noise = 16
    audio_noise: Noise = 24


def check(params: Params, where: str) -> None:
    """Refuse parameters that do not go together.

    Raises:
        SpecError: There are as many times of day as no exclusive or stays within.
    """
    if params.structure == "xor" and params.times not in POWERS:
        raise SpecError(
            f"{where}.times = {params.times}: in the structure 'xor' a heading is the exclusive or "
            f"of two numbers below it: write 2 or 4"
        )
