"""What a task may set: which questions are asked, and how far they may lead."""

from __future__ import annotations

from typing import Annotated, Literal, get_args

import msgspec

from mmbench.errors import SpecError

Question = Literal["path", "relation", "match", "dialogue"]
#: All kinds of question, in the order in which they are numbered.
QUESTIONS: tuple[Question, ...] = get_args(Question)


class Params(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a task may set.

    Attributes:
        questions: Which kinds are asked, each as often as the others.
        hops: The longest chain of a scene, 2..4; a question leads over as many hops at most.
    """

    questions: tuple[Question, ...] = QUESTIONS
    hops: Annotated[int, msgspec.Meta(ge=2, le=4)] = 4


def check(params: Params, where: str) -> None:
    """Refuse a list of questions that names none, or one of them twice.

    Raises:
        SpecError: It does.
    """
    asked = params.questions
    if not asked or len(set(asked)) < len(asked):
        raise SpecError(
            f"{where}.questions = {list(asked)}: expected one or more of {', '.join(QUESTIONS)}, "
            f"each once"
        )
