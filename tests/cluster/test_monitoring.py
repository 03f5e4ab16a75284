"""The files for Prometheus and Grafana are valid, and each alert fires for its cause."""

import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.prometheus import MONITORING, dashboards, program
from tune.search.metrics import STATES

RUN = '{study="small", run="trial-0003"}'


def promtool(*arguments: str) -> None:
    done = subprocess.run([program("promtool"), *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_prometheus_accepts_its_files() -> None:
    promtool("check", "config", str(MONITORING / "prometheus.yml"))
    promtool("check", "rules", str(MONITORING / "alerts.yml"))


def test_prometheus_finds_ray_by_a_file_that_outlives_a_session() -> None:
    (scrape,) = yaml.safe_load((MONITORING / "prometheus.yml").read_text())["scrape_configs"]
    ((file,),) = [config["files"] for config in scrape["file_sd_configs"]]
    assert file == "/tmp/ray/prom_metrics_service_discovery.json"  # noqa: S108


@pytest.mark.parametrize(
    ("alert", "series", "labels"),
    [
        (
            "NoProgress",  # one epoch at the start, exported for a moment
            {
                f"ray_daam_run_progress_timestamp_seconds{RUN}": "0 0 _x60",
                f"ray_daam_run_state{RUN}": f"{STATES['RUNNING']} {STATES['RUNNING']} _x60",
            },
            {"study": "small", "run": "trial-0003"},
        ),
        (
            "NoProgress",  # but it has ended
            {
                f"ray_daam_run_progress_timestamp_seconds{RUN}": "0 0 _x60",
                f"ray_daam_run_state{RUN}": f"{STATES['RUNNING']} {STATES['COMPLETE']} _x60",
            },
            None,
        ),
        ("RunsRestart", {f"ray_daam_run_restarts{RUN}": "3x60"}, {"study": "small"}),
        ("RunsRestart", {f"ray_daam_run_restarts{RUN}": "1x60"}, None),
        (
            "HostLost",  # Ray takes a dead host from its list
            {
                'up{job="ray", instance="a:1"}': "1x60",
                'up{job="ray", instance="b:1"}': "1x50 stale",
            },
            {},
        ),
        ("HostLost", {'up{job="ray", instance="a:1"}': "1x60"}, None),
        ("DiskFull", {'ray_node_disk_utilization_percentage{ip="b"}': "93x60"}, {"ip": "b"}),
        (
            "MemoryShort",
            {'ray_node_mem_used{ip="b"}': "95x60", 'ray_node_mem_total{ip="b"}': "100x60"},
            {"ip": "b"},
        ),
    ],
)
def test_an_alert_fires(
    alert: str, series: dict[str, str], labels: dict[str, str] | None, tmp_path: Path
) -> None:
    test: dict[str, Any] = {
        "interval": "1m",
        "input_series": [{"series": name, "values": text} for name, text in series.items()],
        "alert_rule_test": [{"eval_time": "55m", "alertname": alert, "exp_alerts": []}],
    }
    rules = yaml.safe_load((MONITORING / "alerts.yml").read_text())
    for rule in rules["groups"][0]["rules"]:
        rule["annotations"] = {}  # which alert fires, and for what, is compared
        rule["labels"] = {}
    if labels is not None:
        test["alert_rule_test"][0]["exp_alerts"] = [{"exp_labels": labels}]
    (tmp_path / "alerts.yml").write_text(yaml.safe_dump(rules))
    document = {"rule_files": ["alerts.yml"], "evaluation_interval": "1m", "tests": [test]}
    (tmp_path / "test.yml").write_text(yaml.safe_dump(document))
    promtool("test", "rules", str(tmp_path / "test.yml"))


@pytest.mark.parametrize("name", dashboards())
def test_a_dashboard_has_panels_that_do_not_overlap(name: str) -> None:
    dashboard = dashboards()[name]
    panels = dashboard["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken = [
        (x, y)
        for panel in panels
        for at in [panel["gridPos"]]
        for x in range(at["x"], at["x"] + at["w"])
        for y in range(at["y"], at["y"] + at["h"])
    ]
    assert len(set(taken)) == len(taken)
    assert max(x for x, _ in taken) < 24


def test_the_states_of_the_timeline_are_those_that_are_published() -> None:
    (timeline,) = (
        panel for panel in dashboards()["study"]["panels"] if panel["type"] == "state-timeline"
    )
    (mapping,) = timeline["fieldConfig"]["defaults"]["mappings"]
    words = {"FAIL": "failed"}
    assert {int(value): shown["text"] for value, shown in mapping["options"].items()} == {
        value: words.get(state, state.lower()) for state, value in STATES.items()
    }


def test_grafana_is_provisioned_as_rays_metrics_page_needs_it() -> None:
    source = yaml.safe_load(
        (MONITORING / "grafana/provisioning/datasources/prometheus.yml").read_text()
    )
    assert source["datasources"][0]["name"] == "Prometheus"
    settings = (MONITORING / "grafana" / "grafana.ini").read_text()
    for line in ("allow_embedding = true", "enabled = true", "http_addr = 127.0.0.1"):
        assert line in settings
    folders = yaml.safe_load(
        (MONITORING / "grafana/provisioning/dashboards/dashboards.yml").read_text()
    )["providers"]
    assert [folder["options"]["path"] for folder in folders] == [
        "cluster/monitoring/grafana/dashboards",
        "/tmp/ray/session_latest/metrics/grafana/dashboards",  # noqa: S108
    ]
