"""An image's provenance by in-toto's own types, and its SBOM by CycloneDX' own schema.

usage: image.py FOLDER (with provenance.json, sbom.cdx.json and the OCI layout oci)
"""

import copy
import json
import pathlib
import sys

from common import fail, holds, ok, read_json
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from google.protobuf.json_format import ParseDict, ParseError
from in_toto_attestation.predicates.provenance.v1 import provenance_pb2
from in_toto_attestation.v1.statement import Statement

folder = pathlib.Path(sys.argv[1])
said = read_json(folder / "provenance.json")


def statement(value):
    """Raises for whatever in-toto's or SLSA's types do not have."""
    one = Statement([], "", {})
    ParseDict(value, one.pb)
    one.validate()
    predicate = ParseDict(value["predicate"], provenance_pb2.Provenance())
    assert predicate.build_definition.build_type and predicate.run_details.builder.id
    return one.pb, predicate


holds(lambda: statement(said), "the provenance is an in-toto Statement about SLSA provenance v1")
pb, predicate = statement(said)
ok(pb.type == "https://in-toto.io/Statement/v1", "of version 1")
ok(pb.predicate_type == "https://slsa.dev/provenance/v1", "its predicate is SLSA's")
manifests = read_json(folder / "oci/index.json")["manifests"]
digest = "sha256:" + pb.subject[0].digest["sha256"]
ok([one["digest"] for one in manifests] == [digest], "its subject is the layout's one manifest", digest)
ok(
    predicate.run_details.metadata.started_on.ToNanoseconds()
    <= predicate.run_details.metadata.finished_on.ToNanoseconds(),
    "it began before it ended",
)
named = {one.name: one.digest["sha256"] for one in predicate.run_details.byproducts}
ok("/usr/local/bin/colophon" in named and "sbom.cdx.json" in named, "programs and SBOM are named", str(named))

spoilt = copy.deepcopy(said)
spoilt["predicate"]["buildDefinition"]["builtBy"] = "somebody"
try:
    statement(spoilt)
    fail("an unknown field is refused")
except ParseError:
    ok(True, "an unknown field is refused")

schema = JsonStrictValidator(SchemaVersion.V1_5)
text = (folder / "sbom.cdx.json").read_text()
error = schema.validate_str(text)
ok(error is None, "the SBOM fits CycloneDX 1.5", str(error))
sbom = json.loads(text)
components = sbom["components"]
names = {one["name"] for one in components}
asked = said["predicate"]["buildDefinition"]["externalParameters"]
if "programs" in asked:
    ok(not any(one.get("purl", "").startswith("pkg:cargo/") for one in components), "no crate of programs that were given")
    ok("/usr/local/bin/colophon" in names, "the programs themselves are in it", str(names))
    ok([one["aggregate"] for one in sbom["compositions"]] == ["incomplete"], "it says that it is not whole")
else:
    ok({"rustls", "tokio", "colophon"} <= names, "crates are in it")
    materials = {one.name: one.digest for one in predicate.build_definition.resolved_dependencies}
    ok("sha256" in materials["Cargo.lock"], "the lock file is named", str(materials))
    ok(materials["source"]["gitCommit"] == asked["commit"], "and the commit", str(asked))
    ok(isinstance(asked["changed"], bool), "and whether that is all", str(asked))
ok("libc6" in names, "Debian packages are in it", str(names))
sbom["components"][0]["licences"] = []
ok(schema.validate_str(json.dumps(sbom)) is not None, "an unknown field is refused there too")
