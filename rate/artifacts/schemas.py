"""JSON Schemas (draft 2020-12) of the documents that export and fine-tuning write."""

from __future__ import annotations

from rate.artifacts.schema_words import COUNT, array_of, map_of, object_with
from rate.types import Json

_NAME: Json = {"type": "string", "minLength": 1}
_SHA256: Json = {"type": "string", "pattern": "^[0-9a-f]{64}$"}
_SOME = {"minItems": 1}
_CLASSES = array_of(_NAME) | _SOME | {"uniqueItems": True}
_FILES = map_of(_SHA256) | {"minProperties": 1}
_POSITIVE: Json = {"type": "integer", "minimum": 1}
_SHARE: Json = {"type": "number", "minimum": 0, "maximum": 1}
_TEXT_OR_NONE: Json = {"type": ["string", "null"]}
_PER_HEAD = map_of({"type": "number"}) | {"minProperties": 1}
_CHANNELS = array_of({"type": "number"}) | {"minItems": 3, "maxItems": 3}


def _about(schema: Json, text: str) -> Json:
    return schema | {"description": text}


INPUT = _about(
    object_with(
        {
            "size": _POSITIVE,
            "resize": _POSITIVE,
            "mean": _CHANNELS,
            "std": _CHANNELS,
            "crop": {"enum": ["center", "squash"]},
            "interpolation": {"enum": ["bicubic", "bilinear"]},
        }
    ),
    "How an image becomes model pixels.",
)

_FLIPS = object_with(
    {
        "images": _POSITIVE,
        "calibrated_on": _about(COUNT, "of the images: those that int8 was calibrated on too"),
        "masks": _POSITIVE,
        "allowed": _SHARE,
        "heads": map_of(
            object_with(
                dict.fromkeys(("samples", "predictions", "verdicts"), COUNT)
                | {"max_abs_rma": {"type": ["number", "null"]}}
            )
        ),
    }
)

INT8 = _about(
    object_with(
        {
            "calibration": object_with(
                {"data": _SHA256, "split": _TEXT_OR_NONE, "images": _POSITIVE, "unreadable": COUNT}
            ),
            "parity": object_with({"max_abs": _PER_HEAD, "cosine": _PER_HEAD, "runtime": _NAME}),
            "flips": _about(_FLIPS, "against f32 under the same masks"),
        }
    ),
    "The int8 graph, where there is one: what it was calibrated on and what it changes.",
)

_HEAD = object_with(
    {
        "name": {"type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9_.-]*$"},
        "kind": {"enum": ["linear", "zero-shot"]},
        "output": {"type": "string", "pattern": "^logits_"},
    },
    optional={"classes": _CLASSES},
) | {"additionalProperties": False}

_PARITY = object_with(
    {
        "max_abs": _about(_PER_HEAD, "head -> greatest difference of a logit from the source model"),
        "cosine": _about(_PER_HEAD, "head -> smallest cosine of a row of logits with the source's"),
        "tolerance": {"type": "number", "exclusiveMinimum": 0},
        "runtime": _NAME,
    }
)

ARTIFACT = object_with(
    {
        "schema": {"const": "rate.artifact/1"},
        "family": _NAME,
        "source": _NAME,
        "weights": _about(_SHA256, "digest of the weights that were exported, whatever file they came in"),
        "input": INPUT,
        "classes": _about(_CLASSES, "of every head that has none of its own, in the order of its logits"),
        "heads": array_of(_HEAD) | _SOME,
        "graphs": _about(
            map_of(_NAME) | {"required": ["pixels"]},
            "form -> file: pixels masks the image, tokens drops patches; -fp16, -bf16, -int8: so stored",
        ),
        "precision": _about({"enum": ["f32", "fp16", "bf16", "int8"]}, "the lowest of its graphs"),
        "opset": _POSITIVE,
        "files": _about(_FILES, "file name -> sha256, every file of the folder but this one"),
        "parity": _PARITY,
        "versions": map_of(_NAME),
    },
    optional={
        "patches": _about({"type": "integer", "minimum": 2}, "a side, of the token graph where there is one"),
        "int8": INT8,
        "request": _about(
            object_with({"classes": _TEXT_OR_NONE, "templates": _TEXT_OR_NONE, "heads": array_of(_NAME)}),
            "beside the source, what its PyTorch model was asked for; absent for a finished graph",
        ),
    },
    title="artifact.json: an exported model",
    name="rate.artifact/1",
)

_FACTS = object_with(
    dict.fromkeys(("tensorrt", "gpu", "capability", "cuda", "graph"), _NAME)
    | {
        "precision": {"enum": ["f32", "fp16", "bf16"]},
        "onnx": _FILES,
        "profiles": _about(
            array_of(map_of(array_of(array_of(_POSITIVE)) | {"minItems": 3, "maxItems": 3})) | _SOME,
            "input -> its least, usual and greatest shape, for every batch size",
        ),
        "flags": {"type": "object"},
    }
)

PLAN = object_with(
    {
        "schema": {"const": "rate.plan/1"},
        "key": _about(_SHA256, "digest of the facts; its first 16 digits name the files"),
        "facts": _about(_FACTS, "what the plan was made from; it runs where the first four are the same"),
        "batch_sizes": _about(array_of(_POSITIVE) | _SOME, "ascending"),
        "sha256": _about(_SHA256, "of the plan"),
        "capture": _about({"type": "boolean"}, "batches are replayed as CUDA graphs"),
        "parity": _about(
            map_of(object_with({"max_abs": _PER_HEAD, "cosine": _PER_HEAD})) | {"minProperties": 1},
            "batch size -> distance of the plan's logits from the source model's",
        ),
        "made": {"type": "object", "required": ["rate", "seconds", "bytes"]},
    },
    title="plans/<key16>.json of an artifact: a TensorRT plan for one kind of machine",
    name="rate.plan/1",
)

_RECIPE = object_with(
    {"name": _NAME, "seed": {"type": "integer"}, "train_accuracy": _SHARE},
    optional={"val_accuracy": _SHARE | {"type": ["number", "null"]}},
)

CHECKPOINT = object_with(
    {
        "schema": {"const": "rate.checkpoint/1"},
        "family": _NAME,
        "model": object_with({"name": _NAME}),
        "classes": _CLASSES,
        "prompts": _about(array_of(_NAME), "empty where the model reads no text"),
        "input": INPUT,
        "recipe": _RECIPE,
        "base": _about(object_with({"source": _NAME, "weights": _SHA256}), "the weights that fine-tuning started from"),
        "files": _FILES,
    },
    optional={
        "head": _about(object_with({"kind": {"enum": ["linear", "zero-shot"]}}), "absent in older documents: linear")
    },
    title="checkpoint.json: a fine-tuned model",
    name="rate.checkpoint/1",
)
