"""Split deployment of neural networks between edge devices and the cloud: the everyday calls, each loaded when it is
first used. `import tflsplit` alone imports nothing; docs/python.md shows the calls at work."""

__version__ = "0.1.0"

TYPE_CHECKING = False  # what type checkers take for true; importing `typing` for it would cost every start
if TYPE_CHECKING:
    from tflsplit.api.cloud import Cloud
    from tflsplit.api.conversion import convert
    from tflsplit.api.distributing import distribute
    from tflsplit.api.edge import Edge, open_source
    from tflsplit.api.packages import open, slice, verify
    from tflsplit.api.planning import plan
    from tflsplit.api.profiling import profile
    from tflsplit.api.seeing.evaluating import evaluate
    from tflsplit.api.seeing.predicting import predict
    from tflsplit.api.sharing.worker import Worker
    from tflsplit.api.simulating import simulate
else:
    _MODULES = {
        "Cloud": "cloud",
        "Edge": "edge",
        "Worker": "sharing.worker",
        "convert": "conversion",
        "distribute": "distributing",
        "evaluate": "seeing.evaluating",
        "open": "packages",
        "open_source": "edge",
        "plan": "planning",
        "predict": "seeing.predicting",
        "profile": "profiling",
        "simulate": "simulating",
        "slice": "packages",
        "verify": "packages",
    }

    def __getattr__(name: str) -> object:
        if name not in _MODULES:
            raise AttributeError(f"module 'tflsplit' has no attribute {name!r}")
        import importlib

        from tflsplit.api import wording

        found = wording.in_python(getattr(importlib.import_module(f"tflsplit.api.{_MODULES[name]}"), name))
        globals()[name] = found
        return found

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})


__all__ = [
    "Cloud",
    "Edge",
    "Worker",
    "__version__",
    "convert",
    "distribute",
    "evaluate",
    "open",
    "open_source",
    "plan",
    "predict",
    "profile",
    "simulate",
    "slice",
    "verify",
]
