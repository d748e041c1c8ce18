"""The API of text-embeddings-inference, and what `latadj` says beside it."""

import json

import httpx
import huggingface_hub.constants
import numpy as np
import pytest
import torch
from fastapi.testclient import TestClient
from helpers.served_model import DROPS, GENEROUS, Running, config_for, wait_for, write_served
from huggingface_hub import InferenceClient

import latadj
from latadj.commands.serve.serve import open_service
from latadj.elimination.attach import attached
from latadj.server.application import application
from latadj.server.model_service import ModelService

TEXTS = ["the film is great", "a very long story about people", "bad", "awful music and the people is a poor story"]


def logits(folder, texts, speedup=1.0):
    """What the library answers, one text at a time."""
    model, tokenizer = latadj.load(folder, speedup=speedup, precision=None)
    with torch.inference_mode():
        return np.concatenate([model(**tokenizer(*text, return_tensors="pt")).logits.numpy() for text in texts])


def by_label(answer):
    return {one["label"]: one["score"] for one in answer}


def test_one_text_is_a_list_of_labels_the_likeliest_first(api, served_root):
    response = api.post({"inputs": TEXTS[0]})
    assert response.status_code == 200, response.text
    assert [list(one) for one in response.json()] == [["score", "label"]] * 2
    scores = [one["score"] for one in response.json()]
    assert scores == sorted(scores, reverse=True)
    expected = torch.from_numpy(logits(served_root / "checkpoint", [[TEXTS[0]]])[0]).softmax(0)
    assert by_label(response.json()) == pytest.approx({"bad": expected[0].item(), "good": expected[1].item()}, abs=1e-5)


def test_a_batch_is_answered_in_its_order(api, served_root):
    texts = [[text] for text in TEXTS * 5]
    answers = api.post({"inputs": texts, "raw_scores": True}).json()
    expected = logits(served_root / "checkpoint", texts)
    found = np.array([[by_label(one)["bad"], by_label(one)["good"]] for one in answers])
    np.testing.assert_allclose(found, expected, atol=2e-4)


def test_pairs_and_texts_mix_in_a_batch(api, served_root):
    texts = [["the film"], ["the film", "is great"], ["bad", "poor"]]
    answers = api.post({"inputs": texts, "raw_scores": True}).json()
    expected = logits(served_root / "checkpoint", texts)
    assert [by_label(one)["bad"] for one in answers] == pytest.approx(expected[:, 0].tolist(), abs=2e-4)
    alone = api.post({"inputs": texts[1], "raw_scores": True}).json()
    assert by_label(alone) == pytest.approx(by_label(answers[1]), abs=2e-4)


def test_a_list_of_one_text_is_that_text(api):
    assert api.post({"inputs": ["bad"]}).json() == api.post({"inputs": "bad"}).json()


def test_the_score_is_a_32_bit_number_in_as_few_digits_as_tell_it(api):
    written = json.loads(api.post({"inputs": "bad"}).text, parse_float=str)
    assert all(len(one["score"].strip("0").replace(".", "").split("e")[0]) <= 9 for one in written)


def test_what_is_longer_than_the_model_reads_is_refused_or_cut(api):
    text = " ".join(["film"] * 200)
    refused = api.post({"inputs": text})
    assert (refused.status_code, refused.json()["error_type"]) == (413, "Validation")
    assert "at most 32 tokens" in refused.json()["error"]
    assert api.post({"inputs": text, "truncate": True}).status_code == 200
    ends = [f"great {text}", f"{text} great"]
    answers = [
        api.post({"inputs": one, "truncate": True, "truncation_direction": side, "raw_scores": True}).json()
        for one, side in zip(ends, ("Right", "left"), strict=True)
    ]
    plain = api.post({"inputs": text, "truncate": True, "raw_scores": True}).json()
    assert plain not in answers


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"inputs": ""}, 413),
        ({"inputs": []}, 422),
        ({"inputs": [[]]}, 422),
        ({"inputs": ["a", "b", "c"]}, 422),
        ({"inputs": [["a"], "b"]}, 422),
        ({"inputs": 3}, 422),
        ({"inputs": None}, 422),
        ({}, 422),
        ([], 422),
        ({"inputs": "a", "truncate": "yes"}, 422),
        ({"inputs": "a " * 5000}, 413),
        ({"inputs": [["a"]] * 41}, 413),
    ],
)
def test_what_is_not_the_api_is_refused_with_a_reason(api, body, status):
    response = api.post(body)
    assert response.status_code == status
    assert set(response.json()) == {"error", "error_type"}
    assert response.json()["error"]


