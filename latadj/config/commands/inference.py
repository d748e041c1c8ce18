"""The commands that use a model: predict, generate, explain, extract, export."""

from dataclasses import dataclass
from typing import Any

from omegaconf import MISSING

from latadj.config.commands.base import CommandConfig, DialedConfig, escape_option, runtime_option, speedup_option
from latadj.config.fields import NOT_NEGATIVE, POSITIVE, Rule, at_least, one_of, option, section
from latadj.config.options.dial import WORKLOAD, WorkloadConfig
from latadj.config.options.ray import ENGINES, RayPredictOptions
from latadj.config.speedups import one_speedup
from latadj.elimination.profiles import PROFILE_TYPES

# Types of an embedding's numbers, as sentence-transformers calls them; of those of 8 bits each, a range is needed.
RANGED = ("int8", "uint8")
VECTORS = ("float32", "float16", *RANGED, "binary", "ubinary")
# Names of what engine=local writes.
PREDICTION_FILES = (".csv", ".jsonl", ".ndjson", ".npy", ".parquet", ".pq")
BELOW_1 = Rule("a number above 0, below 1", lambda value: 0 < value < 1)


@dataclass
class PredictConfig(DialedConfig):
    """`latadj predict`; its model and task say where the checkpoint is, which says what it is for."""

    runtime: str | None = runtime_option()
    engine: str = option(
        "local", "local: a file, in this process; ray: a folder of files, on Ray Data", one_of(*ENGINES)
    )
    input: str | None = option(
        None, "file to read, or - for standard input; of engine=ray a folder, also a URL such as s3://bucket/folder"
    )
    format: str | None = option(
        None, "format of the input; null: by its suffix", type="text | csv | tsv | jsonl | parquet"
    )
    text: Any = option(
        None, "column or columns of the text; null: as fine-tuned, or the only one", type="COLUMN or [COLUMN,COLUMN]"
    )
    id: str | None = option(None, "column that is copied to the output")
    on_error: str = option("skip", "what to do with a broken row", one_of("skip", "stop"))
    output: str = option(
        MISSING,
        "file to write, .csv or .jsonl, of embeddings .npy or .parquet too, or -; of engine=ray a folder or URL",
    )
    all_probabilities: bool = option(False, "write the probability of every label, not only of the likeliest")
    escape_formulas: bool = escape_option()
    overwrite: bool = option(False, "replace an output that exists")
    resume: bool = option(False, "continue after a kill")
    speedup: float | None = option(
        None, "speedup to run at; null: 1, or by deadline_ms or max_drop", parse=one_speedup("predict", optional=True)
    )
    deadline_ms: float | None = option(
        None, "milliseconds that a text may wait for its batch: picks batch sizes and speedups", POSITIVE
    )
    deadline_quantile: float = option(
        0.95,
        "share of texts that are to meet the deadline; exit code 3 if fewer do",
        BELOW_1,
    )
    max_speedup: float | None = option(None, "largest speedup that a deadline may use; null: the dial's", at_least(1))
    max_drop: float | None = option(
        None,
        "points of the metric that may be lost, by what calibrate measured; picks the speedup, or limits a deadline's",
        NOT_NEGATIVE,
    )
    confident: bool = option(False, "judge max_drop by the upper end of the 95% interval, not by the mean")
    window: int = option(8192, "rows that are held in memory and sorted by length together", at_least(1))
    batch_size: int | None = option(None, "texts a batch; null: as fine-tuned", at_least(1))
    max_length: int | None = option(
        None,
        "most tokens of a text, the rest is cut off, or of a window over one that is read whole; null: as fine-tuned",
        at_least(2),
    )
    null_threshold: float | None = option(
        None, "squad_v2_f1: odds of no answer above which none is given; null: the task's, or 0"
    )
    vectors: str | None = option(
        None, "embeddings: type of their numbers, in binary and ubinary 8 a byte; null: float32", one_of(*VECTORS)
    )
    ranges: str | None = option(
        None, "vectors=int8, uint8: .npy of the least and largest number of each dimension; null: the first window's"
    )
    prompt_name: str | None = option(
        None, "embeddings: which of the model's prompts is put before each text; null: the one it has as a rule"
    )
    ray: RayPredictOptions = section(RayPredictOptions, "the cluster of engine=ray, and how it divides the input")

    dimensions: int | None = option(
        None, "embeddings: only their first so many numbers are written; null: as many as the model gives", at_least(1)
    )

    def problems(self) -> list[str]:
        problems = super().problems()
        if self.engine == "ray":
            problems += self._ray_problems()
        elif self.ray != RayPredictOptions():
            problems.append("ray.* with engine=local: give engine=ray")
        if self.deadline_ms is None and self.max_speedup is not None:
            problems.append(f"max_speedup={self.max_speedup:g} limits a deadline: give deadline_ms too")
        if self.max_drop is not None and self.speedup is not None:
            problems.append(f"speedup={self.speedup:g} with max_drop={self.max_drop:g}: give one of them")
        if self.confident and self.max_drop is None:
            problems.append("confident=true says how max_drop is judged: give max_drop too")
        if self.deadline_ms is not None:
            if self.speedup is not None:
                problems.append(
                    f"speedup={self.speedup:g} with deadline_ms: a deadline picks speedups; give one of them"
                )
            if self.dial.target == "flops":
                problems.append("dial.target=flops with deadline_ms: a deadline goes by latency")
        if self.ranges is not None and self.vectors not in RANGED:
            problems.append(f"ranges={self.ranges} is for vectors of 8 bits: add vectors={' or '.join(RANGED)}")
        if self.ranges is None and self.vectors in RANGED and self.output == "-":
            problems.append(
                f"vectors={self.vectors} with output=-: nobody would know the ranges that the first window gives; "
                "add ranges=FILE.npy"
            )
        columns = self.text if isinstance(self.text, (list, tuple)) else [self.text]
        if not (self.text is None or (1 <= len(columns) <= 2 and all(isinstance(name, str) for name in columns))):
            problems.append(f"text={self.text}: expected a column, or two as in text=[premise,hypothesis]")
        return problems

    def _ray_problems(self) -> list[str]:
        """What rows that are divided among processes cannot have."""
        problems = []
        for name, value in (("input", self.input), ("output", self.output)):
            if value == "-":
                problems.append(f"{name}=- with engine=ray, which reads and writes folders: name one")
        if self.output.lower().endswith(PREDICTION_FILES):
            problems.append(
                f"output={self.output}: engine=ray writes a folder of Parquet files: name one, as in output=labels"
            )
        if self.deadline_ms is not None:
            problems.append(
                f"deadline_ms={self.deadline_ms:g} with engine=ray, which answers data sets: give speedup or max_drop"
            )
        if self.id is not None:
            problems.append(f"id={self.id} with engine=ray, which keeps every column: leave it out")
        if self.escape_formulas:
            problems.append("escape_formulas=true is for CSV, and engine=ray writes Parquet: leave it out")
        if self.vectors in RANGED and self.ranges is None:
            problems.append(
                f"vectors={self.vectors} with engine=ray: all processes need the same ranges; add ranges=FILE.npy"
            )
        if self.device.cpus is not None:
            problems.append("device.cpus with engine=ray: Ray places its actors; give device.threads")
        return problems


