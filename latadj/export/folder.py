"""Writes a model as a folder of graphs: at every speedup of its dial, or at one."""

import copy
import logging
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import onnx
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from latadj.checkpoints.metadata import CheckpointMetadata, write_metadata
from latadj.checkpoints.task_spec import HEAD_ENDINGS
from latadj.config import EMBEDDING
from latadj.elimination.architectures import architecture_of
from latadj.elimination.architectures.encoders import Encoder
from latadj.elimination.attach import attached, detach, is_attached, topk_attention_of
from latadj.elimination.cost import ALL, POOLED
from latadj.elimination.dial import Dial
from latadj.elimination.levels import Level
from latadj.elimination.profiles import Profile
from latadj.elimination.sentence_transformer import pipeline_of, pooling_modes, prompt_of
from latadj.export.functions import FASTEST, OPSETS
from latadj.export.graph_model import EMBEDDED, TOKENS
from latadj.export.onnx_file import graph_of
from latadj.export.openvino_files import CountedGraph, calibration_batches, counted_graphs, write_openvino
from latadj.export.openvino_weights import share_weights
from latadj.export.score_functions import SCORES
from latadj.export.shared_weights import LARGEST_FILE, write_graphs
from latadj.pruning.subnetwork import cut_to_level
from latadj.runtime.manifest import WHOLE, Embedding, ExportedGraph, Manifest
from latadj.utils.files import write_folder

log = logging.getLogger("latadj")
_BERT = ("input_ids", "attention_mask", "token_type_ids")


@dataclass(frozen=True)
class Exported:
    """What was written; ``bytes`` are of all graphs with their weights."""

    manifest: Manifest
    bytes: int


def check_exportable(model: PreTrainedModel, dial: Dial, opset: int | None) -> None:
    """Refuse a model whose graph would compute something else.

    Parameters
    ----------
    model : attached

    Raises
    ------
    ValueError
    """
    architecture, name = architecture_of(model), type(model).__name__
    if not isinstance(architecture, Encoder) or not architecture.in_graphs:
        kinds = [kind for kind in Encoder.__subclasses__() if kind.in_graphs]
        known = ", ".join(sorted({one for kind in kinds for one in kind.model_types}))
        raise ValueError(
            f"{name} cannot be exported: its layers are those of a {model.config.model_type}, and graphs are made of "
            f"some encoders only ({known})"
        )
    task_type = type_of_head(model)
    if task_type is None and "For" in name:
        raise ValueError(
            f"{name} cannot be exported: graphs are made of classifiers, taggers, models for question answering, and "
            "models without a head"
        )
    if dial.score not in SCORES:
        raise ValueError(
            f"score={dial.score} cannot be exported: expected one of {', '.join(SCORES)}; calibrate with "
            "calibration.score=acc"
        )
    if dial.protected:
        raise ValueError(
            "this dial protects the question or query, which graphs cannot: calibrate with task.protect_query=false"
        )
    pipeline = pipeline_of(model)
    if pipeline is not None and not pipeline[1].include_prompt:
        raise ValueError(
            "this model leaves its prompt out of the pooling, and a graph does not see where a prompt ends: embed with "
            "the checkpoint"
        )
    if (topk := topk_attention_of(model)) is not None:
        raise ValueError(f"this model has top-k attention ({topk.text()}), which graphs do not compute")
    if opset is not None and opset not in OPSETS:
        raise ValueError(f"opset={opset}: expected one of {', '.join(map(str, OPSETS))}")


def type_of_head(model: PreTrainedModel) -> str | None:
    """The type of task that a model's head is for; None without one, or for another."""
    if pipeline_of(model) is not None:
        return EMBEDDING
    name = type(model).__name__
    return next((kind for kind, ending in HEAD_ENDINGS.items() if name.endswith(ending)), None)


def export_folder(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    metadata: CheckpointMetadata,
    dial: Dial,
    target: Path,
    *,
    opset: int | None,
    format: str = "onnx",
    speedup: float | None = None,
    precision: str = "fp32",
    texts: Sequence[str] = (),
) -> Exported:
    """Write a model's graphs, its tokenizer, its config and its dial as one folder, or not at all.

    Parameters
    ----------
    model : attached, in fp32 with its own modules
    metadata : of the checkpoint; what was measured on devices is of PyTorch and stays behind
    opset : version of ONNX's operators; None: the one whose graphs are the fastest in this format
    format : ``onnx`` or ``openvino``
    speedup : the only one; None: the dial is an input of the graphs, and each of its levels has one
    precision : ``fp32``; ``int8``: of the weights, and of what enters linear maps, by its range in each call; of
        OpenVINO by its range over ``texts``

    Raises
    ------
    ValueError
        if the model cannot be exported, see :func:`check_exportable`.
    """
    check_exportable(model, dial, opset)
    reads = attached(model).reads
    profile = None if speedup is None else dial.profile(speedup)
    if profile is not None and profile.in_parts:
        log.warning(
            "a graph of one speedup has one width: texts of up to %d tokens are cut too, which the dial runs whole",
            int(profile.whole_length),
        )
    plans = _plans(dial, profile, format)
    plain = detach(copy.deepcopy(model)) if is_attached(model) else model
    manifest = _manifest(plain, tokenizer, metadata, plans, format, speedup, precision)
    outputs = manifest.outputs
    if manifest.type == EMBEDDING and speedup is not None:
        outputs = [TOKENS, *outputs]  # which sentence-transformers pools itself

    def graph(plan: _Plan) -> onnx.ModelProto:
        narrow, kept = plain, list(range(dial.layers))
        if plan.level is not None:
            narrow = copy.deepcopy(plain)
            kept = cut_to_level(narrow, plan.level)
        made = graph_of(
            narrow,
            reads=reads if reads == POOLED else ALL,
            score=dial.score,
            inputs=manifest.inputs,
            outputs=outputs,
            kept=kept,
            layers=dial.layers,
            profile=None if profile is None else replace(profile, level=None),
            opset=opset or FASTEST[format],
            cuts=plan.cuts,
        )
        log.info("made %s, %s", plan.file, "whole" if plan.level is None else "narrower")
        return made

    def write_own(plan: _Plan, path: Path) -> None:
        batches, told = None, plan.profiles if plan.cuts else ()
        if precision == "int8":
            batches = calibration_batches(texts, tokenizer, manifest.inputs, manifest.max_length, told)
        write_openvino(graph(plan), path, batches, alone=len(plans) == 1)

    def fill(folder: Path) -> None:
        graphs = folder / format
        graphs.mkdir()
        if format == "openvino":
            _write_openvino(plans, graphs, write_own)
        else:
            _write_onnx({plan.file: graph(plan) for plan in plans}, graphs, precision)
        tokenizer.save_pretrained(folder)
        plain.config.save_pretrained(folder)
        own = replace(metadata, dial=replace(dial, latency=None), devices={}, order_checksum=None, pruning=None)
        write_metadata(folder, own)
        manifest.write(folder)

    write_folder(target, fill)
    return Exported(manifest, sum(path.stat().st_size for path in (target / format).iterdir()))


