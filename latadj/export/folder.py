"""Writes a model as a folder of graphs: at every speedup of its dial, or at one."""

import copy
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import onnx
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from latadj.checkpoints.metadata import CheckpointMetadata, write_metadata
from latadj.checkpoints.task_spec import HEAD_ENDINGS
from latadj.elimination.architectures import architecture_of
from latadj.elimination.architectures.encoders import Encoder
from latadj.elimination.attach import attached, detach, is_attached, topk_attention_of
from latadj.elimination.cost import ALL, POOLED
from latadj.elimination.dial import Dial
from latadj.elimination.levels import Level
from latadj.export.functions import OPSETS, SCORES
from latadj.export.int8_graphs import quantized
from latadj.export.onnx_file import graph_of
from latadj.export.shared_weights import LARGEST_FILE, write_graphs
from latadj.pruning.subnetwork import cut_to_level
from latadj.runtime.manifest import GRAPH, GRAPHS, ExportedGraph, Manifest
from latadj.utils.files import write_folder

log = logging.getLogger("latadj")
_BERT = ("input_ids", "attention_mask", "token_type_ids")


@dataclass(frozen=True)
class Exported:
    """What was written; ``bytes`` are of all graphs with their weights."""

    manifest: Manifest
    bytes: int


def check_exportable(model: PreTrainedModel, dial: Dial, opset: int) -> None:
    """Refuse a model whose graph would compute something else.

    Parameters
    ----------
    model : attached

    Raises
    ------
    ValueError
    """
    architecture, name = architecture_of(model), type(model).__name__
    if not isinstance(architecture, Encoder):
        known = ", ".join(sorted({one for kind in Encoder.__subclasses__() for one in kind.model_types}))
        raise ValueError(
            f"{name} cannot be exported: its layers are those of a {model.config.model_type}, and graphs are made of "
            f"encoders only ({known})"
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
            "this dial protects the question, which graphs cannot: calibrate with task.protect_question=false"
        )
    if (topk := topk_attention_of(model)) is not None:
        raise ValueError(f"this model has top-k attention ({topk.text()}), which graphs do not compute")
    if opset not in OPSETS:
        raise ValueError(f"opset={opset}: expected one of {', '.join(map(str, OPSETS))}")


def type_of_head(model: PreTrainedModel) -> str | None:
    """The type of task that a model's head is for; None without one, or for another."""
    name = type(model).__name__
    return next((kind for kind, ending in HEAD_ENDINGS.items() if name.endswith(ending)), None)


def export_folder(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    metadata: CheckpointMetadata,
    dial: Dial,
    target: Path,
    *,
    opset: int,
    speedup: float | None = None,
    precision: str = "fp32",
) -> Exported:
    """Write a model's graphs, its tokenizer, its config and its dial as one folder, or not at all.

    Parameters
    ----------
    model : attached, in fp32 with its own modules
    metadata : of the checkpoint; what was measured on devices is of PyTorch and stays behind
    speedup : the only one; None: the dial is an input of the graphs, and each of its levels has one
    precision : ``fp32``; ``int8``: of the weights, and of what enters linear maps, by its range in each call

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
    levels: list[Level | None] = [None, *dial.levels] if profile is None else [profile.level]
    plain = detach(copy.deepcopy(model)) if is_attached(model) else model
    manifest = _manifest(plain, tokenizer, metadata, levels, speedup, precision)

    def graph(level: Level | None) -> onnx.ModelProto:
        narrow, kept = plain, list(range(dial.layers))
        if level is not None:
            narrow = copy.deepcopy(plain)
            kept = cut_to_level(narrow, level)
        return graph_of(
            narrow,
            reads=reads if reads == POOLED else ALL,
            score=dial.score,
            inputs=manifest.inputs,
            outputs=manifest.outputs,
            kept=kept,
            layers=dial.layers,
            profile=None if profile is None else replace(profile, level=None),
            opset=opset,
        )

    def fill(folder: Path) -> None:
        (folder / GRAPHS).mkdir()
        graphs = {}
        for one, level in zip(manifest.graphs, levels, strict=True):
            graphs[Path(one.file).name] = graph(level)
            log.info("made %s, %s", one.file, "whole" if level is None else "narrower")
        if precision == "int8":
            graphs = quantized(graphs)
            log.info("made the linear maps int8")
        if len(graphs) == 1 and (only := graphs[GRAPH]).ByteSize() < LARGEST_FILE:
            onnx.save(only, folder / GRAPHS / GRAPH)
        else:
            write_graphs(graphs, folder / GRAPHS, f"{GRAPH}_data")
        tokenizer.save_pretrained(folder)
        plain.config.save_pretrained(folder)
        own = replace(metadata, dial=replace(dial, latency=None), devices={}, order_checksum=None, pruning=None)
        write_metadata(folder, own)
        manifest.write(folder)

    write_folder(target, fill)
    return Exported(manifest, sum(path.stat().st_size for path in (target / GRAPHS).iterdir()))


def _manifest(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    metadata: CheckpointMetadata,
    levels: Sequence[Level | None],
    speedup: float | None,
    precision: str,
) -> Manifest:
    task_type, spec = type_of_head(model), metadata.task_spec
    outputs = {None: ["last_hidden_state"], "question_answering": ["start_logits", "end_logits"]}
    numbers = [number for number, level in enumerate(levels) if level is not None]
    files = [
        f"level-{numbers.index(number) + 1}.onnx" if speedup is None and level is not None else GRAPH
        for number, level in enumerate(levels)
    ]
    limit = min(tokenizer.model_max_length, getattr(model.config, "max_position_embeddings", 512))
    labels = [str(name) for _, name in sorted((model.config.id2label or {}).items())] if task_type else []
    return Manifest(
        format="onnx",
        precision=precision,
        speedup=speedup,
        inputs=[name for name in _BERT if name in tokenizer.model_input_names],
        outputs=outputs.get(task_type, ["logits"]),
        type=task_type,
        labels=spec.labels if spec is not None and spec.labels else labels,
        max_length=spec.max_length if spec is not None else int(limit),
        pad_token_id=int(tokenizer.pad_token_id or 0),
        graphs=[ExportedGraph(f"{GRAPHS}/{file}", level) for file, level in zip(files, levels, strict=True)],
    )
