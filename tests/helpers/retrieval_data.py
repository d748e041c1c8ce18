"""Queries and documents in BEIR's files."""

import json


def write_beir(folder, qrels="query-id\tcorpus-id\tscore\nq1\td2\t2\nq1\td1\t1\nq2\td9\t1\nq2\td1\t0\n"):
    (folder / "qrels").mkdir(parents=True)
    documents = [
        {"_id": "d1", "title": "", "text": "the film"},
        {"_id": "d2", "title": "A title", "text": "a long story"},
    ]
    (folder / "corpus.jsonl").write_text("\n".join(map(json.dumps, documents)))
    queries = [{"_id": "q1", "text": "story"}, {"_id": "q2", "text": "people"}]
    (folder / "queries.jsonl").write_text("\n".join(map(json.dumps, queries)))
    (folder / "qrels" / "test.tsv").write_text(qrels)
    return folder
