"""Building plans with a stand-in for the library: what it is told, what its refusals become, what is kept."""

from __future__ import annotations

import hashlib
import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import jsonschema
import onnx
import onnx_models
import pytest
from msgspec import structs
from onnx import helper
from standin_tensorrt import Standin

from rate.artifacts.artifact import Artifact, load_artifact
from rate.artifacts.parity import judge
from rate.artifacts.parity_sample import load_sample
from rate.artifacts.plans import Plan, describe_plans, key_of, plan_spec, planned, read_plan
from rate.artifacts.records import PlanDocument
from rate.backends.batches import INPUTS, ROW_INPUTS
from rate.backends.tensorrt import TensorRtSpec
from rate.errors import BackendError, ConfigError, ParityError, UsageError
from rate.export.export import ExportOptions
from rate.export.tensorrt import WORKSPACE, BuildProgress, build_plan, profiles_for, serialize
from rate.kernels.separable import occlusion, rise
from rate.records import plain, schema_of

VERSIONS = ("10.12.0.36", "11.4.0.106")


@pytest.fixture
def artifact(artifact_copy: Path) -> Artifact:
    return load_artifact(artifact_copy)


@pytest.fixture
def standin(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Standin:
    return Standin().install(monkeypatch, tmp_path / "state")


def files(artifact: Artifact) -> list[str]:
    folder = artifact.path / "plans"
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


@pytest.mark.parametrize("size", [7, 24, 224, 384, 1024])
@pytest.mark.parametrize("rows", [1, 32, 256])
def test_a_profile_fixes_the_rows_and_leaves_room_for_every_mask(size: int, rows: int) -> None:
    [shapes] = profiles_for(size, [rows])
    assert set(shapes) == {*INPUTS} - {"a", "b"}, "inputs without a free axis have no range"
    for low, usual, high in shapes.values():
        assert all(a <= b <= c for a, b, c in zip(low, usual, high, strict=True))
    for name in ROW_INPUTS:
        assert [shape[0] for shape in shapes[name]] == [rows] * 3
    pixels = shapes["pixels"][2]
    assert pixels[0] * 3 * size * size < 2**31, "tensors of TensorRT have 2^31 - 1 elements at most"
    masks = [rise(size, side) for side in (2, 7, min(size, 64))] + [occlusion(size, max(1, size // 6), 1)] * (size < 70)
    for perturbation in masks:
        for low, high, found in zip(shapes["table"][0], shapes["table"][2], perturbation.table.shape, strict=True):
            assert low <= found <= high


@pytest.mark.parametrize("version", VERSIONS)
def test_a_plan_is_strongly_typed_exact_and_described(monkeypatch, artifact, tmp_path, version) -> None:
    standin = Standin(version).install(monkeypatch, tmp_path)
    said: list[str] = []
    plan = build_plan(artifact, "f32", (16, 4, 16), said.append)
    [built] = standin.built
    assert built["strongly_typed"] is True
    assert built["cleared"] == ["TF32"]
    assert built["workspace"] == {"WORKSPACE": WORKSPACE}
    assert built["verbosity"] == "DETAILED"
    assert built["profiles"] == profiles_for(artifact.geometry.size, (4, 16))
    assert (plan.batch_sizes, plan.capture, set(plan.parity)) == ((4, 16), True, {"4", "16"})
    assert plan.path.parent == artifact.path / "plans"
    assert files(artifact) == [f"{key_of(plan.facts)[:16]}.json", f"{key_of(plan.facts)[:16]}.plan"]
    document = json.loads(plan.path.with_suffix(".json").read_text())
    jsonschema.Draft202012Validator(schema_of(PlanDocument)).validate(document)
    assert document["sha256"] == hashlib.sha256(plan.path.read_bytes()).hexdigest()
    assert document["facts"]["tensorrt"] == version
    assert document["facts"]["onnx"].keys() == {"pixels.onnx", "pixels.onnx.data"}
    assert read_plan(plan.path.with_suffix(".json")) == plan
    assert any("this takes minutes" in text for text in said)
    load_artifact(artifact.path)  # a plan is no part of the artifact's own list


def test_the_plan_passes_the_whole_self_test(standin, artifact) -> None:
    build_plan(artifact, "f32", (4, 16))
    parity = judge(load_sample(artifact), plan_spec(artifact, "f32", 16))
    assert max(parity.max_abs.values()) < 1e-4


def test_a_plan_that_is_there_is_kept_and_built_again_by_force(standin, artifact) -> None:
    first = build_plan(artifact, "f32", (4,))
    said: list[str] = []
    assert build_plan(artifact, "f32", (4,), said.append) == first
    assert said == [f"{first.path} is there already"]
    build_plan(artifact, "f32", (4,), force=True)
    assert len(standin.built) == 2
    first.path.write_bytes(b"torn")
    build_plan(artifact, "f32", (4,))
    assert len(standin.built) == 3
    build_plan(artifact, "f32", (8,))
    assert len(files(artifact)) == 4


def test_the_key_tells_everything_apart_that_makes_a_plan(standin, artifact) -> None:
    def key(name: str, value: object) -> str:
        return key_of(plain(plan.facts) | {name: value})

    plan = build_plan(artifact, "f32", (4,))
    others = {
        "tensorrt": "10.13.3.9",
        "gpu": "B",
        "capability": "9.1",
        "cuda": "12.9",
        "onnx": plan.facts.onnx | {"pixels.onnx.data": "0" * 64},
        "profiles": profiles_for(24, (5,)),
        "flags": plan.facts.flags | {"level": 5},
        "graph": "pixels-fp16.onnx",
        "precision": "fp16",
    }
    assert set(others) == set(plain(plan.facts))
    keys = {key(name, value) for name, value in others.items()} | {key_of(plan.facts)}
    assert len(keys) == len(others) + 1


def test_timings_of_earlier_builds_are_used_and_foreign_ones_are_not(standin, artifact, tmp_path) -> None:
    build_plan(artifact, "f32", (4,))
    [cache] = (tmp_path / "state/rate").glob("timings-*.cache")
    assert standin.cache_seen == [b""]
    build_plan(artifact, "f32", (8,))
    assert standin.cache_seen[1] == b"timings of "
    cache.write_bytes(b"other version")
    build_plan(artifact, "f32", (9,))
    assert standin.cache_seen[2:] == [b"other version", b""]
    assert cache.read_bytes() == b"timings of "
    standin.gpu.name = "another GPU"
    build_plan(artifact, "f32", (9,))
    assert standin.cache_seen[-1] == b"", "timings belong to a kind of machine"


def test_progress_rises_to_the_whole_and_names_the_phase(standin, artifact) -> None:
    seen: list[tuple[float, str]] = []
    build_plan(artifact, "f32", (4,), observe=lambda share, phase: seen.append((share, phase)))
    shares = [share for share, _ in seen]
    assert shares == sorted(shares)
    assert (shares[0], shares[-1]) == (0.0, 1.0)
    assert {phase for _, phase in seen} == {"Building", "Tactics"}


@pytest.mark.parametrize("error", [KeyboardInterrupt(), ZeroDivisionError("in the bar")])
def test_an_interrupt_ends_the_build_and_is_not_swallowed(standin, artifact, error) -> None:
    def observe(share: float, phase: str) -> None:
        if phase == "Tactics":
            raise error

    with pytest.raises(type(error)):
        build_plan(artifact, "f32", (4,), observe=observe)
    assert standin.built == []
    assert files(artifact) == []


def test_what_the_parser_cannot_read_is_named_with_its_node(standin, artifact, tmp_path) -> None:
    model = onnx.load(str(artifact.graph().path))
    first = model.graph.node[0].output[0]
    model.graph.node.append(helper.make_node("RandomNormalLike", [first], ["unused"], name="noise"))
    onnx.save(model, str(tmp_path / "odd.onnx"))
    node = rf"node {len(model.graph.node) - 1} 'noise' \(RandomNormalLike\): No converter"
    library = standin.module()
    with pytest.raises(BackendError, match=rf"cannot parse .*odd.onnx: {node} .*; use --format onnx"):
        serialize(library, tmp_path / "odd.onnx", profiles_for(24, (4,)), tmp_path / "c", lambda share, phase: None)
    with pytest.raises(BackendError, match=r"gone.onnx cannot be read as an ONNX model"):
        serialize(library, tmp_path / "gone.onnx", [], tmp_path / "c", lambda share, phase: None)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            "build_serialized_network",
            r"cannot build a plan of .*: Error Code 10: no implementation .*; use --format onnx",
        ),
        ("add_optimization_profile", r"refuses a profile of the shapes .*; use another --plan-batch"),
    ],
)
def test_every_refusal_of_the_library_is_an_error_with_its_message_and_a_cure(standin, artifact, call, message) -> None:
    standin.faults.calls.add(call)
    with pytest.raises(BackendError, match=message) as caught:
        build_plan(artifact, "f32", (4,))
    assert "skipped" not in str(caught.value), "warnings are not the reason"
    assert files(artifact) == []


def test_shapes_that_do_not_fit_together_and_inputs_without_a_range_are_refused(standin, artifact, tmp_path) -> None:
    [shapes] = profiles_for(24, (4,))
    graph, library = artifact.graph().path, standin.module()
    wrong = shapes | {"slot": [[4], [3], [4]]}
    with pytest.raises(BackendError, match=r"refuses the shapes \[\[4\], \[3\], \[4\]\] of slot: Shape provided"):
        serialize(library, graph, [wrong], tmp_path / "c", lambda share, phase: None)
    del shapes["grid"]
    with pytest.raises(BackendError, match=r"has the input 'grid' with the shape \(-1, -1, -1\), which nothing fills"):
        serialize(library, graph, [shapes], tmp_path / "c", lambda share, phase: None)


@pytest.mark.parametrize("size", [4, 16])
def test_a_plan_that_is_silently_wrong_is_not_kept_whatever_profile_it_is(standin, artifact, size) -> None:
    standin.faults.logits, standin.faults.logits_rows = 0.01, size
    message = rf"batches of {size} rows is not kept: tensorrt in f32 does not reproduce .*fused attention .*--precision"
    with pytest.raises(ParityError, match=message):
        build_plan(artifact, "f32", (4, 16))
    assert files(artifact) == []
    with pytest.raises(UsageError, match=r"has no TensorRT plan in f32 for this machine \(none was built\)"):
        plan_spec(artifact, "f32", 16)


def test_a_plan_that_cannot_be_captured_is_used_without(standin, artifact) -> None:
    standin.gpu.capture_fails = True
    said: list[str] = []
    plan = build_plan(artifact, "f32", (4,), said.append)
    assert plan.capture is False
    assert any(text.startswith("without CUDA graphs: the plan cannot be captured") for text in said)
    assert plan_spec(artifact, "f32", 4).capture is False


def test_a_graph_of_lower_precision_has_a_plan_of_its_own(standin, artifact) -> None:
    """The same graph under another name stands for one in f16: what counts here is which file and sample are used."""
    name = "pixels-fp16.onnx"
    (artifact.path / name).write_bytes((artifact.path / "pixels.onnx").read_bytes())
    both = structs.replace(
        artifact,
        graphs=artifact.graphs | {"pixels-fp16": name},
        files=artifact.files | {name: artifact.files["pixels.onnx"]},
    )
    plan = build_plan(both, "fp16", (8,))
    assert plan.precision == "fp16"
    assert plan.facts.onnx.keys() == {"pixels.onnx", "pixels.onnx.data", name}
    build_plan(both, "f32", (8,))
    assert planned(both) == ("fp16", "f32")
    assert plan_spec(both, "fp16", 8).precision == "fp16"


@pytest.mark.parametrize(
    ("precision", "message"),
    [
        ("fp16", r"has no pixels graph in fp16, .*--precision fp16 --format tensorrt"),
        ("int8", "no TensorRT plan is built in int8; fp16, bf16, f32 are"),
    ],
)
def test_a_precision_without_a_graph_is_refused(standin, artifact, precision, message) -> None:
    with pytest.raises(UsageError, match=message):
        build_plan(artifact, precision, (4,))


def test_of_several_plans_the_one_that_pads_least_is_taken(standin, artifact) -> None:
    for sizes in ((32,), (4, 24), (100,)):
        build_plan(artifact, "f32", sizes)
    for batch, expected in ((32, (32,)), (64, (32,)), (24, (4, 24)), (28, (4, 24)), (100, (100,)), (90, (32,))):
        assert plan_spec(artifact, "f32", batch).batch_sizes == expected, batch


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("gpu", "was built for gpu NVIDIA Stand-in 1, here it is NVIDIA Stand-in 2"),
        ("version", "was built for tensorrt 10.13.2.6, here it is 10.14.1.0"),
        ("cuda", "was built for cuda 13.0, here it is 12.9"),
        ("weights", "was built for other weights"),
    ],
)
def test_a_plan_of_another_machine_or_other_weights_is_refused_with_the_difference(
    monkeypatch, tmp_path, standin, artifact, change, message
) -> None:
    build_plan(artifact, "f32", (4,))
    if change == "gpu":
        standin.gpu.name = "NVIDIA Stand-in 2"
    elif change == "cuda":
        standin.gpu.cuda = "12.9"
    elif change == "version":
        Standin("10.14.1.0").install(monkeypatch, tmp_path / "state")
    else:
        artifact = structs.replace(artifact, files=artifact.files | {"pixels.onnx.data": "0" * 64})
    with pytest.raises(UsageError, match=rf"{message}.*; build one here: rate export .* --format tensorrt"):
        plan_spec(artifact, "f32", 4)


