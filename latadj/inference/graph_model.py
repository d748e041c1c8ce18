"""The graphs of an exported folder as a transformers model: all that runs a model at a speedup runs them too."""

import logging
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import torch
from torch import Tensor
from transformers import AutoConfig, AutoTokenizer, PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase
from transformers.modeling_outputs import (
    BaseModelOutput,
    QuestionAnsweringModelOutput,
    SequenceClassifierOutput,
    TokenClassifierOutput,
)

from latadj.checkpoints.embedding_model import require_package
from latadj.checkpoints.metadata import CheckpointMetadata
from latadj.config import EMBEDDING
from latadj.elimination.architectures import architecture_of
from latadj.elimination.architectures.base import MARK
from latadj.elimination.current_setting import profile_of
from latadj.elimination.dial import Dial
from latadj.elimination.patching import Elimination, EliminationOptions
from latadj.elimination.profiles import Profile
from latadj.elimination.scores import SCORES
from latadj.elimination.topk_setting import TopKAttention
from latadj.inference.device_dial import timed_dial
from latadj.inference.graph_folder import graphs_measured, graphs_need_clock, refuse_to_save
from latadj.kernels.linear import KernelSpec
from latadj.runtime import Predictor
from latadj.runtime.tokens import Encoded

log = logging.getLogger("latadj")
_OUTPUTS: dict[str | None, type] = {
    "classification": SequenceClassifierOutput,
    "token_classification": TokenClassifierOutput,
    "question_answering": QuestionAnsweringModelOutput,
    None: BaseModelOutput,
}


class GraphModel(PreTrainedModel):
    """Graphs with a dial, called like the model that they were made of.

    :func:`latadj.set_speedup`, :func:`latadj.at_speedup` and :class:`latadj.Deadline` work as on any attached model.
    There are no weights to move, train or save.

    Parameters
    ----------
    config : of the model that the graphs were made of
    dial : in this machine's time, or in FLOPs
    """

    config_class = PreTrainedConfig
    device = torch.device("cpu")
    dtype = torch.float32

    def __init__(self, config: PreTrainedConfig, predictor: Predictor, dial: Dial) -> None:
        super().__init__(config)
        self.predictor = predictor
        options = EliminationOptions(Profile.full(dial.layers), SCORES[dial.score])
        topk = TopKAttention.full(dial.layers)
        setattr(self, MARK, Elimination(architecture_of(self), dial, dial.reads, False, options, topk))

    @property
    def base_model(self) -> "GraphModel":
        return self

    @property
    def kernel(self) -> KernelSpec:
        """The precision and the runtime that run it."""
        return KernelSpec(self.predictor.manifest.precision, self.predictor.runtime)

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor | None = None, token_type_ids: Tensor | None = None
    ) -> Any:
        """What the model gives, float32, at the speedup of this thread; of eliminated tokens what was computed last.

        Of a model that embeds texts pooling leaves one state, the embedding: (batch, 1, dimensions).

        Parameters
        ----------
        input_ids, attention_mask, token_type_ids : (batch, length) integers, padded on either side
        """
        real = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        ids, mask = input_ids.numpy(), real.numpy().astype(bool)
        types = np.zeros_like(ids) if token_type_ids is None else token_type_ids.numpy()
        rows = [Encoded(own[kept].tolist(), of[kept].tolist()) for own, of, kept in zip(ids, types, mask, strict=True)]
        manifest = self.predictor.manifest
        made = self.predictor.run_in_parts(rows, profile_of(self))
        if manifest.type == EMBEDDING:
            return BaseModelOutput(last_hidden_state=torch.from_numpy(made[0])[:, None])
        if manifest.type != "classification":
            made = [_in_place(one, mask) for one in made]
        outputs = dict(zip(manifest.outputs, map(torch.from_numpy, made), strict=True))
        return _OUTPUTS[manifest.type](**outputs)

    def save_pretrained(self, *args: Any, **options: Any) -> NoReturn:
        """Refused: there are no weights.

        Raises
        ------
        ValueError
        """
        refuse_to_save(self.predictor.folder)


def _in_place(output: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """(batch, longest, ...) of texts that begin at 0, at the (batch, length) places where they are; zeros elsewhere."""
    placed = np.zeros((*mask.shape, *output.shape[2:]), dtype=output.dtype)
    lengths = mask.sum(axis=1)
    placed[mask] = output[np.arange(output.shape[1]) < lengths[:, None]]
    return placed


def load_graphs(
    folder: Path,
    metadata: CheckpointMetadata,
    *,
    dial: Dial | None = None,
    target: str = "latency",
    batch: int | None = None,
    length: int | None = None,
    threads: int | None = None,
) -> tuple[GraphModel, PreTrainedTokenizerBase]:
    """A folder of graphs as a model, its dial in latency where the graphs were measured on this machine.

    One that embeds texts is in a ``SentenceTransformer``, which ``pipeline_of`` gives.

    Parameters
    ----------
    metadata : of the folder, see :func:`latadj.inference.graph_folder.check_graphs`
    dial : in FLOPs, on the profile type to serve; None: the folder's
    target, batch, length : as in :func:`latadj.inference.serving.make_ready`
    threads : that a graph may use; None: one for each CPU

    Raises
    ------
    ValueError
        if the folder is damaged, or embeds texts and sentence-transformers is not installed.
    """
    predictor = Predictor(folder, threads=threads)
    dial = dial or metadata.dial
    assert dial is not None, "checked before"
    if target == "latency":
        batch = batch or (metadata.task_spec.batch_size if metadata.task_spec else None)
        served = graphs_measured(predictor.manifest, metadata, threads)
        timed = timed_dial(dial, served, batch, [length] if length else None)
        if timed is None:
            log.warning("the dial is marked in FLOPs: %s", graphs_need_clock(folder, predictor.manifest, threads))
        dial = timed or dial
    model = GraphModel(AutoConfig.from_pretrained(folder), predictor, dial).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    if predictor.manifest.type == EMBEDDING:
        require_package(str(folder), "embeds texts")
        from latadj.inference.graph_embedder import graph_embedder  # needs sentence-transformers

        graph_embedder(model, tokenizer, predictor.manifest)
    return model, tokenizer