@pytest.mark.parametrize(
    "content", [b"", b"{", b'{"inputs": "\xff\xfe"}', b'{"inputs": "\\ud800"}', b"[" * 20_000, b'{"inputs": NaN}']
)
def test_a_body_that_cannot_be_read_is_refused(api, content):
    response = httpx.post(f"{api.url}/predict", content=content, headers={"content-type": "application/json"})
    assert response.status_code == 422
    assert set(response.json()) == {"error", "error_type"}


@pytest.mark.parametrize("streamed", [False, True])
def test_a_large_body_is_refused(api, streamed):
    body = b'{"inputs": "' + b"a" * 3_000_000 + b'"}'
    content = iter([body[:1_500_000], body[1_500_000:]]) if streamed else body
    try:
        response = httpx.post(
            f"{api.url}/predict", content=content, headers={"content-type": "application/json"}, timeout=30
        )
    except httpx.WriteError:
        return  # the connection was closed while it was sent, which is as good
    assert response.status_code == 413


def test_headers_say_how_the_answer_was_made(api):
    headers = api.post({"inputs": "the film is great"}, {"X-Request-Id": "mine-7"}).headers
    assert headers["X-Latadj-Speedup"] == "1.000"
    assert headers["X-Latadj-Expected-Drop"] == "0.00; low=-0.50; high=0.50"
    timing = dict(part.strip().split(";dur=") for part in headers["Server-Timing"].split(","))
    assert set(timing) == {"queue", "tokenise", "run"}
    assert all(float(value) >= 0 for value in timing.values())
    assert headers["X-Request-Id"] == "mine-7"
    assert len(api.post({"inputs": "a"}).headers["X-Request-Id"]) >= 32


def test_a_deadline_that_nothing_can_meet_is_answered_with_when_to_come_back(api):
    api.post({"inputs": "bad"})
    response = api.post({"inputs": [["the film is great"]] * 40}, {"X-Deadline-Ms": "0.001"})
    assert (response.status_code, response.json()["error_type"]) == (429, "Overloaded")
    assert int(response.headers["Retry-After"]) >= 1


@pytest.mark.parametrize("headers", [{"X-Deadline-Ms": "0"}, {"X-Deadline-Ms": "nan"}, {"X-Max-Drop": "-1"}])
def test_headers_out_of_range_are_refused(api, headers):
    response = api.post({"inputs": "a"}, headers)
    assert response.status_code == 422
    assert next(iter(headers)).lower() in response.json()["error"].lower()


def test_info_says_what_is_served(api, served_root):
    found = httpx.get(f"{api.url}/info").json()
    assert found["model_id"] == str(served_root / "checkpoint")
    assert found["model_type"] == {
        "classifier": {"id2label": {"0": "bad", "1": "good"}, "label2id": {"bad": 0, "good": 1}}
    }
    assert (found["max_input_length"], found["max_client_batch_size"], found["model_dtype"]) == (32, 40, "float32")
    assert found["dial"]["deadline_ms"] == GENEROUS


def test_metrics_count_what_was_answered(api):
    def value(name):
        lines = httpx.get(f"{api.url}/metrics").text.splitlines()
        return float(next((line for line in lines if line.startswith(f"{name} ")), "0").split()[-1])

    before = value("latadj_texts_total"), value('latadj_requests_total{code="200"}')
    api.post({"inputs": [["a"], ["bad"]]})
    wait_for(lambda: value('latadj_requests_total{code="200"}') == before[1] + 1)
    assert value("latadj_texts_total") == before[0] + 2
    assert value("latadj_dial_speedup") == 1.0
    assert value("latadj_request_duration_seconds_count") >= 1
    assert value("latadj_queue_texts") == 0


