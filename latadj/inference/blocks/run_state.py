"""Which run the blocks of a folder are of."""

import hashlib
import json
from dataclasses import dataclass, field
from typing import Annotated, ClassVar

from latadj.inference.blocks.storage import Storage
from latadj.inference.streams.rows import RowCounts
from latadj.inference.streams.writing import RESTART, SERVED_ON
from latadj.utils.files import LARGEST_JSON, parse_json
from latadj.utils.run_state import RunState
from latadj.utils.serialization import Like

# In the output: the state, and the lists of broken rows of blocks that have some.
STATE, BROKEN = "_latadj.json", "_broken-rows"


@dataclass
class BlocksState(RunState):
    """How a run began, and what it counted once it was complete.

    settings : what its output depends on
    serving : ``place``, ``precision`` and ``kernel`` that it began on
    counts : rows ``read``, ``written``, ``broken`` of a complete run
    """

    SCHEMA: ClassVar[str] = "latadj.predict-blocks/1"
    LABEL: ClassVar[str] = "record of a run"
    DAMAGED: ClassVar[str] = "not the {label} ({error})"
    RESTART: ClassVar[str] = RESTART

    serving: dict[str, str] = field(default_factory=dict)
    counts: Annotated[dict[str, int], Like(RowCounts)] | None = None

    def __post_init__(self) -> None:
        if self.serving and not self.serving.keys() >= SERVED_ON:
            raise ValueError(f"serving: expected {', '.join(sorted(SERVED_ON))}")

    @property
    def run(self) -> str:
        """What tells the blocks of this run from those of another."""
        return hashlib.sha256(json.dumps(self.settings, sort_keys=True).encode()).hexdigest()[:16]

    @classmethod
    def of(cls, output: Storage) -> "BlocksState":
        """The state in an output.

        Raises
        ------
        ValueError
            if it is damaged or of another version.
        """
        with output.open(STATE) as file:
            text = file.read(LARGEST_JSON)
        try:
            data = parse_json(text.decode())
            if not isinstance(data, dict) or data.pop("schema", None) != cls.SCHEMA:
                raise ValueError("another schema")
            return cls.from_json(data)
        except ValueError as error:
            damaged = cls.DAMAGED.format(label=cls.LABEL, error=error)
            raise ValueError(f"{output.path(STATE)}: {damaged}; {cls.RESTART}") from error

    def leave(self, output: Storage) -> None:
        """Write it into an output."""
        with output.writing(STATE) as file:
            file.write(json.dumps(self.to_json(), indent=1, allow_nan=False).encode())
