"""Loads the model that is served, with its dial in this device's time."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from transformers import AutoConfig, AutoTokenizer, PretrainedConfig, PreTrainedTokenizerBase

from latadj.checkpoints import checkpoint
from latadj.checkpoints.metadata import CheckpointMetadata
from latadj.checkpoints.model_class import label_names
from latadj.checkpoints.task_spec import type_of
from latadj.config import ServeConfig
from latadj.devices import device
from latadj.devices.device import place
from latadj.elimination.attach import dial_of
from latadj.elimination.dial import Dial
from latadj.elimination.profiles import Profile
from latadj.elimination.sentence_transformer import pipeline_of, pooling_modes, prompt_of
from latadj.inference.device_clock import needs_clock, require_clock
from latadj.inference.serving import make_ready
from latadj.runtime import Predictor
from latadj.runtime.manifest import is_exported
from latadj.server.model_runner import BatchRunner, GraphRunner, ModelRunner
from latadj.server.served_model import Embedder
from latadj.tasks.encoding.batches import MOST_TOKENS, max_input_length, require_room
from latadj.tasks.outputs.embeddings import WholeEmbeddings
from latadj.tasks.outputs.predict import HEAD

# Tokens of a text where neither the checkpoint nor the user says it.
MAX_LENGTH = 512


@dataclass(frozen=True)
class LoadedModel:
    """A model ready to run.

    dial : in this device's time
    labels : names of its outputs; none of embeddings
    limit : tokens of a text
    dtype : of its weights
    runner : made of the profiles that batches run at
    embedder : how it embeds; None: it does not
    """

    dial: Dial
    tokenizer: PreTrainedTokenizerBase
    labels: list[str]
    limit: int
    dtype: str
    runner: Callable[[Sequence[Profile]], BatchRunner]
    embedder: Embedder | None = None


def load_model(config: ServeConfig, metadata: CheckpointMetadata) -> LoadedModel:
    """The model of a checkpoint, or of a folder of graphs, ready to run.

    Parameters
    ----------
    metadata : of the folder

    Raises
    ------
    ValueError
        if the model is damaged, or this device was not measured.
    """
    return (_graphs if is_exported(Path(config.checkpoint)) else _checkpoint)(config, metadata)


def _checkpoint(config: ServeConfig, metadata: CheckpointMetadata) -> LoadedModel:
    folder, where = Path(config.checkpoint), device.choose(config.device)
    clock = (f"deadline_ms={config.deadline_ms:g}", folder, metadata)
    require_clock(*clock, place(where), config.device.precision)
    head = type_of(folder, metadata.task_spec)
    model, tokenizer = checkpoint.load(folder, head=head, metadata=metadata)
    model.eval().to(where)
    pipeline = pipeline_of(model)
    embedder = None
    if pipeline is not None:
        modes = "+".join(pooling_modes(pipeline[1]))
        embedder = Embedder(modes, prompt_of(pipeline), dict(pipeline.prompts or {}), dimensions=pipeline.truncate_dim)
    outputs = HEAD if embedder is None else WholeEmbeddings()
    task_spec = metadata.task_spec
    known = task_spec.max_length if task_spec else MAX_LENGTH
    if embedder is not None:
        known = MOST_TOKENS  # sentence-transformers says how much it reads, whatever the texts of its task
    limit = min(config.max_length or known, max_input_length(model.config, tokenizer))
    require_room(tokenizer, limit)
    labels = _labels(model.config, metadata, folder) if embedder is None else []
    batch = task_spec.batch_size if task_spec else None
    spec = make_ready(model, metadata, metadata.dial, where, precision=config.device.precision, batch=batch)
    dial = dial_of(model)
    if dial.latency is None:
        raise ValueError(needs_clock(*clock, f"another kernel than {spec.kernel}", config.device.precision))
    dtype = str(next(iter(model.parameters())).dtype).removeprefix("torch.")
    return LoadedModel(
        *(dial, tokenizer, labels, limit, dtype, lambda profiles: ModelRunner(model, tokenizer, outputs)),
        embedder=embedder,
    )


def _graphs(config: ServeConfig, metadata: CheckpointMetadata) -> LoadedModel:
    folder = Path(config.checkpoint)
    predictor = Predictor(folder, threads=config.device.asked_threads)
    manifest, dial = predictor.manifest, predictor.dial
    assert dial is not None, "checked before"
    tokenizer, shape = AutoTokenizer.from_pretrained(folder), AutoConfig.from_pretrained(folder)
    limit = min(config.max_length or manifest.max_length, max_input_length(shape, tokenizer))
    require_room(tokenizer, limit)
    embeds = manifest.embedding
    return LoadedModel(
        dial,
        tokenizer,
        _labels(shape, metadata, folder) if embeds is None else [],
        limit,
        {"fp32": "float32"}.get(manifest.precision, manifest.precision),
        lambda profiles: GraphRunner(predictor, int(shape.vocab_size), profiles),
        None if embeds is None else Embedder(**asdict(embeds)),
    )


def _labels(shape: PretrainedConfig, metadata: CheckpointMetadata, folder: Path) -> list[str]:
    """Names of the model's outputs.

    Raises
    ------
    ValueError
        if it gives a text several labels at a time.
    """
    if shape.problem_type == "multi_label_classification":
        raise ValueError(f"checkpoint {folder} gives a text several labels at a time: serve answers with one of them")
    names = label_names(shape, metadata.task_spec.labels if metadata.task_spec else ())
    return list(names) or [str(shape.id2label[0])]
