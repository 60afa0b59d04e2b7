"""The stand-in for TensorRT agrees with the real Python bindings, which are loaded without the library behind them.

The code runs on the stand-in in other tests, so what it uses is in the stand-in; and what is in the stand-in must be in
the bindings: every class, method, parameter, property, flag and value. The bindings are a package of their own, whose
libraries are replaced by empty ones with the same names. Nothing can be computed with that, and nothing is.
"""

from __future__ import annotations

import inspect
import json
import os
import re
import shutil
import subprocess
import sys
from enum import IntEnum
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import standin_tensorrt as standin

CLASSES = {
    standin.Builder: "Builder",
    standin.Config: "IBuilderConfig",
    standin.Context: "IExecutionContext",
    standin.Engine: "ICudaEngine",
    standin.Inspector: "EngineInspector",
    standin.ILogger: "ILogger",
    standin.IProgressMonitor: "IProgressMonitor",
    standin.Network: "INetworkDefinition",
    standin.Parser: "OnnxParser",
    standin.ParserError: "ParserError",
    standin.Profile: "IOptimizationProfile",
    standin.Runtime: "Runtime",
    standin.Tensor: "ITensor",
    standin.TimingCache: "ITimingCache",
}
"""Classes of the stand-in and what they stand for."""

SET_OR_READ = {
    "IBuilderConfig": ("builder_optimization_level", "profiling_verbosity", "progress_monitor"),
    "ILogger": ("INTERNAL_ERROR", "ERROR"),
    "ITensor": ("name", "shape"),
    "OnnxParser": ("num_errors",),
}
"""Attributes of instances, which a class does not list."""

OVERRIDDEN = {
    "ILogger": {"log": ("severity", "msg")},
    "IProgressMonitor": {
        "phase_start": ("phase_name", "parent_phase", "num_steps"),
        "step_complete": ("phase_name", "step"),
        "phase_finish": ("phase_name",),
    },
}
"""Methods that the library calls on objects of `rate`, with their parameters in order."""

SYMBOLS = (
    *(f"create{name}_INTERNAL" for name in ("InferBuilder", "InferRefitter", "InferRuntime")),
    *(f"createNvOnnxParser{name}_INTERNAL" for name in ("", "Refitter")),
    "getBuilderPluginRegistry",
    "getInferLibVersion",
    "getNvOnnxParserVersion",
    "getPluginRegistry",
    "initLibNvInferPlugins",
)
"""What the bindings take from the libraries."""

READ = """
import ctypes, inspect, json, sys
for library in sys.argv[1:]:
    ctypes.CDLL(library, ctypes.RTLD_GLOBAL)
import tensorrt_bindings
found = {"": {"__version__": tensorrt_bindings.__version__}}
for name, value in vars(tensorrt_bindings).items():
    if inspect.isclass(value) and hasattr(value, "__members__"):
        found[name] = {member: int(one) for member, one in value.__members__.items()}
    elif inspect.isclass(value):
        found[name] = {member: getattr(value, member).__doc__ or "" for member in dir(value)}
    elif hasattr(type(value), "__members__"):
        found[""][name] = int(value)
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def bindings(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """Maps each class to its members with their docstrings, each enumeration to its values, "" to the module's own."""
    spec = find_spec("tensorrt_bindings")
    if spec is None or spec.origin is None or shutil.which("cc") is None:
        pytest.skip(
            "NOT CHECKED: the names, flags and signatures of TensorRT; pip install tensorrt-cu13-bindings (in [dev] on "
            "Linux), and a C compiler, check them without a GPU"
        )
    folder = tmp_path_factory.mktemp("stubs")
    (folder / "stub.c").write_text("".join(f"void *{name}(void) {{ return 0; }}\n" for name in SYMBOLS))
    module = next(Path(spec.origin).parent.glob("tensorrt*.so")).read_bytes()
    names = sorted(set(re.findall(rb"libnv(?:infer|infer_plugin|onnxparser)\.so\.\d+", module)))
    assert len(names) == 3
    for name in map(bytes.decode, names):
        command = ["cc", "-shared", "-fPIC", "-o", name, f"-Wl,-soname,{name}", "stub.c"]
        subprocess.run(command, cwd=folder, check=True)
    libraries = [str(folder / name.decode()) for name in names]
    # Of its own, since the bindings keep what they were loaded with.
    done = subprocess.run(
        [sys.executable, "-c", READ, *libraries], capture_output=True, text=True, check=False, env=dict(os.environ)
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, dict[str, Any]] = json.loads(done.stdout)
    return found


