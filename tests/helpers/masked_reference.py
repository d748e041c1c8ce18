"""What elimination computes, by an independent way: the plain model at full length, with eliminated keys hidden.

Every layer runs on all positions. In layer ``l`` those who did not enter it are masked as keys, by a mask of four
dimensions at original positions; an eliminated token keeps the state that it had between attention and
feed-forward block.
"""

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from latadj.elimination.architectures import architecture_of, layers_of
from latadj.elimination.current_setting import at_profile
from latadj.elimination.profiles import Profile

# The module of a layer whose input is the state after attention and its residual.
AFTER_ATTENTION = {
    "albert": "ffn",
    "distilbert": "ffn",
    "gemma3_text": "pre_feedforward_layernorm",
    "gpt2": "ln_2",
    "modernbert": "mlp_norm",
    "nomic_bert": "mlp",
    "t5": "layer.1",
}
ROTARY, BERT = "post_attention_layernorm", "intermediate"


def survivors_of(model: PreTrainedModel, mask: Tensor, profile: Profile, run: Callable[[], Any], **options: Any) -> Any:
    """What an attached model returns, and who is alive before the first layer and after each: (batch, n_0), bool."""
    alive = [mask.bool()]

    def note_survivors(layer: int, survivors: Any) -> None:
        everyone = torch.zeros(mask.numel(), dtype=torch.bool)
        everyone[slice(None) if survivors.origin is None else survivors.origin] = True
        alive.append(everyone.view_as(mask))

    with at_profile(model, profile, survivor_observer=note_survivors, **options):
        return run(), alive


@contextmanager
def masked(model: PreTrainedModel, alive: list[Tensor]) -> Iterator[None]:
    """Let a plain model hide, in each layer, the keys that are not alive when the layer begins."""
    architecture, boolean = architecture_of(model), model.config.model_type == "deberta-v2"
    layers, runs = layers_of(model), list[int]()
    hooks = [layer.register_forward_pre_hook(lambda *_: runs.append(1)) for layer in dict.fromkeys(layers)]

    def at(index: int, hook: Callable[..., Any]) -> Callable[..., Any]:
        """A hook of a layer where it is the one of this index, since one module may be several layers."""
        return lambda *args: hook(*args) if (len(runs) - 1) % len(layers) == index else None

    for index, layer in enumerate(layers):
        state: dict[str, Tensor] = {}
        name = AFTER_ATTENTION.get(model.config.model_type, ROTARY if architecture.causal else BERT)
        feed_forward = layer.get_submodule(name)
        hide = _hide(alive[index], architecture.causal, state, _farthest(model, index), boolean)
        hooks += [
            layer.register_forward_pre_hook(at(index, hide), with_kwargs=True),
            feed_forward.register_forward_pre_hook(at(index, _note(state))),
            layer.register_forward_hook(at(index, _freeze(alive[index], alive[index + 1], state))),
        ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _farthest(model: PreTrainedModel, layer: int) -> int | None:
    """How many positions away a layer of local attention sees; None: all."""
    config = model.config
    kinds = getattr(config, "layer_types", None)
    if config.model_type == "modernbert":
        return config.sliding_window if kinds[layer] == "sliding_attention" else None
    if config.model_type not in ("mistral", "phi3") and (not kinds or kinds[layer] != "sliding_attention"):
        return None
    # The window of a decoder counts the position that looks back, too.
    return None if config.sliding_window is None else config.sliding_window - 1


def _hide(
    entering: Tensor, causal: bool, state: dict[str, Tensor], farthest: int | None, boolean: bool
) -> Callable[..., Any]:
    length = entering.shape[1]
    seen = entering[:, None, None].expand(-1, 1, length, -1)
    if causal:
        seen = seen & torch.ones(length, length, dtype=torch.bool).tril()
    if farthest is not None:
        places = torch.arange(length)
        seen = seen & ((places[:, None] - places).abs() <= farthest)
    mask = seen if boolean else torch.zeros(seen.shape).masked_fill(~seen, torch.finfo(torch.float32).min)

    def hook(layer: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        state["before"] = args[0]
        names = list(inspect.signature(type(layer).forward).parameters)[1 : len(args) + 1]
        if "attention_mask" not in names:
            return args, {**kwargs, "attention_mask": mask}
        where = names.index("attention_mask")
        return (*args[:where], mask, *args[where + 1 :]), kwargs

    return hook


def _note(state: dict[str, Tensor]) -> Callable[..., None]:
    def hook(module: Any, args: tuple[Tensor, ...]) -> None:
        state["attended"] = args[0]

    return hook


def _freeze(entering: Tensor, leaving: Tensor, state: dict[str, Tensor]) -> Callable[..., Any]:
    def hook(layer: Any, args: Any, output: Any) -> Any:
        hidden = output if isinstance(output, Tensor) else output[0]
        frozen = torch.where(entering[..., None], state["attended"], state["before"])
        hidden = torch.where(leaving[..., None], hidden, frozen)
        return hidden if isinstance(output, Tensor) else (hidden, *output[1:])

    return hook
