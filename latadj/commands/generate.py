"""latadj generate: text after a prompt, as it comes, at one position of the dial."""

import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import (
    GenerationConfig,
    LogitsProcessor,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    TextStreamer,
)

from latadj.benchmark.generation_timer import cached_lengths
from latadj.checkpoints import checkpoint
from latadj.checkpoints.metadata import CheckpointMetadata
from latadj.commands.checks import check_generate
from latadj.commands.common.opening import begin
from latadj.config import GENERATION, GenerateConfig
from latadj.devices import device
from latadj.devices.environment import environment
from latadj.elimination.attach import attach, is_attached
from latadj.elimination.current_setting import set_speedup
from latadj.inference.chat_template import chat_text
from latadj.inference.serving import make_ready
from latadj.kernels.lowering import kernel_of
from latadj.tasks.encoding.batches import most_characters
from latadj.tasks.outputs.predict import require_numbers
from latadj.utils.console import console
from latadj.utils.files import write_json
from latadj.utils.readable import printable

# Tokens that a prompt may have where the model does not say it, as a T5 does not: more than any model was trained on.
ANY_CONTEXT = 2**15
# Of transformers' settings of a generation: those for other ways to generate, numbers, and tokens.
UNFIT = ("is_assistant", "assistant_early_exit", "prompt_lookup_num_tokens", "prefill_chunk_size")
NUMBERS = ("guidance_scale", "penalty_alpha", "encoder_no_repeat_ngram_size")
TOKENS = ("bos_token_id", "eos_token_id", "pad_token_id", "decoder_start_token_id")


@dataclass
class Ready:
    """A model with its dial turned, and the prompt as token ids, (1, tokens)."""

    config: GenerateConfig
    prompt: str
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    ids: torch.Tensor
    most: int


