"""Hugging Face models: one graph gives what each family's own forward gives, from its own processor and tokenizer."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import hf_models
import numpy as np
import pytest
import torch
import transformers

from rate.errors import MissingExtra, UsageError
from rate.export.export import ExportOptions, export_artifact
from rate.export.sources.families import hf
from rate.export.sources.open_source import open_source, open_tower
from rate.finetune.full import FtSettings, finetune_ft
from rate.finetune.lp import LpSettings, finetune_lp

NAMES = ("dark square", "light")
PROMPTS = [f"a photo of a {name}" for name in NAMES]


@pytest.fixture
def classes(tmp_path: Path) -> Path:
    (tmp_path / "classes.txt").write_text("dark\tdark square\nlight\n")
    return tmp_path / "classes.txt"


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return hf_models.save_clip(tmp_path_factory.mktemp("hf") / "clip")


def test_clip_gives_the_logits_of_its_own_forward(clip: Path, classes: Path, tmp_path: Path) -> None:
    artifact = export_artifact(f"hf:{clip}", tmp_path / "artifact", ExportOptions(classes=classes))
    assert (artifact.family, artifact.heads[0].kind) == ("hf", "zero-shot")
    assert (artifact.geometry.size, artifact.geometry.resize, artifact.geometry.crop) == (32, 36, "center")
    model = transformers.CLIPModel.from_pretrained(clip).eval()
    tokens = transformers.AutoTokenizer.from_pretrained(clip)(PROMPTS, padding=True, return_tensors="pt")
    pixels = torch.from_numpy(hf_models.noise(artifact.geometry, 3))
    with torch.inference_mode():
        expected = model(pixel_values=pixels, **tokens).logits_per_image.numpy()
    assert np.ptp(expected) > 1  # not the same whatever is shown
    found = hf_models.exported_logits(artifact, pixels.numpy())["zs"]
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_siglip_adds_its_bias_and_squashes(classes: Path, tmp_path: Path) -> None:
    folder = hf_models.save_siglip(tmp_path / "siglip")
    artifact = export_artifact(f"hf:{folder}", tmp_path / "artifact", ExportOptions(classes=classes))
    geometry = artifact.geometry
    assert (geometry.crop, geometry.mean, geometry.std) == ("squash", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    model = transformers.SiglipModel.from_pretrained(folder).eval()
    processor = transformers.SiglipProcessor.from_pretrained(folder)
    shown = [hf_models.photograph(50, 40, seed) for seed in range(3)]
    inputs = processor(text=PROMPTS, images=shown, padding="max_length", max_length=16, return_tensors="pt")
    with torch.inference_mode():
        expected = model(**inputs).logits_per_image.numpy()
    assert np.ptp(expected) > 0.1
    found = hf_models.exported_logits(artifact, inputs["pixel_values"].numpy())["zs"]
    np.testing.assert_allclose(found, expected, atol=1e-4)
    level = 2.1 / 255 / 0.5
    ours = np.stack([geometry.image_to_picture(image).pixels for image in shown])
    np.testing.assert_allclose(ours, inputs["pixel_values"].numpy(), atol=level)


@pytest.mark.slow
def test_naflex_reads_square_images_as_its_own_forward_does(classes: Path, tmp_path: Path) -> None:
    folder = hf_models.save_naflex(tmp_path / "naflex")
    notices: list[str] = []
    artifact = export_artifact(f"hf:{folder}", tmp_path / "artifact", ExportOptions(classes=classes), notices.append)
    assert "all are squashed to a square" in notices[0]
    model = transformers.Siglip2Model.from_pretrained(folder).eval()
    processor = transformers.Siglip2Processor.from_pretrained(folder)
    shown = [hf_models.photograph(40, 40, seed) for seed in range(3)]
    inputs = processor(text=PROMPTS, images=shown, max_length=16, max_num_patches=16, patch_size=8, return_tensors="pt")
    assert inputs["spatial_shapes"].tolist() == [[4, 4]] * 3
    with torch.inference_mode():
        expected = model(**inputs).logits_per_image.numpy()
    patches = inputs["pixel_values"].reshape(3, 4, 4, 8, 8, 3)  # back to images
    pixels = patches.permute(0, 5, 1, 3, 2, 4).reshape(3, 3, 32, 32).numpy()
    found = hf_models.exported_logits(artifact, pixels)["zs"]
    np.testing.assert_allclose(found, expected, atol=1e-4)
    ours = np.stack([artifact.geometry.image_to_picture(image).pixels for image in shown])
    np.testing.assert_allclose(ours, pixels, atol=2.1 / 255 / 0.5)
    with pytest.raises(UsageError, match="up to 25 patches of 8 pixels, where the model has 16 positions"):
        open_source(changed(folder, tmp_path / "other", PROCESSOR, max_num_patches=25), ExportOptions(classes=classes))


@pytest.mark.parametrize("name", ["BlipForImageTextRetrieval", "BlipModel"])
def test_blip_compares_by_its_contrastive_projections(name: str, classes: Path, tmp_path: Path) -> None:
    folder = hf_models.save_blip(tmp_path / "blip", name)
    source = open_source(f"hf:{folder}", ExportOptions(classes=classes))
    assert any("logit scale" in text for text in source.notices) == (name == "BlipForImageTextRetrieval")
    model = getattr(transformers, name).from_pretrained(folder).eval()
    image_processor, tokenizer = (
        kind.from_pretrained(folder) for kind in (transformers.AutoImageProcessor, transformers.AutoTokenizer)
    )
    processor = transformers.BlipProcessor(image_processor, tokenizer)
    shown = [hf_models.photograph(40, 64, seed) for seed in range(3)]
    inputs = processor(text=PROMPTS, images=shown, padding=True, return_tensors="pt")
    with torch.inference_mode():
        if name == "BlipModel":
            expected = model(**inputs).logits_per_image.numpy()
        else:
            expected = model(**inputs, use_itm_head=False).itm_score.numpy()
    assert np.ptp(expected) > 0.1
    pixels = inputs["pixel_values"].numpy()
    np.testing.assert_allclose(source.logits(pixels)["zs"], expected, atol=1e-4)
    ours = np.stack([source.geometry.image_to_picture(image).pixels for image in shown])
    np.testing.assert_allclose(ours, pixels, atol=2.1 / 255 / min(source.geometry.std))
    if name == "BlipModel":  # whose tower is the other's
        artifact = export_artifact(f"hf:{folder}", tmp_path / "artifact", ExportOptions(classes=classes))
        np.testing.assert_allclose(hf_models.exported_logits(artifact, pixels)["zs"], expected, atol=1e-4)


@pytest.mark.parametrize("save", [hf_models.save_metaclip, hf_models.save_dinov3_with_text])
def test_models_in_the_form_of_clip_give_the_logits_of_their_own_forward(save, classes: Path, tmp_path: Path) -> None:
    folder = save(tmp_path / "model")
    source = open_source(f"hf:{folder}", ExportOptions(classes=classes))
    model = transformers.AutoModel.from_pretrained(folder).eval()
    tokens = transformers.AutoTokenizer.from_pretrained(folder)(PROMPTS, padding=True, return_tensors="pt")
    processor = transformers.AutoImageProcessor.from_pretrained(folder)
    shown = [hf_models.photograph(32, 32, seed) for seed in range(3)]
    pixels = processor(images=shown, return_tensors="pt")["pixel_values"]
    with torch.inference_mode():
        expected = model(pixel_values=pixels, **tokens).logits_per_image.numpy()
    assert np.ptp(expected) > 0.1
    np.testing.assert_allclose(source.logits(pixels.numpy())["zs"], expected, atol=1e-4)
    ours = np.stack([source.geometry.image_to_picture(image).pixels for image in shown])
    np.testing.assert_allclose(ours, pixels.numpy(), atol=2.1 / 255 / min(source.geometry.std))


def test_a_blip_for_captions_has_no_projections(classes: Path, tmp_path: Path) -> None:
    folder = hf_models.save_blip(tmp_path / "blip", "BlipForConditionalGeneration")
    with pytest.raises(UsageError, match=r"tensors of BlipForImageTextRetrieval; only whole image-text models"):
        open_source(f"hf:{folder}", ExportOptions(classes=classes))


def test_a_probe_opens_again_without_the_text_tower(image_set, tmp_path: Path) -> None:
    for save in (hf_models.save_siglip, hf_models.save_naflex, hf_models.save_blip):
        folder = save(tmp_path / save.__name__)
        out = tmp_path / f"lp-{save.__name__}"
        finetune_lp(f"hf:{folder}", image_set(4, folder=out.name + "-set"), out, LpSettings(split=None, epochs=1))
        assert open_tower(str(out)).weights == open_tower(f"hf:{folder}").weights


def test_pixels_are_those_of_the_familys_processor(clip: Path, classes: Path) -> None:
    geometry = open_source(f"hf:{clip}", ExportOptions(classes=classes)).geometry
    processor = transformers.AutoImageProcessor.from_pretrained(clip)
    for size in ((60, 44), (36, 52), (90, 90)):
        photograph = hf_models.photograph(*size)
        expected = processor(images=photograph, return_tensors="np")["pixel_values"][0]
        level = 1 / 255 / min(geometry.std)
        np.testing.assert_allclose(geometry.image_to_picture(photograph).pixels, expected, atol=2.1 * level)


def test_templates_are_averaged_as_unit_vectors(clip: Path, classes: Path, tmp_path: Path) -> None:
    templates = ("a photo of a {}", "a drawing of the {}, in ink")
    (tmp_path / "templates.txt").write_text("\n".join(templates))
    source = open_source(f"hf:{clip}", ExportOptions(classes=classes, templates=tmp_path / "templates.txt"))
    model = transformers.CLIPModel.from_pretrained(clip).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(clip)
    pixels = torch.randn(2, 3, 32, 32)
    with torch.inference_mode():
        images = torch.nn.functional.normalize(model.get_image_features(pixels).pooler_output, dim=-1)
        columns = []
        for name in NAMES:
            tokens = tokenizer([text.format(name) for text in templates], padding=True, return_tensors="pt")
            texts = torch.nn.functional.normalize(model.get_text_features(**tokens).pooler_output, dim=-1)
            columns.append(torch.nn.functional.normalize(texts.mean(dim=0), dim=-1))
        expected = model.logit_scale.exp() * images @ torch.stack(columns).T
    np.testing.assert_allclose(source.logits(pixels.numpy())["zs"], expected.numpy(), atol=1e-4)


def test_a_probe_and_the_prompts_share_the_tower(clip: Path, classes: Path, image_set, tmp_path: Path) -> None:
    finetune_lp(f"hf:{clip}", image_set(6), tmp_path / "lp", LpSettings(split=None, epochs=3))
    options = ExportOptions(classes=classes, heads=(f"lp=linear:{tmp_path / 'lp'}",))
    source = open_source(f"hf:{clip}", options)
    assert [(info.name, info.kind) for info in source.infos] == [("zs", "zero-shot"), ("lp", "linear")]
    again = open_source(str(tmp_path / "lp"), ExportOptions())
    images = torch.randn(2, 3, 32, 32).numpy()
    np.testing.assert_allclose(again.logits(images)["lp"], source.logits(images)["lp"], atol=1e-5)


def test_its_tower_is_trained_and_opens_again_from_the_checkpoint(clip: Path, image_set, tmp_path: Path) -> None:
    settings = FtSettings(split=None, epochs=1, lr=1e-3, batch=3, threads=1)
    finetune_ft(f"hf:{clip}", image_set(6), tmp_path / "ft", settings)
    assert open_tower(str(tmp_path / "ft")).weights != open_tower(f"hf:{clip}").weights
    (tmp_path / "c.txt").write_text("a\nb\n")
    with pytest.raises(UsageError, match=r"zero-shot heads need one of open_clip:.*hf:DIR_OR_ID"):
        open_source(str(tmp_path / "ft"), ExportOptions(heads=(f"zs=zero-shot:{tmp_path / 'c.txt'}",)))


def test_the_token_form_is_refused(clip: Path, classes: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"is no plain vision transformer: .* no place where patches can be dropped"):
        export_artifact(f"hf:{clip}", tmp_path / "artifact", ExportOptions(classes=classes, tokens=True))


def test_flcp_says_what_it_can_train(clip: Path, image_set, tmp_path: Path) -> None:
    from rate.finetune.contrastive import FlcpSettings, finetune_flcp

    with pytest.raises(UsageError, match="flcp needs open_clip:"):
        finetune_flcp(f"hf:{clip}", image_set(4), tmp_path / "flcp", FlcpSettings(split=None))


def test_an_id_that_cannot_be_downloaded_is_named_with_the_command(classes: Path, monkeypatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(UsageError, match="hf download nobody/no-such-clip --local-dir DIR, then hf:DIR"):
        open_source("hf:nobody/no-such-clip", ExportOptions(classes=classes))
    with pytest.raises(UsageError, match="is no folder, and no id such as openai/clip"):
        open_source("hf:/nowhere/at/all", ExportOptions(classes=classes))


def changed(folder: Path, out: Path, file: str, **values: object) -> str:
    """SOURCE of a copy with other values in one of its JSON files."""
    shutil.copytree(folder, out)
    document = json.loads((out / file).read_text())
    (out / file).write_text(json.dumps(document | values))
    return f"hf:{out}"


PROCESSOR = "preprocessor_config.json"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"do_normalize": False}, "do_normalize is off"),
        ({"rescale_factor": 1.0}, "multiplied by 1.0, not 1/255"),
        ({"resample": 0}, "resample 0 is neither"),
        ({"crop_size": {"height": 24, "width": 24}}, r"gives \{24\} pixels a side, the model takes 32"),
        ({"size": {"height": 36, "width": 36}}, "a crop of 32 out of a squashed image of 36 x 36"),
        ({"size": {"shortest_edge": 30}}, "resize must be at least size = 32"),
    ],
)
def test_pixels_that_cannot_be_reproduced_are_refused(values, message, clip, classes, tmp_path) -> None:
    source = changed(clip, tmp_path / "clip", PROCESSOR, **values)
    with pytest.raises(UsageError, match=message):
        open_source(source, ExportOptions(classes=classes))


def test_what_a_folder_lacks_is_named(clip: Path, classes: Path, tmp_path: Path) -> None:
    options = ExportOptions(classes=classes)
    with pytest.raises(UsageError, match=r"has no config.json"):
        open_source(f"hf:{tmp_path}", options)
    for config, message in (
        (transformers.ViTConfig(), r"of the type 'vit', which reads no text .*; image-text models .* are clip"),
        (transformers.AltCLIPConfig(), "of the type 'altclip'; image-text models that can be exported are clip"),
    ):
        config.save_pretrained(tmp_path / config.model_type)
        with pytest.raises(UsageError, match=message):
            open_source(f"hf:{tmp_path / config.model_type}", options)
    with pytest.raises(UsageError, match="is a EvaCLIPModel, which is no class of this transformers"):
        open_source(changed(clip, tmp_path / "eva", "config.json", architectures=["EvaCLIPModel"]), options)
    for file, message in (
        (PROCESSOR, "does not say how images are prepared"),
        ("model.safetensors", "cannot be loaded into CLIPModel"),
        ("tokenizer.json", "has no tokenizer; expected one of tokenizer.json"),
    ):
        shutil.copytree(clip, tmp_path / file)
        (tmp_path / file / file).unlink()
        with pytest.raises(UsageError, match=message):
            open_source(f"hf:{tmp_path / file}", options)


def test_weights_without_the_text_tower_are_no_image_text_model(clip: Path, classes: Path, tmp_path: Path) -> None:
    import safetensors.torch

    shutil.copytree(clip, tmp_path / "clip")
    state = safetensors.torch.load_file(clip / "model.safetensors")
    kept = {name: value for name, value in state.items() if not name.startswith("text_")}
    safetensors.torch.save_file(kept, tmp_path / "clip/model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UsageError, match=r"lack text_model.*only whole image-text models"):
        open_source(f"hf:{tmp_path / 'clip'}", ExportOptions(classes=classes))


def test_a_pickle_of_tensors_is_read_and_one_of_more_is_refused(clip: Path, classes: Path, tmp_path: Path) -> None:
    options = ExportOptions(classes=classes)
    shutil.copytree(clip, tmp_path / "clip")
    (tmp_path / "clip/model.safetensors").unlink()
    state = transformers.CLIPModel.from_pretrained(clip).state_dict()
    torch.save(state, tmp_path / "clip/pytorch_model.bin")
    expected = open_source(f"hf:{clip}", options)
    assert open_source(f"hf:{tmp_path / 'clip'}", options).weights == expected.weights
    torch.save({**state, "more": Path("x")}, tmp_path / "clip/pytorch_model.bin")
    with pytest.raises(UsageError, match="with tensors alone"):
        open_source(f"hf:{tmp_path / 'clip'}", options)


def test_code_in_a_repository_is_not_run(clip: Path, classes: Path, tmp_path: Path) -> None:
    source = changed(clip, tmp_path / "clip", "config.json", model_type="own", auto_map={"AutoConfig": "code.Own"})
    (tmp_path / "clip/code.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    with pytest.raises(UsageError, match="cannot be read as a model's config"):
        open_source(source, ExportOptions(classes=classes))
    assert not (tmp_path / "ran").exists()


def test_a_missing_package_is_named_with_its_extra(clip: Path, classes: Path, monkeypatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "transformers", None)
    with pytest.raises(MissingExtra, match=r"rate-engine\[hf\]"):
        open_source(f"hf:{clip}", ExportOptions(classes=classes))


def test_a_checkpoint_of_an_unknown_form_is_refused() -> None:
    with pytest.raises(UsageError, match="transformers' OtherModel cannot be opened"):
        hf.build_tower({"name": "OtherModel"}, {})


def test_a_tokenizer_of_another_model_is_refused(clip: Path, classes: Path, tmp_path: Path) -> None:
    shutil.copytree(clip, tmp_path / "clip")
    small = transformers.CLIPConfig.from_pretrained(clip)
    small.text_config.vocab_size = 320
    hf_models.spread(transformers.CLIPModel(small)).save_pretrained(tmp_path / "clip")
    with pytest.raises(UsageError, match="gives token 49407, the model knows 320: they do not belong together"):
        open_source(f"hf:{tmp_path / 'clip'}", ExportOptions(classes=classes))


@pytest.mark.slow
@pytest.mark.parametrize("save", [hf_models.save_metaclip, hf_models.save_dinov3_with_text])
def test_models_in_the_form_of_clip_are_exported(save, classes: Path, tmp_path: Path) -> None:
    artifact = export_artifact(f"hf:{save(tmp_path / 'm')}", tmp_path / "artifact", ExportOptions(classes=classes))
    assert max(artifact.parity["pixels"].max_abs.values()) < 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["CLIP", "Siglip"])
def test_models_of_real_size_keep_their_logits(kind: str, clip: Path, classes: Path, tmp_path: Path) -> None:
    """ViT-B/32 and ViT-B/16; 12 layers, 224 pixels, random weights."""
    shutil.copytree(clip, tmp_path / "model")
    torch.manual_seed(0)
    config = getattr(transformers, f"{kind}Config")(text_config={"vocab_size": 49408})
    getattr(transformers, f"{kind}Model")(config).save_pretrained(tmp_path / "model")
    getattr(transformers, f"{kind}ImageProcessor")().save_pretrained(tmp_path / "model")
    artifact = export_artifact(f"hf:{tmp_path / 'model'}", tmp_path / "artifact", ExportOptions(classes=classes))
    assert artifact.geometry.size == 224
    assert max(artifact.parity["pixels"].max_abs.values()) < 1e-4
