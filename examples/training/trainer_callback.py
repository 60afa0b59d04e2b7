"""PT and IR of a model while the Trainer of transformers trains it, among the metrics of every evaluation.

Trainer(..., processing_class=processor, callbacks=[RightReasons("val.csv")])
"""

from __future__ import annotations

from typing import Any

from torch import nn
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

import rate


class RightReasons(TrainerCallback):
    """Evaluates the model after the Trainer has; with `metric_for_best_model="pt"` it decides which weights are kept.

    ``data`` is a manifest with regions, ``limit`` the number of its rows; ``described`` is what `rate.open` takes
    beside the processor, such as the classes if the config does not name them.
    """

    def __init__(self, data: str, limit: int = 500, **described: Any) -> None:
        self.data, self.limit, self.described = data, limit, described

    def on_evaluate(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        model: nn.Module | None = None,
        metrics: dict[str, float] | None = None,
        processing_class: Any = None,
        **others: Any,
    ) -> None:
        """Evaluate the weights of this moment in the first process, and add what is defined to the metrics."""
        if model is None or metrics is None or not state.is_world_process_zero:
            return
        live = rate.open(model, processor=processing_class, **self.described)
        [head] = live.evaluate(self.data, limit=self.limit).heads.values()
        shares = {"eval_pt": head.pt.ratio.value, "eval_ir": head.ir.ratio.value}
        metrics.update({name: value for name, value in shares.items() if value is not None})
