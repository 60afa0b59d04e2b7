"""From perturbed rows to verdicts: fills, predictions, the stopping rule, and the two instruments, maps and swaps."""
