"""Files of vectors, read again by NumPy and by Parquet's readers."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from pyarrow import parquet

from latadj.inference.streams.rows import Row
from latadj.inference.streams.served_embeddings import Embeddings
from latadj.inference.streams.vector_files import NpyLayout, ParquetLayout

NUMBERS = ["float32", "float16", "int8", "uint8", "binary", "ubinary"]
ROWS = [Row(number, ("a",), key=10 * number) for number in (1, 2, 4, 5, 9)]


def vectors(numbers, count=5, width=16):
    rng = np.random.default_rng(0)
    kind = Embeddings(numbers).dtype
    if kind.kind == "f":
        return rng.normal(size=(count, width)).astype(kind)
    return rng.integers(-100 if kind == "int8" else 0, 100, (count, width)).astype(kind)


def written(tmp_path, layout, windows):
    """A file of windows of rows and their vectors."""
    part, final = tmp_path / "out.part", tmp_path / f"out.{layout.kind}"
    part.write_bytes(layout.header() + b"".join(layout.rows(*window) for window in windows))
    layout.publish(part, final, sum(len(rows) for rows, _ in windows))
    assert not part.exists()
    return final


def windows(values):
    return [(ROWS[:3], values[:3]), (ROWS[3:], values[3:])]


@pytest.mark.parametrize("numbers", NUMBERS)
def test_numpy_maps_an_array_of_all_windows(tmp_path, numbers):
    values = vectors(numbers)
    task = Embeddings(numbers)
    path = written(tmp_path, NpyLayout("npy", task, width=16, dtype=task.dtype), windows(values))
    mapped = np.load(path, mmap_mode="r")
    assert isinstance(mapped, np.memmap)
    assert mapped.dtype == task.dtype
    assert np.array_equal(mapped, values)


def test_the_header_of_an_array_has_room_for_any_number_of_rows():
    layout = NpyLayout("npy", Embeddings(), width=384, dtype=np.dtype("float32"))
    assert len({len(layout._header(10**power)) for power in range(19)}) == 1


@pytest.mark.parametrize("escape", [False, True])
def test_an_array_has_a_table_of_its_rows(escape):
    layout = NpyLayout("npy", Embeddings(), keyed=True, escape=escape, width=1)
    rows = [Row(2, ("a",), key="=x"), Row(5, ("b",), key="y,z")]
    expected = f'row,id\n2,{chr(39) * escape}=x\n5,"y,z"\n'
    assert (layout.index_header() + layout.index(rows)).decode() == expected


@pytest.mark.parametrize("numbers", NUMBERS)
def test_a_parquet_file_has_a_list_of_fixed_size_and_a_group_a_window(tmp_path, numbers):
    values = vectors(numbers)
    task = Embeddings(numbers)
    layout = ParquetLayout("parquet", task, True, width=16, dtype=task.dtype, key_type=pa.int64())
    path = written(tmp_path, layout, windows(values))
    file = parquet.ParquetFile(path)
    assert [file.metadata.row_group(place).num_rows for place in range(file.num_row_groups)] == [3, 2]
    kind = file.schema_arrow.field("embedding").type
    assert (kind.list_size, kind.value_type) == (16, pa.from_numpy_dtype(task.dtype))
    table = file.read()
    assert table["row"].to_pylist() == [1, 2, 4, 5, 9]
    assert table["id"].to_pylist() == [10, 20, 40, 50, 90]
    flat = table["embedding"].combine_chunks().flatten()
    assert np.array_equal(flat.to_numpy(zero_copy_only=False).reshape(-1, 16), values)
    assert np.array_equal(np.stack(pd.read_parquet(path)["embedding"]), values)


def test_numbers_of_8_bits_take_about_8_bits_in_a_parquet_file(tmp_path):
    values = np.random.default_rng(0).integers(-128, 128, (2000, 64)).astype(np.int8)
    layout = ParquetLayout("parquet", Embeddings("int8"), width=64, dtype=np.dtype("int8"))
    path = written(tmp_path, layout, [([Row(number) for number in range(2000)], values)])
    assert path.stat().st_size < 1.3 * values.size


def test_ids_that_are_no_whole_numbers_are_text(tmp_path):
    rows = [Row(1, key="a"), Row(2, key=None), Row(3, key=2.5), Row(4, key="\ud800")]
    layout = ParquetLayout("parquet", Embeddings(), True, width=2, dtype=np.dtype("float32"))
    path = written(tmp_path, layout, [(rows, np.zeros((4, 2), dtype=np.float32))])
    assert parquet.read_table(path)["id"].to_pylist() == ["a", None, "2.5", "\\ud800"]


@pytest.mark.parametrize(("kind", "layout"), [("npy", NpyLayout), ("parquet", ParquetLayout)])
def test_without_any_row_there_is_a_file_that_says_how_long_a_vector_is(tmp_path, kind, layout):
    path = written(tmp_path, layout(kind, Embeddings(), width=3, dtype=np.dtype("float32")), [])
    if kind == "npy":
        assert np.load(path).shape == (0, 3)
    else:
        assert parquet.read_table(path).num_rows == 0
        assert parquet.read_schema(path).field("embedding").type.list_size == 3
