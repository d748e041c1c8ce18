"""The graphs of a model that embeds texts as a ``SentenceTransformer``. Imports sentence-transformers."""

from collections.abc import Sequence
from typing import Any, NoReturn

import torch
from sentence_transformers import SentenceTransformer, SimilarityFunction
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from latadj.elimination.sentence_transformer import remember_modules, transformer_of
from latadj.inference.graph_folder import refuse_to_save
from latadj.runtime.manifest import Manifest


class GraphTransformer(nn.Module):
    """The first module: tokenizes, and runs the graphs, whose pooling leaves one state of a text, its embedding.

    Parameters
    ----------
    auto_model : the graphs
    max_seq_length : tokens of a text; what is longer is cut
    """

    def __init__(self, auto_model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, max_seq_length: int) -> None:
        super().__init__()
        self.auto_model, self.tokenizer, self.max_seq_length = auto_model, tokenizer, max_seq_length

    @property
    def max_seq_length(self) -> int:
        """Tokens of a text, which the tokenizer holds, as in a ``SentenceTransformer`` of weights."""
        return int(self.tokenizer.model_max_length)

    @max_seq_length.setter
    def max_seq_length(self, tokens: int) -> None:
        self.tokenizer.model_max_length = tokens

    def preprocess(self, inputs: Sequence[str], prompt: str | None = None, **options: Any) -> dict[str, Tensor]:
        """Token ids, (texts, longest)."""
        texts = [(prompt or "") + text for text in inputs]
        return dict(self.tokenizer(texts, padding=True, truncation=True, return_tensors="pt"))

    def tokenize(self, texts: Sequence[str], **options: Any) -> dict[str, Tensor]:
        """The same, as sentence-transformers 5.2 asks for it."""
        return self.preprocess(texts)

    def forward(self, features: dict[str, Any]) -> dict[str, Any]:
        """The features with ``token_embeddings``, (texts, 1, dimensions)."""
        names = ("input_ids", "attention_mask", "token_type_ids")
        output = self.auto_model(**{name: features[name] for name in names if name in features})
        return {**features, "token_embeddings": output.last_hidden_state}


class GraphPooling(nn.Module):
    """Takes that state for the embedding: pooling, and what comes after it, are in the graphs.

    Parameters
    ----------
    pooling_mode : what the graphs take of the tokens
    dimensions : of an embedding
    """

    include_prompt = True

    def __init__(self, pooling_mode: list[str], dimensions: int) -> None:
        super().__init__()
        self.pooling_mode, self.dimensions = pooling_mode, dimensions

    def forward(self, features: dict[str, Any]) -> dict[str, Any]:
        return {**features, "sentence_embedding": features["token_embeddings"][:, 0]}

    def get_embedding_dimension(self) -> int:
        """How many numbers an embedding has."""
        return self.dimensions

    get_sentence_embedding_dimension = get_embedding_dimension


class GraphEmbedder(SentenceTransformer):
    """A ``SentenceTransformer`` without weights."""

    def save(self, *args: Any, **options: Any) -> NoReturn:
        """Refused: there are no weights.

        Raises
        ------
        ValueError
        """
        refuse_to_save(transformer_of(self).predictor.folder)


def graph_embedder(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, manifest: Manifest) -> GraphEmbedder:
    """The pipeline that runs graphs, which :func:`latadj.elimination.sentence_transformer.pipeline_of` gives too."""
    how = manifest.embedding
    assert how is not None, "the manifest of a model that embeds says how"
    with torch.inference_mode():
        dimensions = model(torch.zeros(1, 1, dtype=torch.long)).last_hidden_state.shape[-1]
    named = next((name for name, text in how.prompts.items() if text and text == how.prompt), None)
    pipeline = GraphEmbedder(
        modules=[
            GraphTransformer(model, tokenizer, manifest.max_length),
            GraphPooling(how.pooling.split("+"), dimensions),
        ],
        device="cpu",
        prompts=how.prompts,
        default_prompt_name=named,
        similarity_fn_name=SimilarityFunction(how.similarity) if how.similarity else None,
        truncate_dim=how.dimensions,
    ).eval()
    remember_modules(model, pipeline)
    return pipeline
