"""`python -m rate` is the command `rate`."""

from rate.cli.main import main

main()
