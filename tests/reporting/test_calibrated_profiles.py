"""The table of a calibration."""

from helpers.measured_drops import with_drops

from latadj.elimination.cost import LayerShape
from latadj.elimination.dial import Dial
from latadj.reporting.results.calibrated_profiles import profiles_document, profiles_shown

LAYERS = 8  # more than stand side by side
SHAPES = (LayerShape(16, 32, 16, 128, 4, heads=4, neurons=8),) * LAYERS
DIAL = Dial(tuple(0.9 - 0.05 * layer for layer in range(LAYERS)), tuple(range(20, 60)), SHAPES)


def test_a_speedup_beyond_the_measured_drops_has_a_row_without_one():
    dial = with_drops(DIAL, {1.0: 0.0, 2.0: 0.5})
    profiles = profiles_shown(dial)
    drops = [profile["drop"] for profile in profiles]
    assert drops[0] == 0.0
    assert drops[-1] is None
    (table,) = profiles_document(dial, profiles).tables
    assert len(table.rows) >= len(profiles)
