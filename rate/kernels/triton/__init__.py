"""The kernels of this layer on a GPU, in Triton: arguments in the order of the numpy forms, torch tensors in and out.

Importing this package needs Triton and torch. With TRITON_INTERPRET=1 set before Triton is first imported the kernels
run on the CPU, slowly: that is how they are tested where there is no GPU. Every kernel is deterministic: no program
adds to what another one writes.
"""

from __future__ import annotations

from rate.errors import need

need("torch", "export")
need("triton", "gpu")
