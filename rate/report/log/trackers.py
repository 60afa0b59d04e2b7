"""A head as a run of MLflow or Weights & Biases, with its report. Where it goes is for their own settings to say."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from rate.errors import StorageError, UsageError, first_line, need
from rate.report.heads import HeadRun
from rate.report.log.numbers import metrics_of, settings_of

EXPERIMENT = "rate"
"""The experiment or project, where the tracker's own variables name no other."""


TAG = "rate.head"
"""The tag of an MLflow run that holds the `identity` of its head."""


def identity(head: HeadRun) -> str:
    """Return what is equal for all runs of the same weights, data, rule and seed: they have the same numbers."""
    return hashlib.sha256(f"{head.run.key} {head.head}".encode()).hexdigest()[:32]


def log_to_mlflow(head: HeadRun, files: Sequence[Path]) -> str:
    """Make or update the MLflow run of a head, with ``files`` as its artifacts; return where it is, in words.

    MLFLOW_TRACKING_URI and MLFLOW_EXPERIMENT_NAME say where. MLflow lets no parameter change, so those of an earlier
    call stay as they were.

    Raises:
        MissingExtra: MLflow is not installed.
        StorageError: MLflow does not take it.
    """
    mlflow = need("mlflow", "log")
    name = os.environ.get("MLFLOW_EXPERIMENT_NAME", EXPERIMENT)
    try:
        client = mlflow.MlflowClient()
        known = client.get_experiment_by_name(name)
        experiment = client.create_experiment(name) if known is None else known.experiment_id
        earlier = client.search_runs([experiment], f"tags.`{TAG}` = '{identity(head)}'", max_results=1)
        run = earlier[0] if earlier else client.create_run(experiment, tags={TAG: identity(head)}, run_name=head.name)
        now, entities, kept = int(time.time() * 1000), mlflow.entities, run.data.params
        run = run.info
        client.log_batch(
            run.run_id,
            metrics=[entities.Metric(key, value, now, 0) for key, value in metrics_of(head).items()],
            params=[entities.Param(key, value) for key, value in settings_of(head).items() if key not in kept],
        )
        for file in files:
            client.log_artifact(run.run_id, str(file))
        client.set_terminated(run.run_id)
    except mlflow.exceptions.MlflowException as error:
        raise StorageError(
            f"MLflow at {mlflow.get_tracking_uri()} did not take {head.name}: {first_line(error)}"
        ) from error
    return f"MLflow run {run.run_id} of the experiment {name} at {client.tracking_uri}"


def log_to_wandb(head: HeadRun, files: Sequence[Path]) -> str:
    """Make or resume a head's run of Weights & Biases, with ``files`` as an artifact; return where it is, in words.

    WANDB_PROJECT, WANDB_MODE and its like say where; `offline` writes a folder that `wandb sync` sends later.

    Raises:
        MissingExtra: wandb is not installed.
        UsageError: there is no API key.
        StorageError: the service does not take it.
    """
    wandb = need("wandb", "wandb")
    quiet = wandb.Settings(silent=True, console="off", x_disable_meta=True)  # the command line may name a secret
    about = {"name": head.name, "job_type": "evaluation", "config": settings_of(head), "settings": quiet}
    about |= {"id": identity(head)}
    online = wandb.setup(quiet).settings.mode == "online"
    if online:  # `wandb sync` resumes what was written offline
        about |= {"resume": "allow"}
    if online and not wandb.api.api_key:  # wandb would ask for one
        raise UsageError(
            "Weights & Biases has no API key here; use `wandb login`, or set WANDB_API_KEY, or WANDB_MODE=offline"
        )
    try:
        with wandb.init(project=os.environ.get("WANDB_PROJECT", EXPERIMENT), **about) as run:
            run.summary.update(metrics_of(head))
            artifact = wandb.Artifact(f"report-{run.id}", type="report")
            for file in files:
                artifact.add_file(str(file))
            run.log_artifact(artifact)
            place = run.settings.sync_dir if run.offline else run.url
    except wandb.errors.Error as error:
        raise StorageError(f"Weights & Biases did not take {head.name}: {first_line(error)}") from error
    return f"Weights & Biases run {run.id}: {place}"


TRACKERS: dict[str, Callable[[HeadRun, Sequence[Path]], str]] = {"mlflow": log_to_mlflow, "wandb": log_to_wandb}
