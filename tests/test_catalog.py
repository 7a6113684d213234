"""Every definition that ships is right, and one's own are found where they are."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import pytest

from mmbench import catalog, registry, spec, strict
from mmbench.data import _load
from mmbench.errors import IncompatibleError, SpecError, UnknownNameError, UsageError
from mmbench.references import ANSWERED_BY
from mmbench.run import Run, Settings, check
from mmbench.spec import ModelSpec, alone_of
from mmbench.sweep import _models, plan

ROOT = Path(__file__).resolve().parents[1]
TASKS = sorted((ROOT / "tasks").glob("[!_]*.toml"), key=str)
MODELS = sorted((ROOT / "baselines").glob("[!_]*.toml"), key=str)

Write: TypeAlias = Callable[..., str]


def components(model: ModelSpec) -> list[tuple[str, str]]:
    """Return all components that a model names, as (kind, name)."""
    named = [("fusion", model.fusion.name), ("combiner", model.combiner.name)]
    named += [("encoder", encoder.name) for encoder in model.encoders.values()]
    named += [("head", head.name) for head in model.heads.values()]
    stages = model.recipe.stages
    return named + [("objective", item.name) for stage in stages for item in stage.objectives]


# --- what ships ----------------------------------------------------------------------------------


def test_there_are_definitions_to_test() -> None:
    assert {"captioning", "flickr8k_captioning", "flickr8k_tagged"} <= {p.stem for p in TASKS}
    assert {"early", "late", "hybrid", "concat", "constant", "unimodal"} <= {p.stem for p in MODELS}


@pytest.mark.parametrize("path", TASKS, ids=lambda path: path.stem)
def test_a_shipped_task_names_what_there_is(path: Path) -> None:
    task = catalog.task(path.stem)
    assert task.name == path.stem
    assert task == catalog.task(str(path)), "by its name and by its path it is the same"
    assert catalog.task_path(path.stem).samefile(path)
    registry.load("dataset", task.dataset.name)
    assert _load._beside(task, "VERSION", None) == task.dataset.version
    for name in task.metric_names:
        metric = registry.load("metric", name)
        kind = task.outputs[metric.output or task.main_output].kind
        assert metric.kind == ANSWERED_BY.get(kind, kind)
    assert set(task.levels) <= set(task.metric_names)
    for level in task.levels.values():
        assert set(level.alone) == set(alone_of(task.modalities))
        for names in level.bound:
            assert set(names.split("+")) <= set(task.modalities)
    assert {"smoke", "small", "full"} == set(task.budgets)
    for budget in task.budgets.values():
        assert budget.items <= task.splits["train"]
        assert budget.validation_items <= task.splits["val"]
    assert task.source.licence, "whoever uses data has to know under which licence"
    assert task.summary


@pytest.mark.parametrize("path", MODELS, ids=lambda path: path.stem)
def test_a_shipped_model_names_what_there_is(path: Path) -> None:
    raw = tomllib.loads(path.read_text(encoding="utf-8"))
    if "expand" in raw:
        assert raw["name"] == raw["expand"]
        name = raw["name"].replace("{modality}", "image")
        assert name in ("image_only", "image_logistic")
        model = catalog.model(name)
        assert (model.name, model.modalities) == (name, ("image",))
    else:
        model = catalog.model(path.stem)
        assert model.name == path.stem
        assert model == catalog.model(str(path))
    assert model.summary
    assert model.family
    for kind, name in components(model):
        registry.load(kind, name)


#: What a model is told that does not fit a task: what is missing, or what would work.
ADVICE = (
    "has no (head|encoder) for|does not serve outputs|models for one are called|run late|"
    "looks at nothing of a query"
)


@pytest.mark.parametrize("task", [path.stem for path in TASKS])
def test_every_shipped_model_fits_every_shipped_task_or_says_what_would(task: str) -> None:
    found = catalog.task(task)
    fitting = set(_models("all", found))
    for name in catalog.model_names(found):
        run = Run(found, catalog.model(name, (), found), found.default_budget, 0)
        if name in fitting:
            check(run)
        elif (refusal := refused(run)) is not None:
            assert re.search(ADVICE, refusal), refusal


def refused(run: Run) -> str | None:
    """Return why a model does not fit a task; None if it does."""
    try:
        check(run)
    except IncompatibleError as error:
        return str(error)
    return None


def test_all_models_of_retrieval_are_those_that_fit_and_differ() -> None:
    runs = plan(["flickr8k_retrieval"], ["all"], [0], None, Settings())
    names = [run.model.name for run in runs]
    assert {"late", "dual_encoder", "constant"} <= set(names)
    assert not {"early", "hybrid", "image_only", "caption_only"} & set(names)
    runs = plan(["flickr8k_retrieval"], ["unimodal"], [0], None, Settings())
    assert [run.model.name for run in runs] == ["image_only"]


def test_matched_baselines_differ_in_their_fusion_alone() -> None:
    """A comparison of fusions is one only if nothing else differs, but for what a TOML explains."""
    models = [catalog.model(name) for name in ("early", "late", "hybrid", "concat")]
    for part in ("encoders", "heads", "width", "modalities"):
        assert len({repr(getattr(model, part)) for model in models}) == 1, part
    assert len({model.fusion.name for model in models}) == len(models)
    own = "recipe.stages.0.objectives.0"
    matched = catalog.model("hybrid", [f"{own}.params={{}}", f"{own}.optimizer.lr=1e-3"])
    for model in (*models[:2], matched, models[3]):
        assert model.recipe == models[0].recipe
    text = catalog_file("hybrid").read_text(encoding="utf-8")
    assert "departs from the matched recipe in two numbers" in text


def catalog_file(model: str) -> Path:
    return next(path for path in MODELS if path.stem == model)


def test_no_two_shipped_models_are_the_same() -> None:
    task = catalog.task("captioning")
    models = {name: catalog.model(name).digest() for name in catalog.model_names(task)}
    assert len(set(models.values())) == len(models)


def test_a_model_for_each_modality_is_made_of_one_file() -> None:
    names = catalog.model_names(catalog.task("flickr8k_tagged"))
    assert {"image_only", "tags_only"} <= set(names)
    assert "audio_only" not in names
    assert "{modality}_only" in catalog.model_names()
    assert catalog.model("audio_only").summary == "the modality audio alone"
    with pytest.raises(SpecError, match=r"one model per modality: name one, as \{mod"):
        catalog.model("unimodal")


# --- overrides -----------------------------------------------------------------------------------


def test_another_component_takes_none_of_the_old_ones_parameters() -> None:
    name = "recipe.stages.0.objectives.0.name=gradient_blending"
    model = catalog.model("hybrid", [name])
    chosen = model.recipe.stages[0].objectives[0]
    assert (chosen.name, chosen.params) == ("gradient_blending", {})
    assert (
        chosen.optimizer.lr == catalog.model("hybrid").recipe.stages[0].objectives[0].optimizer.lr
    )
    model = catalog.model("hybrid", ["fusion.params.depth=2", "fusion.name=early_tokens"])
    assert (model.fusion.name, model.fusion.params) == ("early_tokens", {"depth": 2})


def test_overrides_are_laid_on_in_order() -> None:
    plain = catalog.model("late")
    model = catalog.model("late", ["width=24", "width=32", "recipe.stages.0.share=0.5"])
    assert (model.width, model.recipe.stages[0].share) == (32, 0.5)
    assert model.recipe.stages[0].objectives == plain.recipe.stages[0].objectives
    assert model.digest() != plain.digest()
    assert catalog.model("late") == plain, "nothing sticks"


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ('head="gru"', "gru"),
        ("head=gru", "gru"),
        ("head = 'gru'", "gru"),
    ],
)
def test_a_component_that_is_replaced_takes_its_arguments_along(setting: str, value: str) -> None:
    model = catalog.model("late", [setting.replace("head", "heads.text.name")])
    assert model.heads["text"].name == value


def test_what_affects_no_score_is_not_in_the_digest() -> None:
    plain = catalog.model("late")
    for key in ("name", "summary", "family", "paper"):
        assert catalog.model("late", [f"{key}=other"]).digest() == plain.digest()


# --- one's own -----------------------------------------------------------------------------------


def test_included_definitions_stand_beside_the_shipped_ones(task: Write) -> None:
    task("mine", folder="own")
    Path("own/mellow.toml").write_text(
        'schema = 1\nextends = "matched"\nname = "mellow"\nsummary = "x"\nfamily = "own"\n'
        'fusion = { name = "late" }\n'
    )
    Path("own/_base.toml").write_text("not even TOML")
    catalog.include(Path("own"))
    catalog.include(Path("own"))
    assert "mine" in catalog.task_names()
    assert "mine" not in catalog.task_names(shipped=True)
    assert "mellow" in catalog.model_names()
    assert "mellow" not in catalog.model_names(shipped=True)
    assert "mellow" not in catalog.task_names(), "each on its own shelf"
    assert catalog.model("mellow").fusion.name == "late"


def test_a_single_file_can_be_included(task: Write) -> None:
    catalog.include(Path(task("mine")))
    assert catalog.task("mine").summary == "A few scenes."


def test_a_base_of_ones_own_is_found_beside_the_file(workplace: Path) -> None:
    Path("_wide.toml").write_text('extends = "matched"\nwidth = 64\nfamily = "own"\n')
    Path("big.toml").write_text(
        'schema = 1\nextends = "wide"\nname = "big"\nsummary = "x"\nfusion = { name = "late" }\n'
    )
    model = catalog.model("./big.toml")
    assert (model.width, model.family) == (64, "own")
    assert model.recipe == catalog.model("late").recipe, "through both bases"


def test_an_edited_file_is_read_again(workplace: Path) -> None:
    path = Path("own.toml")
    text = (
        'schema = 1\nextends = "matched"\nname = "own"\nsummary = "x"\nfamily = "own"\n'
        'width = 64\nfusion = { name = "late" }\n'
    )
    path.write_text(text)
    assert catalog.model("./own.toml").width == 64
    path.write_text(text.replace("64", "32"))
    assert catalog.model("./own.toml").width == 32


def test_a_fusion_file_alone_stands_on_the_shared_recipe(workplace: Path) -> None:
    Path("gentle.py").write_text(
        "from mmbench.models import Fusion\n\n\nclass Gentle(Fusion):\n    pass\n"
    )
    model = catalog.model("./gentle.py")
    assert (model.name, model.family, model.fusion.name) == ("gentle", "own", "gentle")
    assert model.recipe == catalog.model("late").recipe


@pytest.mark.parametrize("kind", ["task", "model"])
def test_an_unknown_name_is_told_with_the_near_one(kind: str) -> None:
    near = {"task": "captoning", "model": "hybird"}[kind]
    with pytest.raises(UnknownNameError, match=r"did you mean '(captioning|hybrid)'"):
        getattr(catalog, kind)(near)


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        (
            '"latent:16"',
            '"latent:0"',
            "outputs.events.clock: expected 'native:MODALITY', or 'latent",
        ),
        (
            'name = "event_detection"',
            'name = "a/b"',
            "name: expected a name of a-z, 0-9 and _, not",
        ),
        ('main = "', 'main = "!', "metrics.main: expected a metric's name, such as 'wer'"),
    ],
)
def test_a_text_of_another_form_is_told_in_words(old: str, new: str, told: str) -> None:
    text = (ROOT / "tasks" / "event_detection.toml").read_text(encoding="utf-8")
    assert old in text
    with pytest.raises(SpecError, match=re.escape(told)) as caught:
        spec.parse_task(tomllib.loads(text.replace(old, new, 1)), "own.toml")
    assert "\\Z" not in str(caught.value)


@pytest.mark.parametrize("file", ["a/b", "a\\b"])
def test_every_pattern_of_a_definition_has_words(file: str) -> None:
    with pytest.raises(SpecError, match=re.escape("expected a name without / and \\")):
        spec.check_params({"url": "https://a.b/c", "name": file}, spec.FileSpec, "x")
    content = "".join(Path(str(one.__file__)).read_text("utf-8") for one in (spec, strict))
    patterns = set(re.findall(r"pattern=r?\"(.*?)\"", content))
    told = {one for one in patterns if not strict._listed(one).startswith("a text like")}
    assert patterns - told == set(strict.PATTERNS)


def test_nothing_in_a_definition_becomes_code(workplace: Path) -> None:
    """A TOML may name a component; the file of that name beside it is never looked at."""
    Path("evil.py").write_text("open('ran', 'w').close()\n")
    Path("own.toml").write_text(
        'schema = 1\nextends = "matched"\nname = "own"\nsummary = "x"\nfamily = "own"\n'
        'fusion = { name = "evil" }\n'
    )
    task = catalog.task("captioning")
    with pytest.raises(UsageError, match="unknown fusion 'evil'"):
        check(Run(task, catalog.model("./own.toml"), "small", 0))
    assert not Path("ran").exists()


def test_levels_of_other_data_count_for_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whoever copies a TOML and turns the noise down has a task of which nothing is known."""
    from mmbench.cli import run_cli

    monkeypatch.chdir(tmp_path)
    shipped = Path(catalog.__file__).parents[1] / "tasks" / "intent.toml"
    text = shipped.read_text(encoding="utf-8").replace('name = "intent"', 'name = "quiet"', 1)
    Path("quiet.toml").write_text(text, encoding="utf-8")
    assert catalog.task("./quiet.toml").levels == catalog.task("intent").levels
    assert catalog.borrowed("quiet") is None
    assert "snr_db = -5.0" in text
    Path("quiet.toml").write_text(text.replace("snr_db = -5.0", "snr_db = 20.0", 1))
    assert catalog.task("./quiet.toml").levels == {}
    assert catalog.borrowed("quiet") == "intent"
    assert run_cli(["describe", "./quiet.toml"]) == 0
    told = capsys.readouterr().out
    assert "levels      none: those in the TOML are of 'intent', whose data are others" in told
    assert "proven bounds" not in told
    head, _, _ = text.partition("[levels.")
    own = '[levels.accuracy]\nfloor = 0.1\nceiling = 0.9\nalone = { "audio" = 0.3 }\n'
    Path("quiet.toml").write_text(head.replace("snr_db = -5.0", "snr_db = 20.0", 1) + own)
    assert catalog.task("./quiet.toml").levels["accuracy"].ceiling == 0.9
