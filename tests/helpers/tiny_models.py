"""Tiny random models of every architecture, with the batches and outputs that their heads ask for."""

from dataclasses import dataclass

import torch
import transformers as tf

from latadj.elimination.architectures import architecture_of, layer_shapes
from latadj.elimination.dial import Dial
from latadj.elimination.profiles import Profile

ENCODERS = (
    "bert",
    "roberta",
    "xlm-roberta",
    "camembert",
    "electra",
    "distilbert",
    "albert",
    "mpnet",
    "deberta-v2",
    "nomic_bert",
    "modernbert",
)
DECODERS = ("gpt2", "llama", "mistral", "qwen2", "qwen3", "phi3", "gemma3_text")
ARCHITECTURES = (*ENCODERS, *DECODERS, "t5")
# Those whose layers share their weights, so that none can be made narrower than another.
SHARED = ("albert",)
# In which some layers see a few positions only, far fewer than texts have, and how many each of four does; 0: all.
WINDOWS = {
    "mistral": {"sliding_window": 6},
    "qwen2": {"sliding_window": 5, "use_sliding_window": True, "max_window_layers": 2},
    "gemma3_text": {"sliding_window": 6, "sliding_window_pattern": 2},
}
REACHES = {"mistral": (6, 6, 6, 6), "qwen2": (0, 0, 5, 5), "gemma3_text": (6, 0, 6, 0)}
HEADS = ("classifier", "language", "tagger")
LENGTHS = [17, 9, 23, 4]
FULL, CUT = Profile.full(4), Profile((0.9, 0.6, 0.4, 0.2))
AUTO_CLASSES = {
    "classifier": tf.AutoModelForSequenceClassification,
    "tagger": tf.AutoModelForTokenClassification,
    "reader": tf.AutoModelForQuestionAnswering,
    "choice": tf.AutoModelForMultipleChoice,
    "none": tf.AutoModel,
}
# What transformers has no class for.
WITHOUT = {("nomic_bert", "reader"), ("nomic_bert", "choice")}
# What a T5's text ends with, since its classifier reads there; no tiny text has it elsewhere.
END = 1


def tiny(model_type: str, head: str = "classifier", layers: int = 4, **options: object) -> tf.PreTrainedModel:
    """A random model whose weights are large enough for its outputs to differ."""
    torch.manual_seed(0)
    config = tf.AutoConfig.for_model(model_type, **{**_sizes(model_type, layers), **options})
    return _builder(model_type, head).from_config(config).eval()


def _builder(model_type: str, head: str) -> type:
    if head != "language":
        return AUTO_CLASSES[head]
    if model_type == "t5":
        return tf.AutoModelForSeq2SeqLM
    return tf.AutoModelForCausalLM if model_type in DECODERS else tf.AutoModelForMaskedLM


def _sizes(model_type: str, layers: int) -> dict[str, object]:
    common = {"vocab_size": 120, "num_labels": 3, "pad_token_id": 0, "bos_token_id": 2, "eos_token_id": None}
    if model_type == "t5":
        sizes = {"d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": layers, "num_decoder_layers": 2, "num_heads": 4}
        return {**common, **sizes, "feed_forward_proj": "gated-gelu", "decoder_start_token_id": 0, "eos_token_id": END}
    sizes = {"hidden_size": 32, "num_hidden_layers": layers, "num_attention_heads": 4, "initializer_range": 0.3}
    if model_type == "distilbert":
        return {**common, **sizes, "hidden_dim": 64, "max_position_embeddings": 64}
    sizes |= {"intermediate_size": 64, "max_position_embeddings": 64}
    if model_type == "modernbert":
        local = {"local_attention": 12, "global_attn_every_n_layers": 3, "initializer_cutoff_factor": 2.0}
        return {**common, **sizes, **local, "cls_token_id": 3, "sep_token_id": 4}
    if model_type == "deberta-v2":
        # As in DeBERTa-v3. Buckets of distances, the farthest of which stand in one, begin within a tiny text.
        relative = {"relative_attention": True, "pos_att_type": ["p2c", "c2p"], "position_buckets": 12}
        shared = {"share_att_key": True, "norm_rel_ebd": "layer_norm", "position_biased_input": False}
        return {**common, **sizes, **relative, **shared}
    if model_type == "nomic_bert":
        return {**common, **sizes, "initializer_range": 0.2}  # gates multiply what rounding adds
    if model_type == "albert":
        return {**common, **sizes, "embedding_size": 16}
    if model_type == "electra":
        return {**common, **sizes, "embedding_size": 16}
    if model_type == "gpt2":
        return {**common, **sizes, "n_inner": 64}
    if model_type in DECODERS:
        rotary = {"num_key_value_heads": 2, "head_dim": 8, "sliding_window": None, "attention_dropout": 0.1}
        return {**common, **sizes, **rotary, **WINDOWS.get(model_type, {})}
    return {**common, **sizes}


