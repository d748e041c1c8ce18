"""Which class of transformers a model is loaded as, from what it is asked and what kind of transformer it is."""

from collections.abc import Sequence
from typing import Any

from transformers import (
    MODEL_FOR_CAUSAL_LM_MAPPING,
    MODEL_FOR_MASKED_LM_MAPPING,
    MODEL_FOR_QUESTION_ANSWERING_MAPPING,
    MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING,
    MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForQuestionAnswering,
    AutoModelForSeq2SeqLM,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    PretrainedConfig,
    PreTrainedTokenizerBase,
)

from latadj.checkpoints.task_spec import HEAD_ENDINGS
from latadj.config import EMBEDDING, GENERATION

# Heads that are trained anew on top of a pretrained model, and their auto classes.
FRESH = {
    "classification": AutoModelForSequenceClassification,
    "token_classification": AutoModelForTokenClassification,
    "question_answering": AutoModelForQuestionAnswering,
}
# The kinds of transformer that can have each of them.
FITTING = {
    "classification": MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING,
    "token_classification": MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING,
    "question_answering": MODEL_FOR_QUESTION_ANSWERING_MAPPING,
}
HEADS = (*FRESH, GENERATION, EMBEDDING)


def is_decoder(config: PretrainedConfig) -> bool:
    """Whether this is a decoder alone, such as GPT-2 and Llama; BERT's classes can be made one, but are not here."""
    causal, masked = MODEL_FOR_CAUSAL_LM_MAPPING, MODEL_FOR_MASKED_LM_MAPPING
    return not config.is_encoder_decoder and type(config) in causal and type(config) not in masked


def saved_head(config: PretrainedConfig) -> str | None:
    """The head that a saved model has by ``config.architectures``; None where that says nothing."""
    for name in config.architectures or ():
        for head, ending in HEAD_ENDINGS.items():
            if name.endswith(ending):
                return head
        if name.endswith(("LMHeadModel", "ForCausalLM", "ForConditionalGeneration")):
            return GENERATION
    return None


def natural_head(config: PretrainedConfig) -> str:
    """What a model of this kind is made for: encoders classify, decoders and encoder-decoders generate."""
    return GENERATION if config.is_encoder_decoder or is_decoder(config) else "classification"


def auto_class(config: PretrainedConfig, head: str) -> Any:
    """The auto class that gives a model of this kind the head.

    Raises
    ------
    ValueError
        if models of this kind cannot have it.
    """
    if head not in HEADS:
        raise ValueError(f"head={head}: expected one of {', '.join(HEADS)}")
    if head == EMBEDDING:
        return AutoModel
    if head in FRESH:
        auto = FRESH[head]
        # A T5 answers from its decoder, at every position of a text that was eliminated in its encoder.
        refused = head == "question_answering" and config.is_encoder_decoder
        if refused or type(config) not in FITTING[head]:
            raise ValueError(f"a {config.model_type} model has no head for {head}: take another, such as model=minilm")
        return auto
    if natural_head(config) != GENERATION:
        raise ValueError(
            f"a {config.model_type} model is an encoder and cannot generate: take a decoder such as model=smollm2, "
            "model=gpt2 or model=llama, or model=flan_t5"
        )
    return AutoModelForSeq2SeqLM if config.is_encoder_decoder else AutoModelForCausalLM


def fresh_head(head: str, labels: Sequence[str], regression: bool) -> dict[str, Any] | None:
    """What a config has to say about a head that is to be trained anew; None for a head that comes with the model."""
    if head not in FRESH:
        return None
    if head == "question_answering":
        return {"num_labels": 2}  # where an answer starts, and where it ends
    if regression:
        return {"num_labels": 1, "problem_type": "regression"}
    names = dict(enumerate(labels))
    return {"num_labels": len(labels), "id2label": names, "label2id": {name: place for place, name in names.items()}}


def check_config(config: PretrainedConfig) -> None:
    """Refuse a config whose model answers in a form of its own; transformers takes whatever its file says.

    Raises
    ------
    ValueError
    """
    if not all(isinstance(name, str) for name in config.architectures or ()):
        raise ValueError(f"architectures={config.architectures}: expected a list of names")
    if not config.return_dict:
        raise ValueError(f"return_dict={config.return_dict}: expected true; remove it from config.json")
    if config.id2label and sorted(config.id2label) != list(range(len(config.id2label))):
        raise ValueError(f"id2label names the classes {list(config.id2label)[:20]}: expected 0, 1, 2 and so on")


def check_tokenizer(tokenizer: PreTrainedTokenizerBase, embeddings: int, head: str) -> None:
    """Refuse a tokenizer whose length limit is none, or whose tokens the model does not know.

    Parameters
    ----------
    embeddings : tokens that the model knows

    Raises
    ------
    ValueError
    """
    most = tokenizer.model_max_length
    if isinstance(most, bool) or not isinstance(most, (int, float)) or not most >= 1:
        raise ValueError(f"model_max_length={most!r} in tokenizer_config.json: expected a number of at least 1")
    tokenizer.model_max_length = int(most)
    names = ["bos", "eos", "unk", "sep", "cls"] + ["pad"] * (head != GENERATION)  # one prompt is never padded
    special = [getattr(tokenizer, f"{name}_token_id", None) or 0 for name in names]
    # What every text may hold: a sign that no vocabulary has, too.
    largest = max(tokenizer.vocab_size - 1, *special, *tokenizer("a \u4dff")["input_ids"])
    if largest >= embeddings:
        raise ValueError(f"it has a token {largest}, and the model knows 0 to {embeddings - 1}: it is another model's")


def prepare_tokenizer(tokenizer: PreTrainedTokenizerBase, config: PretrainedConfig, head: str) -> None:
    """Give a tokenizer without a padding token its eos for that, and choose the side on which to pad.

    ``config`` is told too, since a classifier finds its last real token by it.
    """
    if tokenizer.pad_token is None and tokenizer.eos_token is not None:
        tokenizer.pad_token = tokenizer.eos_token
    if is_decoder(config):
        # The last column is read, or every one: what follows a text changes nothing in front of it.
        tokenizer.padding_side = "left" if head in ("classification", GENERATION) else "right"
    if config.pad_token_id is None:
        config.pad_token_id = tokenizer.pad_token_id


def label_names(config: PretrainedConfig, known: Sequence[str]) -> tuple[str, ...]:
    """Names of a classifier's labels, by its task or else by its own config; none of a regression.

    Parameters
    ----------
    known : what the task calls them; empty where it is not known
    """
    if config.num_labels == 1:
        return ()
    if len(known) == config.num_labels:
        return tuple(known)
    return tuple(str(config.id2label[number]) for number in range(config.num_labels))
