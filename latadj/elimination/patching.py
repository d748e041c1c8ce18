"""What is attached to a model, with the options of each thread's passes, and how a module's forward is exchanged."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from types import MethodType
from typing import Any

from torch import Tensor, nn

from latadj.elimination.architectures import Architecture, architecture_of
from latadj.elimination.architectures.base import MARK
from latadj.elimination.dial import Dial
from latadj.elimination.module_method import ModuleMethod
from latadj.elimination.observation_window import WHOLE, ObservationWindow
from latadj.elimination.pair_frame import PairFrame
from latadj.elimination.profiles import Profile
from latadj.elimination.scores import Score
from latadj.elimination.sentence_transformer import transformer_of
from latadj.elimination.survivors import Survivors
from latadj.elimination.topk_setting import TopKAttention

# Before the name of a method that is overridden: where the module keeps what it had instead.
_PREVIOUS = "_latadj_"


# Called as observer(layer, scores, real, lengths) for every layer of an observed pass.
ScoreObserver = Callable[[int, Tensor, Tensor | None, Tensor], None]
# Called as observer(layer, survivors) with those that leave every layer.
SurvivorObserver = Callable[[int, Survivors], None]


@dataclass
class HiddenStateCache:
    """What enters a layer in one batch: noted by a first pass, and where later ones start.

    A pass that starts there gives the same, bit by bit, as long as nothing below the layer has changed.

    layer : counted from 0
    hidden : as the layer before it gave it; None before the first pass
    """

    layer: int
    hidden: Tensor | None = None

    def skips(self, layer: int) -> bool:
        """Whether a layer need not run."""
        return self.hidden is not None and layer < self.layer

    def enter(self, layer: int, hidden: Tensor) -> Tensor:
        """What a layer is to read in the place of ``hidden``."""
        if layer != self.layer:
            return hidden
        if self.hidden is None:
            self.hidden = hidden
        return self.hidden


@dataclass(frozen=True)
class EliminationOptions:
    """How the next pass eliminates.

    profile : how many tokens each layer keeps
    score : ranks tokens
    window : whose attention is scored, and who is protected; decoders only
    score_observer : called with the scores of every layer
    survivor_observer : called with the survivors of every layer
    prompt : prompt tokens of each sequence, where a continuation that is never eliminated follows; None: all are
    protect : (batch, n_0) True on tokens that a task never lets go; None: it names none
    hidden_states : where the pass starts, or is to be started from later; None: with the first layer
    """

    profile: Profile
    score: Score
    window: ObservationWindow = WHOLE
    score_observer: ScoreObserver | None = None
    survivor_observer: SurvivorObserver | None = None
    prompt: tuple[int, ...] | None = None
    protect: Tensor | None = None
    hidden_states: HiddenStateCache | None = None


@dataclass
class Elimination:
    """What is attached to a base model; holds no module, so a model can be copied with it.

    told : whether the head tells the base in each pass where it reads, since another may share the base
    pair : tells a query from its document, of which only the latter is eliminated; None: nothing is protected by it
    origin : what is known of the saved model that this is, for whoever saves it again; not read here
    """

    architecture: Architecture
    dial: Dial | None
    reads: str
    told: bool
    default: EliminationOptions
    topk: TopKAttention
    pair: PairFrame | None = None
    origin: Any = None

    def options(self) -> EliminationOptions:
        """The options of this thread, or the model's default."""
        return _overrides.get().get(id(self), self.default)


# Options of `with` blocks, by id of the Elimination: each thread and task sees its own.
_overrides: ContextVar[Mapping[int, EliminationOptions]] = ContextVar("latadj_overrides", default={})  # noqa: B039 never mutated


@contextmanager
def overriding(elimination: Elimination, **options: Any) -> Iterator[EliminationOptions]:
    """Run with other options inside a ``with`` block, for this thread alone."""
    changed = replace(elimination.options(), **options)
    token = _overrides.set({**_overrides.get(), id(elimination): changed})
    try:
        yield changed
    finally:
        _overrides.reset(token)


def elimination_of(model: nn.Module) -> Elimination | None:
    """What is attached to a model; None if nothing is."""
    try:
        inner = transformer_of(model)
        base = architecture_of(inner).base(inner)
    except ValueError:  # of no architecture, so nothing can be attached
        return None
    elimination: Elimination | None = getattr(base, MARK, None)
    return elimination


def override(module: nn.Module, name: str, function: Any) -> None:
    """Run ``function``, which pickle finds by name, instead of a module's own method of that name."""
    # An instance attribute shadows the class's method.
    module.__dict__[_PREVIOUS + name] = module.__dict__.get(name)
    module.__dict__[name] = ModuleMethod(function, module, name)


def is_overridden(module: nn.Module, name: str) -> bool:
    """Whether a module's method of that name is overridden."""
    return _PREVIOUS + name in module.__dict__


def restore(module: nn.Module, name: str) -> None:
    """Undo :func:`override`; what somebody else has set since stays."""
    before = module.__dict__.pop(_PREVIOUS + name)
    if not isinstance(module.__dict__.get(name), ModuleMethod):
        return
    del module.__dict__[name]
    if before is not None:
        module.__dict__[name] = before


def previous(module: nn.Module, name: str) -> Any:
    """What a module ran as its method of that name before :func:`override`."""
    return module.__dict__[_PREVIOUS + name] or MethodType(getattr(type(module), name), module)
