"""SOURCE strings: split in one way, and refused with what exists."""

from __future__ import annotations

import pytest

from rate.errors import ConfigError, UsageError
from rate.export.options import ExportOptions, parse_head, read_classes
from rate.export.sources.open_source import open_tower
from rate.export.sources.source_string import parse_source


@pytest.mark.parametrize(
    ("source", "parts"),
    [
        ("timm:resnet18", ("timm", "resnet18", None)),
        ("timm:resnet18.a1_in1k", ("timm", "resnet18.a1_in1k", None)),
        ("timm:resnet18:w.pt", ("timm", "resnet18", "w.pt")),
        ("timm:resnet18:s3://bucket/w.pt", ("timm", "resnet18", "s3://bucket/w.pt")),
        ("timm:resnet18:", ("timm", "resnet18", "")),
        ("hf:openai/clip-vit-base-patch32", ("hf", "openai/clip-vit-base-patch32", None)),
        ("onnx:a.onnx", ("onnx", "a.onnx", None)),
        ("onnx:C:\\a.onnx", ("onnx", "C", "\\a.onnx")),
    ],
)
def test_only_the_first_two_colons_split(source, parts) -> None:
    found = parse_source(source)
    assert found is not None
    assert (found.family, found.name, found.file) == parts
    assert found.text == source


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("hg:openai/clip", "neither a known kind of model .* expected timm:NAME"),
        ("tim:resnet18", "did you mean timm:NAME"),
        ("resnet18", "neither a known kind of model nor a folder with checkpoint.json"),
        ("timm", "did you mean timm:NAME"),
        ("timm:", "names no model; expected timm:NAME"),
        ("onnx:", "names no model; expected onnx:FILE"),
        ("", "neither a known kind"),
    ],
)
def test_an_unknown_source_is_refused_with_what_exists(source, message) -> None:
    with pytest.raises(UsageError, match=message):
        parse_source(source)


def test_a_folder_or_file_says_what_to_write_instead(tmp_path) -> None:
    (tmp_path / "artifact.json").write_text("{}")
    with pytest.raises(UsageError, match="is an artifact already: rate eval"):
        parse_source(str(tmp_path))
    (tmp_path / "model.onnx").write_text("")
    with pytest.raises(UsageError, match=r"is a file: write onnx:.*model.onnx"):
        parse_source(str(tmp_path / "model.onnx"))
    (tmp_path / "weights.pth").write_text("")
    with pytest.raises(UsageError, match="does not say what it holds; write one of openai:FILE, albef:FILE"):
        parse_source(str(tmp_path / "weights.pth"))
    (tmp_path / "hf").mkdir()
    (tmp_path / "hf/config.json").write_text("{}")
    with pytest.raises(UsageError, match="is a Hugging Face folder: write hf:"):
        parse_source(str(tmp_path / "hf"))
    (tmp_path / "checkpoint.json").write_text("{}")
    assert parse_source(str(tmp_path)) is None


def test_only_torch_models_have_a_tower_to_train() -> None:
    with pytest.raises(UsageError, match="has no PyTorch tower; use timm"):
        open_tower("onnx:model.onnx")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"precision": "fp8"}, "f32, fp16, bf16, int8, auto; got .fp8"),
        ({"format": "openvino"}, "onnx, tensorrt; got .openvino"),
        ({"crop_pct": 0.0}, "--crop-pct must lie in"),
        ({"crop_pct": float("nan")}, "--crop-pct must lie in"),
        ({"mean": (0.5,)}, "--mean needs three numbers"),
        ({"std": (1.0, 1.0, 1.0, 1.0)}, "--std needs three numbers"),
    ],
)
def test_options_are_checked_at_the_door(values, message) -> None:
    with pytest.raises(ConfigError, match=message):
        ExportOptions(**values)


def test_a_head_names_a_folder_that_may_hold_colons() -> None:
    asked = parse_head("lp=linear:C:/runs=2/lp")
    name, folder = asked.name, asked.path
    assert (name, folder.as_posix()) == ("lp", "C:/runs=2/lp")


@pytest.mark.parametrize(
    ("content", "names"),
    [
        (b"cat\ndog\n", ("cat", "dog")),
        (b"\xef\xbb\xbfcat\r\ndog\r\n\r\n", ("cat", "dog")),
        (" chat noir \nchien\xe9".encode(), ("chat noir", "chien\xe9")),
    ],
)
def test_class_names_are_lines(content, names, tmp_path) -> None:
    (tmp_path / "c.txt").write_bytes(content)
    assert read_classes(tmp_path / "c.txt", None) == names


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "has 0 names; at least 2"),
        (b"cat\n", "has 1 names; at least 2"),
        (b"cat\n\ndog\n", "line 2 is empty"),
        (b"cat\ndog\ncat\n", "'cat' is on lines 1 and 3"),
        (b"caf\xe9\ndog\n", "cannot be read"),
    ],
)
def test_a_class_file_that_cannot_be_meant_is_refused_by_line(content, message, tmp_path) -> None:
    (tmp_path / "c.txt").write_bytes(content)
    with pytest.raises(UsageError, match=message):
        read_classes(tmp_path / "c.txt", None)
    with pytest.raises(UsageError, match="cannot be read"):
        read_classes(tmp_path, None)
