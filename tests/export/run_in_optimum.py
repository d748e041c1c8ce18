"""Runs exported folders in optimum and in sentence-transformers, where they are installed; knows nothing of latadj.

python run_in_optimum.py classify|embed FOLDER TEXT...
"""

import json
import sys

import torch
from optimum.onnxruntime import ORTModelForSequenceClassification
from sentence_transformers import SentenceTransformer
from transformers import AutoTokenizer


def classify(folder: str, texts: list[str]) -> list[dict[str, float]]:
    """For each text the probability of every label."""
    model, tokenizer = ORTModelForSequenceClassification.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    logits = model(**tokenizer(texts, padding=True, truncation=True, return_tensors="pt")).logits
    names = model.config.id2label
    return [{names[place]: value for place, value in enumerate(row)} for row in torch.softmax(logits, 1).tolist()]


def embed(folder: str, texts: list[str]) -> list[list[float]]:
    """For each text the mean of what the graph computes for its tokens, of length 1."""
    model = SentenceTransformer(folder, backend="onnx", device="cpu", local_files_only=True)
    return model.encode(texts, normalize_embeddings=True).tolist()


if __name__ == "__main__":
    what, folder, *texts = sys.argv[1:]
    print(json.dumps({"classify": classify, "embed": embed}[what](folder, texts)))
