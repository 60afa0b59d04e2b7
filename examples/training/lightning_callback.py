"""PT and IR of a model while Lightning trains it, logged beside its other metrics.

Trainer(callbacks=[RightReasons("val.csv", classes=names, size=224), ModelCheckpoint(monitor="pt", mode="max")])
"""

from __future__ import annotations

from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

import rate


class RightReasons(Callback):
    """Evaluates the model after every ``every`` epochs of validation, in the first process alone.

    ``data`` is a manifest with regions, ``limit`` the number of its rows; ``described`` is what `rate.open` takes: the
    classes and the geometry of the images.
    """

    def __init__(self, data: str, every: int = 1, limit: int = 500, **described: Any) -> None:
        self.data, self.every, self.limit, self.described = data, every, limit, described

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Evaluate the weights of this moment, and log what is defined."""
        if trainer.sanity_checking or (trainer.current_epoch + 1) % self.every or not trainer.is_global_zero:
            return
        summary = rate.open(pl_module, **self.described).evaluate(self.data, limit=self.limit)
        [head] = summary.heads.values()
        for name, share in (("pt", head.pt.ratio), ("ir", head.ir.ratio)):
            if share.value is not None:
                pl_module.log(name, share.value, prog_bar=True, rank_zero_only=True)