def test_the_warm_up_makes_the_server_ready(served_root):
    with Running(served_root / "checkpoint", "warm_up_s=0.5") as running:
        assert running.post({"inputs": "bad"}).status_code == 200
        assert running.service.engine.scheduler.times.call(0) > 0


def test_before_the_warm_up_it_is_not_healthy(served_root, monkeypatch):
    monkeypatch.setattr(ModelService, "start", lambda self, failed: None)
    service = open_service(config_for(served_root / "checkpoint"))
    with TestClient(application(service)) as client:
        for response in (client.get("/health"), client.post("/predict", json={"inputs": "a"})):
            assert (response.status_code, response.json()["error_type"]) == (503, "Unhealthy")
            assert int(response.headers["Retry-After"]) >= 1


def test_health(api):
    assert httpx.get(f"{api.url}/health").status_code == 200


def test_an_unknown_page_is_no_fault_of_ours(api):
    assert httpx.get(f"{api.url}/nothing").json() == {"error": "Not Found", "error_type": "Validation"}
    assert httpx.get(f"{api.url}/predict").status_code == 405


@pytest.mark.parametrize("path", ["/predict", "/"])
def test_the_client_of_hugging_face(api, path, monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)  # it would not even ask this machine
    answer = InferenceClient(api.url + path).text_classification("the film is great")
    best = api.post({"inputs": "the film is great"}).json()[0]
    assert (answer.label, answer.score) == (best["label"], best["score"])


def test_one_server_answers_many_at_a_time(api, served_root):
    from concurrent.futures import ThreadPoolExecutor

    texts = TEXTS * 10
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda text: api.post({"inputs": text, "raw_scores": True}).json(), texts))
    expected = logits(served_root / "checkpoint", [[text] for text in TEXTS])[:, 0].tolist() * 10
    assert [by_label(answer)["bad"] for answer in answers] == pytest.approx(expected, abs=2e-4)


@pytest.fixture(scope="module")
def fast(served_root):
    """A server that is to run at 3x."""
    with Running(
        served_root / "checkpoint", "policy=fixed", "speedup=3", "max_drop=null", "api_key=secret", "replicas=2"
    ) as running:
        yield running


KEY = {"Authorization": "Bearer secret"}


def test_a_fixed_speedup_is_that_of_the_dial(fast, served_root):
    response = fast.post({"inputs": TEXTS[1], "raw_scores": True}, KEY)
    (drop,) = fast.service.served.drops
    assert response.headers["X-Latadj-Speedup"] == "3.000"
    assert response.headers["X-Latadj-Expected-Drop"].startswith(f"{100 * drop.drop:.2f}; low=")
    assert DROPS[2.0] < 100 * drop.drop < DROPS[5.0]
    expected = by_label(response.json())["bad"]
    model, tokenizer = latadj.load(served_root / "checkpoint", speedup=3, batch=8)
    with torch.inference_mode():
        found = model(**tokenizer(TEXTS[1], return_tensors="pt")).logits[0, 0].item()
    assert found == pytest.approx(expected, abs=2e-4)


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic secret"}])
def test_a_key_is_asked_for(fast, headers):
    for response in (fast.post({"inputs": "a"}, headers), httpx.get(f"{fast.url}/info", headers=headers)):
        assert (response.status_code, response.json()["error_type"]) == (401, "Unauthorized")
    assert httpx.get(f"{fast.url}/health").status_code == 200


@pytest.fixture(scope="module")
def reranker(served_root):
    with Running(write_served(served_root, "regression", labels=())) as running:
        yield running


def test_a_regression_gives_its_value_as_it_is(reranker):
    raw = reranker.post({"inputs": "bad", "raw_scores": True}).json()
    score = reranker.post({"inputs": "bad"}).json()
    assert [one["label"] for one in raw] == ["LABEL_0"]
    assert score[0]["score"] == pytest.approx(1 / (1 + np.exp(-raw[0]["score"])), abs=1e-6)


