"""Makes a dial for a model in memory: what `latadj calibrate` does, for a notebook."""

import copy
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from latadj.benchmark.kernel_selection import fastest_kernel, kernels
from latadj.calibration.calibration_set import CalibrationSet, ClassificationSet, ContinuationSet
from latadj.calibration.steps import MOST_TRIED, acc_dial, measure_serving, search_profiles
from latadj.checkpoints.attached_model import metadata_of
from latadj.checkpoints.metadata import Device
from latadj.checkpoints.model_class import is_decoder, prepare_tokenizer, saved_head
from latadj.config import EMBEDDING, GENERATION, CalibrationConfig, ClockConfig, SearchConfig
from latadj.devices.device import place
from latadj.elimination.attach import attach, attached, is_attached, pair_frame_of
from latadj.elimination.dial import Dial
from latadj.elimination.pair_frame import PairFrame
from latadj.elimination.sentence_transformer import pipeline_of, prompt_of, remembering
from latadj.kernels.lowering import is_lowered
from latadj.tasks.encoding.batches import POSITIONS, PROTECTED, max_input_length, tokenize
from latadj.tasks.outputs.embeddings import EmbeddingOutputs
from latadj.tasks.outputs.logits import TokenOutputs
from latadj.tasks.outputs.predict import HEAD
from latadj.tasks.types.base import few_words

# The longest continuation that is cut off a text.
CONTINUATION = 32
# Tokens of a text at most, where neither model nor tokenizer names a limit.
MOST_TOKENS = 512


def calibrate(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    texts: Sequence[str] | Sequence[tuple[str, str]],
    *,
    trials: int = 0,
    max_speedup: float = CalibrationConfig.max_speedup,
    max_length: int | None = None,
    batch: int = 32,
    clock: bool = False,
    precision: str = "fp32",
    seed: int = 0,
) -> Dial:
    """Make a model's dial from texts of its own kind and attach it, at speedup 1.

    Its profiles follow the ACC of each layer. The dial is in FLOPs, or with ``clock`` in the time that this device
    takes for the model as :func:`latadj.load` serves it. :func:`latadj.save` saves both.

    Parameters
    ----------
    model : a classifier, tagger, causal language model, ``SentenceTransformer`` or ``CrossEncoder`` with its weights,
        not lowered. Of the pairs of a ``CrossEncoder`` the first text is the query, which is never eliminated where
        the tokenizer puts something between the two
    tokenizer : gets a padding token and side if the model needs them, as in :func:`latadj.load`
    texts : of the model's kind, a few hundred, for a search such that it was not trained on; pairs for a model of
        pairs. A language model continues each text's start.
    trials : profiles tried in a search at each of the speedups 1.5, 2, 3 and 5; 0: no search. 48 take some minutes
        on a small model, and are what `latadj calibrate` makes. Texts cut to 1 to 8 words are tried too: their
        outputs may diverge by a quarter of what the whole texts' do.
    max_speedup : where the dial ends
    max_length : longer texts are cut to so many tokens; None: what the model and its tokenizer accept, up to 512
    batch : texts of a batch that the clock measures
    clock : whether to measure this device
    precision : ``fp32``, ``bf16`` or ``int8``: in which the clock measures
    seed : of the search and the clock

    Returns
    -------
    the dial, which is attached

    Raises
    ------
    ValueError
        if the model's head is of another kind, the model is lowered, or no text has a token.
    """
    pair = pair_frame_of(model, None)
    with remembering(model) as model:
        head = _head(model)
        if is_lowered(model):
            raise ValueError("this model was loaded to serve and cannot be calibrated: load it with precision=None")
        if not max_speedup >= 1:
            raise ValueError(f"max_speedup={max_speedup}: expected a number >= 1")
        if trials < 0 or batch < 1:
            raise ValueError(f"trials={trials}, batch={batch}: expected trials >= 0 and batch >= 1")
        if clock:
            kernels(precision, model.device)  # refuses a precision that does not run here
        prepare_tokenizer(tokenizer, model.config, head)
        examples = _examples(model, tokenizer, texts, head, max_length, pair)
        before = metadata_of(model)
        was = attached(model) if is_attached(model) else None
        attach(model, topk=was.topk if was else None)
        widths = was.dial.widths if was and was.dial else ()
        dial, _, _ = acc_dial(model, examples, CalibrationConfig(max_speedup=max_speedup), widths=widths)
        devices = dict(before.devices)
        if clock:
            kernel = fastest_kernel(model, precision, model.device)
            serving = measure_serving(
                model, dial, kernel, batch=batch, lengths=dial.lengths, clock=ClockConfig(), seed=seed
            )
            devices[place(model.device)] = Device(serving={precision: serving})
            dial = dial.on(serving.models[0])
        dial = search_profiles(
            dial,
            model,
            examples,
            _short_examples(model, tokenizer, texts[: len(examples.rows)], head, max_length, pair) if trials else None,
            prompts=head == GENERATION,
            speedups=SearchConfig().speedups,
            trials=trials,
            seed=seed,
        )
        attach(model, dial)
        attached(model).pair = pair if dial.protected else None
        attached(model).origin = replace(before, dial=replace(dial, latency=None), devices=devices)
        return dial


