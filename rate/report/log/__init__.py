"""What other tools are told of a run."""

from pathlib import Path
from typing import Literal, TypeAlias

Target: TypeAlias = Literal["mlflow", "wandb", "model-card", "hub-eval"]

CARD = Path("README.md")
"""The usual model card."""
