"""The model and the device it runs on."""

from dataclasses import dataclass
from typing import Any

from omegaconf import MISSING

from latadj.config.fields import Rule, Section, one_of, option

PRECISIONS = ("fp32", "bf16", "int8")

NAMES = ("auto", "cpu", "cuda", "mps")
DEVICE = Rule(
    f"one of {', '.join(NAMES)}, or one of several as in cuda:1",
    lambda value: value == "auto" or value.partition(":")[0] in NAMES[1:],
    NAMES,
)
THREADS = Rule("1 to 4096", lambda value: 1 <= value <= 4096)


@dataclass
class ModelConfig(Section):
    """The model that is fine-tuned."""

    name: str = option(MISSING, "name of the model, in folders and tables")
    path: str = option(MISSING, "a transformers folder, a .gguf file or a name on the Hugging Face hub")
    learning_rate: float = option(5e-5, "learning rate of plain fine-tuning; the other stages derive theirs from it")
    trust_remote_code: bool = option(False, "run the code that a model on the hub brings")
    weights: str = option("pretrained", "random: made from model.shape, for bench", one_of("pretrained", "random"))
    shape: dict[str, Any] = option({}, "model_type and options of its config for random weights; empty: as in path")
    size: str | None = option(None, "which size of the model to take, where its path and shape depend on one")


@dataclass
class DeviceConfig(Section):
    """The device, and how it computes."""

    name: str = option("auto", "auto: the first of CUDA, MPS and CPU that is available", DEVICE)
    threads: int | None = option(None, "CPU threads; null: as PyTorch chooses", THREADS)
    cpus: list[int] | None = option(None, "numbers of the CPUs to run on, such as [0,1]; null: all")
    precision: str = option(
        "fp32", "number format for inference; auto: the fastest here, as measured", one_of(*PRECISIONS, "auto")
    )
    train_precision: str = option(
        "auto",
        "number format for training; auto: bf16 autocast where a measured step is faster",
        one_of("auto", "fp32", "bf16"),
    )

    @property
    def asked_threads(self) -> int | None:
        """CPU threads: as many as asked for, else one for each of ``cpus``; None: nobody says it."""
        return len(self.cpus) if self.threads is None and self.cpus else self.threads
