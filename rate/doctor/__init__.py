"""What is installed on this machine and what `auto` would pick: `rate doctor`."""
