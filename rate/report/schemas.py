"""JSON Schemas (draft 2020-12) of everything that `rate` writes, taken from the records that write it."""

from __future__ import annotations

from rate.artifacts.records import ArtifactDocument, CheckpointDocument, PlanDocument
from rate.bench.document import BenchDocument
from rate.data.formats.pack import PackReport
from rate.data.make.check import CheckReport
from rate.data.mask_table import MaskDocument
from rate.doctor import Diagnosis
from rate.finetune.recipe import Finetuned
from rate.records import DIALECT, Document, schema_of
from rate.report.compare.agreement import AgreementDocument
from rate.report.compare.document import ComparisonDocument
from rate.report.gate.document import GateDocument, GatesDocument
from rate.report.history.history import HistoryDocument
from rate.report.html.render import Report
from rate.report.tables.samples import SampleListDocument
from rate.runs.part_list import ListedPart
from rate.runs.rows import SCHEMA
from rate.runs.run_document import RunDocument
from rate.runs.status import Status
from rate.runs.summary.document import SummaryDocument
from rate.runs.summary.faithfulness import FaithfulnessDocument
from rate.studies.corruption_grid import GridDocument
from rate.studies.dry_run import Estimate
from rate.studies.explanation import ExplanationDocument
from rate.studies.grids import GridStatus
from rate.studies.precision import PrecisionDocument
from rate.studies.wise_curve import CurveDocument
from rate.types import Json

DOCUMENTS: dict[str, type[Document]] = {
    "artifact": ArtifactDocument,
    "checkpoint": CheckpointDocument,
    "plan": PlanDocument,
    "run": RunDocument,
    "part": ListedPart,
    "summary": SummaryDocument,
    "precision": PrecisionDocument,
    "faithfulness": FaithfulnessDocument,
    "grid": GridDocument,
    "grid-status": GridStatus,
    "wise": CurveDocument,
    "comparison": ComparisonDocument,
    "gate": GateDocument,
    "gates": GatesDocument,
    "history": HistoryDocument,
    "agreement": AgreementDocument,
    "bench": BenchDocument,
    "explanation": ExplanationDocument,
    "doctor": Diagnosis,
    "status": Status,
    "estimate": Estimate,
    "check": CheckReport,
    "masks": MaskDocument,
    "pack": PackReport,
    "report": Report,
    "sample-list": SampleListDocument,
    "finetuned": Finetuned,
}
"""Maps each name to its document."""

_COLUMN_TYPES = {
    "string": "string",
    "float": "number",
    "bool": "boolean",
    "int32": "integer",
    "binary": "string",
}


def samples() -> Json:
    """Describe a row of samples/part-*.parquet as an object, with binary columns as strings."""
    return {
        "$schema": DIALECT,
        "title": "samples/part-*.parquet, one row",
        "type": "object",
        "required": [column.name for column in SCHEMA],
        "properties": {
            column.name: {
                "type": [_COLUMN_TYPES[str(column.type)], "null"]
                if column.nullable
                else _COLUMN_TYPES[str(column.type)]
            }
            for column in SCHEMA
        },
    }


def all_schemas() -> dict[str, Json]:
    """Name of a document -> its schema."""
    return {name: schema_of(kind) for name, kind in DOCUMENTS.items()} | {"samples": samples()}
