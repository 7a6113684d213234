"""METEOR and SPICE through their own programs, and what happens where those are missing."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from mmbench import registry
from mmbench.errors import UsageError
from mmbench.metrics import TextItems, _java, influence, prepare, tools
from mmbench.references import TextReferences

TRAPS = (
    ("a dog runs ||| in the park.", ("the dog is running in a park", "a dog running")),
    ("", ("a cat",)),
    ("le café — ünïcode 日本\nx", ("a café", "x ||| y")),
    ("A man, in red", ("A man, in red",)),
    ("a cat sits on a mat", ("a cat sat on the mat",)),
    ("the the the the", ("",)),
    ("...", ("...", "!")),
    ("cats jumped", ("a cat jumps", "feline leaps")),
    ("|||", ("a", "b")),
    ("<a|||b> c", ("<a|||b> c d", "...")),
    ("EVAL SCORE\r\nSCORE ||| x", ("a score",)),
    ("\ud800 a \x00 b\u2028c", ("a b c", "a\x85b")),
)


def items_of(pairs: Sequence[tuple[str, tuple[str, ...]]]) -> TextItems:
    return prepare([said for said, _ in pairs], TextReferences([true for _, true in pairs]))


def needs_java() -> None:
    if shutil.which("java") is None:
        pytest.skip("METEOR and SPICE need Java")
    if importlib.util.find_spec("pycocoevalcap") is None:
        pytest.skip("METEOR and SPICE need pycocoevalcap")


def program(folder: Path, name: str, script: str) -> Path:
    """Write a program of the test's own, in Python."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!{sys.executable}\n{script}")
    path.chmod(0o755)
    return path


