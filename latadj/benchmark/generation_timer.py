"""The clock of generation: time to first token, decoding speed and the cache that a prompt leaves."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import Cache, EncoderDecoderCache, PreTrainedModel

from latadj.benchmark.timer import PreparedWork, time_interleaved


@dataclass(frozen=True)
class TimedModel:
    """A model, and the context in which it runs, such as ``lambda: at_speedup(model, 2)``."""

    model: PreTrainedModel
    turned: Callable[[], AbstractContextManager[Any]] = nullcontext


@dataclass
class Prefilled:
    """A generation after its prefill: the first token, and what the next step needs.

    token : (1, 1) the likeliest first token
    encoded : (1, tokens, width) what an encoder gave; None for a decoder
    """

    token: Tensor
    cache: Cache
    encoded: Tensor | None = None


@dataclass
class GenerationTimes:
    """What the clock showed, by name of the variant.

    first_token, decoding : (rounds, prompts) seconds until the first token, and of ``steps`` steps after it
    cache_bytes : (prompts,) bytes of keys and values after the prefill
    """

    steps: int
    first_token: dict[str, np.ndarray]
    decoding: dict[str, np.ndarray]
    cache_bytes: dict[str, list[int]] = field(default_factory=dict)

    def tokens_per_s(self, name: str) -> float:
        """Tokens that a variant decodes in a second: the median over rounds."""
        seconds = self.decoding[name]
        return self.steps * seconds.shape[1] / float(np.median(seconds.sum(axis=1)))


def time_generation(
    variants: Mapping[str, TimedModel],
    prompts: Sequence[Sequence[int]],
    *,
    steps: int,
    rounds: int,
    warmup: int,
    device: torch.device,
    seed: int = 0,
    advance: Callable[[], object] = lambda: None,
) -> GenerationTimes:
    """Time every variant on the same prompts, one prompt at a time, in turns.

    A decoding starts each time from a cache that a prefill has just left, which is not timed with it; only one
    cache is held at a time.

    Parameters
    ----------
    prompts : token ids, none empty
    steps : greedy decoding steps after each prompt
    rounds, warmup, seed : as in ``time_interleaved``, for the first tokens and again for the decoding
    advance : called ``2 * (rounds + warmup)`` times
    """
    ids = [torch.tensor([list(prompt)], device=device) for prompt in prompts]
    sizes: dict[str, list[int]] = {name: [0] * len(ids) for name in variants}

    def first(variant: TimedModel, prompt: Tensor) -> Prefilled:
        with variant.turned():
            return prefill(variant.model, prompt)

    def decoding(name: str, place: int) -> PreparedWork:
        variant = variants[name]

        def prepare() -> Prefilled:
            started = first(variant, ids[place])
            sizes[name][place] = cache_bytes(started.cache)
            return started

        def run(started: Prefilled) -> list[int]:
            with variant.turned():
                return decode(variant.model, started, steps)

        return PreparedWork(prepare, run)

    def turns(pieces: Mapping[str, Sequence[Any]]) -> dict[str, np.ndarray]:
        return time_interleaved(pieces, rounds=rounds, warmup=warmup, device=device, seed=seed, advance=advance)

    firsts = {
        name: [lambda prompt=prompt, variant=variant: first(variant, prompt) for prompt in ids]
        for name, variant in variants.items()
    }
    rest = {name: [decoding(name, place) for place in range(len(ids))] for name in variants}
    return GenerationTimes(steps, turns(firsts), turns(rest), sizes)


@torch.inference_mode()
def prefill(model: PreTrainedModel, prompt: Tensor) -> Prefilled:
    """Read a prompt up to its first token, which is on the host when this returns.

    Of an encoder-decoder that is the encoder and the decoder's first step.

    Parameters
    ----------
    prompt : (1, tokens) token ids
    """
    if model.config.is_encoder_decoder:
        begin = torch.full_like(prompt[:, :1], model.generation_config.decoder_start_token_id)
        output = model(input_ids=prompt, decoder_input_ids=begin, use_cache=True)
    else:
        output = model(input_ids=prompt, use_cache=True, logits_to_keep=1)
    encoded = getattr(output, "encoder_last_hidden_state", None)
    return Prefilled(_likeliest(output.logits), output.past_key_values, encoded)


@torch.inference_mode()
def decode(model: PreTrainedModel, started: Prefilled, steps: int) -> list[int]:
    """The first token and ``steps`` more, greedily; the cache of ``started`` grows by as many."""
    token, tokens = started.token, [int(started.token)]
    for _ in range(steps):
        if started.encoded is None:
            output = model(input_ids=token, past_key_values=started.cache, use_cache=True)
        else:
            output = model(
                encoder_outputs=(started.encoded,),
                decoder_input_ids=token,
                past_key_values=started.cache,
                use_cache=True,
            )
        token = _likeliest(output.logits)
        tokens.append(int(token))
    return tokens


def cache_bytes(cache: Cache) -> int:
    """Bytes of all keys and values that a cache holds, those of cross-attention included."""
    return sum(
        tensor.numel() * tensor.element_size()
        for part in _parts(cache)
        for layer in part.layers
        for tensor in (layer.keys, layer.values)
        if tensor is not None
    )


def cached_lengths(cache: Cache) -> list[int]:
    """Tokens of the prompt that each layer can attend to: in its own cache, or in cross-attention's."""
    return [0 if layer.keys is None else int(layer.keys.shape[-2]) for layer in _parts(cache)[-1].layers]


def _parts(cache: Cache) -> list[Cache]:
    if isinstance(cache, EncoderDecoderCache):
        return [cache.self_attention_cache, cache.cross_attention_cache]
    return [cache]


def _likeliest(logits: Tensor) -> Tensor:
    """(1, 1) token of the last logits, waited for as whoever shows it to a reader has to."""
    token = logits[:, -1:].argmax(dim=-1)
    token.tolist()
    return token
