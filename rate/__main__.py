"""The command `rate`, also as `python -m rate`: signal handlers and standard streams come first, then the imports."""

from __future__ import annotations

import signal
import sys
from types import FrameType

from rate.cli.streams import open_standard_streams
from rate.errors import EXIT_INTERRUPTED


def main() -> None:
    """Run the command line of this process. SIGTERM, which schedulers send, stops it like Ctrl-C."""
    stop = _Stop()
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) is not signal.SIG_IGN:  # a shell ignores SIGINT for background processes
            signal.signal(number, stop)
    try:
        open_standard_streams()
        from rate.cli.main import run

        code = run(sys.argv[1:], stop.has_come)
    except BaseException:
        if not stop.has_come():
            raise
        code = EXIT_INTERRUPTED
        sys.stderr.write("interrupted\n")
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)  # while the interpreter ends, no handler can catch an exception
    sys.exit(code)


class _Stopped(KeyboardInterrupt):
    """Ends the interpreter with rate's exit code; a bare KeyboardInterrupt after an `exec` would end it by SIGINT."""


class _Stop:
    """Raises a KeyboardInterrupt and records it, since libraries convert it to other exceptions while they are
    imported.
    """

    def __init__(self) -> None:
        self._has_come = False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        self._has_come = True
        raise _Stopped

    def has_come(self) -> bool:
        """Tell whether a signal has asked the command to stop."""
        return self._has_come


if __name__ == "__main__":
    main()
