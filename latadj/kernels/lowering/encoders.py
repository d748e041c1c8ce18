"""Lowers the layers of BERT and its kin, of DistilBERT, and of others with the norm after each block."""

from operator import attrgetter
from typing import Any

from torch import nn

from latadj.elimination.architectures.encoders import Encoder
from latadj.kernels.fused_linear import LinearModule, QKVLinear
from latadj.kernels.linear import KernelSpec
from latadj.kernels.post_norm import AddNorm, PostNormLayer


def lower_encoder_layer(architecture: Encoder, layer: Any, spec: KernelSpec, trims: bool) -> PostNormLayer:
    """Put lowered linear layers in the place of an encoder layer's own.

    Parameters
    ----------
    trims : whether only the pooled position needs a context in this layer
    """
    paths = architecture.paths
    qkv = QKVLinear(
        spec, *(attrgetter(path)(layer) for path in (paths.query, paths.key, paths.value)), separate_query=trims
    )
    activation = attrgetter(paths.activation)(layer)
    kind = type(activation).__name__
    fused = kind if spec.fuses(kind) else None
    inner = spec.pack(attrgetter(paths.inner)(layer), activation=fused)
    output, outer = (spec.pack(attrgetter(path)(layer)) for path in (paths.output, paths.outer))
    query, key, value = qkv.modules()
    replaced: dict[str, nn.Module] = {
        **{paths.query: query, paths.key: key, paths.value: value},
        **{paths.output: LinearModule(output), paths.inner: LinearModule(inner), paths.outer: LinearModule(outer)},
    }
    if fused:
        replaced[paths.activation] = activation = nn.Identity()
    for path, module in replaced.items():
        layer.set_submodule(path, module)
    return PostNormLayer(
        qkv=qkv,
        project=AddNorm(output, attrgetter(paths.attended_norm)(layer)),
        inner=inner,
        activation=activation,
        outer=AddNorm(outer, attrgetter(paths.final_norm)(layer)),
    )
