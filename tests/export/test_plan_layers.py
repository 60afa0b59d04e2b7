"""What the inspector of an engine says of fused attentions."""

from __future__ import annotations

import pytest

from rate.export.plan_layers import fewest_fused

MHA = {
    "Name": "_gemm_mha_v2_myl0_17",
    "LayerType": "kgen",
    "TacticName": "_gemm_mha_v2_0x957a2fe283f77dcf35c142c1390a3e6a",
}
FLASH = {"Name": "node_attention_3", "TacticName": "fmha_v2_flash_attention_fp16_64_64_S_64_sm80_kernel"}
GEMM = {"Name": "/encoder/mha/attn/key/MatMul_myl0_16", "TacticName": "sm80_xmma_gemm_f16f16_f16f16_f16_nn_n"}


def of_profile(layer: dict[str, str], number: int) -> dict[str, str]:
    return layer | {"Name": f"{layer['Name']} [profile {number}]"}


@pytest.mark.parametrize(
    ("layers", "profiles", "fused"),
    [
        ([MHA, GEMM, FLASH], 1, 2),
        ([GEMM], 1, 0),  # a layer that is called after attention is none
        ([MHA, FLASH, of_profile(MHA, 1), of_profile(GEMM, 1)], 2, 1),
        ([MHA], 2, 0),
        (["_gemm_mha_v2_myl0_17"], 1, None),  # names alone
        ([], 1, None),
    ],
)
def test_the_batch_size_with_the_fewest_counts(layers, profiles: int, fused: int | None) -> None:
    assert fewest_fused(layers, profiles) == fused
