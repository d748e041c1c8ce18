"""Which class of transformers a model is loaded as, from what it is asked and what kind of transformer it is."""

from typing import Any

from transformers import (
    MODEL_FOR_CAUSAL_LM_MAPPING,
    MODEL_FOR_MASKED_LM_MAPPING,
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    AutoModelForSequenceClassification,
    PretrainedConfig,
    PreTrainedTokenizerBase,
)

HEADS = ("classification", "generation")


def is_decoder(config: PretrainedConfig) -> bool:
    """Whether this is a decoder alone, such as GPT-2 and Llama; BERT's classes can be made one, but are not here."""
    causal, masked = MODEL_FOR_CAUSAL_LM_MAPPING, MODEL_FOR_MASKED_LM_MAPPING
    return not config.is_encoder_decoder and type(config) in causal and type(config) not in masked


def saved_head(config: PretrainedConfig) -> str | None:
    """The head that a saved model has by ``config.architectures``; None where that says nothing."""
    for name in config.architectures or ():
        if name.endswith("ForSequenceClassification"):
            return "classification"
        if name.endswith(("LMHeadModel", "ForCausalLM", "ForConditionalGeneration")):
            return "generation"
    return None


def natural_head(config: PretrainedConfig) -> str:
    """What a model of this kind is made for: encoders classify, decoders and encoder-decoders generate."""
    return "generation" if config.is_encoder_decoder or is_decoder(config) else "classification"


def auto_class(config: PretrainedConfig, head: str) -> Any:
    """The auto class that gives a model of this kind the head.

    Raises
    ------
    ValueError
        if models of this kind cannot have it.
    """
    if head not in HEADS:
        raise ValueError(f"head={head}: expected one of {', '.join(HEADS)}")
    if head == "classification":
        return AutoModelForSequenceClassification
    if natural_head(config) != "generation":
        raise ValueError(
            f"a {config.model_type} model is an encoder and cannot generate: take a decoder such as model=smollm2, "
            "model=gpt2 or model=llama, or model=flan_t5"
        )
    return AutoModelForSeq2SeqLM if config.is_encoder_decoder else AutoModelForCausalLM


def prepare_tokenizer(tokenizer: PreTrainedTokenizerBase, config: PretrainedConfig) -> None:
    """Give a tokenizer without a padding token its eos for that, and let decoders be padded on the left.

    ``config`` is told too, since a classifier finds its last real token by it.
    """
    if tokenizer.pad_token is None and tokenizer.eos_token is not None:
        tokenizer.pad_token = tokenizer.eos_token
    if is_decoder(config):
        tokenizer.padding_side = "left"
    if config.pad_token_id is None:
        config.pad_token_id = tokenizer.pad_token_id
