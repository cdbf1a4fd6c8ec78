"""Prometheus: the metrics of this process, read when they are scraped. Needs the extra ``livegate[prometheus]``."""

from __future__ import annotations

from typing import TYPE_CHECKING, get_args
from weakref import WeakSet

from django.http import HttpResponse

from .metrics import Count, Gauge, counts, distributions, gauges

try:
    from prometheus_client import REGISTRY
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
    from prometheus_client.exposition import choose_encoder
    from prometheus_client.utils import floatToGoString as text_of
except ImportError as error:
    raise ImportError(
        "livegate.gateway.prometheus needs prometheus_client: pip install 'livegate[prometheus]'"
    ) from error

if TYPE_CHECKING:
    from collections.abc import Iterable

    from django.http import HttpRequest
    from prometheus_client import CollectorRegistry
    from prometheus_client.core import Metric

# What each is, is told in docs/monitoring.md.
DOCUMENTATION = "See livegate's docs/monitoring.md."


class MetricsCollector:
    """What prometheus_client asks for all of them, each time that it is scraped: nothing is counted twice."""

    def describe(self) -> Iterable[Metric]:
        """All that ``collect`` may give, so that nothing else is registered by a name of these."""
        for name in get_args(Gauge):
            yield GaugeMetricFamily(f"livegate_{name}", DOCUMENTATION)
        for name in get_args(Count):
            yield CounterMetricFamily(f"livegate_{name}", DOCUMENTATION)
        for name in distributions():
            yield HistogramMetricFamily(f"livegate_{name}", DOCUMENTATION)

    def collect(self) -> Iterable[Metric]:
        for gauge, standing in gauges().items():
            yield GaugeMetricFamily(f"livegate_{gauge}", DOCUMENTATION, value=standing)
        for count, times in counts().items():
            yield CounterMetricFamily(f"livegate_{count}", DOCUMENTATION, value=times)
        for measure, found in distributions().items():
            buckets = [(text_of(bound), float(number)) for bound, number in found.up_to.items()]  # type: ignore[no-untyped-call]
            yield HistogramMetricFamily(f"livegate_{measure}", DOCUMENTATION, buckets=buckets, sum_value=found.sum)


_registered: WeakSet[CollectorRegistry] = WeakSet()


def register(registry: CollectorRegistry = REGISTRY) -> None:
    """Have the metrics among what this registry gives; once is enough, and again is harmless."""
    if registry not in _registered:
        registry.register(MetricsCollector())
        _registered.add(registry)


async def metrics(request: HttpRequest) -> HttpResponse:
    """A view for your ``urlpatterns``: the metrics of the process that answers, with whatever else is in
    prometheus_client's own registry, in the format that the scraper asks for.

    It says how much is done, and not by whom; still it is nobody's business: let only Prometheus reach it.
    """
    register()
    encode, content_type = choose_encoder(request.headers.get("Accept", ""))
    return HttpResponse(encode(REGISTRY), headers={"Content-Type": content_type, "Cache-Control": "no-store"})