def test_texts_are_ranked_by_their_score_beside_the_query(reranker, served_root):
    body = {"query": "the film", "texts": TEXTS, "raw_scores": True}
    response = reranker.post(body, path="/rerank")
    assert response.status_code == 200, response.text
    expected = logits(served_root / "regression", [["the film", text] for text in TEXTS])[:, 0]
    assert [one["index"] for one in response.json()] == np.argsort(-expected).tolist()
    assert [one["score"] for one in response.json()] == pytest.approx(sorted(expected, reverse=True), abs=2e-4)
    assert response.headers["X-Latadj-Speedup"] == "1.000"
    assert list(httpx.get(f"{reranker.url}/info").json()["model_type"]) == ["reranker"]


def test_ranked_texts_come_with_their_text_where_it_is_asked_for(reranker):
    bare = reranker.post({"query": "the film", "texts": TEXTS}, path="/rerank").json()
    full = reranker.post({"query": "the film", "texts": TEXTS, "return_text": True}, path="/rerank").json()
    assert [sorted(one) for one in bare] == [["index", "score"]] * 4
    assert full == [{"index": one["index"], "text": TEXTS[one["index"]], "score": one["score"]} for one in bare]
    assert all(0 < one["score"] < 1 for one in bare)


def test_a_reranker_is_served_at_a_speedup_with_its_query_protected(served_root):
    folder = write_served(served_root, "protecting", labels=(), protected=6, drops=False)
    pairs = [("the film music", text) for text in TEXTS]
    expected = latadj.load(folder, speedup=1.3, precision="fp32").predict(pairs)
    body = {"query": "the film music", "texts": TEXTS}
    with Running(folder, "policy=fixed", "speedup=1.3", "max_drop=null") as running:
        response = running.post(body, path="/rerank")
        assert response.headers["X-Latadj-Speedup"] == "1.300"
        found = {one["index"]: one["score"] for one in response.json()}
    assert [found[place] for place in range(len(TEXTS))] == pytest.approx(expected, abs=1e-5)
    other = latadj.load(folder, speedup=1.3, precision="fp32")
    attached(other).pair = None
    assert np.abs(other.predict(pairs) - expected).max() > 1e-4


def test_haystacks_ranker_for_text_embeddings_inference_ranks(reranker, monkeypatch):
    monkeypatch.setenv("HAYSTACK_TELEMETRY_ENABLED", "False")
    from haystack import Document
    from haystack_integrations.components.rankers.huggingface_api import HuggingFaceTEIRanker

    documents = [Document(id=str(number), content=text) for number, text in enumerate(TEXTS)]
    found = HuggingFaceTEIRanker(url=reranker.url, top_k=3).run(query="the film", documents=documents)["documents"]
    expected = reranker.post({"query": "the film", "texts": TEXTS}, path="/rerank").json()[:3]
    assert [int(one.id) for one in found] == [one["index"] for one in expected]
    assert [one.score for one in found] == [one["score"] for one in expected]


@pytest.mark.parametrize(
    ("body", "status", "says"),
    [
        ({"query": "the film", "texts": []}, 422, "texts"),
        ({"texts": ["bad"]}, 422, "query"),
        ({"query": "", "texts": [""]}, 413, "cannot be empty"),
        ({"query": "the film", "texts": ["bad " * 40]}, 413, "at most 32 tokens"),
    ],
)
def test_what_cannot_be_ranked_is_refused(reranker, body, status, says):
    response = reranker.post(body, path="/rerank")
    assert (response.status_code, sorted(response.json())) == (status, ["error", "error_type"])
    assert says in response.json()["error"]


def test_a_classifier_ranks_nothing(api):
    response = api.post({"query": "the film", "texts": TEXTS}, path="/rerank")
    assert (response.status_code, response.json()) == (
        424,
        {"error": "model is not a re-ranker model", "error_type": "Backend"},
    )


def test_a_request_may_ask_for_less_to_be_lost(server):
    served = server.service.served
    last = len(served.drops) - 1
    assert served.ceiling(None, False) == last
    assert served.ceiling(0.0, False) == 0
    half = served.ceiling(0.5, False)
    assert 0 < half < last
    assert 100 * served.drops[half].drop <= 0.5 < 100 * served.drops[half + 1].drop
    assert served.ceiling(0.5, True) < half
    assert 0.9 < 100 * served.drops[-1].drop <= 1.0  # max_drop of the server
    assert served.ceiling(200.0, False) == last
