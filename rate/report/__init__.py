"""Reports of runs: tables and pictures."""

from rate.callable_package import make_callable

make_callable(__name__)
