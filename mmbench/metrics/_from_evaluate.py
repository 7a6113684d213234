"""Metrics of Hugging Face's evaluate, by the name of their module: ``evaluate:rouge(key=rougeL)``.

``evaluate:NAME(argument=value)`` is the module NAME of the library's own account, which evaluate
downloads or takes from its cache; the arguments go to the module's computation and are Python
literals (a bare word is a string). Two more are ours: ``key``, the name of the number that is meant
where a result holds several, and ``higher_is_better``, for modules of which we do not say it.

A module is code, and loading it runs it. So a definition or a record can name one of the library's
own and nothing else: a name with a slash would be anybody's. ``evaluate:./mine`` or
``evaluate:./mine.py``, a module in your own files, has to be named on the command line or in a call
from Python (`mmbench.registry.permit`).

The module's features say what it compares: texts are outputs of the kind ``text``, whole numbers
``label`` (classes go in by number), other numbers ``scalar``. Where it takes several forms, the
first of these is meant. Modules that compare anything else are refused.

Modules return a number of the corpus and nothing of its items, so the statistics are pseudo-values
of the jackknife (`mmbench.metrics._jackknife`), and the metric is their mean. They depend on the
other items: subgroups have to be scored on their own. A module that draws at random (``rouge`` does
for its aggregate) starts from the same state every time it is asked.
"""

from __future__ import annotations

import atexit
import importlib
import inspect
import re
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mmbench import registry
from mmbench.errors import MissingExtraError, MmbenchError, UsageError
from mmbench.metrics._contract import Metric, metric
from mmbench.metrics._evaluate_forms import Form, direction, form_of, number
from mmbench.metrics._jackknife import jackknife
from mmbench.registry import parse_call

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mmbench.types import Floats


def load(call: str) -> Metric:
    """Return the metric of a module of evaluate.

    Args:
        call: ``name`` or ``name(argument=value)``; or a path in place of the name.

    Raises:
        UsageError: The name is no module's, is a path that nobody permitted, or could be taken for
            a file of the user's; the module cannot be loaded; or nobody says what is better.
        IncompatibleError: The module compares what no output here has.
        MissingExtraError: evaluate is not installed.
    """
    call = call.strip()
    name = f"evaluate:{call}"
    title, paren, rest = call.partition("(")
    _, given, asked = parse_call(f"module({rest}") if paren else ("", [], {})
    if given:
        raise UsageError(f"metric {name!r}: expected arguments by name, like average=macro")
    key, higher = asked.pop("key", None), asked.pop("higher_is_better", None)
    _refuse_code(name, title.strip())
    module, version = _module(name, title.strip())
    form = form_of(name, module.features)
    _check_arguments(name, module, asked)
    shown = [f"key:{key}"] * (key is not None)
    shown += [f"{word}:{asked[word]!r}" for word in sorted(asked)]
    made = metric(_statistics(name, module, form, key, asked))
    return replace(
        made,
        name=name,
        family=name,
        columns=("pseudo_value", "count"),  # in the store no column may hold a point
        module=__name__,
        summary=(module.description or "").strip().partition("\n")[0],
        kind=form.kind,
        check=_check(form),
        higher_is_better=direction(name, title.strip(), key, higher),
        settings="|".join([f"evaluate:{version}", f"module:{str(module._hash)[:12]}", *shown]),
        local=False,
    )


def _refuse_code(name: str, title: str) -> None:
    """Refuse what would run code that nobody meant to run.

    Raises:
        UsageError: The title is a path that was not permitted, is no plain name, or evaluate would
            run a file of the working folder in its place.
    """
    if "/" in title or "\\" in title or title.endswith(".py"):
        if not registry.is_permitted(name):
            raise UsageError(
                f"metric {name!r}: is a path, and loading it runs its code: name it on the command "
                f"line, as --metric {name}; a definition or a record may name only modules of the "
                f"library's own, like evaluate:rouge"
            )
        if not Path(title).exists():
            raise UsageError(f"metric {name!r}: there is no {title}: expected a module's .py file")
        return
    if not re.fullmatch("[a-z0-9_]+", title):
        raise UsageError(
            f"metric {name!r}: expected the name of a module of evaluate in small letters, like "
            f"evaluate:rouge, or a path with a slash, like evaluate:./mine.py"
        )
    for found in (Path(title), Path(f"{title}.py")):
        if found.exists():
            raise UsageError(
                f"metric {name!r}: {str(found)!r} lies in the working folder, and evaluate might "
                f"run it instead: rename it, or name it as evaluate:./{found}"
            )


