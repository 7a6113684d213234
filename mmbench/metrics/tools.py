"""METEOR and SPICE, by the Java programs that pycocoevalcap brings along.

Both see what n-grams do not: METEOR words of one stem or meaning, SPICE the objects, attributes
and relations that a caption states. They need Java and ``pip install 'mmbench[metrics]'``; SPICE
also needs Stanford's parser, which is not downloaded here: put ``stanford-corenlp-3.6.0.jar`` and
``stanford-corenlp-3.6.0-models.jar`` (of stanford-corenlp-full-2015-12-09.zip) into a folder and
name it by ``MMBENCH_SPICE``. Nothing is ever written into an installed package.

The programs run once for all items and give the statistics of each, so that the interval, paired
tests and subgroups are those of every other metric.
"""

from __future__ import annotations

import importlib.util
import json
import os
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mmbench.errors import UsageError
from mmbench.metrics import _java
from mmbench.metrics._contract import Metric, metric, ratio
from mmbench.metrics._items.text import TextItems

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from mmbench.types import Floats


def _package() -> Path | None:
    """Return the folder of pycocoevalcap, without importing it."""
    found = importlib.util.find_spec("pycocoevalcap")
    folders = list(found.submodule_search_locations or ()) if found else []
    return Path(folders[0]) if folders else None


def _lacks(what: str, jar: str) -> str:
    """Say what a program lacks to run, or return an empty string."""
    package = _package()
    if package is None:
        return "pycocoevalcap is not installed: pip install 'mmbench[metrics]'"
    if not (package / jar).is_file():
        return f"{package / jar} is missing: pip install --force-reinstall pycocoevalcap"
    return f"{what} {_java.NO_JAVA}" if _java.java() is None else ""


# --- METEOR --------------------------------------------------------------------------------------

_METEOR = "meteor/meteor-1.5.jar"
_STAGES = ("exact", "stem", "synonym", "paraphrase")
_WEIGHTS = (1.0, 0.6, 0.8, 0.6)
_ALPHA, _BETA, _GAMMA, _DELTA = 0.85, 0.2, 0.6, 0.75
_METEOR_COLUMNS = (
    *("words_said", "words_true", "function_words_said", "function_words_true"),
    *(
        f"{stage}_{kind}_{side}"
        for stage in _STAGES
        for kind in ("content", "function")
        for side in ("said", "true")
    ),
    *("chunks", "matched_said", "matched_true"),
)


def _lacks_meteor(items: TextItems) -> str:
    return _lacks("METEOR", _METEOR)


def _meteor(total: Floats) -> Floats:
    """Return METEOR of sums [..., 23]."""
    said, true = (
        ratio(_weighted(total, side), _content(total[..., side], total[..., 2 + side]))
        for side in (0, 1)
    )
    mean = ratio(said * true, _ALPHA * said + (1 - _ALPHA) * true)
    chunks, matched = total[..., -3], (total[..., -2] + total[..., -1]) / 2
    penalty = _GAMMA * np.maximum(ratio(chunks, matched), 0.0) ** _BETA
    return np.asarray(np.maximum(mean * (1 - penalty), 0.0))


def _content(words: Floats, function_words: Floats) -> Floats:
    """Return the words, those with content and those without each by their weight."""
    return _DELTA * (words - function_words) + (1 - _DELTA) * function_words


def _weighted(total: Floats, side: int) -> Floats:
    """Return the matches of the prediction (side 0) or of the reference (1), by their weights."""
    stages = total[..., 4:20].reshape(*total.shape[:-1], len(_STAGES), 2, 2)[..., side]
    return np.asarray(np.einsum("...sk,s,k->...", stages, _WEIGHTS, (_DELTA, 1 - _DELTA)))