def _head(model: PreTrainedModel) -> str:
    """The head of a model that texts alone can calibrate.

    Raises
    ------
    ValueError
        if it has another, or none.
    """
    if pipeline_of(model) is not None:
        return EMBEDDING
    name = type(model).__name__
    config = copy.deepcopy(model.config)
    config.architectures = [name]
    head = saved_head(config)
    if head in ("classification", "token_classification") or (head == GENERATION and is_decoder(config)):
        return str(head)
    raise ValueError(
        f"a {name} cannot be calibrated on texts alone: expected a sequence classifier, a token classifier, a causal "
        "language model or a SentenceTransformer; `latadj calibrate task=...` calibrates the others, or make a "
        "latadj.Dial yourself"
    )


def _examples(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    texts: Sequence[Any],
    head: str,
    max_length: int | None,
    pair: PairFrame | None,
) -> CalibrationSet:
    limit = min(max_length or MOST_TOKENS, max_input_length(model.config, tokenizer))
    if isinstance(texts, str) or not len(texts):
        raise ValueError("texts: expected a list of texts, or of pairs of texts, with at least one")
    if head == EMBEDDING:
        if not isinstance(texts[0], str):
            raise ValueError("texts: expected a list of texts; a model that embeds texts reads one at a time")
        texts = [prompt_of(pipeline_of(model)) + text for text in texts]
    columns = [list(texts)] if isinstance(texts[0], str) else [list(column) for column in zip(*texts, strict=True)]
    rows = [row for row in tokenize(columns, tokenizer, limit) if row["input_ids"]]
    if head == GENERATION:
        rows = [row for row in map(_continued, rows) if row]
    if not rows:
        raise ValueError("texts: no text has a token, or two for a language model, which continues its start")
    if head == GENERATION:
        return ContinuationSet(rows=rows, batch_size=MOST_TRIED)
    if pair is not None and len(columns) == 2:
        for row in rows:
            row[PROTECTED] = pair.spans(row["input_ids"])
    if head in ("classification", EMBEDDING):
        reader = EmbeddingOutputs() if head == EMBEDDING else HEAD
        return ClassificationSet(rows=rows, tokenizer=tokenizer, batch_size=64, reader=reader)
    for row in rows:
        row[POSITIONS] = list(range(len(row["input_ids"])))
    return ClassificationSet(rows=rows, tokenizer=tokenizer, batch_size=64, reader=TokenOutputs())


def _short_examples(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    texts: Sequence[Any],
    head: str,
    max_length: int | None,
    pair: PairFrame | None,
) -> CalibrationSet | None:
    """The texts cut to a few words, for a search; None for a language model, which would have nothing to continue."""
    if head == GENERATION:
        return None
    short = [
        few_words(text, place) if isinstance(text, str) else tuple(few_words(part, place) for part in text)
        for place, text in enumerate(texts)
    ]
    return _examples(model, tokenizer, short, head, max_length, pair)


def _continued(row: dict[str, Any]) -> dict[str, Any] | None:
    """A text as a prompt and its continuation, its last quarter at most; None where it is too short for both."""
    ids = list(row["input_ids"])
    count = min(CONTINUATION, math.ceil(len(ids) / 4))
    return {"input_ids": ids[:-count], "continuation": ids[-count:]} if len(ids) > count else None
