"""Runs the graphs of an exported folder at any speedup of its dial."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np

from latadj.elimination.dial import Dial
from latadj.elimination.profiles import Profile
from latadj.runtime.manifest import (
    KEEP,
    LEAVING,
    SHORT_LENGTH,
    ExportedGraph,
    Manifest,
    clock_of,
    dial_of,
    layers_that_cut,
)
from latadj.runtime.parts import joined, parts_of
from latadj.runtime.place import calibrate_command, cpu_threads, place
from latadj.runtime.sessions import RUNTIMES, Session, open_session
from latadj.runtime.tokens import Encoded, TextEncoder

# A text, or two that belong together.
Text = str | tuple[str, str]
# Speedups that a deadline chooses from, from 1 to the largest, each a little larger than the one before.
SPEEDUPS_TRIED = 33


@dataclass(frozen=True)
class Prediction:
    """What a classifier says of a text: the likeliest label, its probability, and those of all labels."""

    label: str
    probability: float
    probabilities: dict[str, float]


class Predictor:
    """A classifier out of a folder that `latadj export` wrote, at any speedup of its dial.

    >>> predictor = latadj.runtime.Predictor("outputs/minilm-rotten_tomatoes/onnx")
    >>> predictor(["A clever and moving film."], speedup=3)

    Parameters
    ----------
    folder : what `latadj export` wrote
    threads : that a graph may use; None: as many as there are CPUs
    batch_size : texts of a batch, at most

    Raises
    ------
    ValueError
        if the folder is missing, damaged or of another version, or what it needs is not installed.
    """

    def __init__(self, folder: Path | str, *, threads: int | None = None, batch_size: int = 32) -> None:
        if batch_size < 1:
            raise ValueError(f"batch_size={batch_size}: expected at least 1")
        self.folder = Path(folder)
        self.manifest = Manifest.read(self.folder)
        self.batch_size, self.threads = batch_size, cpu_threads(threads)
        self.encoder = TextEncoder(self.folder, self.manifest)
        dial, data = dial_of(self.folder)
        self.runtime = RUNTIMES[self.manifest.format]
        self.place = place(self.threads, self.runtime)
        clock = clock_of(data, self.place, self.manifest.precision)
        self.dial = dial.on(clock) if dial is not None and clock is not None else dial
        self._sessions: dict[str, Session] = {}

    def __call__(
        self,
        texts: Sequence[Text],
        *,
        speedup: float | None = None,
        deadline_ms: float | None = None,
        max_drop: float | None = None,
    ) -> list[Prediction]:
        """Labels of texts.

        Parameters
        ----------
        speedup : of the dial: in time where `latadj calibrate runtime=` has measured this machine, else in
            FLOPs; 1 if nothing is given
        deadline_ms : run each batch at the smallest speedup that is predicted to take no longer
        max_drop : use the largest speedup that loses no more points of the metric, as measured on validation text; with
            a deadline no larger one

        Raises
        ------
        ValueError
            if the folder is of no classifier, or the dial does not reach what is asked.
        """
        if self.manifest.type != "classification":
            raise ValueError(f"folder {self.folder} holds no classifier: call `outputs` for arrays, or `embed`")
        if not len(texts):
            return []
        (logits,) = self.outputs(texts, speedup=speedup, deadline_ms=deadline_ms, max_drop=max_drop)
        if logits.shape[1] == 1:
            return [Prediction("", float(value), {}) for value in logits[:, 0]]
        names = self.manifest.labels or [f"LABEL_{number}" for number in range(logits.shape[1])]
        shares = np.exp(logits - logits.max(axis=1, keepdims=True))
        shares /= shares.sum(axis=1, keepdims=True)
        best = shares.argmax(axis=1)
        return [
            Prediction(names[one], float(row[one]), dict(zip(names, map(float, row), strict=False)))
            for one, row in zip(best, shares, strict=True)
        ]

    def embed(
        self,
        texts: Sequence[Text],
        *,
        speedup: float | None = None,
        deadline_ms: float | None = None,
        max_drop: float | None = None,
        dimensions: int | None = None,
    ) -> np.ndarray:
        """(texts, ``dimensions``) embeddings, or as many numbers as the model gives; float32, without its prompt.

        Parameters and errors as of calling the predictor, but for a folder of a model that embeds texts.
        """
        if self.manifest.embedding is None:
            raise ValueError(f"folder {self.folder} holds no model that embeds texts: call `outputs` for arrays")
        (vectors,) = self.outputs(texts, speedup=speedup, deadline_ms=deadline_ms, max_drop=max_drop)
        return self.manifest.embedding.first(vectors, dimensions)

    def outputs(
        self,
        texts: Sequence[Text],
        *,
        speedup: float | None = None,
        deadline_ms: float | None = None,
        max_drop: float | None = None,
    ) -> list[np.ndarray]:
        """The graph's outputs for texts, each (texts, ...), of which those of tokens are padded with zeros.

        Parameters and errors as of calling the predictor.
        """
        choices = self._choices(speedup, deadline_ms, max_drop)
        encoded = self.encoder(texts)
        if not encoded:
            return [np.zeros((0, 0), dtype=np.float32) for _ in self.manifest.outputs]
        lengths = np.array([len(one) for one in encoded], dtype=np.int64)
        rows: list[tuple[np.ndarray, list[np.ndarray]]] = []
        # Sorted, so that texts of a batch are about as long.
        order = np.argsort(-lengths, kind="stable")
        for start in range(0, len(order), self.batch_size):
            batch = order[start : start + self.batch_size]
            profile = self._in_time(choices, lengths[batch], deadline_ms)
            rows.append((batch, self.run_in_parts([encoded[number] for number in batch], profile)))
        return joined(rows, len(texts))

    def run_in_parts(self, batch: Sequence[Encoded], profile: Profile) -> list[np.ndarray]:
        """The graphs' outputs for one batch of encoded texts; those that the profile leaves whole run by themselves."""
        lengths = np.array([len(one) for one in batch], dtype=np.int64)
        parts = list(parts_of(profile, lengths))
        rows = [(part, self.run([batch[number] for number in part], setting)) for part, setting in parts]
        return rows[0][1] if len(rows) == 1 else joined(rows, len(batch))

    def run(self, batch: Sequence[Encoded], profile: Profile) -> list[np.ndarray]:
        """The graph's outputs for one batch of encoded texts at a profile.

        Parameters
        ----------
        profile : its ``whole_length`` is not heeded
        """
        feeds = self.encoder.arrays(batch)
        graph = self._graph(profile)
        if graph.cuts:
            lengths = np.array([len(one) for one in batch], dtype=np.int64)
            feeds[LEAVING] = replace(profile, whole_length=0.0).counts(lengths)
        elif graph.cuts is None and self.manifest.speedup is None:
            feeds[KEEP] = np.array(profile.keep, dtype=np.float64)
            feeds[SHORT_LENGTH] = np.array(profile.short_length, dtype=np.float64)
        return list(self._session(graph).run(self.manifest.outputs, feeds))

    def session(self, profile: Profile) -> Session:
        """The graph that runs a profile; read when it is first needed."""
        return self._session(self._graph(profile))

    def _session(self, graph: ExportedGraph) -> Session:
        if graph.file not in self._sessions:
            self._sessions[graph.file] = open_session(self.folder / graph.file, self.threads)
        return self._sessions[graph.file]

    def _graph(self, profile: Profile) -> ExportedGraph:
        """The graph of a profile's level that cuts in the fewest layers, of those that cut where the profile does."""
        graphs = self.manifest.graphs
        if self.manifest.speedup is not None:
            return graphs[0]
        able = self._able(profile)
        if not able:
            raise ValueError(f"folder {self.folder} has no graph of this level that cuts here; export it again")
        return min(able, key=lambda one: len(one.cuts or ()))

    def runs(self, profile: Profile) -> bool:
        """Whether a graph of the folder runs a profile."""
        return bool(self._able(profile))

    def _able(self, profile: Profile) -> list[ExportedGraph]:
        same = [one for one in self.manifest.graphs if one.level == profile.level]
        if self.dial is None:
            return [one for one in same if one.cuts is None]
        cuts = set(layers_that_cut(profile, self.dial))
        return [one for one in same if one.cuts is None or cuts <= set(one.cuts)]

    def profile(self, speedup: float) -> Profile:
        """The profile of a speedup.

        Raises
        ------
        ValueError
            if the folder has no dial and the speedup is above 1, the dial does not reach it, or one is fixed.
        """
        fixed = self.manifest.speedup
        if fixed is not None:
            if speedup not in (1.0, fixed):
                raise ValueError(
                    f"speedup={speedup:g}: folder {self.folder} runs at {fixed:g} alone; export it without speedup="
                )
            return Profile(())
        if self.dial is None:
            raise ValueError(f"folder {self.folder} has no dial: its latadj.json is missing")
        return self.dial.profile(speedup)

    def _choices(self, speedup: float | None, deadline_ms: float | None, max_drop: float | None) -> list[Profile]:
        """Profiles that a batch may run at, by rising speedup; without a deadline one."""
        if speedup is not None and (deadline_ms is not None or max_drop is not None):
            raise ValueError(f"speedup={speedup:g} with deadline_ms or max_drop: give one of them")
        if deadline_ms is None and max_drop is None:
            return [self.profile(1.0 if speedup is None else speedup)]
        dial = self.dial
        if dial is None or self.manifest.speedup is not None:
            raise ValueError("deadline_ms and max_drop turn a dial, and this folder has none: export without speedup=")
        most = dial.reach() if max_drop is None else dial.within(max_drop)
        if deadline_ms is None:
            return [dial.profile(most)]
        if not deadline_ms > 0:
            raise ValueError(f"deadline_ms={deadline_ms}: expected a number above 0")
        if dial.latency is None:
            raise ValueError(
                f"deadline_ms={deadline_ms:g} needs a clock of this machine ({self.place}): run "
                f"`{calibrate_command(self.folder, self.threads, self.runtime)}`"
            )
        return list(_profiles(dial, max(most, 1.0)))

    def _in_time(self, choices: Sequence[Profile], lengths: np.ndarray, deadline_ms: float | None) -> Profile:
        """The first of some profiles that is predicted to meet the deadline, else the last."""
        if deadline_ms is None or self.dial is None or self.dial.latency is None:
            return choices[0]
        in_time = (one for one in choices if self.seconds(one, lengths) <= deadline_ms / 1000)
        return next(in_time, choices[-1])

    def seconds(self, profile: Profile, lengths: np.ndarray) -> float:
        """Seconds that a batch of texts of these lengths is predicted to take.

        Raises
        ------
        ValueError
            if this machine was not calibrated.
        """
        if self.dial is None or self.dial.latency is None:
            raise ValueError(f"folder {self.folder} has no clock of this machine ({self.place})")
        mean = float(self.dial.seconds(profile, lengths).mean())
        least = float(self.dial.seconds(profile, np.ones(1, dtype=np.int64))[0])
        # What a batch of one-token texts takes is fixed, the rest goes by the number of texts.
        return least + (mean - least) * len(lengths) / self.dial.latency.batch


@lru_cache(maxsize=64)
def _profiles(dial: Dial, most: float) -> tuple[Profile, ...]:
    return tuple(dial.profile(float(one)) for one in np.geomspace(1.0, most, SPEEDUPS_TRIED))
