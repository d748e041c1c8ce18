"""The files to deploy with name options, addresses and metrics that there are."""

import json
import re
import shlex
from pathlib import Path

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from latadj.config.compose import compose, typed
from latadj.server.telemetry import Telemetry

DEPLOY = Path(__file__).parents[2] / "docs" / "deploy"


def entry_point():
    return json.loads(re.search(r"^ENTRYPOINT (.*)$", (DEPLOY / "Dockerfile").read_text(), re.M)[1])


def container():
    return yaml.safe_load((DEPLOY / "kubernetes.yaml").read_text())["spec"]["template"]["spec"]["containers"][0]


def unit(name):
    return re.search(rf"^{name}=(.*)$", (DEPLOY / "latadj.service").read_text(), re.M)[1]


@pytest.mark.parametrize(
    "command",
    [entry_point(), [*entry_point(), *container()["args"]], shlex.split(unit("ExecStart"))],
    ids=["docker", "kubernetes", "systemd"],
)
def test_each_file_starts_the_server_with_options_that_it_has(command):
    assert command[0].endswith("latadj")
    assert command[1] == "serve"
    config = typed("serve", compose("serve", command[2:]))
    assert config.port == 8080


def test_whoever_stops_the_server_waits_until_it_has_answered():
    options = dict(option.split("=") for option in shlex.split(unit("ExecStart"))[2:])
    assert float(unit("TimeoutStopSec")) > float(options["drain_s"])
    pod = yaml.safe_load((DEPLOY / "kubernetes.yaml").read_text())["spec"]["template"]["spec"]
    arguments = dict(option.split("=") for option in container()["args"])
    assert pod["terminationGracePeriodSeconds"] > float(arguments["drain_s"])


def test_probes_ask_for_health():
    probes = [container()[name]["httpGet"] for name in ("startupProbe", "readinessProbe", "livenessProbe")]
    assert {(probe["path"], probe["port"]) for probe in probes} == {("/health", 8080)}
    assert ":8080/health" in (DEPLOY / "Dockerfile").read_text()


def test_the_dashboard_draws_metrics_that_the_server_has():
    telemetry = Telemetry(waiting=lambda: 0, correction=lambda: 1.0, deadline_s=0.05)
    telemetry.request(200, 0.01)
    telemetry.shed("refused")
    known = {
        sample.name for family in text_string_to_metric_families(telemetry.text().decode()) for sample in family.samples
    }
    panels = json.loads((DEPLOY / "grafana.json").read_text())["panels"]
    drawn = {name for panel in panels for one in panel["targets"] for name in re.findall(r"latadj_\w+", one["expr"])}
    assert len(drawn) == 9
    assert drawn <= known
