"""Writes a model as an ONNX graph."""

from collections.abc import Sequence

import onnx
import onnx.inliner
import torch
from transformers import PreTrainedModel

from latadj.elimination.profiles import Profile
from latadj.export.functions import functions
from latadj.export.graph_model import GraphModel
from latadj.export.operators import DOMAIN
from latadj.runtime.manifest import KEEP, LEAVING, SHORT_LENGTH
from latadj.utils.quiet import quiet


def graph_of(
    model: PreTrainedModel,
    *,
    reads: str,
    score: str,
    inputs: Sequence[str],
    kept: Sequence[int],
    layers: int,
    profile: Profile | None,
    opset: int,
    outputs: Sequence[str],
    cuts: Sequence[int] | None = None,
) -> onnx.ModelProto:
    """The graph of a model.

    Parameters
    ----------
    model, reads, inputs, kept, profile, cuts : as of :class:`latadj.export.graph_model.GraphModel`
    score : a key of ``latadj.export.score_functions.SCORES``
    layers : of the model that profiles are of
    opset : one of ``latadj.export.functions.OPSETS``
    outputs : names of what the model returns
    """
    # A new module is in training mode, and dropout would become part of the graph.
    module = GraphModel(model, reads, inputs, outputs, kept, profile, cuts).eval()
    batch, length = torch.export.Dim("batch"), torch.export.Dim("length")
    examples = [torch.ones(2, 8, dtype=torch.long) for _ in inputs]
    shapes: list[dict[int, object]] = [{0: batch, 1: length} for _ in inputs]
    names = list(inputs)
    if cuts:
        examples.append(torch.full((layers, 2), 4, dtype=torch.long))
        shapes.append({1: batch})
        names.append(LEAVING)
    elif profile is None and cuts is None:
        examples += [torch.ones(layers, dtype=torch.float64), torch.zeros((), dtype=torch.float64)]
        shapes += [{}, {}]
        names += [KEEP, SHORT_LENGTH]
    with torch.no_grad(), quiet():
        program = torch.onnx.export(
            module,
            tuple(examples),
            input_names=names,
            output_names=list(outputs),
            dynamo=True,
            dynamic_shapes=(tuple(shapes),),
            opset_version=opset,
            verbose=False,
        )
    assert program is not None
    return _in_onnx_alone(program.model_proto, functions(opset, score, always=profile is not None or cuts is not None))


def _in_onnx_alone(proto: onnx.ModelProto, explained: Sequence[onnx.FunctionProto]) -> onnx.ModelProto:
    """The graph with our operators replaced by what they are."""
    # The exporter saw one length in all layers, so that the shapes it noted hold for the first ones only.
    del proto.graph.value_info[:]
    proto.functions.extend(explained)
    inlined = onnx.inliner.inline_local_functions(proto)
    del inlined.graph.value_info[:]
    imports = [one for one in inlined.opset_import if one.domain != DOMAIN]
    del inlined.opset_import[:]
    inlined.opset_import.extend(imports)
    return inlined
