import pytest
from mutation.check import place_of
from mutation.faults import FAULTS


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_every_fault_stands_for_one_line_of_the_package(fault):
    assert place_of(fault).suffix == ".py"
    assert fault.line != fault.wrong
