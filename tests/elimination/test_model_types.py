"""What is said of each type of model, without torch, is what its architecture does."""

from latadj.elimination.architectures import ARCHITECTURES
from latadj.elimination.architectures.encoders import Encoder
from latadj.elimination.model_types import EXPORT, PRUNING, SUPPORTED, TOKENS, WIDTH


def test_every_type_supports_what_its_architecture_does():
    expected = {}
    for architecture in ARCHITECTURES:
        narrows = () if architecture.shares_weights else (WIDTH, PRUNING)
        graphs = (EXPORT,) if isinstance(architecture, Encoder) and architecture.in_graphs else ()
        expected |= dict.fromkeys(architecture.model_types, (TOKENS, *narrows, *graphs))
    assert expected == SUPPORTED
    assert list(expected) == list(SUPPORTED), "in the same order"
