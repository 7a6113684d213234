"""mmbench: which way of fusing modalities is better on this task, by how much, and is that real?"""

__version__ = "0.1.0"

# What type checkers take for typing's own; importing that would double the time this takes.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from mmbench.evaluate_module import as_evaluate as as_evaluate
    from mmbench.evaluation import score as score
del TYPE_CHECKING

_PLACES = {"as_evaluate": "mmbench.evaluate_module", "score": "mmbench.evaluation"}


def __getattr__(name: str) -> object:
    """Import `mmbench.score` or `mmbench.as_evaluate` when it is asked for."""
    if name in _PLACES:
        import importlib  # so that whoever imports the version has not imported all of it

        return getattr(importlib.import_module(_PLACES[name]), name)
    raise AttributeError(f"module 'mmbench' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_PLACES])