@pytest.fixture
def pretend(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """Put a program in Python where Java would be."""
    if os.name == "nt":
        pytest.skip("a script cannot stand for java.exe")

    def write(script: str) -> Path:
        monkeypatch.setenv("JAVA_HOME", str(tmp_path))
        return program(tmp_path, "bin/java", f"import sys, time, os, json\n{script}")

    return write


# --- METEOR --------------------------------------------------------------------------------------


@pytest.mark.slow
def test_meteor_equals_pycocoevalcap_on_nasty_texts() -> None:
    needs_java()
    from pycocoevalcap.meteor.meteor import Meteor

    items, metric = items_of(TRAPS), registry.load("metric", "meteor")
    rows = metric.measure(items)

    def line(tokens: list[str]) -> str:
        # pycocoevalcap takes the mark out of predictions only: see `meteor`.
        return " ".join(tokens).replace("|||", "").encode("utf-8", "replace").decode()

    truth = {n: [line(tokens) for tokens in true] for n, true in enumerate(items.reference_tokens)}
    said = {n: [line(tokens)] for n, tokens in enumerate(items.tokens)}
    scorer = Meteor()
    try:
        value, scores = scorer.compute_score(truth, said)
    finally:
        for pipe in (scorer.meteor_p.stdout, scorer.meteor_p.stderr):
            scorer.meteor_p.kill()
            pipe.close()
    assert metric.of(rows) == pytest.approx(value, rel=1e-12)
    each = [float(metric.of_sums(row)) for row in rows]
    np.testing.assert_allclose(each, scores, rtol=1e-12, atol=1e-12)
    assert value != pytest.approx(np.mean(scores), rel=1e-3)  # no mean over items
    psi = influence(metric, rows)
    assert abs(psi.sum()) < 1e-9
    assert rows[1, :4].tolist() == [0.0, 2.0, 0.0, 1.0]  # nothing said about "a cat"
    assert each[1] == each[5] == each[6] == 0.0


@pytest.mark.slow
def test_meteor_comes_to_an_end_with_a_degenerate_model() -> None:
    needs_java()
    texts = ["a a the the " * 40, "dog " * 200, "x" * 5000]
    items = items_of([(t, ("a dog in the park " * 8, "the dog")) for t in texts])
    rows = registry.load("metric", "meteor").measure(items)
    assert rows[0, 0] == 160


def echo(rows: str) -> str:
    return f"for line in sys.stdin:\n    print({rows!r})"


GOOD = " ".join(["6.0 6.0 3.0 3.0 2.0 2.0 2.0 2.0 1.0 1.0 0.0 0.0", *["0.0"] * 8, "2.0 5.0 5.0"])
WHOLE = " ".join(["2.0 2.0 1.0 1.0 1.0 1.0 1.0 1.0", *["0.0"] * 12, "1.0 2.0 2.0"])


def test_meteor_of_the_corpus_comes_from_sums(pretend: Callable[[str], Path]) -> None:
    pretend(echo(GOOD))
    metric = registry.load("metric", "meteor")
    rows = metric.measure(items_of([("a", ("b",))] * 3))
    assert rows.shape == (3, len(metric.columns))
    # What the program itself says of these statistics, asked by EVAL.
    assert metric.of_sums(rows[0]) == pytest.approx(0.4087155950397489, rel=1e-12)
    assert metric.of(rows) == pytest.approx(0.4087155950397489, rel=1e-12)


def test_a_wholly_matched_item_adds_no_chunk(pretend: Callable[[str], Path]) -> None:
    pretend(echo(WHOLE))
    metric = registry.load("metric", "meteor")
    rows = metric.measure(items_of([("a cat", ("a cat",))] * 2))
    assert rows[:, -3].tolist() == [0.0, 0.0]
    assert metric.of(rows) == pytest.approx(1.0)
    assert metric.of_sums(np.zeros(len(metric.columns))) == 0.0


def test_no_text_can_break_a_question_in_two(
    pretend: Callable[[str], Path], tmp_path: Path
) -> None:
    seen = tmp_path / "seen.txt"
    script = f"data = sys.stdin.buffer.read()\nopen({str(seen)!r}, 'wb').write(data)\n"
    pretend(f"{script}for line in data.splitlines(): print({GOOD!r})")
    rows = registry.load("metric", "meteor").measure(items_of(TRAPS))
    lines = seen.read_bytes().decode("utf-8").split("\n")
    assert len(rows) == len(TRAPS) == len(lines) - 1
    for line, (_, true) in zip(lines[:-1], TRAPS, strict=True):
        assert line.startswith("SCORE ||| ")
        assert line.endswith(" ")
        assert len(line.split("|||")) == 2 + len(true)


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("sys.exit('Exception in thread main: out of memory')", r"exit code 1.*out of memory"),
        ("sys.exit(3)", r"exit code 3\): it said nothing"),
        ("print('Error: specify SCORE')", r"expected 2 lines of 23 numbers.*specify SCORE"),
        ("print('1.0 2.0')\nprint('1.0 2.0')", "expected 2 lines of 23 numbers"),
        ("pass", "expected 2 lines of 23 numbers"),
    ],
)
def test_a_program_that_fails_is_one_line(
    pretend: Callable[[str], Path], script: str, message: str
) -> None:
    pretend(script)
    with pytest.raises(UsageError, match=rf"METEOR.*{message}") as caught:
        registry.load("metric", "meteor").measure(items_of([("a", ("b",))] * 2))
    assert "\n" not in str(caught.value)


def test_a_program_that_never_ends_is_killed(
    pretend: Callable[[str], Path], tmp_path: Path
) -> None:
    number = tmp_path / "pid"
    pretend(f"open({str(number)!r}, 'w').write(str(os.getpid()))\ntime.sleep(600)")
    began = time.monotonic()
    with pytest.raises(UsageError, match=r"METEOR has not come to an end in 3 s and was stopped"):
        _java.run("METEOR", [], tmp_path, 3.0, ["SCORE"])
    assert time.monotonic() - began < 60
    with pytest.raises(ProcessLookupError):
        os.kill(int(number.read_text()), 0)


