"""How much of a speedup width should give: uniform levels beside tokens, on validation text, nothing searched.

    .venv/bin/python benchmarks/width_shares.py folder=outputs/minilm-rotten_tomatoes

Takes options of `latadj calibrate`; the checkpoint has a dial with widths and was calibrated on this device in fp32.
Prints a Markdown table: the metric at each speedup in predicted time, by the share of the speedup's logarithm that
width gives. Every layer has the same share of its heads and neurons, and tokens are cut geometrically.
"""

import sys
from dataclasses import replace

import numpy as np

from latadj.calibration.profile_search import Candidate, profile_along
from latadj.commands.common.session import open_checkpoint
from latadj.config import CalibrateConfig
from latadj.config.compose import compose, typed
from latadj.devices.device import place
from latadj.elimination.current_setting import at_profile
from latadj.elimination.profiles import Profile
from latadj.training.head_objective import head_objective

SHARES = (0.0, 0.3, 0.5, 0.7, 0.9)
SPEEDUPS = (2.0, 3.0, 4.0)


def main() -> None:
    """Score every share at every speedup, and print the table."""
    config = typed("calibrate", compose("calibrate", sys.argv[1:]))
    assert isinstance(config, CalibrateConfig)
    session = open_checkpoint(config, train=True)
    dial, validation = session.metadata.dial, session.splits.validation
    if dial is None or not dial.widths:
        sys.exit(f"checkpoint {config.checkpoint}: its dial has no widths: fine-tune with adjust.axes=[tokens,width]")
    (latency, *_) = session.metadata.devices[place(session.device)].serving["fp32"].models
    timed = replace(dial.on(latency), profile_type="acc", anchors=(), drops=())
    objective = head_objective(
        *(session.task_type, session.tokenizer, validation, session.encoded(validation)),
        outputs=session.outputs,
        autocast=session.training_dtype,
    )
    full, even = Profile.full(dial.layers), np.ones(dial.layers)
    tokens = even[: max(dial.layers - (dial.reads == "pooled"), 1)]

    def scored(profile: Profile | None) -> str:
        if profile is None:
            return ""
        with at_profile(session.model, profile):
            return f"{100 * objective.score(session.model):.1f}"

    print(f"1x: {scored(full)} on {len(validation):,} validation texts\n")
    print("| by width |", " | ".join(f"{speedup:g}x" for speedup in SPEEDUPS), "|")
    print("| ---: |" + " ---: |" * len(SPEEDUPS))
    for share in SHARES:
        candidate = Candidate(tokens, dial.short_length, share, even, even)
        outer = replace(full, short_length=dial.short_length)
        found = [profile_along(timed, candidate, outer, speedup) for speedup in SPEEDUPS]
        print(f"| {share:g} |", " | ".join(map(scored, found)), "|", flush=True)


if __name__ == "__main__":
    main()
