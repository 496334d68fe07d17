//go:build tools

// Package tools pins the Kubernetes API server, etcd and Helm (all Apache-2.0) of the tests.
package tools

import (
	_ "go.etcd.io/etcd/server/v3"
	_ "helm.sh/helm/v3/cmd/helm"
	_ "k8s.io/kubernetes/cmd/kube-apiserver"
)
