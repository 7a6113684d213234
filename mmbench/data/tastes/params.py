"""What a task may set: what is asked, how many tastes there are, how clearly users show theirs."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

import msgspec

Question: TypeAlias = Literal["next_item", "click"]
Most12 = Annotated[int, msgspec.Meta(ge=2, le=12)]


class Params(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a task may set.

    Attributes:
        question: ``next_item``: which item of a catalogue a user takes next. ``click``: whether
            a user clicks on the one item that is shown.
        colours: Colours of items, 2..12; the image shows them.
        brands: Brands of items, 2..12; the text names them.
        amplitude: How loud a user's vector has the colour and the brand that the user likes, 0..20.
        noise: The deviation of the noise on every number of that vector, above 0, at most 5.
        image_noise: Even noise on every pixel of at most so many of 255 levels, 0..60.
    """

    question: Question = "next_item"
    colours: Most12 = 12
    brands: Most12 = 12
    amplitude: Annotated[float, msgspec.Meta(ge=0.0, le=20.0)] = 3.5
    noise: Annotated[float, msgspec.Meta(gt=0.0, le=5.0)] = 1.0
    image_noise: Annotated[int, msgspec.Meta(ge=0, le=60)] = 16
