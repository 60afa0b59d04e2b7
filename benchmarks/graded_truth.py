"""True shares of object and scene in a model's scores: the Shapley values over the renderings of a graded set."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from benchmarks.graded_scores import Pictures, Scores
from rate.artifacts.artifact import Artifact
from rate.data.make.synth import CLASSES
from rate.kernels.score import SCORES, score
from rate.kernels.swap import shapley_values
from rate.types import Float32, Float64, Int64


def labelled(drawn: Pictures, artifact: Artifact, head: str) -> Pictures:
    """The same pictures, with labels that are columns of the head's logits."""
    classes = next(one for one in artifact.heads if one.name == head).classes
    return replace(drawn, labels=np.array([classes.index(CLASSES[label]) for label in drawn.labels]))


def scores_of(logits: Float32, labels: Int64) -> Float64:
    """[s,n,...] every one of `SCORES` of each picture's class from logits [n,...,c]; ``labels`` [n]."""
    values = logits.astype(np.float64)
    return np.stack([[score(one, label, kind) for one, label in zip(values, labels, strict=True)] for kind in SCORES])


def shares_of(whole: Float64, inside: Float64, outside: Float64, nothing: Float64) -> Float64:
    """[s,n] shares from whole scores [s,n] and others [s,n,f]."""
    return np.stack([shapley_values(*one).share for one in zip(whole, inside, outside, nothing, strict=True)])


def true_shares(scores: Scores, head: str, pictures: Pictures) -> Float64:
    """[s,n] the true shares by `SCORES`; NaN where neither object nor scene speaks for the class."""
    values = scores_of(scores.renderings()[head], pictures.labels)
    parts = np.array(pictures.parts)
    f11, f10, f01, f00 = (values[..., parts == part] for part in ("f11", "f10", "f01", "f00"))
    return shares_of(f11[..., 0], f10, f01, f00)
