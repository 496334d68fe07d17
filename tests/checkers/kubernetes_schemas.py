"""Checks a manifest against Kubernetes' schemas of one version, unknown fields being errors (kubernetes-validate).

Usage: kubernetes_schemas.py VERSION FILE. Exit 1 and a line for each object that does not fit. Objects of other API groups than
Kubernetes' own (cert-manager's, Prometheus Operator's) have no schema here and are left out.
"""

import sys

import kubernetes_validate
import yaml

OTHERS = ("cert-manager.io/", "monitoring.coreos.com/")


def main() -> int:
    version, path = sys.argv[1:]
    bad = 0
    with open(path, encoding="utf-8") as file:
        for one in yaml.safe_load_all(file):
            if not one or one["apiVersion"].startswith(OTHERS):
                continue
            try:
                kubernetes_validate.validate(one, version, strict=True)
            except kubernetes_validate.ValidationError as error:
                bad += 1
                print(f"{one['kind']}/{one['metadata']['name']}: {error.message[:300]}")
    return 1 if bad else 0


sys.exit(main())
