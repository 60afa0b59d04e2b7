"""The JSON documents of artifacts, checkpoints and plans."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

from msgspec import Meta, field

from rate.data.images.geometry import Geometry
from rate.records import AtLeastOne, Count, Document, Name, Record, Sha256, Share

Classes: TypeAlias = Annotated[tuple[Name, ...], Meta(min_length=1, extra_json_schema={"uniqueItems": True})]
Files: TypeAlias = Annotated[
    dict[str, Sha256], Meta(min_length=1, description="file name -> sha256, every file but this one")
]
PerHead: TypeAlias = Annotated[dict[str, float], Meta(min_length=1)]
Named: TypeAlias = Annotated[
    dict[str, Any],
    Meta(extra_json_schema={"required": ["name"], "properties": {"name": {"type": "string", "minLength": 1}}}),
]


class HeadInfo(Record, frozen=True):
    """One classifier on the tower: graph output `logits_<name>` [b,c]."""

    name: Annotated[str, Meta(pattern="^[A-Za-z0-9][A-Za-z0-9_.-]*$")]
    kind: Literal["linear", "zero-shot", "embeddings", "options"]
    classes: Annotated[
        tuple[Name, ...],
        Meta(
            description="in the order of the logits; none where they are the options of each row's own question",
            extra_json_schema={"uniqueItems": True},
        ),
    ]

    @property
    def output(self) -> str:
        """The name of the graph output."""
        return f"logits_{self.name}"


class Parity(Record, frozen=True):
    """The distance of a graph's logits from the source's on the parity sample, by head."""

    max_abs: Annotated[PerHead, Meta(description="greatest difference of a logit")]
    allowed: Annotated[PerHead, Meta(description="of max_abs, in f32")]
    error: Annotated[PerHead, Meta(description="of the scores, over their spread under masks of one picture")]
    predictions: Annotated[dict[str, Count], Meta(description="clear in f32, that differ")]
    verdicts: Annotated[dict[str, Count], Meta(description="clear in f32, that differ")]
    precision: str
    runtime: Name


class CalibrationData(Record, frozen=True):
    """The calibration data of an int8 graph."""

    data: Annotated[Sha256, Meta(description="of the manifest")]
    split: str | None
    images: AtLeastOne
    unreadable: Annotated[Count, Meta(description="images that were left out")]


class Flips(Record, frozen=True):
    """The differences of one head's rows between a lower precision and f32, under the same masks or fills."""

    head: str
    samples: Annotated[Count, Meta(description="with a prediction in f32")]
    predictions: Annotated[Count, Meta(description="that differ, or are missing")]
    verdicts: Annotated[Count, Meta(description="valid, not valid or undefined: that differ, or are missing")]
    max_abs_share: Annotated[
        float | None,
        Meta(description="largest difference of the share of the evidence on the region"),
    ]

    def __str__(self) -> str:
        return (
            f"{self.head}: {self.verdicts} of {self.samples} verdicts and {self.predictions} predictions differ, "
            f"the share of the region by at most {self.max_abs_share or 0:.4f}"
        )


class Changes(Record, frozen=True):
    """The changes from f32 to int8 in verdicts as a run reaches them by default."""

    images: AtLeastOne
    allowed: Annotated[Share, Meta(description="of predictions or verdicts that may differ")]
    heads: tuple[Flips, ...]


class Int8(Record, frozen=True):
    """The calibration and the changes of an int8 graph."""

    calibration: CalibrationData
    changes: Changes
    calibrated_on: Annotated[Count, Meta(description="of the images compared: those that it was calibrated on, too")]
    speed: Annotated[
        dict[str, float],
        Meta(description="forwards/s over those of another precision, by its name, where it was exported"),
    ] = field(default_factory=dict)

    @property
    def pace(self) -> str:
        """The speed in words; empty if it was not measured."""
        return " and ".join(f"{ratio:.2f} times the forwards/s of {name}" for name, ratio in self.speed.items())


class Request(Record, frozen=True):
    """The options of a source's PyTorch model."""

    classes: str | None
    templates: str | None
    heads: tuple[Name, ...]