def _module(name: str, title: str) -> tuple[Any, str]:
    """Return a module of evaluate, loaded, and the library's version.

    Raises:
        UsageError: It cannot be loaded, with the library's reason.
        MissingExtraError: evaluate is not installed.
    """
    with _calling(name):
        try:
            library = importlib.import_module("evaluate")
        except ModuleNotFoundError as error:
            what = f"{error.name}, which the metric {name!r} needs,"
            raise MissingExtraError(what, "metrics") from None
        try:
            found = library.load(
                title, module_type="metric", keep_in_memory=True, cache_dir=_scratch()
            )
        except (FileNotFoundError, ConnectionError):
            raise UsageError(
                f"metric {name!r}: evaluate finds no such module, neither in its cache nor online: "
                f"check the name, or load it once where there is a network"
            ) from None
    return found, str(library.__version__)


@cache
def _scratch() -> str:
    """Return a folder for what modules write, which is gone when the process ends."""
    folder = tempfile.mkdtemp(prefix="mmbench-evaluate-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


@contextmanager
def _calling(name: str) -> Iterator[None]:
    """Call the library: quietly, from one state of numpy's; what it raises becomes one line."""
    before = np.random.get_state()
    np.random.seed(0)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except MmbenchError:
        raise
    except Exception as error:  # somebody's code: whatever it raises is the user's one line
        line = str(error).strip().partition("\n")[0]
        raise UsageError(f"metric {name!r}: {type(error).__name__}: {line}") from error
    finally:
        np.random.set_state(before)


def _check_arguments(name: str, module: Any, asked: Mapping[str, Any]) -> None:
    """Refuse arguments that the module's computation does not have.

    Raises:
        UsageError: With those that it has.
    """
    parameters = inspect.signature(module._compute).parameters.values()
    if any(one.kind is inspect.Parameter.VAR_KEYWORD for one in parameters):
        return
    known = [one.name for one in parameters if one.name not in ("predictions", "references")]
    for word in asked:
        if word not in known:
            listed = ", ".join([*known, "key", "higher_is_better"])
            raise UsageError(f"metric {name!r}: has no argument {word!r}; it has: {listed}")


def _check(form: Form) -> Callable[[Any], str]:
    """Return what says why items cannot be scored."""

    def check(items: Any) -> str:
        if form.kind == "text":
            most = max(len(texts) for texts in items.references)
            few = form.several or most == 1
            return "" if few else f"compares with one reference, and items have up to {most}"
        silent = int((items.said < 0).sum() if form.kind == "label" else items.missing.sum())
        return f"{silent} items have no answer, and the module knows no such thing" * bool(silent)

    return check


def _inputs(form: Form, items: Any) -> tuple[Any, Any]:
    """Return predictions and references as the module takes them."""
    if form.kind != "text":
        return items.said, items.truth
    texts = [list(texts) if form.several else texts[0] for texts in items.references]
    return list(items.predictions), texts


def _statistics(
    name: str, module: Any, form: Form, key: Any, asked: Mapping[str, Any]
) -> Callable[[Any], Floats]:
    """Return the function from items to pseudo-values [N]."""
    as_arrays = module.format == "numpy"

    def value_of(predictions: Any, references: Any) -> float:
        if as_arrays:
            predictions, references = np.asarray(predictions), np.asarray(references)
        with _calling(name):
            result = module._compute(predictions=predictions, references=references, **asked)
            return number(name, result, key)

    def rows(items: Any) -> Floats:
        said, truth = _inputs(form, items)
        if form.kind == "text":

            def of_texts(left: NDArray[np.int64]) -> float:
                return value_of([said[i] for i in left], [truth[i] for i in left])

            return jackknife(len(items), of_texts)[1]

        def of_numbers(left: NDArray[np.int64]) -> float:
            return value_of(said[left].tolist(), truth[left].tolist())

        alike = np.unique(np.stack([said, truth]), axis=1, return_inverse=True)[1].reshape(-1)
        return jackknife(len(items), of_numbers, alike)[1]

    return rows
