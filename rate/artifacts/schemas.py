"""JSON Schemas (draft 2020-12) of the documents that export and fine-tuning write."""

from __future__ import annotations

from rate.types import Json

_DRAFT = "https://json-schema.org/draft/2020-12/schema"
_NAME = {"type": "string", "minLength": 1}
_SHA256 = {"type": "string", "pattern": "^[0-9a-f]{64}$"}
_CLASSES = {"type": "array", "items": _NAME, "minItems": 1, "uniqueItems": True}
_FILES = {"type": "object", "additionalProperties": _SHA256, "minProperties": 1}
_POSITIVE = {"type": "integer", "minimum": 1}
_PER_HEAD = {"type": "object", "additionalProperties": {"type": "number"}, "minProperties": 1}
_CHANNELS = {"type": "array", "items": {"type": "number"}, "minItems": 3, "maxItems": 3}

INPUT: Json = {
    "description": "How an image becomes model pixels.",
    "type": "object",
    "required": ["size", "resize", "mean", "std", "crop", "interpolation"],
    "properties": {
        "size": _POSITIVE,
        "resize": _POSITIVE,
        "mean": _CHANNELS,
        "std": _CHANNELS,
        "crop": {"enum": ["center", "squash"]},
        "interpolation": {"enum": ["bicubic", "bilinear"]},
    },
}

_COUNT = {"type": "integer", "minimum": 0}
_SHARE = {"type": "number", "minimum": 0, "maximum": 1}

INT8: Json = {
    "description": "The int8 graph, where there is one: what it was calibrated on and what it changes.",
    "type": "object",
    "required": ["calibration", "parity", "flips"],
    "properties": {
        "calibration": {
            "type": "object",
            "required": ["data", "split", "images", "unreadable"],
            "properties": {
                "data": _SHA256,
                "split": {"type": ["string", "null"]},
                "images": _POSITIVE,
                "unreadable": _COUNT,
            },
        },
        "parity": {
            "type": "object",
            "required": ["max_abs", "cosine", "runtime"],
            "properties": {"max_abs": _PER_HEAD, "cosine": _PER_HEAD, "runtime": _NAME},
        },
        "flips": {
            "description": "against f32 under the same masks",
            "type": "object",
            "required": ["images", "calibrated_on", "masks", "allowed", "heads"],
            "properties": {
                "images": _POSITIVE,
                "calibrated_on": {**_COUNT, "description": "of the images: those that int8 was calibrated on too"},
                "masks": _POSITIVE,
                "allowed": _SHARE,
                "heads": {
                    "type": "object",
                    "additionalProperties": {
                        "type": "object",
                        "required": ["samples", "predictions", "verdicts", "max_abs_rma"],
                        "properties": {
                            "samples": _COUNT,
                            "predictions": _COUNT,
                            "verdicts": _COUNT,
                            "max_abs_rma": {"type": ["number", "null"]},
                        },
                    },
                },
            },
        },
    },
}

ARTIFACT: Json = {
    "$schema": _DRAFT,
    "$id": "rate.artifact/1",
    "title": "artifact.json: an exported model",
    "type": "object",
    "required": [
        "schema", "family", "source", "weights", "input", "classes", "heads", "graphs", "precision", "opset", "files",
        "parity", "versions",
    ],
    "properties": {
        "schema": {"const": "rate.artifact/1"},
        "family": _NAME,
        "source": _NAME,
        "weights": {**_SHA256, "description": "digest of the weights that were exported, whatever file they came in"},
        "input": INPUT,
        "classes": {**_CLASSES, "description": "of every head that has none of its own, in the order of its logits"},
        "heads": {
            "type": "array",
            "minItems": 1,
            "items": {
                "type": "object",
                "required": ["name", "kind", "output"],
                "properties": {
                    "name": {"type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9_.-]*$"},
                    "kind": {"enum": ["linear", "zero-shot"]},
                    "output": {"type": "string", "pattern": "^logits_"},
                    "classes": _CLASSES,
                },
                "additionalProperties": False,
            },
        },
        "graphs": {
            "description": "form -> file: pixels masks the image, tokens drops patches; -fp16, -bf16, -int8: so stored",
            "type": "object",
            "required": ["pixels"],
            "additionalProperties": _NAME,
        },
        "precision": {"enum": ["f32", "fp16", "bf16", "int8"], "description": "the lowest of its graphs"},
        "opset": _POSITIVE,
        "files": {**_FILES, "description": "file name -> sha256, every file of the folder but this one"},
        "parity": {
            "type": "object",
            "required": ["max_abs", "cosine", "tolerance", "runtime"],
            "properties": {
                "max_abs": {**_PER_HEAD, "description": "head -> greatest difference of a logit from the source model"},
                "cosine": {**_PER_HEAD, "description": "head -> smallest cosine of a row of logits with the source's"},
                "tolerance": {"type": "number", "exclusiveMinimum": 0},
                "runtime": _NAME,
            },
        },
        "versions": {"type": "object", "additionalProperties": _NAME},
        "patches": {"type": "integer", "minimum": 2, "description": "a side, of the token graph where there is one"},
        "int8": INT8,
        "request": {
            "description": "beside the source, what its PyTorch model was asked for; absent for a finished graph",
            "type": "object",
            "required": ["classes", "templates", "heads"],
            "properties": {
                "classes": {"type": ["string", "null"]},
                "templates": {"type": ["string", "null"]},
                "heads": {"type": "array", "items": _NAME},
            },
        },
    },
}  # fmt: skip