class ArtifactDocument(Document, frozen=True, kw_only=True, tag="rate.artifact/5"):
    """artifact.json: an exported model."""

    family: Name
    source: Annotated[Name, Meta(description="the SOURCE that was exported, as it was written")]
    weights: Annotated[Sha256, Meta(description="digest of the source's weights, whatever file they came in")]
    geometry: Geometry = field(name="input")
    heads: Annotated[tuple[HeadInfo, ...], Meta(min_length=1)]
    precision: Annotated[Literal["f32", "fp16", "bf16", "int8"], Meta(description="the lowest of its graphs")]
    opset: Annotated[AtLeastOne | None, Meta(description="null for a generative model, which has no graph")]
    graphs: Annotated[
        dict[str, Name],
        Meta(
            description="form -> file: pixels hides pixels, tokens drops patches; -fp16, -bf16, -int8: so stored; none "
            "of a generative model"
        ),
    ]
    files: Files
    parity: Annotated[dict[str, Parity], Meta(description="form, as in graphs -> distance from the source model")]
    versions: dict[str, Name]
    patches: Annotated[int, Meta(ge=2, description="a side, of the token graph")] | None = None
    int8: Int8 | None = None
    request: Annotated[Request | None, Meta(description="null for a finished graph or a module in memory")] = None

    @property
    def asks(self) -> bool:
        """Whether it is a generative model, which is asked a question a row and runs in PyTorch alone."""
        return any(head.kind == "options" for head in self.heads)


class Base(Record, frozen=True):
    """The weights that fine-tuning started from."""

    source: Name
    weights: Sha256


class CheckpointDocument(Document, frozen=True, kw_only=True, tag="rate.checkpoint/2"):
    """checkpoint.json: a fine-tuned model."""

    family: Name
    model: Annotated[Named, Meta(description="what the family needs to build the tower")]
    classes: Annotated[Classes, Meta(description="in the order of the logits")]
    prompts: Annotated[tuple[Name, ...], Meta(description="empty where the model reads no text")]
    head: Annotated[
        Literal["linear", "zero-shot"], Meta(description="with a zero-shot head the weights hold the text tower, too")
    ]
    geometry: Geometry = field(name="input")
    recipe: Annotated[Named, Meta(description="name, seed, train_accuracy, and the settings of that recipe")]
    base: Base
    files: Files

    def __post_init__(self) -> None:
        for where in ("model", "recipe"):
            name = getattr(self, where).get("name")
            if not (name and isinstance(name, str)):
                raise ValueError(f"'{where}' must have a 'name' that is a text, got {name!r}")


class Facts(Record, frozen=True):
    """The facts of which a plan was made; it runs where the first four are the same."""

    tensorrt: Name
    gpu: Name
    capability: Name
    cuda: Name
    graph: Annotated[Name, Meta(description="file name")]
    precision: Literal["f32", "fp16", "bf16"]
    onnx: Annotated[dict[str, Sha256], Meta(description="every graph and weight file: which one a graph reads it says")]
    profiles: Annotated[
        tuple[dict[str, Annotated[tuple[tuple[AtLeastOne, ...], ...], Meta(min_length=3, max_length=3)]], ...],
        Meta(description="input -> its least, usual and greatest shape, for every batch size"),
    ]
    flags: dict[str, Any]


class Made(Record, frozen=True):
    """The build of a plan."""

    rate: Annotated[Name, Meta(description="version")]
    seconds: float
    bytes: Annotated[Count, Meta(description="of the plan")]


class PlanDocument(Document, frozen=True, kw_only=True, tag="rate.plan/4"):
    """plans/<key16>.json of an artifact: a TensorRT plan for one kind of machine."""

    key: Annotated[Sha256, Meta(description="digest of the facts; its first 16 digits name the files")]
    facts: Facts
    batch_sizes: Annotated[tuple[AtLeastOne, ...], Meta(min_length=1, description="ascending")]
    sha256: Annotated[Sha256, Meta(description="of the plan")]
    capture: Annotated[bool, Meta(description="batches are replayed as CUDA graphs")]
    parity: Annotated[dict[str, Parity], Meta(min_length=1, description="batch size -> distance from the source")]
    attentions: Annotated[
        Count | None, Meta(description="fused, in the kernels of the batch size with the fewest; null: not told")
    ]
    made: Made
