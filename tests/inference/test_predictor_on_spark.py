"""latadj.Predictor in Spark's mapInPandas, as docs/guides/scale.md writes it."""

import logging
import re
import shutil
import sys
from pathlib import Path

import pyarrow as pa
import pytest
from helpers.served_model import write_served
from pyarrow import parquet

import latadj

TEXTS = ["the film is great", "bad", None, "a dull and bad film", " ", "good good film"] * 20


@pytest.fixture
def spark(tmp_path, monkeypatch):
    pyspark = pytest.importorskip("pyspark")
    if shutil.which("java") is None:
        pytest.skip("Spark needs Java")
    monkeypatch.chdir(tmp_path)  # where Java begins, too
    monkeypatch.setenv("PYSPARK_PYTHON", sys.executable)
    monkeypatch.setenv("PYTHONPATH", str(Path(latadj.__file__).parents[1]))  # as where it is installed
    monkeypatch.setenv("SPARK_LOCAL_IP", "127.0.0.1")
    builder = pyspark.sql.SparkSession.builder.master("local[1]").config("spark.ui.enabled", "false")
    session = builder.config("spark.driver.memory", "512m").getOrCreate()
    logging.getLogger("py4j").setLevel(logging.WARNING)  # it closes connections after the tests' output is closed
    yield session
    session.stop()


def test_the_guides_recipe_runs_on_a_local_spark(spark, tmp_path):
    guide = (Path(__file__).parents[2] / "docs" / "guides" / "scale.md").read_text(encoding="utf-8")
    (snippet,) = re.findall(r"```python\n(.*?)```", guide.partition("## On Spark")[2], re.DOTALL)
    write_served(tmp_path / "outputs" / "minilm-rotten_tomatoes")
    (tmp_path / "texts").mkdir()
    for number in range(2):
        own = pa.table({"id": range(number * len(TEXTS), (number + 1) * len(TEXTS)), "text": TEXTS})
        parquet.write_table(own, tmp_path / "texts" / f"{number}.parquet")
    # As in a notebook, whose functions are sent by what they hold.
    exec(compile(snippet, "scale.md", "exec"), {"__name__": "__main__"})
    found = parquet.read_table(tmp_path / "labels").sort_by("id").to_pylist()
    assert [row["id"] for row in found] == list(range(2 * len(TEXTS)))
    predictor = latadj.Predictor(tmp_path / "outputs" / "minilm-rotten_tomatoes" / "checkpoint", speedup=3, threads=1)
    for row, want in zip(found, predictor(TEXTS, on_error="skip") * 2, strict=True):
        assert row["label"] == want.get("label")
        assert row["probability"] == (pytest.approx(want["probability"], abs=1e-5) if want else None)
