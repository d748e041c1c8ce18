"""What actors reserve, and how many of them a cluster has room for."""

import logging
from types import SimpleNamespace

import pytest

from latadj.config.compose import compose, typed
from latadj.inference.blocks.room import cpus_of, gpus_of, own_config, require_room, room


def cluster(*nodes, alive=True):
    """Stands for the module `ray`, connected to nodes of so many CPUs and GPUs."""
    made = [{"Alive": alive, "Resources": {"CPU": float(cpus), "GPU": float(gpus)}} for cpus, gpus in nodes]
    total = {name: sum(node["Resources"][name] for node in made) for name in ("CPU", "GPU")}
    return SimpleNamespace(nodes=lambda: made, cluster_resources=lambda: total)


def own(ray, *options):
    fixed = ["checkpoint=c", "folder=f", "engine=ray", "input=in", "output=out"]
    return own_config(typed("predict", compose("predict", [*fixed, *options])), ray)


@pytest.mark.parametrize(
    ("asked", "gpus", "name", "reserved"),
    [("auto", 1, "cuda", 1.0), ("auto", 0, "cpu", 0.0), ("cuda:1", 2, "cuda", 1.0), ("cpu", 1, "cpu", 0.0)],
)
def test_an_actor_reserves_the_gpu_that_it_runs_on(asked, gpus, name, reserved):
    config = own(cluster((4, gpus)), f"device.name={asked}")
    assert (config.device.name, gpus_of(config)) == (name, reserved)


def test_a_reservation_has_room_on_one_machine_only():
    ray = cluster((3, 0), (3, 1))
    assert [room(own(ray, "device.name=cpu", f"device.threads={count}"), ray) for count in (1, 2, 3, 4)] == [6, 2, 2, 0]
    assert room(own(ray, "device.name=cuda"), ray) == 1
    assert room(own(ray, "device.name=cpu", "ray.cpus=0.1"), cluster((0.3, 0))) == 3
    assert room(own(ray, "device.name=cpu"), cluster((3, 0), alive=False)) == 0


def test_what_no_machine_has_is_refused_here_and_awaited_on_a_cluster(caplog):
    ray = cluster((3, 0), (3, 0))
    with pytest.raises(ValueError, match=r"ray\.actors=1 of 4 CPUs each, and this machine has room for 0"):
        require_room(own(ray, "device.threads=4"), ray)
    with caplog.at_level(logging.WARNING, "latadj"):
        require_room(own(ray, "device.threads=4", "ray.address=auto"), ray)
    assert "no machine of the cluster has 4 CPUs for an actor" in caplog.text


def test_threads_are_those_of_the_reservation():
    ray = cluster((8, 0))
    assert [own(ray, *more).device.threads for more in ([], ["ray.cpus=2.5"], ["device.threads=3"])] == [1, 2, 3]
    assert cpus_of(own(ray, "ray.cpus=2.5")) == 2.5