class ConsoleStreamer(TextStreamer):
    """Shows text word by word, and notes when its tokens came.

    text : all that was shown
    times : ``time.perf_counter`` at every token
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        super().__init__(tokenizer, skip_prompt=True, skip_special_tokens=True)
        self.text = ""
        self.times: list[float] = []

    def put(self, value: Tensor) -> None:
        """Take the prompt, which comes first and is not shown, or a token."""
        if not self.next_tokens_are_prompt:
            self.times.append(time.perf_counter())
        super().put(value)

    def on_finalized_text(self, text: str, stream_end: bool = False) -> None:
        """Show what is certain by now."""
        self.text += text
        text = printable(text, keep="\n\t")
        console.print(text, end="\n" if stream_end else "", markup=False, highlight=False, soft_wrap=True)


class NumbersOnly(LogitsProcessor):
    """Ends a generation whose scores are no numbers: of those the largest, NaN, would be every token."""

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        require_numbers(scores)
        return scores


def prepare(config: GenerateConfig, prompt: str, checked: CheckpointMetadata | None = None) -> Ready:
    """Load the model, read the prompt, and turn the dial, which is marked for a prompt of this length.

    Parameters
    ----------
    checked : the checkpoint's metadata, if the early check has read them

    Raises
    ------
    ValueError
        if the prompt is empty or longer than the model's context, a speedup is asked for without a dial, or the model's
        own settings do not fit.
    """
    begin(config)
    where = device.choose(config.device)
    speedup, metadata = config.speedup, checked or check_generate(config)
    if metadata is None:
        model, tokenizer = checkpoint.load_pretrained(config.model, head=GENERATION)
    else:
        model, tokenizer = checkpoint.load(config.checkpoint, head=GENERATION, metadata=metadata)
    check_settings(model.generation_config)
    model.eval().to(where)
    ids = encode_prompt(prompt, tokenizer, config.chat, context_of(model))
    most = room_for(ids.shape[1], model, config.max_new_tokens)
    _turn(model, metadata, config, speedup, ids.shape[1])
    return Ready(config, prompt, model, tokenizer, ids.to(where), most)


def run(ready: Ready) -> dict[str, Any]:
    """Generate, showing text as it comes, then what it took.

    Returns
    -------
    what ``generate/generate.json`` holds
    """
    config, model, length = ready.config, ready.model, ready.ids.shape[1]
    streamer = ConsoleStreamer(ready.tokenizer)
    sampled = {"do_sample": True, "temperature": config.temperature} if config.temperature else {"do_sample": False}
    start = time.perf_counter()
    output = model.generate(
        ready.ids,
        attention_mask=torch.ones_like(ready.ids),
        max_new_tokens=ready.most,
        streamer=streamer,
        logits_processor=[NumbersOnly()],
        return_dict_in_generate=True,
        # A generation_config.json may say otherwise, and survivors are counted in the cache of one sequence.
        use_cache=True,
        num_beams=1,
        num_return_sequences=1,
        output_hidden_states=False,
        **sampled,
    )
    tokens, seconds = len(streamer.times), streamer.times[-1] - streamer.times[0]
    survivors = cached_lengths(output.past_key_values)
    if not model.config.is_encoder_decoder:  # every token but the last was cached behind the prompt
        survivors = [held - (tokens - 1) for held in survivors]
    result = {
        "schema": "latadj.generate/1",
        "model": config.model.name,
        "speedup": config.speedup,
        "prompt": ready.prompt,
        "text": streamer.text,
        "prompt_tokens": length,
        "tokens": tokens,
        "survivors": survivors,
        "eliminates": is_attached(model),
        "ttft_ms": 1000 * (streamer.times[0] - start),
        "tokens_per_s": (tokens - 1) / seconds if tokens > 1 else None,
        "environment": environment(model.device, kernel_of(model).precision),
        "config": asdict(config),
    }
    write_json(Path(config.folder) / "generate" / "generate.json", result)
    _print(result)
    return result


def check_settings(settings: GenerationConfig) -> None:
    """Refuse what a generation_config.json may hold and transformers takes without a look, or that reads otherwise.

    Raises
    ------
    ValueError
    """
    for name in UNFIT:
        if (value := getattr(settings, name, None)) not in (None, False):
            raise ValueError(f"{name}={value!r} in generation_config.json: generate reads a prompt at once; remove it")
    for name in NUMBERS:
        value = getattr(settings, name, None)
        if value is not None and not isinstance(value, (int, float)):
            raise ValueError(f"{name}={value!r} in generation_config.json: expected a number, or null")
    for name in TOKENS:
        value = getattr(settings, name, None)
        tokens = value if isinstance(value, list) else [] if value is None else [value]
        if not all(isinstance(token, int) for token in tokens):
            raise ValueError(f"{name}={value!r} in generation_config.json: expected the number of a token, or a list")


def encode_prompt(
    prompt: str, tokenizer: PreTrainedTokenizerBase, chat: bool | None, context: int | None = None
) -> torch.Tensor:
    """(1, tokens) ids of a prompt, in the tokenizer's chat template if ``chat``; None: where it has one.

    Parameters
    ----------
    context : tokens that the model can take; None: any number

    Raises
    ------
    ValueError
        if the prompt is empty or far longer than the context, or there is no template or a bad one.
    """
    if not prompt.strip():
        raise ValueError('the prompt is empty: give a text, as in `latadj generate "Once upon a time"`, or --file FILE')
    most = most_characters(context or ANY_CONTEXT)
    if len(prompt) > most:
        raise ValueError(
            f"the prompt has {len(prompt):,} characters, and {_context_named(context)} has no room for more than "
            f"{most:,}: shorten it, or take a model of longer context"
        )
    if chat and not tokenizer.chat_template:
        raise ValueError("chat=true: this model's tokenizer has no chat template; take chat=false")
    if chat is False or not tokenizer.chat_template:
        return tokenizer(prompt, return_tensors="pt", verbose=False)["input_ids"]
    text = chat_text(tokenizer, prompt, most)
    return tokenizer(text, add_special_tokens=False, return_tensors="pt", verbose=False)["input_ids"]


def _context_named(context: int | None) -> str:
    return "this command" if context is None else f"this model's context of {context} tokens"


def context_of(model: PreTrainedModel) -> int | None:
    """Tokens that prompt and text may have together; None: any number."""
    if model.config.is_encoder_decoder:
        return None  # the text has positions of its own
    return getattr(model.config, "max_position_embeddings", None)


def room_for(length: int, model: PreTrainedModel, wanted: int) -> int:
    """Tokens that may follow a prompt of ``length`` tokens: ``wanted``, as far as the model's context goes.

    Raises
    ------
    ValueError
        if there is no room for any.
    """
    limit = context_of(model)
    if limit is None:
        return wanted
    if length >= limit:
        raise ValueError(
            f"the prompt has {length} tokens, which leaves no room in this model's context of {limit}: shorten it, or "
            "take a model of longer context"
        )
    return min(wanted, limit - length)


def _turn(
    model: PreTrainedModel, metadata: CheckpointMetadata | None, config: GenerateConfig, speedup: float, length: int
) -> None:
    """Make a model ready to serve one prompt of ``length`` tokens."""
    if metadata is None and config.device.precision == "fp32":
        return
    if metadata is None:
        attach(model)
    metadata = metadata or CheckpointMetadata()
    make_ready(
        model,
        metadata,
        metadata.dial,
        model.device,
        precision=config.device.precision,
        target=config.dial.target,
        batch=1,
        length=length,
    )
    if metadata.dial is not None:
        set_speedup(model, speedup)


def _print(result: dict[str, Any]) -> None:
    rate = "" if result["tokens_per_s"] is None else f", {result['tokens_per_s']:.1f} tokens/s"
    console.rule(style="dim")
    at = f"at {result['speedup']:g}x" if result["eliminates"] else "in the model as it is, without a dial"
    head = f"prompt of {result['prompt_tokens']} tokens {at}; survivors in each layer:"
    console.print(head, *result["survivors"], highlight=False, soft_wrap=True)
    console.print(f"first token after {result['ttft_ms']:.0f} ms{rate}", highlight=False)