@metric(
    columns=_METEOR_COLUMNS,
    value=_meteor,
    bounds=(0.0, 1.0),
    settings="program:meteor-1.5|language:en|normalised:yes|tokenizer:ptb",
    check=_lacks_meteor,
)
def meteor(items: TextItems) -> Floats:
    """METEOR: words matched by form, stem, meaning or paraphrase, with a penalty for scatter.

    ``F (1 - 0.6 (chunks / matches)^0.2)`` with ``F = P R / (0.85 P + 0.15 R)``, P and R the shares
    of the words of prediction and reference that are matched, weighted by how they match and by
    whether they carry content; the reference of an item is the one that matches best. Denkowski
    and Lavie, WMT 2014. Of the corpus, from the sums over its items: no mean over items. English.

    Range 0 to 1, higher is better. An empty prediction scores 0. The rows are what pycocoevalcap's
    ``Meteor`` gets from the program, the value is its corpus score; an item that is wholly matched
    in one chunk counts no chunk, as there. (It removes the mark ``|||`` from predictions only, so
    that one in a reference splits it; here it is removed from both.)

    Returns:
        [N, 23]: words and function words, matches by stage, chunks, matched words.

    Raises:
        UsageError: Java or pycocoevalcap is missing, or the program fails.
    """
    reason = _lacks_meteor(items)
    if reason:
        raise UsageError(f"METEOR: {reason}")
    jar = Path(str(_package()), _METEOR)
    arguments = ["-Xmx2G", "-jar", str(jar), "-", "-", "-stdio", "-l", "en", "-norm"]
    seconds = 600 + 0.2 * len(items)
    answers = _java.run("METEOR", arguments, jar.parent, seconds, list(_meteor_lines(items)))
    rows = _numbers(answers, len(items))
    _, _, _, _, *stages = np.moveaxis(rows[:, :20], -1, 0)
    whole = (sum(stages[0::2]) == rows[:, 0]) & (sum(stages[1::2]) == rows[:, 1])
    rows[whole & (rows[:, -3] == 1), -3] = 0.0
    return rows


def _meteor_lines(items: TextItems) -> Iterator[str]:
    """Return one question an item: its references, then its prediction."""
    for said, true in zip(items.tokens, items.reference_tokens, strict=True):
        texts = (" ".join(tokens).replace("|||", "") for tokens in (*true, said))
        # The blank at the end keeps an empty prediction from being taken for none.
        yield " ||| ".join(("SCORE", *texts)) + " "


def _numbers(answers: list[str], size: int) -> Floats:
    try:
        rows = np.array([answer.split() for answer in answers], dtype=np.float64)
        if rows.shape == (size, len(_METEOR_COLUMNS)):
            return rows
    except ValueError:
        pass
    expected = f"{size} lines of {len(_METEOR_COLUMNS)} numbers"
    raise UsageError(
        f"METEOR: expected {expected} from its program, got {len(answers)} lines, the last one "
        f"{answers[-1] if answers else ''!r}"
    )


# --- SPICE ---------------------------------------------------------------------------------------

_SPICE = "spice/spice-1.0.jar"
_PARSER = ("stanford-corenlp-3.6.0.jar", "stanford-corenlp-3.6.0-models.jar")
#: The last Java that can run JavaScript, in which SPICE writes its answer.
_LAST_JAVA = 14
#: The kinds of statement, as SPICE calls them and as ours are called.
_CATEGORIES = {
    "All": "all",
    "Object": "object",
    "Attribute": "attribute",
    "Relation": "relation",
    "Color": "color",
    "Cardinality": "count",
    "Size": "size",
}
_PARTS = ("f", "counted", "matched", "said", "true")


def _parser(package: Path) -> Path:
    """Return the folder in which the parser should be."""
    named = os.environ.get("MMBENCH_SPICE")
    return Path(named).expanduser() if named else package / "spice/lib"


def _lacks_spice(items: TextItems, category: str = "all") -> str:
    if category not in _CATEGORIES.values():
        return f"category: expected one of {', '.join(_CATEGORIES.values())}, got {category!r}"
    package = _package()
    lacks = _lacks("SPICE", _SPICE)
    if lacks or package is None:
        return lacks
    folder = _parser(package)
    missing = [jar for jar in _PARSER if not (folder / jar).is_file()]
    if missing:
        return (
            f"its parser is missing: {' and '.join(missing)} not in {folder}; take them from "
            f"https://nlp.stanford.edu/software/stanford-corenlp-full-2015-12-09.zip and name "
            f"their folder by MMBENCH_SPICE"
        )
    program = _java.java()
    newer = _java.version(program) if program else 0
    if newer > _LAST_JAVA and not list(folder.glob("nashorn-core*.jar")):
        return (
            f"SPICE needs Java 8 to {_LAST_JAVA}, this is {newer}: name an older one by JAVA_HOME, "
            f"or put nashorn-core.jar and the asm jars that it needs into {folder}"
        )
    return ""