@pytest.fixture(scope="module")
def module(bindings) -> Any:
    """The stand-in for the version of the bindings."""
    return standin.Standin(bindings[""]["__version__"]).module()


def signatures(name: str, doc: str) -> list[list[tuple[str, bool]]]:
    """The parameters of each overload behind self, and whether each must be given."""
    found = []
    for line in re.findall(rf"^(?:\d+\. )?{name}\(self: [^,)]*(?:, )?(.*)\) -> ", doc, re.MULTILINE):
        given = re.split(r", (?=\w+: )", line) if line else []
        found.append([(one.partition(":")[0], " = " not in one) for one in given])
    return found


def fits(given: list[str], signature: list[tuple[str, bool]]) -> bool:
    """Whether a call with these parameters, in this order, is one of the signature; a single one is known by place."""
    if len(given) == len(signature) == 1:
        return True
    names = [name for name, _ in signature]
    return given == names[: len(given)] and not any(must for _, must in signature[len(given) :])


def parameters(function: Any, own: int = 1) -> list[str]:
    return list(inspect.signature(function).parameters)[own:]


def test_every_method_and_property_of_the_stand_in_is_one_of_the_bindings(bindings) -> None:
    wrong = []
    for ours, name in CLASSES.items():
        for member, value in vars(ours).items():
            if member.startswith("_") or not (inspect.isfunction(value) or isinstance(value, property)):
                continue
            doc = bindings[name].get(member)
            if doc is None:
                wrong.append(f"{name}.{member} is not there")
            elif inspect.isfunction(value) and not any(fits(parameters(value), s) for s in signatures(member, doc)):
                wrong.append(f"{name}.{member}{tuple(parameters(value))} is {signatures(member, doc)}")
    assert wrong == []


def test_attributes_that_are_set_or_read_are_there(bindings) -> None:
    missing = [f"{kind}.{one}" for kind, names in SET_OR_READ.items() for one in names if one not in bindings[kind]]
    assert not missing


def test_what_the_library_calls_has_its_names_and_order(bindings) -> None:
    from rate.backends.tensorrt_library import Messages
    from rate.export.tensorrt import BuildProgress

    for kind, methods in OVERRIDDEN.items():
        ours = {"ILogger": Messages, "IProgressMonitor": BuildProgress}[kind]
        for name, expected in methods.items():
            [signature] = signatures(name, bindings[kind][name])
            assert tuple(parameter for parameter, _ in signature) == expected
            assert tuple(parameters(getattr(ours, name))) == expected


def test_functions_flags_and_values_are_those_of_the_bindings(bindings, module) -> None:
    wrong = []
    for name, value in vars(module).items():
        if name.startswith("_") or (inspect.isclass(value) and not issubclass(value, IntEnum)):
            continue
        if inspect.isclass(value):
            real = bindings.get(name, {})
            wrong += [f"{name}.{one.name} = {one.value}" for one in value if real.get(one.name) != one.value]
        elif isinstance(value, IntEnum):
            wrong += [f"{name} = {value!r}"] if bindings[""].get(name) != value else []
        elif not any(fits(parameters(value, 0), s) for s in signatures("__init__", bindings[name]["__init__"])):
            wrong.append(f"{name}{tuple(parameters(value, 0))}")
    assert wrong == []


def test_what_version_11_removed_is_absent_from_both(bindings, module) -> None:
    for kind, flag in (("BuilderFlag", "FP16"), ("NetworkDefinitionCreationFlag", "EXPLICIT_BATCH")):
        assert (flag in bindings[kind]) == hasattr(getattr(module, kind), flag)


def test_severities_are_members_of_the_logger(bindings) -> None:
    assert {"INTERNAL_ERROR", "ERROR", "WARNING"} <= bindings["ILogger"].keys()
