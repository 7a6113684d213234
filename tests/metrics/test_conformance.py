"""What others get wrong, one test a defect; where the defect is ours to avoid elsewhere, see there.

Found in HELM, VLMEvalKit, lmms-eval, pycocoevalcap, MMSA and MultiBench by reading their code and
their users' threads. The defects that a metric's own tests hold it against (WER of nothing, recall
as a share, ROUGE-L of two empty captions, ...) stay there.
"""

from __future__ import annotations

import json
import math
import os
import random
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from string import ascii_lowercase
from typing import Any, TypeAlias

import msgspec
import numpy as np
import pytest
from pycocoevalcap.bleu.bleu import Bleu
from pycocoevalcap.bleu.bleu_scorer import BleuScorer
from pycocoevalcap.cider.cider import Cider

import mmbench
from mmbench import catalog, registry, sealed, store
from mmbench.data import interactions
from mmbench.data._contract import Request
from mmbench.metrics import Metric, TextItems, prepare, tools
from mmbench.metrics.slots import KINDS, TIMED
from mmbench.references import Slots, TextReferences
from mmbench.report.record import headroom
from mmbench.scoring import score
from mmbench.types import Predictions

Cli: TypeAlias = Callable[..., Any]
Corpus: TypeAlias = list[tuple[str, tuple[str, ...]]]

#: Metrics whose programs are not everywhere.
TOOLS = {"meteor", "spice"}


def loaded(name: str) -> Metric:
    return registry.load("metric", name)  # type: ignore[no-any-return]


def items_of(corpus: Corpus) -> TextItems:
    references = TextReferences([true for _, true in corpus])
    return prepare([said for said, _ in corpus], references)  # type: ignore[no-any-return]


def value(name: str, corpus: Corpus) -> float:
    metric = loaded(name)
    return metric.of(metric.measure(items_of(corpus)))


def tokens(corpus: Corpus) -> tuple[dict[int, list[str]], dict[int, list[str]]]:
    """Return references and predictions as pycocoevalcap wants them, of our tokens."""
    items = items_of(corpus)
    true = {k: [" ".join(t) for t in texts] for k, texts in enumerate(items.reference_tokens)}
    return true, {k: [" ".join(t)] for k, t in enumerate(items.tokens)}


# --- BLEU of a single image: pycocoevalcap's scorer then takes the mean of the references' lengths


def test_bleu_of_a_single_image_takes_the_closest_reference_as_in_a_corpus() -> None:
    corpus: Corpus = [("a dog runs on", ("a dog runs on sand", "a dog that is brown runs on it"))]
    true, said = tokens(corpus)
    of_image = BleuScorer(said[0][0], true[0]).compute_score()[0]
    in_corpus = Bleu(4).compute_score(true, said, verbose=0)[0]
    ours = [value(f"bleu{n}", corpus) for n in range(1, 5)]
    assert ours == pytest.approx(in_corpus, rel=1e-9)
    assert ours[0] == pytest.approx(math.exp(1 - 5 / 4), rel=1e-6), "the closest has 5 tokens"
    assert of_image[0] == pytest.approx(math.exp(1 - 6.5 / 4), rel=1e-6), "their mean is 6.5"
    # Scored one image at a time, a corpus keeps its lengths: what a single image is told in
    # `mmbench.score` is what its rows say within a corpus.
    rows = loaded("bleu1").measure(items_of([*corpus, ("a cat", ("a cat", "the cat sat"))]))
    assert loaded("bleu1").of_sums(rows[0]) == pytest.approx(ours[0], rel=1e-12)


# --- CIDEr-D's penalty for length, which pycocoevalcap takes from the bigrams


def drawn(seed: int, lengths: tuple[int, ...], words: str = "abcde") -> Corpus:
    draw = random.Random(seed)

    def text() -> str:
        return " ".join(draw.choices(words, k=draw.choice(lengths)))

    return [(text(), tuple(text() for _ in range(1 + k % 3))) for k in range(12)]