_SHAPES = {"type": "array", "items": {"type": "array", "items": _POSITIVE}, "minItems": 3, "maxItems": 3}

PLAN: Json = {
    "$schema": _DRAFT,
    "$id": "rate.plan/1",
    "title": "plans/<key16>.json of an artifact: a TensorRT plan for one kind of machine",
    "type": "object",
    "required": ["schema", "key", "facts", "batch_sizes", "sha256", "capture", "parity", "made"],
    "properties": {
        "schema": {"const": "rate.plan/1"},
        "key": {**_SHA256, "description": "digest of the facts; its first 16 digits name the files"},
        "facts": {
            "description": "what the plan was made from; it runs where the first four are the same",
            "type": "object",
            "required": ["tensorrt", "gpu", "capability", "cuda", "graph", "precision", "onnx", "profiles", "flags"],
            "properties": {
                "tensorrt": _NAME,
                "gpu": _NAME,
                "capability": _NAME,
                "cuda": _NAME,
                "graph": _NAME,
                "precision": {"enum": ["f32", "fp16", "bf16"]},
                "onnx": _FILES,
                "profiles": {
                    "description": "input -> its least, usual and greatest shape, for every batch size",
                    "type": "array",
                    "minItems": 1,
                    "items": {"type": "object", "additionalProperties": _SHAPES},
                },
                "flags": {"type": "object"},
            },
        },
        "batch_sizes": {"type": "array", "items": _POSITIVE, "minItems": 1, "description": "ascending"},
        "sha256": {**_SHA256, "description": "of the plan"},
        "capture": {"type": "boolean", "description": "batches are replayed as CUDA graphs"},
        "parity": {
            "description": "batch size -> distance of the plan's logits from the source model's",
            "type": "object",
            "minProperties": 1,
            "additionalProperties": {
                "type": "object",
                "required": ["max_abs", "cosine"],
                "properties": {"max_abs": _PER_HEAD, "cosine": _PER_HEAD},
            },
        },
        "made": {"type": "object", "required": ["rate", "seconds", "bytes"]},
    },
}

CHECKPOINT: Json = {
    "$schema": _DRAFT,
    "$id": "rate.checkpoint/1",
    "title": "checkpoint.json: a fine-tuned model",
    "type": "object",
    "required": ["schema", "family", "model", "classes", "prompts", "input", "recipe", "base", "files"],
    "properties": {
        "schema": {"const": "rate.checkpoint/1"},
        "family": _NAME,
        "model": {"type": "object", "required": ["name"], "properties": {"name": _NAME}},
        "classes": _CLASSES,
        "prompts": {"type": "array", "items": _NAME, "description": "empty where the model reads no text"},
        "head": {
            "description": "absent in older documents: linear",
            "type": "object",
            "required": ["kind"],
            "properties": {"kind": {"enum": ["linear", "zero-shot"]}},
        },
        "input": INPUT,
        "recipe": {
            "type": "object",
            "required": ["name", "seed", "train_accuracy"],
            "properties": {
                "name": _NAME,
                "seed": {"type": "integer"},
                "train_accuracy": {"type": "number", "minimum": 0, "maximum": 1},
                "val_accuracy": {"type": ["number", "null"], "minimum": 0, "maximum": 1},
            },
        },
        "base": {
            "description": "the weights that fine-tuning started from",
            "type": "object",
            "required": ["source", "weights"],
            "properties": {"source": _NAME, "weights": _SHA256},
        },
        "files": _FILES,
    },
}
