"""Lowers the layers of T5's encoder, and its decoder, which transformers' own forward runs."""

from typing import Any

from transformers import PreTrainedModel

from latadj.elimination.architectures.t5 import T5
from latadj.kernels.fused_linear import LinearModule, QKVLinear, linear_modules
from latadj.kernels.linear import KernelSpec, outputs_of
from latadj.kernels.pre_norm import FeedForward, PreNormLayer, lower_feed_forward, lower_head, lowered_norm


def lower_t5_layer(architecture: T5, layer: Any, spec: KernelSpec, trims: bool) -> PreNormLayer:
    """Put lowered linear layers and norms in the place of an encoder layer's own."""
    block = layer.layer[0].SelfAttention
    states, output = QKVLinear(spec, block.q, block.k, block.v), spec.pack(block.o)
    block.q, block.k, block.v = states.modules()
    block.o = LinearModule(output)
    feed_forward = _lower_feed_forward_and_norms(layer, spec)
    return PreNormLayer(
        first_norm=layer.layer[0].layer_norm,
        states=states,
        output=output,
        second_norm=layer.layer[-1].layer_norm,
        block=feed_forward,
    )


def lower_t5_rest(architecture: T5, model: PreTrainedModel, spec: KernelSpec) -> None:
    """Lower the norms after the layers, the decoder's layers and the head."""
    encoder = architecture.base(model)
    encoder.final_layer_norm = lowered_norm(encoder.final_layer_norm)
    decoder = getattr(getattr(model, "transformer", model), "decoder", None)
    if decoder is None:
        return
    decoder.final_layer_norm = lowered_norm(decoder.final_layer_norm)
    for layer in decoder.block:
        # Keys and values of the encoder's output have another input than the queries.
        for block, groups in (
            (layer.layer[0].SelfAttention, (("q", "k", "v"), ("o",))),
            (layer.layer[1].EncDecAttention, (("q",), ("k", "v"), ("o",))),
        ):
            for names in groups:
                own = [getattr(block, name) for name in names]
                for name, module in zip(names, linear_modules(spec.pack(*own), outputs_of(*own)), strict=True):
                    setattr(block, name, module)
        _lower_feed_forward_and_norms(layer, spec)
    lower_head(model, spec)


def _lower_feed_forward_and_norms(layer: Any, spec: KernelSpec) -> FeedForward:
    for part in layer.layer:
        part.layer_norm = lowered_norm(part.layer_norm)
    block = layer.layer[-1].DenseReluDense
    return lower_feed_forward(spec, block, ("wi_0", "wi_1") if hasattr(block, "wi_0") else ("wi",), "wo", "act")
