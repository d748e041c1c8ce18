"""Tables of predict's throughput and memory."""

from latadj.reporting.results.predict_benchmark import document

WHERE = {"processor": "toy", "threads": 2, "precision": "fp32"}


def test_a_contestant_has_the_batch_size_that_was_best_for_it():
    found = document(
        {
            "sentences": 1000,
            "chunk": 100,
            "batch_size": 32,
            "texts_per_s": {"predict, 1x": 200.4, "transformers.pipeline": 99.6},
            "tried": {"transformers.pipeline": {"best": 8}},
            "ratios": {"predict, 1x over transformers.pipeline": {"median": 2.0, "low": 1.9, "high": 2.1}},
            "environment": {**WHERE, "quiet": {"warning": "rounds lay 20% apart"}},
        }
    ).markdown()
    assert "| predict, 1x | 200 | 32 |\n| transformers.pipeline | 100 | 8 |" in found
    assert "| predict, 1x over transformers.pipeline | 2.00x | 1.90–2.10 |" in found
    assert found.endswith(
        "1,000 review sentences in turns of 100. toy, 2 threads, fp32. Warning: rounds lay 20% apart.\n"
    )


def test_peaks_of_memory_stand_by_the_number_of_lines():
    found = document({"peak_bytes": {"10": 2**20, "1000": 2**21}, "ratio": 2.0, "environment": WHERE}).markdown()
    assert "| 10 | 1 |\n| 1,000 | 2 |" in found
    assert "2.000 times the memory" in found
