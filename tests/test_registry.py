"""Components are found by their file's name, late, once, and from nowhere but three places."""

from __future__ import annotations

import inspect
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mmbench import models, registry
from mmbench.errors import UnknownNameError, UsageError

ROOT = Path(__file__).resolve().parents[1]
CONTRACTS = {
    "encoder": models.Encoder,
    "fusion": models.Fusion,
    "combiner": models.Combiner,
    "head": models.Head,
    "objective": models.Objective,
}
BUILT_IN = [(kind, name) for kind in registry.KINDS for name in registry.names(kind)]
FUSION = "from mmbench.models import Fusion\n\n\nclass {name}(Fusion):\n    '''Mine.'''\n"


@pytest.mark.parametrize(("kind", "name"), BUILT_IN)
def test_a_built_in_component_is_what_its_kind_promises(kind: str, name: str) -> None:
    found = registry.load(kind, name)
    if kind == "dataset":
        assert callable(found)
        assert {"VERSION", "Params", "source_digest"} <= set(vars(sys.modules[found.__module__]))
    elif kind == "metric":
        assert found.name == name
    else:
        assert issubclass(found, CONTRACTS[kind])
        assert not inspect.isabstract(found)
        assert found.component == kind
    assert registry.load(kind, name) is found
    assert registry.digest(kind, name) == "", "what is mmbench's own is pinned by its version"
    assert registry.included_file(kind, name) is None
    assert registry.source(kind, name).is_file()
    assert registry.summary(kind, name)


def test_every_kind_has_components() -> None:
    assert {kind for kind, _ in BUILT_IN} == set(registry.KINDS)
    assert set(CONTRACTS) == set(registry.KINDS) - {"dataset", "metric"}


def test_naming_components_imports_none_but_metrics() -> None:
    code = (
        "import json, sys\nfrom mmbench import registry\n"
        "found = {k: registry.names(k) for k in registry.KINDS if k != 'metric'}\n"
        "assert all(found.values())\n"
        "print(json.dumps([m for m in sys.modules if m.startswith('mmbench.')]))"
    )
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, env=env, check=True)
    assert sorted(json.loads(done.stdout)) == ["mmbench.errors", "mmbench.registry"]


def test_an_unknown_name_is_told_with_the_near_one_and_where_to_look() -> None:
    with pytest.raises(
        UnknownNameError, match="unknown fusion 'hybird': did you mean 'hybrid'"
    ) as e:
        registry.load("fusion", "hybird")
    assert "'mmbench list fusions' shows them; --include ./hybird.py brings" in str(e.value)


def test_a_file_with_an_underscore_is_no_component() -> None:
    assert (ROOT / "mmbench/models/heads/_text.py").exists()
    assert not [name for _, name in BUILT_IN if name.startswith("_")]


# --- files ---------------------------------------------------------------------------------------


def test_a_file_of_ones_own_is_known_by_its_name_and_pinned_by_its_content(
    workplace: Path,
) -> None:
    path = Path("mine.py")
    path.write_text(FUSION.format(name="Anything"))
    assert registry.include(path) == [("fusion", "mine")]
    assert "mine" in registry.names("fusion")
    assert registry.load("fusion", "mine").__name__ == "Anything"
    assert registry.summary("fusion", "mine") == "Mine."
    assert len(registry.digest("fusion", "mine")) == 64
    assert registry.included_file("fusion", "mine") == path.resolve()
    assert registry.included_files() == [path.resolve()]


def test_the_same_file_twice_is_once(workplace: Path) -> None:
    Path("mine.py").write_text(FUSION.format(name="Mine"))
    first = registry.include(Path("mine.py"))
    loaded = registry.load("fusion", "mine")
    assert registry.include(Path("./mine.py").absolute()) == first
    assert registry.load("fusion", "mine") is loaded


def test_what_a_file_imports_is_not_its_own(workplace: Path) -> None:
    Path("mine.py").write_text(
        "from mmbench.metrics import metric\n"
        "from mmbench.metrics.text import bleu4, rouge_l\n"
        "from mmbench.models import Fusion\n"
        "from mmbench.models.fusion.late import Late\n\n\n"
        "class Mine(Late):\n    '''Mine.'''\n\n\n"
        "class _Part(Fusion):\n    '''No component.'''\n\n\n"
        "@metric\n"
        "def two_words(items):\n    'Two.'\n    return [0.0 for _ in items.predictions]\n"
    )
    assert registry.include(Path("mine.py")) == [("fusion", "mine"), ("metric", "two_words")]


