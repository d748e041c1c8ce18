"""Embeds texts in the ONNX backend of sentence-transformers, for `embeddings.py`; knows nothing of latadj.

    PYTHON benchmarks/sentence_transformers_peer.py MODEL FOLDER PRECISION TOKENS BATCH THREADS

For each line of standard input, a JSON list of texts, standard output has a line with the shape of their embeddings in
JSON and then the embeddings, as float32. MODEL is copied to FOLDER, where the backend exports it. In fp32 that is what
optimum exports, in int8 its dynamic quantization for AVX-512 with VNNI.
"""

import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from sentence_transformers import SentenceTransformer, export_dynamic_quantized_onnx_model

KIND = "avx512_vnni"


def main() -> None:
    """Load the model, and answer until standard input ends."""
    model, folder, precision, *numbers = sys.argv[1:]
    tokens, batch, threads = map(int, numbers)
    # Whatever is printed on the way must not stand between the answers.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    pipeline = _pipeline(Path(model), Path(folder), precision, threads)
    pipeline.max_seq_length = tokens
    for line in sys.stdin:
        vectors = np.ascontiguousarray(pipeline.encode(json.loads(line), batch_size=batch), dtype=np.float32)
        answers.write(json.dumps(vectors.shape).encode() + b"\n" + vectors.tobytes())
        answers.flush()


def _pipeline(model: Path, folder: Path, precision: str, threads: int) -> Any:
    if not folder.exists():
        making = folder.with_name(f"{folder.name}-unfinished")
        shutil.copytree(model, making, dirs_exist_ok=True)
        _rename_modules(making / "modules.json")
        plain = _opened(making, threads)
        plain.save_pretrained(str(making))
        if precision == "int8":
            export_dynamic_quantized_onnx_model(plain, KIND, str(making))
        making.rename(folder)
    return _opened(folder, threads, **({"file_name": f"onnx/model_qint8_{KIND}.onnx"} if precision == "int8" else {}))


def _rename_modules(path: Path) -> None:
    """Give modules the names that all releases know: the model may have been saved by a later one."""
    modules = json.loads(path.read_text())
    for one in modules:
        one["type"] = f"sentence_transformers.models.{one['type'].split('.')[-1]}"
    path.write_text(json.dumps(modules))


def _opened(folder: Path, threads: int, **options: str) -> Any:
    session = onnxruntime.SessionOptions()
    session.intra_op_num_threads = threads
    # Threads that wait for work after a run would take the time of whoever runs next.
    session.add_session_config_entry("session.force_spinning_stop", "1")
    return SentenceTransformer(
        str(folder),
        device="cpu",
        backend="onnx",
        local_files_only=True,
        model_kwargs={"provider": "CPUExecutionProvider", "session_options": session, **options},
    )


if __name__ == "__main__":
    main()
