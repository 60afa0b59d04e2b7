"""rate: is a fine-tuned vision-language model right for the right reasons?

rate.export("timm:resnet18:weights.safetensors", "artifact", classes=Path("classes.txt"))
summary = rate.evaluate("artifact", "manifest.csv", "run", masks=1000)
summary.heads["native"].pt.ratio.value
"""

import importlib
import typing

from rate.version import __version__ as __version__

if typing.TYPE_CHECKING:
    from rate.api import compare as compare
    from rate.api import evaluate as evaluate
    from rate.api import explain as explain
    from rate.api import export as export
    from rate.api import gate as gate
    from rate.api import judge as judge
    from rate.api import load_run as load_run
    from rate.api import log as log
    from rate.api import masks as masks
    from rate.api import open as open
    from rate.api import report as report
    from rate.config import Measurement as Measurement
    from rate.errors import RateError as RateError
    from rate.execution import Execution as Execution
else:
    from rate import export as export  # packages, which are callable; see `rate/callable_package.py`
    from rate import report as report

    def __getattr__(name: str) -> object:
        """Import a name when it is first used: the command takes signals in hand before it imports anything."""
        homes = {"Execution": "rate.execution", "Measurement": "rate.config", "RateError": "rate.errors"}
        if name not in __all__:
            raise AttributeError(f"module 'rate' has no attribute {name!r}; it has {', '.join(__all__)}")
        return getattr(importlib.import_module(homes.get(name, "rate.api")), name)

    def __dir__() -> list[str]:
        """List the public names, imported or not."""
        return __all__


__all__ = [
    "Execution",
    "Measurement",
    "RateError",
    "__version__",
    "compare",
    "evaluate",
    "explain",
    "export",
    "gate",
    "judge",
    "load_run",
    "log",
    "masks",
    "open",
    "report",
]
