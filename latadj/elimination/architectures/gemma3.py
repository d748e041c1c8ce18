"""Gemma 3's text model: a Llama with norms before and after each block, most of whose layers see a window only."""

from torch import Tensor
from transformers import PreTrainedModel

from latadj.elimination.architectures.llama import Llama, LlamaParts
from latadj.elimination.layer_structure import LayerPaths


class Gemma3Parts(LlamaParts):
    """A Gemma 3 layer in parts."""

    def project(self, context: Tensor, residual: Tensor) -> Tensor:
        return residual + self.layer.post_attention_layernorm(self.layer.self_attn.o_proj(context))

    def feed_forward(self, attended: Tensor) -> Tensor:
        layer = self.layer
        return attended + layer.post_feedforward_layernorm(layer.mlp(layer.pre_feedforward_layernorm(attended)))


class Gemma3(Llama):
    """Gemma 3 of text alone. Its layers get the rotary table of their kind from the base."""

    model_types = ("gemma3_text",)
    own_parts = Gemma3Parts
    parts_of_layer = frozenset({*Llama.parts_of_layer, "pre_feedforward_layernorm", "post_feedforward_layernorm"})
    layer_paths = LayerPaths(
        states=("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
        output="self_attn.o_proj",
        inner=("mlp.gate_proj", "mlp.up_proj"),
        activation="mlp.act_fn",
        outer="mlp.down_proj",
        norms=("input_layernorm", "pre_feedforward_layernorm"),
        added_norms=("post_attention_layernorm", "post_feedforward_layernorm"),
    )
    norm_epsilon = "eps"
    norm_offset = 1.0

    def check(self, model: PreTrainedModel) -> None:
        config = model.config
        if config.use_bidirectional_attention:
            raise ValueError(
                f"a {type(model).__name__} with use_bidirectional_attention=true is an encoder, as EmbeddingGemma is: "
                "of Gemma 3, elimination supports decoders only"
            )
        for name in ("attn_logit_softcapping", "final_logit_softcapping"):
            if getattr(config, name) is not None:
                raise ValueError(f"a {type(model).__name__} with {name}: elimination supports Gemma 3 without it only")
        super().check(model)
