"""Prints the spans of OTLP requests (protobuf, one a file) as JSON, by OpenTelemetry's own definitions for Python."""

import json
import sys

from google.protobuf.json_format import MessageToDict
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


def plain(value):
    kind, inner = next(iter(value.items()), (None, None))
    if kind == "arrayValue":
        return [plain(item) for item in inner.get("values", [])]
    return int(inner) if kind == "intValue" else inner


def attributes(holder):
    return {one["key"]: plain(one["value"]) for one in holder.get("attributes", [])}


spans = []
for path in sys.argv[1:]:
    request = ExportTraceServiceRequest()
    with open(path, "rb") as file:
        request.ParseFromString(file.read())
    # Ids are bytes, which JSON would have in base64.
    for resource in request.resource_spans:
        of = attributes(MessageToDict(resource.resource))
        for scope in resource.scope_spans:
            for span in scope.spans:
                told = MessageToDict(span)
                spans.append({
                    "resource": of,
                    "trace": span.trace_id.hex(),
                    "parent": span.parent_span_id.hex(),
                    "name": span.name,
                    "kind": told.get("kind"),
                    "start": span.start_time_unix_nano,
                    "end": span.end_time_unix_nano,
                    "status": told.get("status", {}).get("code"),
                    "events": [event.name for event in span.events],
                    "attributes": attributes(told),
                })
json.dump(spans, sys.stdout)
