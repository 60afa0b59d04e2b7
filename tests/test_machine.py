"""What a record says of the machine and the libraries."""

from __future__ import annotations

import platform

import numpy

from rate.machine import describe, installed, processor, versions
from rate.version import __version__


def test_the_first_installed_distribution_counts() -> None:
    assert installed("no-such-distribution", "numpy", "pillow") == numpy.__version__
    assert installed("no-such-distribution") == ""


def test_what_is_not_installed_has_no_version() -> None:
    assert versions(["no-such-distribution", "numpy"]) == {"rate": __version__, "numpy": numpy.__version__}
    assert versions().items() >= {"rate": __version__, "numpy": numpy.__version__}.items()


def test_the_machine_has_a_processor_and_an_interpreter() -> None:
    assert processor()
    assert describe()["processor"] == processor()
    assert describe()["python"] == platform.python_version()
