"""Prints the metrics of OTLP requests (protobuf, one a file) as JSON, a list a request, by OpenTelemetry's own definitions for
Python."""

import json
import sys

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.metrics.v1.metrics_pb2 import AggregationTemporality


def attributes(holder):
    return {one.key: one.value.string_value for one in holder.attributes}


def number(point):
    return getattr(point, point.WhichOneof("value"))


def told(metric):
    kind = metric.WhichOneof("data")
    data = getattr(metric, kind)
    points = []
    for point in data.data_points:
        plain = {"attributes": attributes(point), "start": point.start_time_unix_nano, "time": point.time_unix_nano}
        if kind == "histogram":
            plain |= {"sum": point.sum, "count": point.count}
            plain |= {"bounds": list(point.explicit_bounds), "counts": list(point.bucket_counts)}
        else:
            plain["value"] = number(point)
        points.append(plain)
    return {
        "name": metric.name,
        "help": metric.description,
        "unit": metric.unit,
        "kind": kind,
        "monotonic": kind == "sum" and data.is_monotonic,
        "temporality": None if kind == "gauge" else AggregationTemporality.Name(data.aggregation_temporality),
        "points": points,
    }


requests = []
for path in sys.argv[1:]:
    request = ExportMetricsServiceRequest()
    with open(path, "rb") as file:
        request.ParseFromString(file.read())
    (resource,) = request.resource_metrics
    (scope,) = resource.scope_metrics
    requests.append({
        "resource": attributes(resource.resource),
        "scope": scope.scope.name,
        "metrics": [told(metric) for metric in scope.metrics],
    })
json.dump(requests, sys.stdout)
