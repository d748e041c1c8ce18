"""`latadj serve engine=ray`: what it refuses, and how it begins and ends. tests/server/test_predict_api.py asks it."""

import shutil
import signal
import threading

import httpx
import psutil
import pytest
from helpers.command_line import run
from helpers.served_model import process, spoil, write_served

from latadj.server.web_server import bound

pytest.importorskip("ray")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return write_served(tmp_path_factory.mktemp("on_ray"))


def refused(folder, *options):
    where = [f"checkpoint={folder}", f"folder={folder.parent / 'none'}", "device.name=cpu"]
    return run("serve", *where, "device.threads=1", "engine=ray", *options, expect=2).stderr


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["port=0"], "port=0 with engine=ray"),
        (["reload=true"], "reload=true with engine=ray"),
        (["replicas=2", "ray.autoscaling={max_replicas: 3}"], "replicas=2 with ray.autoscaling"),
        (["ray.autoscaling={min_replicas: many}"], "ray.autoscaling={'min_replicas': 'many'}: Ray does not take it"),
        (["device.threads=null"], "each has device.threads=N threads"),
        (["engine=local", "ray.cpus=2"], "ray.* with engine=local: give engine=ray"),
        (["engine=dask"], "engine=dask: expected one of local, ray"),
        (["ray.address=127.0.0.1:1"], "ray.address=127.0.0.1:1: no Ray cluster answers there"),
        (["replicas=1000"], "1000 replicas of 1 CPUs each, and this machine has"),
    ],
)
def test_what_it_cannot_do_is_refused(checkpoint, options, words):
    (line,) = refused(checkpoint, *(options if options == ["port=0"] else ["port=8765", *options])).splitlines()
    assert words in line


def test_broken_weights_are_refused_with_their_reason(checkpoint, tmp_path):
    folder = shutil.copytree(checkpoint, tmp_path / "broken")
    spoil(folder)
    found = refused(folder, "port=8766").splitlines()
    assert "NaN" in found[-1] or "not finite" in found[-1]


def replicas_of(server):
    return {
        one.pid: one
        for one in psutil.Process(server.pid).children(recursive=True)
        if "ServeReplica" in one.name() + "".join(one.cmdline())
    }


def free_port():
    with bound("127.0.0.1", 0) as free:
        return free.getsockname()[1]


def test_a_replica_that_dies_is_started_again(checkpoint):
    body = {"inputs": "the film is great"}
    with process(checkpoint, "engine=ray", f"port={free_port()}") as (server, url):
        (before,) = replicas_of(server).values()
        expected = httpx.post(f"{url}/predict", json=body, timeout=30).json()
        before.kill()
        before.wait()
        while (response := httpx.post(f"{url}/predict", json=body, timeout=60)).status_code != 200:
            assert response.status_code >= 500
        assert response.json() == expected
        (after,) = replicas_of(server)
        assert after != before.pid


def test_two_replicas_answer_and_who_was_let_in_is_answered_after_a_signal(checkpoint):
    body = {"inputs": [["the film is great"]] * 20}
    with process(checkpoint, "engine=ray", "replicas=2", f"port={free_port()}", "drain_s=20") as (server, url):
        statuses, ending = [], threading.Event()

        def ask():
            while True:
                try:
                    response = httpx.post(f"{url}/predict", json=body, timeout=30)
                except httpx.TransportError:
                    return
                if ending.is_set() and response.status_code in (404, 503):
                    return  # Ray lets nobody in any more
                statuses.append((response.status_code, len(response.json())))

        clients = [threading.Thread(target=ask) for _ in range(3)]
        for client in clients:
            client.start()
        while len(statuses) < 20:
            pass
        ending.set()
        server.send_signal(signal.SIGTERM)
        for client in clients:
            client.join()
        server.communicate(timeout=60)
    assert server.returncode == 0
    assert set(statuses) == {(200, 20)}
