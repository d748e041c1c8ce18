"""Lowers the layers of GPT-2."""

from typing import Any

from latadj.elimination.architectures.gpt2 import Gpt2
from latadj.kernels.fused_linear import LinearModule, QKVLinear
from latadj.kernels.linear import KernelSpec
from latadj.kernels.pre_norm import PreNormLayer, lower_feed_forward


def lower_gpt2_layer(architecture: Gpt2, layer: Any, spec: KernelSpec, trims: bool) -> PreNormLayer:
    """Put lowered linear layers in the place of a GPT-2 layer's own; one computes queries, keys and values."""
    block = layer.attn
    states, output = QKVLinear(spec, block.c_attn), spec.pack(block.c_proj)
    (block.c_attn,), block.c_proj = states.modules(), LinearModule(output)
    return PreNormLayer(
        first_norm=layer.ln_1,
        states=states,
        output=output,
        second_norm=layer.ln_2,
        block=lower_feed_forward(spec, layer.mlp, ("c_fc",), "c_proj", "act"),
    )