def rename(plan: Plan) -> None:
    for path in (plan.path, plan.path.with_suffix(".json")):
        path.rename(path.with_stem("0" * 16))


def rewrite(plan: Plan, **values: object) -> None:
    path = plan.path.with_suffix(".json")
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


@pytest.mark.parametrize(
    ("tamper", "message"),
    [
        (rename, "has the key"),
        (lambda plan: rewrite(plan, facts=plain(plan.facts) | {"gpu": "B"}), "has the key"),
        (lambda plan: rewrite(plan, sha256="0" * 64), "was changed, or written by another user"),
        (lambda plan: rewrite(plan, batch_sizes=[8]), "was changed, or written by another user"),
        (lambda plan: rewrite(plan, schema="rate.plan/9"), "has the schema 'rate.plan/9'"),
        (lambda plan: rewrite(plan, facts=3), "\\$\\.facts"),
        (lambda plan: plan.path.with_suffix(".json").write_text("{"), "cannot be read as JSON"),
    ],
)
def test_a_description_that_was_changed_is_not_believed(standin, artifact, tamper, message) -> None:
    tamper(build_plan(artifact, "f32", (4,)))
    with pytest.raises(UsageError, match=rf"no TensorRT plan in f32 for this machine \(.*{message}"):
        plan_spec(artifact, "f32", 4)


