"""Files of data that are not what their names say: one line that names the file."""

import gzip
import zipfile

import pyarrow as pa
import pytest
from pyarrow import parquet

from latadj.config import FilesConfig, TaskConfig
from latadj.tasks.data.files import read_file

CSV = "review,stars\n" + "a fine film,1\n" * 500
TASK = TaskConfig(name="toy", text=["review"])


def zipped(path):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("a.csv", CSV)
    return path.read_bytes()


def scratched(data, start, stop):
    return data[:start] + b"\xff" * (stop - start) + data[stop:]


@pytest.mark.parametrize("damage", ["text", "cut", "scratched"])
@pytest.mark.parametrize("suffix", [".zip", ".gz"])
def test_a_packed_file_that_is_damaged(tmp_path, suffix, damage):
    path = tmp_path / f"a.csv{suffix}"
    whole = zipped(path) if suffix == ".zip" else gzip.compress(CSV.encode())
    damaged = {"text": b"no archive", "cut": whole[: len(whole) // 2], "scratched": scratched(whole, 45, 70)}
    path.write_bytes(damaged[damage])
    with pytest.raises(ValueError, match=rf"a.csv{suffix}: cannot be read as csv: ") as error:
        read_file(path, FilesConfig("csv"), TASK)
    assert "\n" not in str(error.value)


def test_text_in_parquet_that_is_no_utf8(tmp_path):
    texts = pa.array([b"a fine film", b"bad \xff"], pa.binary())
    table = pa.table({"review": pa.Array.from_buffers(pa.string(), 2, texts.buffers()), "stars": [1, 2]})
    parquet.write_table(table, tmp_path / "a.parquet")
    with pytest.raises(ValueError, match=r"a.parquet: cannot be read as parquet: .*Invalid UTF8 sequence"):
        read_file(tmp_path / "a.parquet", FilesConfig("parquet"), TASK)
