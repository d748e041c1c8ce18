"""A saved model: a transformers folder plus ``latadj.json``, which holds its dial and what it was made for.

The folder loads in plain transformers, or sentence-transformers, as the full model; one that was pruned does not, see
``latadj.pruning``, and one with top-k attention loads without it. Weights are read from safetensors only; nothing is
unpickled.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import (
    AutoConfig,
    AutoTokenizer,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    set_seed,
)

from latadj.checkpoints.config_file import CONFIG_FILE, model_config
from latadj.checkpoints.embedding_model import load_sentence_transformer
from latadj.checkpoints.gguf import converted
from latadj.checkpoints.loading_errors import MEND, readable_loading, readable_shape
from latadj.checkpoints.metadata import CheckpointMetadata, check, read_metadata, write_metadata
from latadj.checkpoints.model_class import (
    auto_class,
    check_config,
    check_tokenizer,
    fresh_head,
    natural_head,
    prepare_tokenizer,
    saved_head,
)
from latadj.checkpoints.task_spec import embeds
from latadj.checkpoints.weight_files import weight_files
from latadj.checkpoints.weight_order import check_order, checksum_beside
from latadj.config import EMBEDDING, ModelConfig
from latadj.elimination.attach import attach, attached, is_attached, topk_attention_of
from latadj.elimination.pair_frame import PairFrame
from latadj.elimination.sentence_transformer import is_sentence_transformer, pipeline_of, transformer_of
from latadj.pruning import structure_of
from latadj.pruning.loading import load_pruned
from latadj.utils import hub
from latadj.utils.files import write_folder


def save(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, folder: Path, metadata: CheckpointMetadata
) -> None:
    """Save a model, its tokenizer, its dial, its pruning map and its top-k attention as one folder, or not at all.

    A ``SentenceTransformer``, or the transformer of one, is saved with its other modules, and its own tokenizer.

    A model that nothing is attached to has the top-k attention that ``metadata`` names.

    Raises
    ------
    ValueError
        if a weight is not finite; what was in the folder stays.
    """
    pipeline = model if is_sentence_transformer(model) else pipeline_of(model)
    model = transformer_of(model)
    if broken := _not_finite(model):
        raise ValueError(f"{folder} is not written: {_named(broken)} not finite, so the training went wrong")
    topk = topk_attention_of(model) if is_attached(model) else metadata.topk_attention
    metadata = replace(
        metadata,
        pruning=structure_of(model),
        topk_attention=topk,
        order_checksum=checksum_beside(model, metadata),
    )

    def fill(target: Path) -> None:
        if pipeline is None:
            # Those of a pruned model are read by the names of its modules.
            model.save_pretrained(target, save_original_format=metadata.pruning is None)
            tokenizer.save_pretrained(target)
        else:
            pipeline.save_pretrained(str(target), create_model_card=False)
        write_metadata(target, metadata)

    write_folder(folder, fill)


def load(
    folder: Path | str, *, head: str | None = None, metadata: CheckpointMetadata | None = None
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Load a saved model in fp32, to be trained, measured or saved, with its dial attached at speedup 1, in FLOPs.

    `latadj.inference.serving.load` makes it ready to serve.

    Parameters
    ----------
    folder : what `latadj finetune` or `latadj calibrate` made, or any fine-tuned transformers folder
    head : one of ``latadj.checkpoints.model_class.HEADS``; the saved one when left out
    metadata : of the folder, if `latadj.checkpoints.metadata.check` has read it already

    Returns
    -------
    model (an ordinary transformers model, in eval mode, on the CPU) and tokenizer

    Raises
    ------
    ValueError
        if the folder is missing or damaged, holds a model with another head, or its dial does not fit the model or its
        weights.
    """
    folder = Path(folder)
    metadata = check(folder) if metadata is None else metadata
    model, tokenizer = _pretrained(str(folder), head, metadata, local=True)
    try:
        check_order(model, metadata)
        attach(model, metadata.dial, topk=metadata.topk_attention)
        attached(model).origin = metadata
        if metadata.dial is not None and metadata.dial.protected and saved_head(model.config) == "classification":
            attached(model).pair = PairFrame.of(tokenizer)
    except ValueError as error:
        raise ValueError(f"checkpoint {folder}: {error}") from error
    return model.eval(), tokenizer