def test_a_program_that_reads_nothing_blocks_nobody(
    pretend: Callable[[str], Path], tmp_path: Path
) -> None:
    pretend("print('x' * 1_000_000)")
    found = _java.run("METEOR", [], tmp_path, 60.0, ["y" * 1000] * 5000)
    assert found == ["x" * 1_000_000]


# --- what is missing -----------------------------------------------------------------------------

ONE = (("a dog", ("a dog",)), ("a cat", ("a cat",)))


@pytest.mark.parametrize("name", ["meteor", "spice"])
def test_without_java_it_says_so(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if importlib.util.find_spec("pycocoevalcap") is None:
        pytest.skip("needs pycocoevalcap")
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("JAVA_HOME", raising=False)
    metric = registry.load("metric", name)
    with pytest.raises(UsageError, match=rf"'{name}'.*needs Java.*install.*JAVA_HOME.*cider_d"):
        metric.measure(items_of(ONE))
    with pytest.raises(UsageError, match="needs Java"):
        metric.stats(items_of(ONE))


@pytest.mark.parametrize("name", ["meteor", "spice"])
def test_without_pycocoevalcap_it_says_what_to_install(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda package: None)
    with pytest.raises(UsageError, match=rf"'{name}'.*pip install 'mmbench\[metrics\]'"):
        registry.load("metric", name).measure(items_of(ONE))


def package(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Pretend that pycocoevalcap is here, with jars that are none."""
    for jar in ("meteor/meteor-1.5.jar", "spice/spice-1.0.jar", "spice/lib/x.jar"):
        path = folder / "pycocoevalcap" / jar
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    monkeypatch.setattr(tools, "_package", lambda: folder / "pycocoevalcap")
    return folder / "pycocoevalcap"


def test_a_missing_jar_is_named(
    pretend: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend("")
    (package(tmp_path, monkeypatch) / "meteor/meteor-1.5.jar").unlink()
    with pytest.raises(UsageError, match=r"meteor-1.5.jar is missing: pip install"):
        registry.load("metric", "meteor").measure(items_of(ONE))


def test_spice_without_its_parser_says_where_to_get_it_and_downloads_nothing(
    pretend: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend("sys.exit('nobody asked for Java')")
    found = package(tmp_path, monkeypatch)
    before = sorted(found.rglob("*"))
    metric = registry.load("metric", "spice")
    with pytest.raises(
        UsageError, match=r"3.6.0.jar and .*models.jar not in .*spice/lib.*MMBENCH_SPICE"
    ):
        metric.measure(items_of(ONE))
    monkeypatch.setenv("MMBENCH_SPICE", str(tmp_path / "jars"))
    with pytest.raises(UsageError, match=r"models.jar not in .*jars; take them from https"):
        metric.measure(items_of(ONE))
    assert sorted(found.rglob("*")) == before


def parser(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for jar in tools._PARSER:
        (folder / jar).parent.mkdir(exist_ok=True)
        (folder / jar).write_bytes(b"")
    monkeypatch.setenv("MMBENCH_SPICE", str(folder))
    return folder


def says_version(version: str, otherwise: str) -> str:
    says = f"print('openjdk version \"{version}\"', file=sys.stderr)"
    return f"if sys.argv[1:] == ['-version']:\n    {says}\n    sys.exit()\n{otherwise}"


@pytest.mark.parametrize(
    ("version", "major"), [("1.8.0_402", 8), ("14", 14), ("17.0.15", 17), ("21-ea", 21)]
)
def test_spice_with_a_java_that_is_too_new_says_so(
    version: str,
    major: int,
    pretend: Callable[[str], Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pretend(says_version(version, "sys.exit('SPICE itself')"))
    package(tmp_path, monkeypatch)
    folder = parser(tmp_path / "jars", monkeypatch)
    spice = registry.load("metric", "spice")
    too_new = f"SPICE needs Java 8 to 14, this is {major}.*JAVA_HOME.*nashorn-core"
    message = "SPICE itself" if major <= 14 else too_new
    with pytest.raises(UsageError, match=message):
        spice.measure(items_of(ONE))
    (folder / "nashorn-core-15.4.jar").write_bytes(b"")
    with pytest.raises(UsageError, match="SPICE itself"):
        spice.measure(items_of(ONE))


@pytest.mark.parametrize(
    "answer", ["[]", "{", '[{"image_id": 0}]', '[{"image_id": 0, "scores": {"All": {}}}]']
)
def test_an_answer_of_spice_that_is_none_is_one_line(
    answer: str,
    pretend: Callable[[str], Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    package(tmp_path, monkeypatch)
    parser(tmp_path / "jars", monkeypatch)
    write = f"open(sys.argv[sys.argv.index('-out') + 1], 'w').write({answer!r})"
    pretend(says_version("1.8.0", write))
    with pytest.raises(UsageError, match="SPICE: its program did not answer for all") as caught:
        registry.load("metric", "spice").measure(items_of(ONE))
    assert "\n" not in str(caught.value)


def test_an_unknown_category_of_spice_is_refused() -> None:
    with pytest.raises(UsageError, match=r"category: expected one of all, object.*got 'mood'"):
        registry.load("metric", "spice(category=mood)").measure(items_of(ONE))


# --- SPICE itself, with a parser of the test's own -----------------------------------------------

#: Reads statements that are written down: ``dog``, ``dog/red``, ``dog/chase/cat``.
SPICE_PARSER = """
package edu.anu.spice;
import edu.cmu.meteor.aligner.SynonymDictionary;
import edu.cmu.meteor.util.Constants;
import java.net.URL;
import java.util.*;
public class SpiceParser {
  final SynonymDictionary synonyms;
  public SpiceParser(String cache, int threads, Boolean synsets) throws Exception {
    String base = Constants.DEFAULT_SYN_DIR_URL + "/english.";
    synonyms = new SynonymDictionary(
        new URL(base + "exceptions"), new URL(base + "synsets"), new URL(base + "relations"));
  }
  SceneGraph read(List<String> texts) {
    SceneGraph graph = new SceneGraph(synonyms, true);
    for (String text : texts)
      for (String part : text.split(" "))
        if (!part.isEmpty()) graph.addTuple(new ArrayList<>(Arrays.asList(part.split("/"))));
    return graph;
  }
  public List<SceneGraph> parseCaptions(List<String> texts) {
    return parseCaptions(texts, Collections.nCopies(texts.size(), 1));
  }
  public List<SceneGraph> parseCaptions(List<String> texts, List<Integer> counts) {
    List<SceneGraph> graphs = new ArrayList<>();
    int at = 0;
    for (int count : counts) {
      graphs.add(read(texts.subList(at, at + count)));
      at += count;
    }
    return graphs;
  }
}
"""
#: Stands for the JavaScript that newer Javas lack; all that SPICE asks of it is to hand text back.
JAVASCRIPT = """
import java.io.Reader;
import java.util.*;
import javax.script.*;
public class Echo extends AbstractScriptEngine implements ScriptEngineFactory {
  public Object eval(String script, ScriptContext c) { put("result", get("jsonString")); return 0; }
  public Object eval(Reader script, ScriptContext c) { return 0; }
  public Bindings createBindings() { return new SimpleBindings(); }
  public ScriptEngineFactory getFactory() { return this; }
  public ScriptEngine getScriptEngine() { return this; }
  public List<String> getNames() { return Arrays.asList("JavaScript"); }
  public List<String> getExtensions() { return getNames(); }
  public List<String> getMimeTypes() { return getNames(); }
  public String getEngineName() { return ""; }
  public String getEngineVersion() { return ""; }
  public String getLanguageName() { return ""; }
  public String getLanguageVersion() { return ""; }
  public Object getParameter(String key) { return null; }
  public String getMethodCallSyntax(String a, String b, String... c) { return ""; }
  public String getOutputStatement(String text) { return ""; }
  public String getProgram(String... lines) { return ""; }
}
"""


@pytest.fixture
def written_parser(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Compile a parser that reads statements as they are written, and put it where SPICE looks."""
    needs_java()
    if shutil.which("javac") is None:
        pytest.skip("the parser of this test has to be compiled: needs javac")
    found = tools._package()
    assert found is not None
    core = found / "tokenizer/stanford-corenlp-3.4.1.jar"
    classes, jars = tmp_path / "classes", tmp_path / "jars"
    services = classes / "META-INF/services/javax.script.ScriptEngineFactory"
    services.parent.mkdir(parents=True)
    services.write_text("Echo\n")
    for name, source in (("SpiceParser", SPICE_PARSER), ("Echo", JAVASCRIPT)):
        (tmp_path / f"{name}.java").write_text(source)
    path = os.pathsep.join(map(str, (found / "spice/spice-1.0.jar", found / "spice/lib/*", core)))
    sources = map(str, tmp_path.glob("*.java"))
    command = ["javac", "-nowarn", "-Xlint:none", "-cp", path, "-d", str(classes), *sources]
    subprocess.run(command, check=True, capture_output=True)
    jars.mkdir()
    shutil.copy(core, jars / tools._PARSER[0])
    shutil.make_archive(str(jars / "own"), "zip", classes)
    shutil.copy(jars / "own.zip", jars / tools._PARSER[1])
    (jars / "own.zip").rename(jars / "nashorn-core-0.jar")
    monkeypatch.setenv("MMBENCH_SPICE", str(jars))
    return found


def test_spice_counts_the_statements_that_its_program_found(written_parser: Path) -> None:
    items = items_of(
        [
            ("dog dog/red dog/chase/cat", ("dog dog/red", "cat dog/chase/cat")),
            ("", ("cat",)),
            ("cat/big cat two", ("cat/big", "cat/two")),
            ("man", ("woman woman/blue", "man/two")),
            ("...", ("...",)),
        ]
    )
    before = sorted(written_parser.rglob("*"))
    metric = registry.load("metric", "spice")
    rows = metric.measure(items)
    assert sorted(written_parser.rglob("*")) == before  # nothing written, nothing downloaded
    columns = dict(zip(metric.columns, rows.T.tolist(), strict=True))
    # said: dog, dog/red, dog/chase/cat; true: these and cat. And so on.
    assert columns["all_matched"] == [3, 0, 2, 1, 0]
    assert columns["all_said"] == [3, 0, 3, 1, 0]
    assert columns["all_true"] == [4, 1, 3, 4, 0]
    assert columns["all_f"] == pytest.approx([6 / 7, 0, 4 / 6, 2 / 5, 0])
    assert columns["relation_counted"] == [1, 0, 0, 0, 0]
    assert metric.of(rows) == pytest.approx((6 / 7 + 4 / 6 + 2 / 5) / 5)
    values = {
        category: registry.load("metric", f"spice(category={category})").of(rows)
        for category in ("object", "attribute", "relation", "color", "count", "size")
    }
    # Means over the items whose references state something of the kind.
    assert values == pytest.approx(
        {
            "object": (2 / 3 + 0 + 2 / 3 + 2 / 3) / 4,
            "attribute": (1 + 2 / 3 + 0) / 3,
            "relation": 1.0,
            "color": 1 / 2,
            "count": 0.0,
            "size": 1.0,
        }
    )


def test_all_categories_of_spice_are_computed_at_once() -> None:
    one, other = (registry.load("metric", f"spice(category={c})") for c in ("color", "size"))
    assert one.family == other.family == registry.load("metric", "spice").family
    assert one.signature != other.signature