@pytest.mark.parametrize("lengths", [(0, 1, 2), (1, 2), (1, 9), (0, 12), (3, 4, 7, 20)])
@pytest.mark.parametrize("seed", range(3))
def test_cider_d_equals_the_one_that_counts_bigrams_for_the_length(
    seed: int, lengths: tuple[int, ...]
) -> None:
    # A caption has one bigram less than tokens, so the difference of two lengths is the same; but
    # for an empty caption, which has nothing in common with any.
    corpus = drawn(seed, lengths)
    true, said = tokens(corpus)
    expected, each = Cider().compute_score(true, said)
    rows = loaded("cider_d").measure(items_of(corpus))
    np.testing.assert_allclose(rows[:, 0], each, rtol=1e-9, atol=1e-12)
    assert value("cider_d", corpus) == pytest.approx(expected, rel=1e-9, abs=1e-12)


def test_the_penalty_for_length_is_that_of_the_difference_in_tokens() -> None:
    other = ("x y", ("x y",))
    one = value("cider_d", [("p", ("p",)), other])
    longer = value("cider_d", [("p", ("p q q q",)), other])
    rows = loaded("cider_d").measure(items_of([("p", ("p q q q",)), other]))
    # |g| = log 2, |h| = sqrt(1 + 9) log 2, g . h = (log 2)^2; three tokens apart.
    expected = 10 / 4 * math.exp(-(3**2) / (2 * 6**2)) / math.sqrt(10)
    assert rows[0, 0] == pytest.approx(expected, rel=1e-12)
    assert longer < one


# --- CIDEr of captions as they stand (VLMEvalKit: 5.97 instead of 10 on six equal pairs)


def test_cider_knows_words_by_their_letters_whatever_the_case_and_the_punctuation() -> None:
    texts = [
        *("A dog runs along the beach.", "Two men, in red, play chess!", "The cat sleeps on a mat"),
        *(
            '"A bus" stops at the corner',
            "Children are flying (big) kites",
            "He isn't at home now;",
        ),
    ]
    shouted: Corpus = [(text.upper().rstrip(".!;"), (text,)) for text in texts]
    assert value("cider_d", shouted) == pytest.approx(10.0, abs=1e-9)


# --- intervals of caption metrics (lmms-eval: "N/A")


def spoken(text: str) -> Slots:
    """Read slots of every kind out of a text, so that slot metrics can be asked too."""
    words = frozenset((word,) for word in text.split())
    return dict.fromkeys((*KINDS, *TIMED), words)


TEXT_METRICS = sorted(
    name for name in registry.names("metric") if loaded(name).kind == "text" and name not in TOOLS
)


@pytest.mark.parametrize("name", TEXT_METRICS)
def test_every_metric_of_texts_has_an_interval_that_holds_its_value(name: str) -> None:
    corpus = drawn(5, (4, 6, 9), ascii_lowercase)
    texts = [true for _, true in corpus]
    references = TextReferences(texts, [spoken(true[0]) for true in texts], spoken)
    ids = [str(k) for k in range(len(corpus))]
    said = Predictions(ids, {"text": [text for text, _ in corpus]})
    got = score(said, {"text": references}, "text", [name]).scores[name]
    assert all(map(math.isfinite, (got.value, got.low, got.high, got.se)))
    assert got.low < got.value < got.high


@pytest.mark.parametrize("name", sorted(TOOLS))
def test_metrics_of_programs_have_statistics_of_items_too(name: str) -> None:
    # Their intervals come from these: see test_tools.
    assert loaded(name).value is not None
    assert len(loaded(name).columns) > 2


# --- a collapse to one class (MMSA: such a row stands as a baseline)

COMMON = ["cat"] * 16 + ["dog"] * 8
EXPOSES = {"balanced_accuracy": 1 / 2, "macro_f1": 0.4, "mcc": 0.0, "cohen_kappa": 0.0}


def test_always_saying_the_commonest_class_is_exposed_and_named() -> None:
    said = ["cat"] * len(COMMON)
    found = mmbench.score(said, COMMON, metrics=["accuracy", *EXPOSES])
    assert found.scores["accuracy"].value == pytest.approx(2 / 3)
    assert {n: found.scores[n].value for n in EXPOSES} == pytest.approx(EXPOSES)
    (warning,) = found.warnings
    assert warning.startswith("all 24 predictions are 'cat': balanced_accuracy, macro_f1, mcc")
    assert f"warning: {warning}" in repr(found).splitlines()
    assert found.to_dict()["warnings"] == [warning]


