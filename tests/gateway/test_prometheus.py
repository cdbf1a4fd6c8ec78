"""Prometheus scrapes what is counted, measured and standing in this process, each by its documented name."""

from __future__ import annotations

import importlib.util
import sys
from typing import get_args

import pytest
from django.test import AsyncClient, RequestFactory
from django.urls import path
from prometheus_client import REGISTRY, CollectorRegistry, Counter, generate_latest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_openmetrics
from prometheus_client.parser import text_string_to_metric_families as read_text

from livegate.gateway import metrics, prometheus
from livegate.gateway.metrics import Count, Gauge, Measure, count, gauge, observe
from livegate.gateway.prometheus import register

urlpatterns = [path("metrics", prometheus.metrics)]


@pytest.fixture(autouse=True)
def from_nothing(monkeypatch):
    for name in ("_counts", "_buckets", "_sums", "_gauges"):
        monkeypatch.setattr(metrics, name, type(getattr(metrics, name))())


@pytest.fixture
def registry():
    registry = CollectorRegistry()
    register(registry)
    return registry


def test_counts_gauges_and_distributions_are_given_as_they_are_when_it_is_scraped(registry):
    gauge("sockets", lambda: 7)
    count("frames_sent", 3)
    observe("evaluation_audiences", 2)
    observe("evaluation_audiences", 40)

    assert registry.get_sample_value("livegate_sockets") == 7
    assert registry.get_sample_value("livegate_frames_sent_total") == 3
    assert registry.get_sample_value("livegate_evaluation_audiences_bucket", {"le": "1.0"}) == 0
    assert registry.get_sample_value("livegate_evaluation_audiences_bucket", {"le": "2.0"}) == 1
    assert registry.get_sample_value("livegate_evaluation_audiences_bucket", {"le": "+Inf"}) == 2
    assert registry.get_sample_value("livegate_evaluation_audiences_count") == 2
    assert registry.get_sample_value("livegate_evaluation_audiences_sum") == 42
    count("frames_sent")
    assert registry.get_sample_value("livegate_frames_sent_total") == 4


def test_everything_is_exported_by_its_name_and_nothing_has_labels_but_bounds(registry):
    for name in get_args(Gauge):
        gauge(name, lambda: 1)

    families = {family.name: family for family in read_text(generate_latest(registry).decode())}

    types = {"gauge": Gauge, "counter": Count, "histogram": Measure}
    assert {(name, family.type) for name, family in families.items()} == {
        (f"livegate_{name}", kind) for kind, names in types.items() for name in get_args(names)
    }
    labels = {label for family in families.values() for sample in family.samples for label in sample.labels}
    assert labels == {"le"}


def test_a_gauge_that_says_nothing_is_left_out(registry):
    gauge("ledger_queue", lambda: None)

    assert registry.get_sample_value("livegate_ledger_queue") is None


def test_to_register_again_is_harmless_and_a_name_that_is_taken_is_an_error(registry):
    register(registry)

    with pytest.raises(ValueError, match="livegate_sweeps"):
        Counter("livegate_sweeps", "", registry=registry)
    with pytest.raises(ValueError, match="livegate_ledger_queue"):  # also one of which nothing is told yet
        Counter("livegate_ledger_queue", "", registry=registry)


@pytest.mark.urls(__name__)
@pytest.mark.parametrize(
    ("accept", "content_type", "read"),
    [
        ("", "text/plain; version=0.0.4; charset=utf-8", read_text),
        ("application/openmetrics-text;version=1.0.0", "application/openmetrics-text; version=1.0.0", read_openmetrics),
    ],
)
async def test_the_view_answers_in_the_format_that_is_asked_for(accept, content_type, read):
    count("sweeps", 5)

    response = await AsyncClient().get("/metrics", headers={"Accept": accept})

    assert response.status_code == 200
    assert response.headers["Content-Type"].startswith(content_type)
    assert response.headers["Cache-Control"] == "no-store"
    [sweeps] = [family for family in read(response.text) if family.name == "livegate_sweeps"]
    assert [sample.value for sample in sweeps.samples] == [5]


async def test_the_view_gives_what_else_the_application_measures():
    here = Counter("of_the_application", "", registry=REGISTRY)
    try:
        response = await prometheus.metrics(RequestFactory().get("/metrics"))
    finally:
        REGISTRY.unregister(here)

    assert b"of_the_application_total 0.0" in response.content


def test_without_the_package_it_is_said_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    spec = importlib.util.spec_from_file_location("livegate.gateway.prometheus_anew", prometheus.__file__)

    with pytest.raises(ImportError, match=r"pip install 'livegate\[prometheus\]'"):
        spec.loader.exec_module(importlib.util.module_from_spec(spec))
