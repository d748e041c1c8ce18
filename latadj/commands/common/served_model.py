"""A session's model at the speedups of its dial, for the commands that evaluate it."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from latadj.checkpoints.metadata import read_metadata
from latadj.commands.common.session import Session
from latadj.config import EvalConfig, SweepConfig
from latadj.elimination.attach import at_profile, dial_of
from latadj.elimination.dial import Dial
from latadj.elimination.observation_window import ObservationWindow
from latadj.elimination.profiles import Profile
from latadj.inference.serving import make_ready

log = logging.getLogger("latadj")


def serve(session: Session, dial: Dial) -> None:
    """Lower the session's model to the precision asked for, with ``dial`` marked in this device's time if it can be."""
    config = session.config
    assert isinstance(config, (SweepConfig, EvalConfig))
    make_ready(
        session.model,
        read_metadata(Path(config.checkpoint)),
        dial,
        session.device,
        precision=config.device.precision,
        target=config.dial.target,
        batch=session.batch,
        length=config.workload.length,
    )


def within_reach(session: Session) -> list[float]:
    """The speedups asked for that the dial reaches on this device; says which it does not."""
    config = session.config
    assert isinstance(config, SweepConfig)
    dial = dial_of(session.model)
    found = [speedup for speedup in config.speedup if dial.reaches(speedup)]
    if len(found) < len(config.speedup):
        left = ", ".join(f"{speedup:g}" for speedup in config.speedup if speedup not in found)
        log.warning("speedup %s left out: this dial ends at %.2fx on this device", left, dial.reach())
    return found


@contextmanager
def under(session: Session, profile: Profile, control: str | None = None) -> Iterator[None]:
    """The session's model at a profile, inside a ``with`` block, with the dial's own score or a control's."""
    model = session.model
    # A control chooses all that it keeps but the first tokens, which no score can do without.
    window = ObservationWindow(sink_tokens=dial_of(model).window.sink_tokens) if control else None
    torch.manual_seed(session.config.seed)  # the random control draws
    with at_profile(model, profile, score=control, window=window):
        yield