def test_a_collapse_is_named_in_probabilities_numbers_and_texts_too() -> None:
    even = [{"cat": 0.9, "dog": 0.1}, {"cat": 0.6, "dog": 0.4}] * 12
    rows = [{"id": str(k), "scores": of} for k, of in enumerate(even)]
    true = [{"id": str(k), "label": label} for k, label in enumerate(COMMON)]
    assert "are 'cat'" in mmbench.score(rows, true, metrics="accuracy").warnings[0]
    numbers = mmbench.score([0.25] * 4, [1.0, 2.0, -1.0, 0.5], metrics="mae,pearson,ccc")
    assert "all 4 predictions are 0.25: pearson" in numbers.warnings[0]
    assert numbers.scores["pearson"].value == numbers.scores["ccc"].value == 0.0
    texts = mmbench.score(["a dog"] * 3, ["a dog", "a cat", "an owl"], metrics="rouge_l,cider_d")
    assert "all 3 predictions are 'a dog'" in texts.warnings[0]
    sets = mmbench.score([["a"]] * 3, [["a"], ["b"], ["a", "b"]], metrics="multilabel_macro_f1")
    assert "all 3 predictions are ['a']" in sets.warnings[0]


def test_what_is_no_collapse_is_not_called_one() -> None:
    for said, true in (
        (["cat"] * 23 + ["dog"], COMMON),  # one item is answered otherwise
        (["cat"] * 8, ["cat"] * 8),  # and there is only one thing to say
    ):
        assert mmbench.score(said, true, metrics="accuracy").warnings == ()
    assert mmbench.score([1.0, 2.0], [2.0, 1.0], metrics="mae").warnings == ()


def test_a_saved_collapse_says_so_wherever_it_is_shown(cli: Cli) -> None:
    truth = "".join(f"{k},{label}\n" for k, label in enumerate(COMMON))
    Path("truth.csv").write_text(f"id,label\n{truth}")
    Path("said.csv").write_text("id,prediction\n" + "".join(f"{k},cat\n" for k in range(24)))
    arguments = ("--references", "truth.csv", "--metrics", "accuracy", "--save")
    done = cli("score", "said.csv", *arguments)
    assert done.code == 0, done.err
    assert "warning: all 24 predictions are 'cat'" in done.out
    assert "all 24 predictions are 'cat'" in cli("show", "truth/said", "--no-figures").out


# --- two datasets under one name (AV-MNIST: 65 against 75 for the image alone)


def labelled(folder: str, classes: list[str]) -> None:
    """Write references and predictions under the same names."""
    Path(folder).mkdir()
    lines = [f"{k},{label}\n" for k, label in enumerate(classes)]
    Path(folder, "digits.csv").write_text("id,label\n" + "".join(lines))
    Path(folder, "said.csv").write_text("id,prediction\n" + "".join(lines[1:] + lines[:1]))


def test_two_files_of_one_name_are_two_boards(cli: Cli) -> None:
    for folder, classes in (("one", ["x", "y", "x", "y"]), ("two", ["x", "x", "x", "y"])):
        labelled(folder, classes)
        Path(folder, "said.csv").write_text("id,prediction\n0,x\n1,y\n2,y\n3,x\n")
        said, true = Path(folder, "said.csv"), Path(folder, "digits.csv")
        arguments = ("--references", true, "--metrics", "accuracy", "--save", "--name", folder)
        assert cli("score", said, *arguments).code == 0
    boards = json.loads(cli("leaderboard", "--json", "-t", "digits").out)["boards"]
    assert [[row["model"] for row in board["rows"]] for board in boards] == [["one"], ["two"]]


def test_a_record_of_other_data_is_left_out_by_name(cli: Cli) -> None:
    labelled("one", ["x", "y", "x", "y"])
    for name in ("first", "second"):
        arguments = ("--references", "one/digits.csv", "--metrics", "accuracy", "--save")
        cli("score", "one/said.csv", *arguments, "--name", name)
    path = next(Path("results/digits/second").glob("*/record.json"))
    record = store.read(path.parent).record
    other = msgspec.structs.replace(record, data=record.data | {"fingerprint": "0" * 64})
    path.write_bytes(msgspec.json.encode(sealed.seal(other)))
    done = cli("leaderboard", "--json")
    assert done.err == f"warning: {record.name}: was tested on other data: left out\n"
    (board,) = json.loads(done.out)["boards"]
    assert [row["model"] for row in board["rows"]] == ["first"]


