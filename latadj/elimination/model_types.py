"""What can be done with each type of model, by ``config.model_type``. Needs no torch."""

# Of a dial: fewer tokens, and narrower layers. Of a model: without some of its heads and neurons, and as graphs.
TOKENS, WIDTH, PRUNING, EXPORT = "tokens", "width", "pruning", "export"

SUPPORTED: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(
        ("bert", "roberta", "xlm-roberta", "camembert", "electra", "distilbert"), (TOKENS, WIDTH, PRUNING, EXPORT)
    ),
    "albert": (TOKENS,),
    **dict.fromkeys(("modernbert", "mpnet", "deberta-v2", "nomic_bert"), (TOKENS, WIDTH, PRUNING)),
    **dict.fromkeys(
        ("gpt2", "llama", "mistral", "qwen2", "qwen3", "phi3", "gemma3_text", "t5"), (TOKENS, WIDTH, PRUNING)
    ),
}

# Why some that people ask for are not among them.
_OF_DECODERS = ", since of encoders that feed a decoder T5's alone eliminates"
REASONS = {
    "bart": _OF_DECODERS,
    "mbart": _OF_DECODERS,
    "deberta": ", since its layers are not those of DeBERTa-v2 and v3",
}


def unsupported(model_type: str) -> str:
    """What to say of a model whose type is not among them."""
    reason = REASONS.get(model_type, "")
    return f"model type {model_type!r} is not supported{reason}: expected one of {', '.join(SUPPORTED)}"