@dataclass
class GenerateConfig(DialedConfig):
    """`latadj generate`; of its task only the name counts, which says where the dial is."""

    speedup: float = speedup_option(1.0, "generate")
    max_new_tokens: int = option(128, "most tokens to generate, as far as the model's context goes", at_least(1))
    temperature: float = option(0.0, "0: the likeliest token each time; above 0 tokens are sampled", at_least(0))
    chat: bool | None = option(None, "put the prompt into the tokenizer's chat template; null: if it has one")

    def prompt_problems(self) -> list[str]:
        return []


@dataclass
class ExplainConfig(DialedConfig):
    """`latadj explain`; of its task only the name counts, which says where the checkpoint is."""

    speedup: float = speedup_option(2.0, "explain")
    step: float = option(0.25, "step of the slider of --html, in speedup", at_least(0.01))


@dataclass
class ExtractConfig(DialedConfig):
    """`latadj extract`; of its task only the name counts, which says where the checkpoint is."""

    speedup: float = speedup_option(2.0, "extract")
    output: str = option(MISSING, "folder of the smaller model")
    workload: WorkloadConfig = section(WorkloadConfig, WORKLOAD)

    def prompt_problems(self) -> list[str]:
        return []


@dataclass
class ExportConfig(CommandConfig):
    """`latadj export`; of its task only the name counts, which says where the checkpoint is."""

    format: str = option("onnx", "format of the graphs: ONNX, or OpenVINO's own", one_of("onnx", "openvino"))
    opset: int | None = option(
        None,
        "version of ONNX's operators, 21 to 23; null: 23 for ONNX, 21 for OpenVINO, which are faster there",
        Rule("21, 22 or 23", (21, 22, 23).__contains__),
    )
    precision: str = option(
        "fp32", "precision of linear maps and embeddings: int8 is smaller and faster", one_of("fp32", "int8")
    )
    speedup: float | None = option(
        None,
        "the only speedup of the graph, in FLOPs, which has no inputs but tokens then; null: the dial is an input",
        parse=one_speedup("export", optional=True),
    )
    profile: str | None = option(None, "profile type; null: the dial's own", one_of(*PROFILE_TYPES))
    texts: str | None = option(
        None, "file of texts, one a line, over which format=openvino precision=int8 measures ranges"
    )
    output: str = option(MISSING, "folder of the graphs")

    def problems(self) -> list[str]:
        problems, measured = super().problems(), self.format == "openvino" and self.precision == "int8"
        if measured and self.texts is None:
            problems.append(
                "format=openvino precision=int8 measures ranges over texts like those to come: texts=FILE, one a line"
            )
        if self.texts is not None and not measured:
            problems.append(f"texts={self.texts}: only format=openvino precision=int8 reads texts; leave it out")
        return problems

    def prompt_problems(self) -> list[str]:
        return []
