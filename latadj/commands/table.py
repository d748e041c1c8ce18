"""The commands: one row each. Read by the command line before anything else is imported, so it names modules only."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any


@dataclass(frozen=True)
class Command:
    """One command; its config is in ``latadj.config.SCHEMAS`` and in `conf/` under its name.

    help : one line of `latadj --help`
    module : with ``prepare`` and ``run``; it imports torch, so it is imported when the command runs
    checks : ``module:function`` below ``latadj``, which gets the typed config and refuses what cannot work, without
        torch; what it returns goes to ``prepare`` as ``checked``
    alone : whether it is to be the only run that writes in its ``folder``
    shared : whether several processes, as torchrun starts them, can run it together
    """

    help: str
    module: str
    checks: str | None = None
    alone: bool = True
    shared: bool = False

    def load(self) -> Any:
        """The command's module."""
        return import_module(f"latadj.commands.{self.module}")

    def check(self, config: Any) -> Any:
        """Refuse what can be refused before torch is imported.

        Returns
        -------
        what was read for it, such as the checkpoint's metadata, for the command's ``prepare``; None: nothing

        Raises
        ------
        ValueError
        """
        if self.checks is None:
            return None
        module, _, name = self.checks.partition(":")
        refuse: Callable[[Any], object] = getattr(import_module(f"latadj.{module}"), name)
        return refuse(config)


COMMANDS: dict[str, Command] = {
    "finetune": Command(
        "Fine-tune a model: plain first, then adjustable along the dial.",
        "finetune",
        "commands.common.training_checks:check_finetune",
        shared=True,
    ),
    "prune": Command(
        "Prune the heads, neurons and blocks of a fine-tuned model that its task does not need.",
        "prune.prune",
        "commands.prune.checks:check",
    ),
    "calibrate": Command(
        "Measure ACC on training text and make the dial of a fine-tuned model.",
        "calibrate",
        "commands.checks:check_calibrate",
    ),
    "sweep": Command(
        "Metric and measured speedup along the dial: latadj sweep speedup=1..5.",
        "evaluation.sweep",
        "commands.evaluation.compared_models:check_sweep",
    ),
    "eval": Command(
        "Metric, latency percentiles and predictions at one speedup: latadj eval speedup=3.",
        "evaluation.evaluate",
        "commands.checks:check_eval",
    ),
    "predict": Command(
        "Label, tag, answer or embed a stream of texts: latadj predict speedup=3 input=texts.txt, or deadline_ms=20.",
        "predict.predict",
        "commands.predict.checks:check_predict",
        alone=False,
    ),
    "serve": Command(
        "Serve a model over HTTP, as fast as its load asks for: latadj serve port=8080 deadline_ms=50 max_drop=1.",
        "serve.serve",
        "commands.serve.checks:check_serve",
        alone=False,
    ),
    "bench": Command("The dial against other runtimes, over batch sizes and lengths, with random weights.", "bench"),
    "generate": Command(
        'Continue a prompt at one speedup: latadj generate "Once upon a time" speedup=3.',
        "generate",
        "commands.checks:check_generate",
        alone=False,
    ),
    "glue": Command(
        "Fine-tune, calibrate and sweep GLUE's tasks, and write its table: latadj glue tasks=[sst2,cola].",
        "glue.glue",
        "commands.glue.stages:check",
    ),
    "explain": Command(
        'Show which words survive to which layer: latadj explain "a fine film" speedup=3.',
        "explain",
        "commands.checks:check_explain",
        alone=False,
    ),
    "extract": Command(
        "Save the sub-network of one speedup as a smaller model: latadj extract speedup=3.",
        "extract",
        "commands.checks:check_extract",
    ),
    "export": Command(
        "Write a model as ONNX graphs with the dial as an input, for other runtimes: latadj export.",
        "export",
        "commands.common.exported_checks:check_export",
    ),
    "report": Command(
        "One HTML page of all that a run's folder holds: latadj report folder=FOLDER.", "report", alone=False
    ),
}