def test_a_dataset_of_ones_own_is_a_function_called_build(workplace: Path) -> None:
    Path("mine.py").write_text("def build(request):\n    'Build.'\n    return request\n")
    assert registry.include(Path("mine.py")) == [("dataset", "mine")]
    assert registry.load("dataset", "mine")(3) == 3


def test_a_name_is_claimed_once(workplace: Path) -> None:
    Path("late.py").write_text(FUSION.format(name="Late"))
    with pytest.raises(UsageError, match="the fusion 'late' exists already: rename yours"):
        registry.include(Path("late.py"))
    for folder in ("one", "two"):
        Path(folder).mkdir()
        Path(folder, "mine.py").write_text(FUSION.format(name="Mine"))
    registry.include(Path("one/mine.py"))
    with pytest.raises(UsageError, match="the fusion 'mine' exists already: rename yours"):
        registry.include(Path("two/mine.py"))
    assert registry.included_file("fusion", "mine") == Path("one/mine.py").resolve()


def test_a_file_that_failed_can_be_mended_and_included_again(workplace: Path) -> None:
    Path("mine.py").write_text("raise RuntimeError('not yet')\n")
    with pytest.raises(UsageError, match=r"mine\.py:1: RuntimeError: not yet"):
        registry.include(Path("mine.py"))
    Path("mine.py").write_text(FUSION.format(name="Mine"))
    assert registry.include(Path("mine.py")) == [("fusion", "mine")]


def test_an_error_is_traced_to_the_file_it_passed_through(workplace: Path) -> None:
    Path("mine.py").write_text("def build(request):\n    'Build.'\n    return 1 / request\n")
    registry.include(Path("mine.py"))
    with pytest.raises(ZeroDivisionError) as caught:
        registry.load("dataset", "mine")(0)
    assert registry.culprit(caught.value) == f"{Path('mine.py').resolve()}:3"
    assert registry.culprit(ValueError()) == ""


# --- entry points --------------------------------------------------------------------------------


@pytest.fixture
def package(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An installed distribution `plug` 1.2 that offers the fusion `plugged`, and two bad ones."""
    info = workplace / "site" / "plug-1.2.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: plug\nVersion: 1.2\n")
    (info / "entry_points.txt").write_text(
        "[mmbench.fusion]\nplugged = plug_for_tests:Plugged\nlate = plug_for_tests:Plugged\n"
        "broken = plug_for_tests:Missing\n"
    )
    module = workplace / "site" / "plug_for_tests.py"
    module.write_text(FUSION.format(name="Plugged"))
    monkeypatch.syspath_prepend(str(workplace / "site"))
    registry._entry_points.cache_clear()
    yield module
    registry._entry_points.cache_clear()
    sys.modules.pop("plug_for_tests", None)


def test_an_installed_package_offers_components_by_entry_points(package: Path) -> None:
    assert "plugged" in registry.names("fusion")
    assert "plug_for_tests" not in sys.modules, "imported when it is needed"
    assert registry.load("fusion", "plugged").__name__ == "Plugged"
    assert registry.digest("fusion", "plugged") == "plug==1.2"


def test_an_entry_point_takes_no_name_of_mmbenchs_own(package: Path) -> None:
    with pytest.raises(
        UsageError, match="claimed by mmbench itself and by an installed package's entry point"
    ):
        registry.load("fusion", "late")


def test_an_entry_point_that_cannot_be_loaded_is_told_by_its_package(package: Path) -> None:
    with pytest.raises(UsageError, match=r"fusion 'broken' of plug 1\.2 cannot be loaded"):
        registry.load("fusion", "broken")


def test_a_file_takes_no_name_of_a_package(package: Path) -> None:
    Path("plugged.py").write_text(FUSION.format(name="Plugged"))
    with pytest.raises(UsageError, match="the fusion 'plugged' exists already: rename yours"):
        registry.include(Path("plugged.py"))