def load_pretrained(
    config: ModelConfig,
    labels: Sequence[str] = (),
    regression: bool = False,
    *,
    head: str = "classification",
    keep_head: bool = False,
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """A pretrained model in fp32, from a folder, a GGUF file or the hub; attached only if it has top-k attention.

    Parameters
    ----------
    labels, regression : what a classification's head is for
    head : one of ``latadj.checkpoints.model_class.HEADS``
    keep_head : whether the model has to come with a head that fits; else one is made where there is none

    Raises
    ------
    ValueError
        if the model is not found or damaged, its architecture cannot have the head, or there is none to keep.
    """
    path, local = _source(config.path)
    metadata = read_metadata(Path(path)) if local else CheckpointMetadata()
    options = {"trust_remote_code": config.trust_remote_code, "keep_head": keep_head}
    fresh = fresh_head(head, labels, regression)
    model, tokenizer = _pretrained(path, head, metadata, local=local, fresh=fresh, **options)
    topk = metadata.topk_attention
    return attach(model, topk=topk) if topk else model, tokenizer


def _source(path: str) -> tuple[str, bool]:
    """Where ``from_pretrained`` is to look, and whether at local files only."""
    source, local = hub.model_source(path)
    return (str(converted(source)), True) if hub.is_gguf(source) else (source, local)


def _pretrained(
    path: str,
    head: str | None,
    metadata: CheckpointMetadata,
    *,
    local: bool,
    trust_remote_code: bool = False,
    fresh: dict[str, Any] | None = None,
    keep_head: bool = False,
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Model and tokenizer; with ``fresh``, the config options of a new head, the head may be a new one."""
    options = {"local_files_only": local, "trust_remote_code": trust_remote_code}
    config = _config(path, **options, **(fresh or {}))
    saved = saved_head(config)
    if head in (None, EMBEDDING) and fresh is None and embeds(Path(path)):
        head = saved = EMBEDDING  # whatever head its transformer was saved with
    head = head or saved or natural_head(config)
    auto = auto_class(config, head)
    if fresh is None and saved not in (None, head):
        raise ValueError(f"the model in {path} is made for {saved}, not for {head}: it is for another kind of task")
    structure = metadata.pruning
    if head == EMBEDDING:
        if structure is not None:
            raise ValueError(f"the model in {path} is pruned, and sentence-transformers loads whole models only")
        pipeline = load_sentence_transformer(path, local=local, trust_remote_code=trust_remote_code)
        model, tokenizer = transformer_of(pipeline), pipeline.tokenizer
        _check_loaded(model, tokenizer, path, head)
        return model, tokenizer
    with readable_loading(path, "weights"):
        if structure is not None:
            files, other_head = weight_files(Path(path)), fresh is not None
            model, missing = load_pruned(auto, config, Path(path), files, structure, ignore_mismatched_sizes=other_head)
            unlike = False  # its files do not hold what is unlike
        else:
            model, report = auto.from_pretrained(
                path,
                config=config,
                dtype=torch.float32,
                use_safetensors=True,
                ignore_mismatched_sizes=fresh is not None,
                output_loading_info=True,
                **options,
            )
            missing, unlike = set(report["missing_keys"]), bool(report["mismatched_keys"])
    with readable_loading(path, "tokenizer"):
        tokenizer = AutoTokenizer.from_pretrained(path, **options)
    if fresh is None and missing:
        names = ", ".join(sorted(missing)[:3])
        raise ValueError(f"the model in {path} is not fine-tuned for {head}: it has no weights for {names}")
    if keep_head and (missing or unlike):
        raise ValueError(
            f"the model in {path} has no head for {head} with {model.config.num_labels} outputs, and plain.epochs=0 "
            "trains none: name a fine-tuned model with model.path=FOLDER, or leave plain.epochs=0 out"
        )
    _check_loaded(model, tokenizer, path, head)
    return model, tokenizer


def _check_loaded(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, path: str, head: str) -> None:
    """Refuse weights that are not finite and a tokenizer of another model, and make the tokenizer fit the head."""
    with readable_loading(path, "tokenizer"):
        check_tokenizer(tokenizer, len(model.get_input_embeddings().weight), head)
    # Of embeddings most pages are never read, and a look would bring them into memory.
    if broken := _not_finite(model, but=model.get_input_embeddings()):
        raise ValueError(f"the model in {path} cannot be used: {_named(broken)} not finite")
    prepare_tokenizer(tokenizer, model.config, head)


def _not_finite(model: PreTrainedModel, but: nn.Module | None = None) -> list[str]:
    """Names of the weights that hold NaN or infinity, apart from those of ``but``."""
    skipped = set() if but is None else {id(weight) for weight in but.parameters()}
    return [
        name
        for name, weight in model.named_parameters()
        if id(weight) not in skipped and not bool(weight.detach().isfinite().all())
    ]


def _named(weights: list[str]) -> str:
    more = f" and {len(weights) - 1} other weights are" if len(weights) > 1 else " is"
    return f"{weights[0]}{more}"


def _config(path: str, **options: Any) -> PretrainedConfig:
    if Path(path).is_dir():
        model_config(Path(path), MEND)
    with readable_loading(path, CONFIG_FILE):
        config = AutoConfig.from_pretrained(path, **options)
        check_config(config)
        return config


def head_of(folder: Path | str) -> str | None:
    """The head that a saved model has, one of ``latadj.checkpoints.model_class.HEADS``, or None for another.

    Raises
    ------
    ValueError
        if the folder holds no model that can be loaded.
    """
    return saved_head(_config(str(folder), local_files_only=True, trust_remote_code=False))


def random_model(config: ModelConfig, seed: int) -> PreTrainedModel:
    """A model of a shape with random weights, in eval mode: all that a clock needs.

    An encoder is a classifier; decoders and encoder-decoders have their language-modelling head.

    Raises
    ------
    ValueError
        if neither ``shape`` nor a folder gives the shape, or the folder's model is pruned.
    """
    if config.shape:
        if "model_type" not in config.shape:
            raise ValueError(f"model.shape={config.shape}: expected a model_type, such as bert, among them")
        options = {str(key): value for key, value in config.shape.items()}
        with readable_shape(config.shape):
            shape = AutoConfig.for_model(options.pop("model_type"), **options)
    else:
        path, local = _source(config.path)
        if local and read_metadata(Path(path)).pruning is not None:
            raise ValueError(
                f"model.path={path}: this model is pruned, and one with random weights is whole: name the full model"
            )
        shape = _config(path, local_files_only=local, trust_remote_code=config.trust_remote_code)
    set_seed(seed)
    auto = auto_class(shape, natural_head(shape))
    with readable_shape(config.shape) if config.shape else readable_loading(config.path, "config.json"):
        return auto.from_config(shape, dtype=torch.float32, trust_remote_code=config.trust_remote_code).eval()