# --- SPICE (pycocoevalcap: downloads its parser, writes into the installed package)

ANSWER = """
import json, os, sys
if sys.argv[1:] == ["-version"]:
    sys.exit(print('openjdk version "1.8.0"', file=sys.stderr))
told = {"arguments": sys.argv[1:], "folder": os.getcwd()}
open(os.environ["TOLD"], "w").write(json.dumps(told))
names = ("All", "Object", "Attribute", "Relation", "Color", "Cardinality", "Size")
scores = {name: {"tp": 1, "fp": 1, "fn": 0} for name in names}
given = json.load(open(sys.argv[sys.argv.index("-subset") - 3]))
answer = [{"image_id": item["image_id"], "scores": scores} for item in given]
open(sys.argv[sys.argv.index("-out") + 1], "w").write(json.dumps(answer))
"""


@pytest.mark.skipif(os.name == "nt", reason="a script cannot stand for java.exe")
def test_spice_writes_beside_no_package_and_never_asks_the_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package, home, jars = tmp_path / "site-packages/pycocoevalcap", tmp_path / "jdk", tmp_path / "j"
    for path in (package / "spice/spice-1.0.jar", *(jars / jar for jar in tools._PARSER)):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    program = home / "bin/java"
    program.parent.mkdir(parents=True)
    program.write_text(f"#!{sys.executable}\n{ANSWER}")
    program.chmod(0o755)
    for name, path in (("JAVA_HOME", home), ("MMBENCH_SPICE", jars), ("TOLD", tmp_path / "told")):
        monkeypatch.setenv(name, str(path))
    monkeypatch.setattr(tools, "_package", lambda: package)

    def refuse(*given: object, **named: object) -> None:
        raise AssertionError("SPICE asked the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    before = sorted(package.rglob("*"))
    metric = loaded("spice")
    rows = metric.measure(items_of([("a dog", ("a dog",)), ("a cat", ("a cat",))]))
    assert metric.of(rows) == pytest.approx(2 / 3)
    told = json.loads((tmp_path / "told").read_text())
    assert sorted(package.rglob("*")) == before
    arguments = told["arguments"]
    assert "-cache" not in arguments, "its cache would outlive the call"
    written = [told["folder"], arguments[arguments.index("-out") + 1]]
    assert not any(Path(path).is_relative_to(tmp_path / "site-packages") for path in written)
    assert not any(Path(path).exists() for path in written), "nothing is left behind"


# --- MultiBench ----------------------------------------------------------------------------------


def test_a_share_of_what_is_possible_is_of_the_tasks_own_levels_and_errors_are_not_inverted() -> (
    None
):
    """MultiBench scales by constants in its source, and turns some error metrics round."""
    levels = catalog.task("sentiment").levels
    for name in ("accuracy", "intensity.mae"):
        level = levels[name]
        assert headroom(level.floor, level) == 0.0
        assert headroom(level.ceiling, level) == 1.0
        assert headroom((level.floor + level.ceiling) / 2, level) == pytest.approx(0.5)
    assert levels["intensity.mae"].ceiling < levels["intensity.mae"].floor, "an error falls"


def test_noise_is_that_of_the_data_seed(tmp_path: Path) -> None:
    """MultiBench draws it anew, unseeded, whenever the data are read."""
    fields = {
        "structure": "redundant",
        "splits": {"noisy": {"like": "test", "feature_noise": {"text": 1.5}}},
    }
    sizes = {"train": 4, "test": 20, "noisy": 20}

    def texts(folder: str, seed: int, split: str) -> Any:
        request = Request(
            "task", interactions.VERSION, seed, fields, sizes, None, tmp_path / folder
        )
        return np.asarray(interactions.build(request).splits[split].inputs["text"])

    np.testing.assert_array_equal(texts("one", 7, "noisy"), texts("two", 7, "noisy"))
    assert not np.array_equal(texts("one", 7, "noisy"), texts("one", 7, "test"))
    assert not np.array_equal(texts("one", 7, "noisy"), texts("three", 8, "noisy"))
