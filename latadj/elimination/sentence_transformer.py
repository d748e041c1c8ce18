"""The transformer inside a model of sentence-transformers, and where what follows it reads. Imports none of them."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from torch import nn

from latadj.elimination.cost import ALL, POOLED

# Pooling of the first token, and of the last.
FIRST, LAST = "cls", "lasttoken"
# On a transformer the SentenceTransformer that it was taken out of.
_PIPELINE = "_latadj_sentence_transformer"


def transformer_of(model: Any) -> Any:
    """The transformers model in a ``SentenceTransformer`` or ``CrossEncoder``; any other model itself.

    Raises
    ------
    ValueError
        if the first module of a ``SentenceTransformer`` is no transformer.
    """
    if is_cross_encoder(model):
        return model.model  # with its head, which says where it reads
    if not is_sentence_transformer(model):
        return model
    inner = getattr(model[0], "auto_model", None)
    if inner is None:
        raise ValueError(
            f"the first module of this {type(model).__name__} is a {type(model[0]).__name__}, which has no transformer "
            "layers: there is nothing to eliminate tokens in"
        )
    return inner


def is_sentence_transformer(model: Any) -> bool:
    """Whether this is a pipeline of modules that ends in an embedding of each text."""
    return isinstance(model, nn.Sequential) and _is(model, "SentenceTransformer")


def is_cross_encoder(model: Any) -> bool:
    """Whether this scores pairs of texts, as rerankers do."""
    return _is(model, "CrossEncoder")


def _is(model: Any, name: str) -> bool:
    return any(
        base.__name__ == name and base.__module__.split(".")[0] == "sentence_transformers"
        for base in type(model).__mro__
    )


def reads_of(model: Any, *, causal: bool) -> str:
    """Where the modules after the transformer read: ``pooled`` or ``all``.

    An encoder's pooled position is the first, a decoder's the last. Where they take a mean, or the like, an eliminated
    token counts with the state in which it was eliminated.

    Parameters
    ----------
    causal : whether a token of the transformer sees only those before it

    Raises
    ------
    ValueError
        if the module after the transformer is not sentence-transformers' pooling, or pools in an unknown way.
    """
    modules = list(model)[1:]
    if not modules or not hasattr(modules[0], "include_prompt"):
        named = f"a {type(modules[0]).__name__}" if modules else "nothing"
        raise ValueError(
            f"after the transformer of this {type(model).__name__} comes {named}, and latadj knows what "
            "sentence-transformers' Pooling reads: name reads='all' if you know that it fits"
        )
    modes = list(pooling_modes(modules[0]))
    # Without the prompt's tokens the first that is read is another.
    pooled = modes == [LAST] if causal else modes == [FIRST] and modules[0].include_prompt
    return POOLED if pooled else ALL


def pooling_modes(pooling: Any) -> Sequence[str]:
    """The names of what a pooling module takes of the tokens, such as ``mean``.

    Raises
    ------
    ValueError
        if it names none.
    """
    modes = getattr(pooling, "pooling_mode", None)  # sentence-transformers 5.4 on
    if modes is None:
        modes = pooling.get_pooling_mode_str().split("+") if hasattr(pooling, "get_pooling_mode_str") else []
    modes = [modes] if isinstance(modes, str) else list(modes)
    if not modes:
        raise ValueError(f"{type(pooling).__name__} does not say what it pools: expected pooling_mode")
    return modes


def remember_modules(transformer: Any, pipeline: Any) -> None:
    """Note of a transformer which ``SentenceTransformer`` it is in: a copy of it takes a copy of the others along."""
    transformer.__dict__[_PIPELINE] = pipeline  # not as a module of it, which would have no end


@contextmanager
def remembering(model: Any) -> Iterator[Any]:
    """The transformer in a model, with a note of its ``SentenceTransformer``, if any, inside a ``with`` block."""
    inner = transformer_of(model)
    noted = pipeline_of(inner)
    if is_sentence_transformer(model):
        remember_modules(inner, model)
    try:
        yield inner
    finally:
        if noted is None:
            inner.__dict__.pop(_PIPELINE, None)
        else:
            remember_modules(inner, noted)


def pipeline_of(transformer: Any) -> Any:
    """The ``SentenceTransformer`` that was noted of a transformer; None if none was."""
    return transformer.__dict__.get(_PIPELINE)


def prompt_of(pipeline: Any, *names: str) -> str:
    """What ``encode`` puts before a text: the first prompt of these names that the model has, else its default one."""
    prompts = pipeline.prompts or {}
    return next((prompts[name] for name in (*names, pipeline.default_prompt_name) if prompts.get(name)), "")
