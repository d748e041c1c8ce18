"""`/embed`, as text-embeddings-inference has it, and `/v1/embeddings`, as OpenAI's clients ask."""

import base64

import httpx
import huggingface_hub.constants
import numpy as np
import pytest
from helpers.command_line import run
from helpers.served_model import Running, write_graph_clock, write_served_embedder
from huggingface_hub import InferenceClient
from openai import OpenAI
from sentence_transformers import SentenceTransformer

import latadj

TEXTS = ["the film is good", "a very long story about people and music", "bad"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_served_embedder(tmp_path_factory.mktemp("embeds"))


@pytest.fixture(scope="module")
def embedder(folder):
    with Running(folder) as running:
        yield running


@pytest.fixture(scope="module")
def expected(folder):
    """What sentence-transformers gives, of length 1."""
    return SentenceTransformer(str(folder), device="cpu").encode(TEXTS, normalize_embeddings=True)


def test_embeddings_are_those_of_sentence_transformers(embedder, expected):
    answer = embedder.post({"inputs": TEXTS}, path="/embed")
    assert np.abs(np.array(answer.json()) - expected).max() < 1e-6
    assert answer.headers["x-latadj-speedup"] == "1.000"
    assert float(answer.headers["x-latadj-expected-drop"].split(";")[0]) == 0


def test_graphs_embed_as_the_checkpoint_does(folder, expected):
    pytest.importorskip("onnxscript")
    graphs = folder.parent / "graphs"
    run("export", f"checkpoint={folder}", f"folder={folder.parent / 'run'}", f"output={graphs}")
    write_graph_clock(graphs)
    with Running(graphs) as running:
        answer = running.post({"inputs": TEXTS}, path="/embed")
        asked = running.post({"inputs": ["the film"], "prompt_name": "query"}, path="/embed")
    assert np.abs(np.array(answer.json()) - expected).max() < 1e-5
    plain = SentenceTransformer(str(folder), device="cpu")
    found = plain.encode(["the film"], prompt="good ", normalize_embeddings=True)
    assert np.abs(np.array(asked.json()) - found).max() < 1e-5


def test_one_text_is_answered_in_a_list_too(embedder, expected):
    assert np.abs(np.array(embedder.post({"inputs": TEXTS[1]}, path="/embed").json()) - expected[1:2]).max() < 1e-6


def test_lengths_stay_where_nobody_wants_them_to_be_1(embedder, expected):
    raw = np.array(embedder.post({"inputs": TEXTS, "normalize": False}, path="/embed").json())
    lengths = np.linalg.norm(raw, axis=1, keepdims=True)
    assert (np.abs(lengths - 1) > 1e-3).all()
    assert np.abs(raw / lengths - expected).max() < 1e-6


@pytest.mark.parametrize("path", ["/embed", "/v1/embeddings"])
def test_the_first_dimensions_alone_have_length_1(embedder, expected, path):
    body = {"inputs": TEXTS, "input": TEXTS, "dimensions": 8}
    found = embedder.post(body, path=path).json()
    vectors = np.array(found if path == "/embed" else [one["embedding"] for one in found["data"]])
    first = expected[:, :8] / np.linalg.norm(expected[:, :8], axis=1, keepdims=True)
    assert np.abs(vectors - first).max() < 1e-6


def test_a_model_that_gives_its_first_numbers_only_answers_with_them_and_with_more_if_asked(folder, tmp_path):
    model = latadj.load(folder, precision=None)
    model.truncate_dim = 12
    latadj.save(model, model.tokenizer, tmp_path / "truncated")
    with Running(tmp_path / "truncated") as running:
        found = np.array(running.post({"inputs": TEXTS}, path="/embed").json())
        more = np.array(running.post({"inputs": TEXTS, "dimensions": 20}, path="/embed").json())
        openai = running.post({"input": TEXTS}, path="/v1/embeddings").json()["data"]
    assert np.abs(found - model.encode(TEXTS, normalize_embeddings=True)).max() < 1e-6
    assert np.abs(more - model.encode(TEXTS, truncate_dim=20, normalize_embeddings=True)).max() < 1e-6
    assert np.array_equal([one["embedding"] for one in openai], found)


@pytest.mark.parametrize("form", ["float", "base64"])
def test_openais_clients_are_answered_as_they_expect(embedder, expected, form):
    body = {"input": TEXTS, "model": "text-embedding", "encoding_format": form, "user": "somebody"}
    found = embedder.post(body, path="/v1/embeddings").json()
    vectors = [one["embedding"] for one in found["data"]]
    if form == "base64":
        vectors = [np.frombuffer(base64.b64decode(vector), dtype="<f4") for vector in vectors]
    assert np.abs(np.array(vectors) - expected).max() < 1e-6
    assert (found["object"], found["model"]) == ("list", "text-embedding")
    assert [(one["object"], one["index"]) for one in found["data"]] == [("embedding", place) for place in range(3)]
    assert found["usage"]["prompt_tokens"] == found["usage"]["total_tokens"] > sum(len(text.split()) for text in TEXTS)


def test_texts_are_read_as_far_as_sentence_transformers_reads_them(embedder, folder):
    long = " ".join(["story"] * 100)
    found = np.array(embedder.post({"inputs": long, "truncate": True}, path="/embed").json())
    plain = SentenceTransformer(str(folder), device="cpu").encode([long], normalize_embeddings=True)
    assert np.abs(found - plain).max() < 1e-6
    assert embedder.post({"inputs": long}, path="/embed").status_code in (200, 413)


def test_a_prompt_stands_before_each_text(embedder, folder):
    plain = SentenceTransformer(str(folder), device="cpu", prompts={"query": "good "})
    found = embedder.post({"inputs": TEXTS, "prompt_name": "query"}, path="/embed").json()
    expected = plain.encode(TEXTS, prompt_name="query", normalize_embeddings=True)
    assert np.abs(np.array(found) - expected).max() < 1e-6


def test_info_names_the_pooling(embedder):
    assert httpx.get(f"{embedder.url}/info").json()["model_type"] == {"embedding": {"pooling": "mean"}}


@pytest.mark.parametrize(
    ("path", "body", "status", "message"),
    [
        ("/predict", {"inputs": "a film"}, 424, "model is not a classifier model"),
        ("/rerank", {"query": "a", "texts": ["b"]}, 424, "model is not a re-ranker model"),
        ("/embed", {"inputs": []}, 422, "inputs"),
        ("/embed", {"inputs": ""}, 413, "cannot be empty"),
        ("/embed", {"inputs": "a film", "prompt_name": "nobody"}, 422, "`prompt_name`: 'nobody', and this model has"),
        ("/embed", {"inputs": "a film", "dimensions": 0}, 422, "dimensions"),
        ("/embed", {"inputs": "a film", "dimensions": 999}, 422, "embeddings have 32"),
        ("/v1/embeddings", {"input": [1, 2]}, 422, "input"),
        ("/v1/embeddings", {"input": "a", "encoding_format": "int8"}, 422, "encoding_format"),
    ],
)
def test_what_cannot_be_answered_says_why(embedder, path, body, status, message):
    answer = embedder.post(body, path=path)
    assert answer.status_code == status
    assert message in answer.json()["error"]


@pytest.mark.parametrize(("path", "body"), [("/embed", {"inputs": "a"}), ("/v1/embeddings", {"input": "a"})])
def test_a_classifier_does_not_embed(server, path, body):
    answer = server.post(body, path=path)
    assert (answer.status_code, answer.json()["error"]) == (424, "model is not an embedding model")


def test_the_page_asks_for_embeddings(embedder):
    assert "<button>Embed</button>" in httpx.get(embedder.url).text


def test_the_client_of_the_hub_embeds(embedder, expected, monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)  # it would not even ask this machine
    found = InferenceClient(model=embedder.url).feature_extraction(TEXTS)
    assert np.abs(np.asarray(found) - expected).max() < 1e-6


def test_openais_own_client_embeds(embedder, expected):
    client = OpenAI(base_url=f"{embedder.url}/v1", api_key="none")
    found = client.embeddings.create(model="any", input=TEXTS)
    assert np.abs(np.array([one.embedding for one in found.data]) - expected).max() < 1e-6
