"""How much of a speedup width should give: even levels beside tokens, on validation text, nothing searched.

    .venv/bin/python benchmarks/width_shares.py folder=outputs/minilm-rotten_tomatoes

Takes options of `latadj calibrate`; the checkpoint has a dial with widths. Prints a Markdown table: the metric, and the
divergence from 1x, at each speedup by the share of the speedup's logarithm that width gives, all layers alike. It is
the mean of two ways to cut tokens, geometrically and by ACC. Speedups are in predicted time where this device was
calibrated in fp32, else in FLOPs. So it also says what a training was worth, before any search.
"""

import sys
from dataclasses import replace

import numpy as np
from datasets import Dataset

from latadj.calibration.candidates import Candidate
from latadj.calibration.profile_search import acc_direction, profile_along
from latadj.commands.common.session import Session, open_checkpoint
from latadj.config import CalibrateConfig
from latadj.config.compose import compose, typed
from latadj.devices.device import place
from latadj.elimination.current_setting import at_profile
from latadj.elimination.dial import Dial
from latadj.elimination.profiles import Profile
from latadj.tasks.encoding.batches import rows_of
from latadj.tasks.outputs.predict import as_tensors, predict

SHARES = (0.0, 0.3, 0.5, 0.7, 0.85)
SPEEDUPS = (2.0, 3.0, 4.0, 6.0)


def main() -> None:
    """Score every share at every speedup, and print the table."""
    config = typed("calibrate", compose("calibrate", sys.argv[1:]))
    assert isinstance(config, CalibrateConfig)
    session = open_checkpoint(config, train=True)
    dial, validation = session.metadata.dial, session.splits.validation
    if dial is None or not dial.widths:
        sys.exit(f"checkpoint {config.checkpoint}: its dial has no widths: fine-tune with adjust.axes=[tokens,width]")
    dial, unit = marked(session, dial)
    encoded = session.encoded(validation)
    rows, full = rows_of(encoded), Profile.full(dial.layers)

    def answers(profile: Profile) -> np.ndarray:
        with at_profile(session.model, profile):
            return predict(
                session.model, session.tokenizer, rows, outputs=session.outputs, autocast=session.training_dtype
            )

    def scored(found: np.ndarray) -> float:
        return metric_of(session, found, encoded, validation)

    plain = answers(full)

    def cell(share: float, speedup: float) -> str:
        """Metric and divergence, the mean over both ways to cut tokens; empty where one is out of reach."""
        even, outer = np.ones(dial.layers), replace(full, short_length=dial.short_length)
        scores, divergences = [], []
        for tokens in (np.ones(len(acc_direction(dial))), acc_direction(dial)):
            profile = profile_along(dial, Candidate(tokens, dial.short_length, share, even, even), outer, speedup)
            if profile is None:
                return ""
            found = answers(profile)
            scores.append(scored(found))
            divergences.append(float(session.outputs.divergence(as_tensors(found), as_tensors(plain))))
        return f"{np.mean(scores):.1f} ({np.mean(divergences):.3f})"

    print(f"1x: {scored(plain):.1f} on {len(validation):,} validation texts; speedups in {unit}\n")
    print("| by width |", " | ".join(f"{speedup:g}x" for speedup in SPEEDUPS), "|")
    print("| ---: |" + " ---: |" * len(SPEEDUPS))
    for share in SHARES:
        print(f"| {share:g} |", " | ".join(cell(share, speedup) for speedup in SPEEDUPS), "|", flush=True)


def metric_of(session: Session, answers: np.ndarray, encoded: Dataset, examples: Dataset) -> float:
    """The task's metric of a model's outputs, times 100."""
    predictions = session.task_type.predictions(answers, encoded, examples)
    return 100 * session.task_type.scores(predictions, examples)[session.task_type.task.metric]


def marked(session: Session, dial: Dial) -> tuple[Dial, str]:
    """The dial in this device's time, or in FLOPs where it was not calibrated, and what that is called."""
    dial = replace(dial, profile_type="acc", anchors=(), drops=())
    device = session.metadata.devices.get(place(session.device))
    if device is None or "fp32" not in device.serving:
        return dial, "FLOPs"
    (latency, *_) = device.serving["fp32"].models
    return dial.on(latency), "predicted time"


if __name__ == "__main__":
    main()
