"""A model that answers texts wherever it is sent: what is pickled is its folder and options, not its weights."""

import threading
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from latadj.config import DeviceConfig, PredictConfig, TaskConfig
from latadj.inference.streams.checks import READS
from latadj.inference.streams.opening import Opened, open_model
from latadj.inference.streams.plan import checkpoint_stamps
from latadj.inference.streams.rows import Row, checked

# A text, or two that belong together.
Text = str | tuple[str, str]
# Models that a process keeps open: those of predictors that were unpickled again and again are opened once.
KEPT_OPEN = 2
SHOWN = 40  # characters of a text in a message
_open: "OrderedDict[str, Opened]" = OrderedDict()
# A model that runs with its own progress and its own random numbers answers one caller at a time.
_one_at_a_time = threading.RLock()


class Predictor:
    """Answers texts as `latadj predict` does, from a checkpoint or from graphs that `latadj export` wrote.

    It is opened at the first text, once in each process, and pickles as its folder and options: hand it to Spark, Ray
    or a process pool as it is.

    >>> predictor = latadj.Predictor("outputs/minilm-rotten_tomatoes/checkpoint", speedup=3)
    >>> predictor(["A clever and moving film."])
    [{'label': 'pos', 'probability': 0.9987}]

    Parameters
    ----------
    folder : the checkpoint, or the folder of graphs; every process that is to answer must have it at this path
    speedup : of the dial; 1 when left out
    max_drop, confident : in place of ``speedup``, as in :func:`latadj.load`
    profile : profile type; None: the dial's own
    precision : ``fp32``, ``bf16``, ``int8`` or ``auto``
    device : where the model runs
    threads : CPU threads of the process; None leaves them as they are
    batch_size : texts of like length that run together; None: as fine-tuned
    max_length : most tokens of a text; None: as fine-tuned
    all_probabilities : answer with the probability of every label too

    Raises
    ------
    ValueError
        if the options do not fit each other; what does not fit the folder is refused when it is opened.
    """

    def __init__(
        self,
        folder: Path | str,
        *,
        speedup: float | None = None,
        max_drop: float | None = None,
        confident: bool = False,
        profile: str | None = None,
        precision: str = DeviceConfig.precision,
        device: str = "cpu",
        threads: int | None = None,
        batch_size: int | None = None,
        max_length: int | None = None,
        all_probabilities: bool = False,
    ) -> None:
        self._config = PredictConfig(
            checkpoint=str(Path(folder).absolute()),
            folder="",
            output="-",
            task=TaskConfig(text=["text"]),  # of the command's checkpoint, whose place is known here
            speedup=speedup,
            max_drop=max_drop,
            confident=confident,
            profile=profile,
            device=DeviceConfig(name=device, threads=threads, precision=precision),
            batch_size=batch_size,
            max_length=max_length,
            all_probabilities=all_probabilities,
        )
        if speedup is not None and not speedup >= 1:
            raise ValueError(f"speedup={speedup}: expected a number >= 1")
        if problems := self._config.problems():
            raise ValueError("; ".join(problems))
        self._model: Opened | None = None

    def __call__(self, texts: Sequence[Text], *, on_error: str = "stop") -> list[dict[str, Any]]:
        """The answers to texts, in their order: fields as `latadj predict` writes them to JSON lines.

        Parameters
        ----------
        texts : each a text, or a tuple of the two that the model reads; sorted by length into batches
        on_error : ``stop`` raises for a text that is missing or empty; ``skip`` answers it with no fields

        Raises
        ------
        ValueError
            if a text is none, one stands where a list of them is expected, or the model cannot be opened.
        """
        if isinstance(texts, str):
            raise ValueError(f"texts={texts[:SHOWN]!r}: expected a list of texts, as in predictor([text])")
        if on_error not in ("stop", "skip"):
            raise ValueError(f"on_error={on_error}: expected one of stop, skip")
        pairs = [text if isinstance(text, tuple) else (text,) for text in texts]
        with _one_at_a_time:
            opened = self._opened()
            columns = opened.plan.text_columns or [
                f"text {number}" for number in range(1, len(pairs[0]) + 1 if pairs else 1)
            ]
            rows = [_row(number, pair, columns, READS[opened.plan.task_type]) for number, pair in enumerate(pairs)]
            broken = next((row for row in rows if row.broken), None)
            if broken is not None and on_error == "stop":
                raise ValueError(f"texts[{broken.number}]: {broken.broken}; on_error='skip' answers others alone")
            whole = [row.texts for row in rows if row.broken is None]
            answers = iter(opened.engine(list(zip(*whole, strict=True)))) if whole else iter(())
            fields = opened.engine.task.fields
            return [fields(next(answers)) if row.broken is None else {} for row in rows]

    def _opened(self) -> Opened:
        """The model, opened by this predictor, or by one with the same folder and options before."""
        if self._model is None:
            key = repr((self._config, checkpoint_stamps(Path(self._config.checkpoint))))
            if key not in _open:
                _open[key] = open_model(self._config)
            _open.move_to_end(key)
            while len(_open) > KEPT_OPEN:
                _open.popitem(last=False)
            self._model = _open[key]
        return self._model

    def __getstate__(self) -> dict[str, Any]:
        return {"_config": self._config, "_model": None}


def _row(number: int, texts: tuple[str, ...], columns: Sequence[str], reads: str) -> Row:
    """A row of texts, broken where they are not those that the model reads."""
    if len(texts) != len(columns):
        return Row(number, broken=f"{len(texts)} texts, and the model reads {len(columns)} ({', '.join(columns)})")
    return checked(number, texts, columns, reads=reads)
