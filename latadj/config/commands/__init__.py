"""What each command gets: one dataclass a command."""

from latadj.config.commands.base import RunConfig
from latadj.config.commands.evaluation import BenchConfig, EvalConfig, ReportConfig, SweepConfig
from latadj.config.commands.glue import GlueConfig
from latadj.config.commands.inference import ExplainConfig, GenerateConfig, PredictConfig
from latadj.config.commands.training import CalibrateConfig, FinetuneConfig, PruneConfig

SCHEMAS: dict[str, type[RunConfig]] = {
    "finetune": FinetuneConfig,
    "calibrate": CalibrateConfig,
    "sweep": SweepConfig,
    "eval": EvalConfig,
    "generate": GenerateConfig,
    "explain": ExplainConfig,
    "predict": PredictConfig,
    "bench": BenchConfig,
    "glue": GlueConfig,
    "report": ReportConfig,
    "prune": PruneConfig,
}
