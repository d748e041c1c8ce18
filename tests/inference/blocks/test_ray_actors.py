"""Calls on a cluster that loses them."""

from types import SimpleNamespace

import pytest

from latadj.inference.blocks.ray_actors import call_on

exceptions = pytest.importorskip("ray.exceptions")


@pytest.mark.parametrize("error", ["WorkerCrashedError", "NodeDiedError"])
def test_a_call_that_the_cluster_loses_is_one_line(error):
    def get(calls):
        raise getattr(exceptions, error)(*["the node died"] * (error == "NodeDiedError"))

    def remote(**reserved):
        return lambda work: SimpleNamespace(remote=work)

    with pytest.raises(ValueError, match=r"^the cluster cannot go on \(.+\); start again once it can$"):
        call_on(SimpleNamespace(remote=remote, get=get), len, [("a",)])