def test_a_plan_that_was_changed_is_not_loaded(standin, artifact) -> None:
    plan = build_plan(artifact, "f32", (4,))
    plan.path.write_bytes(plan.path.read_bytes() + b" ")
    spec = plan_spec(artifact, "f32", 4)
    with pytest.raises(BackendError, match="has changed and is not loaded"), spec.open(rise(24, 4), 1):
        pass


def test_plans_of_another_user_are_not_loaded(monkeypatch, standin, artifact, tmp_path) -> None:
    build_plan(artifact, "f32", (4,))
    assert plan_spec(artifact, "f32", 4).batch_sizes == (4,)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "another"))
    with pytest.raises(UsageError, match="was changed, or written by another user or on another machine"):
        plan_spec(artifact, "f32", 4)
    build_plan(artifact, "f32", (4,))
    assert plan_spec(artifact, "f32", 4).batch_sizes == (4,)


def test_a_state_folder_that_cannot_be_made_is_found_out_before_the_build(
    monkeypatch, standin, artifact, tmp_path
) -> None:
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))
    with pytest.raises(UsageError, match="let XDG_STATE_HOME name a folder"):
        build_plan(artifact, "f32", (4,))
    assert standin.built == []


def test_an_artifact_that_cannot_be_written_to_is_found_out_before_the_build(standin, artifact) -> None:
    (artifact.path / "plans").write_bytes(b"")
    with pytest.raises(UsageError, match=r"plans cannot be made \(File exists\)"):
        build_plan(artifact, "f32", (4,))
    assert standin.built == []