def batch_of(lengths: list[int], width: int | None = None, side: str = "right") -> dict[str, torch.Tensor]:
    """Random token ids of these lengths, padded to ``width``; positions count from the first real token."""
    generator = torch.Generator().manual_seed(1)
    width = width or max(lengths)
    ids = torch.zeros(len(lengths), width, dtype=torch.long)
    mask = torch.zeros_like(ids)
    positions = torch.zeros_like(ids)
    for row, length in enumerate(lengths):
        real = slice(0, length) if side == "right" else slice(width - length, width)
        ids[row, real] = torch.randint(1, 120, (length,), generator=generator)
        mask[row, real] = 1
        positions[row, real] = torch.arange(length)
    return {"input_ids": ids, "attention_mask": mask, "position_ids": positions}


@dataclass(frozen=True)
class Case:
    """An architecture and a head."""

    architecture: str
    head: str

    def __str__(self) -> str:
        return f"{self.architecture}-{self.head}"

    @property
    def sides(self) -> tuple[str, ...]:
        """Where the plain model takes padding without other outputs."""
        if self.architecture in ENCODERS and self.head == "classifier":
            return ("right",)  # it pools the first column
        if self.head == "language" and self.architecture in DECODERS:
            return ("left",)  # it goes on from the last column
        return ("right",) if (self.architecture, self.head) == ("t5", "classifier") else ("right", "left")

    def make(self, layers: int = 4, **options: object) -> tf.PreTrainedModel:
        return tiny(self.architecture, self.head, layers, **options)

    def batch(self, lengths: list[int], width: int | None = None, side: str | None = None) -> dict[str, torch.Tensor]:
        """Arguments of the model's forward for texts of these lengths."""
        batch = batch_of(lengths, width, side or self.sides[0])
        if self.architecture == "t5":
            del batch["position_ids"]
            ids, real = batch["input_ids"], batch["attention_mask"]
            ids[ids == END] = 2
            ids[torch.arange(len(ids)), (real * torch.arange(ids.shape[1])).argmax(dim=1)] = END
            if self.head == "language":
                batch["decoder_input_ids"] = torch.arange(5, 50, 9).expand(len(ids), 5)
        if self.head == "language" and self.architecture in DECODERS:
            batch["logits_to_keep"] = 1
        return batch

    def row(self, batch: dict[str, torch.Tensor], row: int) -> dict[str, torch.Tensor]:
        """One text of a batch, without its padding."""
        real = batch["attention_mask"][row].bool()
        return {
            name: value[row : row + 1, real]
            if name in ("input_ids", "attention_mask", "position_ids")
            else value
            if isinstance(value, int)
            else value[row : row + 1]
            for name, value in batch.items()
        }

    def outputs(self, model: tf.PreTrainedModel, batch: dict[str, torch.Tensor]) -> list[torch.Tensor]:
        """What the head says of each text, at its real positions if it reads them all."""
        logits = model(**batch).logits
        everywhere = self.head == "tagger" or (self.head == "language" and self.architecture in ENCODERS)
        if not everywhere:
            return list(logits)
        return [row[real] for row, real in zip(logits, batch["attention_mask"].bool(), strict=True)]


CASES = [
    Case(architecture, head)
    for architecture in ARCHITECTURES
    for head in HEADS
    if (architecture, head) != ("gemma3_text", "tagger")  # which transformers does not have
]
"""Every architecture with every head: for what says whether elimination is exact, and for nothing else."""

NARROWABLE = [case for case in CASES if case.architecture not in SHARED]
"""Those of which a layer can have fewer heads and neurons than another."""

REPRESENTATIVES = [
    Case("bert", "classifier"),
    Case("roberta", "language"),
    Case("xlm-roberta", "tagger"),
    Case("electra", "language"),
    Case("distilbert", "tagger"),
    Case("mpnet", "tagger"),
    Case("deberta-v2", "classifier"),
    Case("nomic_bert", "language"),
    Case("modernbert", "classifier"),
    Case("gpt2", "language"),
    Case("llama", "language"),
    Case("mistral", "tagger"),
    Case("qwen2", "classifier"),
    Case("qwen3", "tagger"),
    Case("phi3", "language"),
    Case("gemma3_text", "classifier"),
    Case("t5", "language"),
]
"""Every architecture once, every head with encoders and with decoders; ALBERT, which has no width, has its own file."""


def near(outputs: list[torch.Tensor], expected: list[torch.Tensor], atol: float = 5e-5) -> bool:
    """Whether two lists of outputs agree."""
    pairs = zip(outputs, expected, strict=True)
    return all(a.shape == b.shape and torch.allclose(a, b, atol=atol) for a, b in pairs)


def dial_for(model: tf.PreTrainedModel, **options: object) -> Dial:
    """A dial for a tiny model."""
    shapes = layer_shapes(model)
    reads = architecture_of(model).reads(model)
    return Dial(layer_acc=(0.8,) * len(shapes), lengths=tuple(LENGTHS), shapes=shapes, reads=reads, **options)
