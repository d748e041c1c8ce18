"""The typed configuration of every command: one dataclass each, filled from `conf/` by Hydra."""

from latadj.config.commands.base import CommandConfig, RunConfig
from latadj.config.commands.evaluation import BenchConfig, EvalConfig, ReportConfig, SweepConfig
from latadj.config.commands.glue import GLUE_TASKS, GlueConfig
from latadj.config.commands.inference import ExplainConfig, ExportConfig, ExtractConfig, GenerateConfig, PredictConfig
from latadj.config.commands.serving import ServeConfig
from latadj.config.commands.training import CalibrateConfig, FinetuneConfig, PruneConfig
from latadj.config.options.dial import CalibrationConfig, ClockConfig, SearchConfig
from latadj.config.options.measurement import EvalMeasureConfig, SweepMeasureConfig
from latadj.config.options.model import PRECISIONS, DeviceConfig, ModelConfig
from latadj.config.options.prompt import PromptConfig
from latadj.config.options.task import EMBEDDING, GENERATION, RERANKING, TASK_TYPES, FilesConfig, HubConfig, TaskConfig
from latadj.config.options.training import AdjustConfig, DistillationConfig, StageConfig

SCHEMAS: dict[str, type[RunConfig]] = {
    "finetune": FinetuneConfig,
    "calibrate": CalibrateConfig,
    "sweep": SweepConfig,
    "eval": EvalConfig,
    "generate": GenerateConfig,
    "explain": ExplainConfig,
    "predict": PredictConfig,
    "serve": ServeConfig,
    "extract": ExtractConfig,
    "export": ExportConfig,
    "bench": BenchConfig,
    "glue": GlueConfig,
    "report": ReportConfig,
    "prune": PruneConfig,
}