class _Spice(Metric):
    """A metric whose statistics are the same for every option: its program runs once for all."""

    def configure(self, given: Mapping[str, Any]) -> Metric:
        """Return the metric with other options."""
        return replace(super().configure(given), family=self.family)


def _mean_f1(total: Floats, category: str) -> Floats:
    first = list(_CATEGORIES.values()).index(category) * len(_PARTS)
    return ratio(total[..., first], total[..., first + 1])


def _made(function: Any) -> Metric:
    made = metric(
        columns=tuple(f"{kind}_{part}" for kind in _CATEGORIES.values() for part in _PARTS),
        value=_mean_f1,
        bounds=(0.0, 1.0),
        settings="program:spice-1.0|parser:stanford-corenlp-3.6.0|tokenizer:ptb",
        options={"category": "all"},
        check=_lacks_spice,
    )(function)
    return _Spice(**vars(made))


@_made
def spice(items: TextItems, category: str = "all") -> Floats:
    """SPICE: what a caption states (objects, attributes, relations), as F1 of each item.

    A parser reads the statements out of the prediction, and out of all references of the item
    together; words of one meaning are the same. The value is the mean over items of
    ``2 tp / (said + true)``; ``spice(category=color)`` counts statements of one kind, over the
    items whose references have any. Anderson et al., ECCV 2016 (arXiv 1607.08822). English.

    Range 0 to 1, higher is better. An empty prediction states nothing and scores 0. Tokens are
    those of ``ptb``, as pycocoevalcap feeds it, whose value this is.

    Args:
        items: Any texts.
        category: ``all``, ``object``, ``attribute``, ``relation``, ``color``, ``count`` or
            ``size``; the rows are the same for each.

    Returns:
        [N, 35]: for each category F1, whether the item counts, tp, said and true.

    Raises:
        UsageError: Java, pycocoevalcap or the parser is missing, the program fails, or there is
            no such category.
    """
    reason = _lacks_spice(items, category)
    package = _package()
    if reason or package is None:
        raise UsageError(f"SPICE: {reason}")
    with tempfile.TemporaryDirectory(prefix="mmbench-spice-") as folder:
        asked, answered = Path(folder, "asked.json"), Path(folder, "answered.json")
        asked.write_text(json.dumps(list(_questions(items))), encoding="ascii")
        jars = (_parser(package) / "*", package / "spice/lib/*", package / _SPICE)
        arguments = ["-Xmx8G", "-cp", os.pathsep.join(map(str, jars)), "edu.anu.spice.SpiceScorer"]
        options = [str(asked), "-out", str(answered), "-subset", "-silent"]
        _java.run("SPICE", [*arguments, *options], Path(folder), 1200 + 3.0 * len(items))
        return _answers(answered, len(items))


def _questions(items: TextItems) -> Iterator[dict[str, Any]]:
    for place, (said, true) in enumerate(zip(items.tokens, items.reference_tokens, strict=True)):
        refs = [" ".join(tokens) for tokens in true]
        yield {"image_id": place, "test": " ".join(said), "refs": refs}


def _answers(path: Path, size: int) -> Floats:
    """Return the rows that SPICE's answer holds."""
    try:
        found = {given["image_id"]: given["scores"] for given in json.loads(path.read_bytes())}
        counts = [
            [[found[place][name][key] for key in ("tp", "fp", "fn")] for name in _CATEGORIES]
            for place in range(size)
        ]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(
            f"SPICE: its program did not answer for all items: {type(error).__name__}: {error}"
        ) from None
    matched, wrong, missed = np.moveaxis(np.array(counts, dtype=np.float64), -1, 0)  # [N, kinds]
    counted = matched + missed > 0
    counted[:, 0] = True
    f1 = np.where(counted, ratio(2 * matched, 2 * matched + wrong + missed), 0.0)
    parts = np.stack([f1, counted, matched, matched + wrong, matched + missed], axis=-1)
    return parts.reshape(size, -1)
