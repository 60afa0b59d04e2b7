"""The command `rate`, also as `python -m rate`: signals and standard streams come first, then the imports."""

from __future__ import annotations

import signal
import sys
from types import FrameType

from rate.cli.streams import settle
from rate.errors import EXIT_INTERRUPTED


def main() -> None:
    """Run the command line of this process. SIGTERM, which schedulers send, stops it as Ctrl-C does."""
    stop = _Stop()
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) is not signal.SIG_IGN:  # as a shell sets SIGINT for what it runs in the background
            signal.signal(number, stop)
    try:
        settle()
        from rate.cli.main import run

        code = run(sys.argv[1:], stop.has_come)
    except BaseException:
        if not stop.has_come():
            raise
        code = EXIT_INTERRUPTED
        sys.stderr.write("interrupted\n")
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)  # while the interpreter ends, an exception would have nobody to go to
    sys.exit(code)


class _Stopped(KeyboardInterrupt):
    """The interpreter ends by SIGINT, not with our exit code, once a bare KeyboardInterrupt has left an `exec`."""


class _Stop:
    """Raises a KeyboardInterrupt, and remembers it: libraries make other exceptions of it while they are imported."""

    def __init__(self) -> None:
        self._has_come = False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        self._has_come = True
        raise _Stopped

    def has_come(self) -> bool:
        """Whether a signal came that asks the command to stop."""
        return self._has_come


if __name__ == "__main__":
    main()