@dataclass(frozen=True)
class _Plan:
    """A graph that is to be written.

    cuts : as of :class:`latadj.runtime.manifest.ExportedGraph`
    profiles : some that it runs, where it is told numbers of tokens
    """

    file: str
    level: Level | None
    cuts: list[int] | None = None
    profiles: Sequence[Profile] = ()


def _plans(dial: Dial, profile: Profile | None, format: str) -> list[_Plan]:
    """The graphs of a folder, the whole model's first."""
    whole = WHOLE[format]
    if profile is not None:
        return [_Plan(whole, profile.level)]
    narrower = {level: f"level-{number}" for number, level in enumerate(dial.levels, start=1)}
    if format == "onnx":
        return [_Plan(whole, None), *(_Plan(f"{name}.onnx", level) for level, name in narrower.items())]

    def file(one: CountedGraph) -> str:
        if one.level is None:
            return whole.replace(".xml", "-cut.xml") if one.cuts else whole
        return f"{narrower[one.level]}.xml"

    return [_Plan(file(one), one.level, list(one.cuts), one.profiles) for one in counted_graphs(dial)]


def _write_openvino(plans: Sequence[_Plan], folder: Path, write: Callable[[_Plan, Path], None]) -> None:
    if len(plans) == 1:
        write(plans[0], folder / plans[0].file)
        return
    with tempfile.TemporaryDirectory() as own:
        files = [Path(own) / plan.file for plan in plans]
        for plan, path in zip(plans, files, strict=True):
            write(plan, path)
        share_weights(files, folder)


def _write_onnx(graphs: dict[str, onnx.ModelProto], folder: Path, precision: str) -> None:
    if precision == "int8":
        from latadj.export.int8_graphs import quantized  # needs onnxruntime, which fp32 and OpenVINO do without

        graphs = quantized(graphs)
        log.info("made the linear maps int8")
    if len(graphs) == 1 and (only := graphs[WHOLE["onnx"]]).ByteSize() < LARGEST_FILE:
        onnx.save(only, folder / WHOLE["onnx"])
    else:
        write_graphs(graphs, folder, f"{WHOLE['onnx']}_data")


def _manifest(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    metadata: CheckpointMetadata,
    plans: Sequence[_Plan],
    format: str,
    speedup: float | None,
    precision: str,
) -> Manifest:
    task_type, spec = type_of_head(model), metadata.task_spec
    outputs = {
        None: [TOKENS],
        EMBEDDING: [EMBEDDED],
        "question_answering": ["start_logits", "end_logits"],
    }
    limit = min(tokenizer.model_max_length, getattr(model.config, "max_position_embeddings", 512))
    labels = [str(name) for _, name in sorted((model.config.id2label or {}).items())] if task_type else []
    if task_type == EMBEDDING:
        # Its SentenceTransformer says how much it reads, whatever the texts of its task.
        spec, labels, limit = None, [], min(limit, pipeline_of(model).max_seq_length or limit)
    return Manifest(
        format=format,
        precision=precision,
        speedup=speedup,
        inputs=[name for name in _BERT if name in tokenizer.model_input_names],
        outputs=outputs.get(task_type, ["logits"]),
        type=task_type,
        labels=spec.labels if spec is not None and spec.labels else labels,
        max_length=spec.max_length if spec is not None else int(limit),
        pad_token_id=int(tokenizer.pad_token_id or 0),
        graphs=[ExportedGraph(f"{format}/{plan.file}", plan.level, plan.cuts) for plan in plans],
        embedding=_embedding(pipeline_of(model)),
    )


def _embedding(pipeline: Any) -> Embedding | None:
    """How a ``SentenceTransformer`` embeds; None of none."""
    if pipeline is None:
        return None
    return Embedding(
        "+".join(pooling_modes(pipeline[1])),
        prompt_of(pipeline),
        dict(pipeline.prompts or {}),
        pipeline.similarity_fn_name,
        pipeline.truncate_dim,
    )
