"""The options of `latadj glue` that hold those of the commands it runs."""

# GLUE's tasks, in the order of its table; each is a YAML of `conf/task`.
GLUE_TASKS = ("cola", "sst2", "mrpc", "stsb", "qqp", "mnli", "qnli", "rte", "wnli")
# The commands of a task, in their order, and the options of `latadj glue` that each takes over.
STAGES: dict[str, tuple[str, ...]] = {
    "finetune": ("adjustable", "plain", "adjust", "calibration"),
    "calibrate": ("calibration", "search", "workload", "clock"),
    "sweep": ("speedup", "profile", "dial", "workload", "measure"),
}
# Options of `latadj glue` that hold any key of a command's: they need not be in its YAML.
OPEN = ("task", *{option: None for options in STAGES.values() for option in options})


def opened(override: str) -> str:
    """An override of `latadj glue` with ``++`` before it, where it names a key that its YAML need not have.

    Raises
    ------
    ValueError
        if it chooses one task, as other commands take it.
    """
    key = override.partition("=")[0]
    if key == "task" and "=" in override:
        raise ValueError(f"{override}: glue takes a list, such as tasks=[sst2,cola]")
    return f"++{override}" if "." in key and key.split(".")[0] in OPEN else override
