"""mmbench: which way of fusing modalities is better on this task, by how much, and is that real?"""

__version__ = "0.1.0"

# What type checkers take for typing's own; importing that would double the time this takes.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from mmbench.evaluation import score as score
del TYPE_CHECKING


def __getattr__(name: str) -> object:
    """Import `mmbench.score` when it is asked for."""
    if name == "score":
        import importlib  # so that whoever imports the version has not imported all of it

        return importlib.import_module("mmbench.evaluation").score
    raise AttributeError(f"module 'mmbench' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), "score"])