def test_phases_that_are_reported_from_several_threads_do_not_end_the_build() -> None:
    progress = BuildProgress(lambda share, phase: None)
    progress.phase_start("all", None, 4)

    def work(thread: int) -> bool:
        going = True
        for number in range(50):
            name = f"{thread}-{number}"
            progress.phase_start(name, "all", 2)
            going &= progress.step_complete(name, 0)
            progress.phase_finish(name)
        return going

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(work, range(4)))
    assert progress.failure is None


def test_a_spec_of_a_plan_is_what_was_built(standin, artifact) -> None:
    plan = build_plan(artifact, "f32", (4,))
    spec = plan_spec(artifact, "f32", 4)
    assert spec == TensorRtSpec(artifact.graph(), plan.path, plan.sha256, (4,))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"format": "openvino"}, "onnx, tensorrt; got 'openvino'"),
        ({"format": "tensorrt", "precision": "int8", "calibrate": "m.csv"}, "int8 is for OpenVINO alone"),
        ({"format": "tensorrt", "plan_batch": ()}, "--plan-batch must be numbers of rows from 1 to 4096"),
        ({"format": "tensorrt", "plan_batch": (32, 0)}, r"from 1 to 4096, got \[32, 0\]"),
        ({"plan_batch": (8,)}, "--plan-batch is for --format tensorrt"),
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ExportOptions(**options)


def test_the_sample_model_has_the_size_that_these_tests_assume(artifact) -> None:
    assert artifact.geometry.size == onnx_models.SIZE == 24


@pytest.mark.parametrize("fused", [True, False])
def test_fused_attentions_are_counted_and_missing_ones_told(standin, tiny_vit, tmp_path: Path, fused: bool) -> None:
    artifact = load_artifact(Path(shutil.copytree(tiny_vit.artifact, tmp_path / "vit")))
    standin.faults.fused = fused
    said: list[str] = []
    plan = build_plan(artifact, "f32", (4, 16), said.append)
    assert plan.attentions == (2 if fused else 0)
    assert any("TensorRT fused 0 of 2 attentions" in text for text in said) != fused
    assert f"{plan.attentions} fused attentions" in describe_plans(artifact)[0]
