"""Tiny models that embed texts, in the folders of sentence-transformers."""

import json
from pathlib import Path
from typing import Any

import torch
from helpers import toy_project as toy
from helpers.command_line import run
from helpers.tiny_models import tiny
from sentence_transformers import SentenceTransformer
from transformers import AutoConfig, AutoModel, AutoTokenizer

from latadj.checkpoints import checkpoint
from latadj.checkpoints.metadata import CheckpointMetadata
from latadj.checkpoints.task_spec import TaskSpec
from latadj.elimination.architectures import architecture_of, layer_shapes
from latadj.elimination.dial import Dial

TEXTS = [" ".join(toy.FILLER[start : start + count]) for start in range(4) for count in (1, 5, 7)]


def write_embedder(
    folder: Path, *, pooling: str = "mean", layers: int = 4, normalize: bool = True, architecture: str = "bert"
) -> Path:
    """A random model whose tokens are pooled, as sentence-transformers saves it."""
    toy.write_model(folder, layers)
    torch.manual_seed(0)
    if architecture == "bert":
        config = AutoConfig.from_pretrained(folder, initializer_range=0.3)
    else:
        words = len(AutoTokenizer.from_pretrained(folder))
        config = tiny(architecture, layers=layers, vocab_size=words, max_position_embeddings=200).config
    AutoModel.from_config(config).save_pretrained(folder)
    modules = ["Transformer", "Pooling", *(["Normalize"] if normalize else [])]
    write_modules(folder, modules)
    (folder / "1_Pooling").mkdir()
    modes = {"cls": "cls_token", "mean": "mean_tokens", "max": "max_tokens", "lasttoken": "lasttoken"}
    chosen = {f"pooling_mode_{name}": mode == pooling for mode, name in modes.items()}
    (folder / "1_Pooling" / "config.json").write_text(json.dumps({"word_embedding_dimension": 32, **chosen}))
    (folder / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 32, "do_lower_case": False}))
    return folder


def write_modules(folder: Path, types: list[str]) -> None:
    """The list of modules of a folder; a type without a dot is sentence-transformers' own."""
    modules = [
        {
            "idx": place,
            "name": str(place),
            "path": f"{place}_{name.split('.')[-1]}" if place else "",
            "type": name if "." in name else f"sentence_transformers.models.{name}",
        }
        for place, name in enumerate(types)
    ]
    (folder / "modules.json").write_text(json.dumps(modules))


def embedder(folder: Path, **options: Any) -> SentenceTransformer:
    """The model of :func:`write_embedder`."""
    return SentenceTransformer(str(write_embedder(folder, **options)), device="cpu").eval()


def write_dialled(folder: Path, source: Path) -> Path:
    """A checkpoint of such a model, with a dial that was not searched, and a task of pairs."""
    model, tokenizer = checkpoint.load(source)
    dial = Dial(
        layer_acc=(0.9, 0.8, 0.7, 0.6),
        lengths=tuple(range(6, 24)),
        shapes=layer_shapes(model),
        reads=architecture_of(model).reads(model),
    )
    task_spec = TaskSpec("embedding", ["sentence1", "sentence2"], [], "spearman", 32, 4)
    checkpoint.save(model, tokenizer, folder, CheckpointMetadata("sts", dial, task_spec=task_spec))
    return folder


def write_exported(root: Path) -> Path:
    """A run in ``root/out``: its checkpoint, and graphs of that.

    The model has prompts, compares products and gives the first 24 of its 32 numbers.
    """
    source = write_embedder(root / "model", normalize=False)
    settings = {"prompts": {"query": "the film ", "document": ""}, "default_prompt_name": "query"}
    settings |= {"similarity_fn_name": "dot", "truncate_dim": 24}
    (source / "config_sentence_transformers.json").write_text(json.dumps(settings))
    checkpoint = write_dialled(root / "out" / "checkpoint", source)
    run("export", f"checkpoint={checkpoint}", f"folder={root / 'out'}", f"output={root / 'out' / 'exported'}")
    return root / "out"


def write_pairs(folder: Path, examples: int = 120) -> Path:
    """Pairs of sentences and how alike they are, in GLUE's layout for STS-B."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, count in (("train.tsv", examples), ("dev.tsv", examples // 2)):
        lines = ["sentence1\tsentence2\tscore"]
        for number in range(count):
            shared = number % 6
            words = [toy.FILLER[(number * step + place) % len(toy.FILLER)] for step in (1, 3) for place in range(8)]
            lines.append(f"{' '.join(words[:8])}\t{' '.join(words[:shared] + words[8 + shared :])}\t{shared}")
        (folder / name).write_text("\n".join(lines) + "\n")
    return folder
