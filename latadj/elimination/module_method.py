"""A method that is set on a module instead of its class's: it follows the module through copies and pickles."""

from collections.abc import Callable
from functools import partial
from inspect import Signature, signature
from types import CodeType
from typing import Any

from torch import nn


class ModuleMethod:
    """What runs as a method of one module: a function that takes the module first, as a method does.

    A bound method would do but for pickle, which looks for a method of that name on the module's class.

    Parameters
    ----------
    function : called with the module first; one that pickle finds by name, or a partial of one
    module : whose method it is
    name : of the method of the module's class that it stands for
    """

    def __init__(self, function: Callable[..., Any], module: nn.Module, name: str = "forward") -> None:
        self.function, self.module, self.name = function, module, name

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.function(self.module, *args, **kwargs)

    @property
    def __code__(self) -> CodeType:
        # `torch.export` looks where a forward is written.
        function = self.function.func if isinstance(self.function, partial) else self.function
        code: CodeType = function.__code__
        return code

    @property
    def __signature__(self) -> Signature:
        # That of the class's own: `generate`, `Trainer` and `pipeline` look at it.
        own = signature(getattr(type(self.module), self.name))
        return own.replace(parameters=list(own.parameters.values())[1:])
