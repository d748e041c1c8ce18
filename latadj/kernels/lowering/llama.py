"""Lowers the layers of Llama and its kin, and the norm after them."""

from typing import Any

from transformers import PreTrainedModel

from latadj.elimination.architectures.llama import STATE_NORMS, Llama
from latadj.kernels.fused_linear import LinearModule, QKVLinear
from latadj.kernels.linear import KernelSpec
from latadj.kernels.pre_norm import PreNormLayer, lower_feed_forward, lower_head, lowered_norm


def lower_llama_layer(architecture: Llama, layer: Any, spec: KernelSpec, trims: bool) -> PreNormLayer:
    """Put lowered linear layers and norms in the place of a Llama layer's own.

    Parameters
    ----------
    trims : whether only the pooled position needs a context in this layer
    """
    block = layer.self_attn
    states = QKVLinear(spec, block.q_proj, block.k_proj, block.v_proj, separate_query=trims)
    block.q_proj, block.k_proj, block.v_proj = states.modules()
    output = spec.pack(block.o_proj)
    block.o_proj = LinearModule(output)
    for name in STATE_NORMS & {name for name, _ in block.named_children()}:
        setattr(block, name, lowered_norm(getattr(block, name)))
    layer.input_layernorm = lowered_norm(layer.input_layernorm)
    layer.post_attention_layernorm = lowered_norm(layer.post_attention_layernorm)
    return PreNormLayer(
        first_norm=layer.input_layernorm,
        states=states,
        output=output,
        second_norm=layer.post_attention_layernorm,
        block=lower_feed_forward(spec, layer.mlp, ("gate_proj", "up_proj"), "down_proj", "act_fn"),
    )


def lower_llama_rest(architecture: Llama, model: PreTrainedModel, spec: KernelSpec) -> None:
    """Lower the norm after the layers, and a language model's head."""
    base = architecture.base(model)
    base.norm = lowered_norm(base.norm)
    lower_head(model, spec)
