"""The typed configuration of every command: one dataclass each, filled from `conf/` by Hydra."""

from latadj.config.commands import SCHEMAS
from latadj.config.commands.base import CommandConfig, RunConfig
from latadj.config.commands.evaluation import BenchConfig, EvalConfig, ReportConfig, SweepConfig
from latadj.config.commands.glue import GlueConfig
from latadj.config.commands.inference import ExplainConfig, GenerateConfig, PredictConfig
from latadj.config.commands.training import CalibrateConfig, FinetuneConfig, PruneConfig
from latadj.config.glue_options import GLUE_TASKS
from latadj.config.sections.dial import CalibrationConfig, ClockConfig, DialConfig, SearchConfig, WorkloadConfig
from latadj.config.sections.measurement import (
    BenchMeasureConfig,
    CompareConfig,
    ComparedConfig,
    EvalMeasureConfig,
    SweepMeasureConfig,
)
from latadj.config.sections.model import PRECISIONS, DeviceConfig, ModelConfig
from latadj.config.sections.prompt import PromptConfig
from latadj.config.sections.pruning import PruneOptions, TopKAttentionOptions
from latadj.config.sections.task import GENERATION, TASK_TYPES, FilesConfig, HubConfig, TaskConfig
from latadj.config.sections.training import AdjustConfig, DistillationConfig, RecoverConfig, StageConfig

__all__ = [
    "GENERATION",
    "GLUE_TASKS",
    "PRECISIONS",
    "SCHEMAS",
    "TASK_TYPES",
    "AdjustConfig",
    "BenchConfig",
    "BenchMeasureConfig",
    "CalibrateConfig",
    "CalibrationConfig",
    "ClockConfig",
    "CommandConfig",
    "CompareConfig",
    "ComparedConfig",
    "DeviceConfig",
    "DialConfig",
    "DistillationConfig",
    "EvalConfig",
    "EvalMeasureConfig",
    "ExplainConfig",
    "FilesConfig",
    "FinetuneConfig",
    "GenerateConfig",
    "GlueConfig",
    "HubConfig",
    "ModelConfig",
    "PredictConfig",
    "PromptConfig",
    "PruneConfig",
    "PruneOptions",
    "RecoverConfig",
    "ReportConfig",
    "RunConfig",
    "SearchConfig",
    "StageConfig",
    "SweepConfig",
    "SweepMeasureConfig",
    "TaskConfig",
    "TopKAttentionOptions",
    "WorkloadConfig",
]
