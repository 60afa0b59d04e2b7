"""What `rate` survives, in numbers: kills, full and failing disks, flipped bits, hostile files, sets that change.

Every case is a real `rate` command in a process of its own; `python -m benchmarks.faults --help` says how to run them.
"""
