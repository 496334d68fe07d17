{{- define "colophon.name" -}}
{{- printf "%s" .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- end }}

{{- define "colophon.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{ include "colophon.selector" . }}
{{- end }}

{{- define "colophon.selector" -}}
app.kubernetes.io/name: colophon
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "colophon.image" -}}
{{- $image := .Values.image -}}
{{- $repository := required "image.repository: there is no published image; build one and name it" $image.repository -}}
{{- if $image.digest -}}
{{ printf "%s@%s" $repository $image.digest }}
{{- else -}}
{{ printf "%s:%s" $repository (default .Chart.AppVersion $image.tag) }}
{{- end -}}
{{- end }}

{{- define "colophon.pullSecrets" -}}
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
{{- range . }}
- name: {{ . }}
{{- end }}
{{- end }}
{{- end }}

{{- define "colophon.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "colophon.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

{{- define "colophon.placement" -}}
{{- with .nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .affinity }}
affinity: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "colophon.logUrl" -}}
https://{{ include "colophon.name" . }}-log.{{ .Release.Namespace }}.svc:4180
{{- end }}

{{- define "colophon.certificateSecret" -}}
{{- if eq .Values.certificates.kind "secret" -}}
{{ required "certificates.secretName: of which Secret?" .Values.certificates.secretName }}
{{- else -}}
{{ include "colophon.name" . }}-tls
{{- end -}}
{{- end }}

{{- define "colophon.dnsNames" -}}
{{- $name := include "colophon.name" . -}}
{{- range list "injector" "log" }}
- {{ $name }}-{{ . }}.{{ $.Release.Namespace }}.svc
- {{ $name }}-{{ . }}.{{ $.Release.Namespace }}.svc.cluster.local
{{- end }}
{{- end }}

{{- /* CA and certificate, made once: those that are there are kept, and within one rendering all templates see the same. */ -}}
{{- define "colophon.generate" -}}
{{- if not (hasKey .Values "generatedCertificate") -}}
{{- $name := printf "%s-tls" (include "colophon.name" .) -}}
{{- $there := lookup "v1" "Secret" .Release.Namespace $name -}}
{{- if and $there (hasKey ($there.data | default dict) "ca.crt") -}}
{{- $kept := dict "ca" (index $there.data "ca.crt") "crt" (index $there.data "tls.crt") "key" (index $there.data "tls.key") -}}
{{- $_ := set .Values "generatedCertificate" $kept -}}
{{- else -}}
{{- $days := int .Values.certificates.days -}}
{{- $ca := genCA (printf "%s CA" .Release.Name) $days -}}
{{- $names := include "colophon.dnsNames" . | fromYamlArray -}}
{{- $made := genSignedCert (first $names) nil $names $days $ca -}}
{{- $kept := dict "ca" (b64enc $ca.Cert) "crt" (b64enc $made.Cert) "key" (b64enc $made.Key) -}}
{{- $_ := set .Values "generatedCertificate" $kept -}}
{{- end -}}
{{- end -}}
{{- end }}

{{- /* PEM of the CA, or nothing where it is not known. */ -}}
{{- define "colophon.ca" -}}
{{- if eq .Values.certificates.kind "generated" -}}
{{- include "colophon.generate" . -}}
{{ .Values.generatedCertificate.ca | b64dec }}
{{- else -}}
{{ .Values.certificates.ca }}
{{- end -}}
{{- end }}

{{- /* The number at the end of the log's name, which stands in its verifier key. */ -}}
{{- define "colophon.logGeneration" -}}
{{- regexFind "/[0-9]+\\+" .Values.log.vkey | trimPrefix "/" | trimSuffix "+" -}}
{{- end }}

{{- /* What workers and the gateway need of provers; paths in the file are from /etc/colophon-provers. */ -}}
{{- define "colophon.proverMounts" -}}
- {name: provers, mountPath: /etc/colophon-provers, readOnly: true}
{{- if .Values.provers.secret }}
- {name: prover-secret, mountPath: /etc/colophon-prover-secret, readOnly: true}
{{- end }}
{{- if .Values.provers.circuitsClaim }}
- {name: circuits, mountPath: /etc/colophon-circuits, readOnly: true}
{{- end }}
{{- end }}

{{- define "colophon.proverVolumes" -}}
- {name: provers, configMap: {name: {{ include "colophon.name" . }}-prover}}
{{- with .Values.provers.secret }}
- {name: prover-secret, secret: {secretName: {{ . }}}}
{{- end }}
{{- with .Values.provers.circuitsClaim }}
- {name: circuits, persistentVolumeClaim: {claimName: {{ . }}, readOnly: true}}
{{- end }}
{{- end }}

{{- /* Whatever is wrong and a schema cannot say. */ -}}
{{- define "colophon.check" -}}
{{- $log := .Values.log -}}
{{- if $log.enabled -}}
{{- $_ := required "log.origin: it names the log and cannot change" $log.origin -}}
{{- $_ := required "log.keySecret: a log has to keep its key" $log.keySecret -}}
{{- if eq (empty $log.store) (empty $log.storeClaim) -}}{{- fail "log: exactly one of store and storeClaim" -}}{{- end -}}
{{- if and (empty $log.serviceAccounts.jwks) (empty $log.tokensSecret) -}}{{- fail "log: anybody could append. Give serviceAccounts.jwks or tokensSecret" -}}{{- end -}}
{{- if and $log.serviceAccounts.jwks (empty $log.serviceAccounts.issuer) -}}{{- fail "log.serviceAccounts: jwks needs issuer" -}}{{- end -}}
{{- if and (eq .Values.mode "sidecar") (or (empty $log.serviceAccounts.jwks) (empty $log.serviceAccounts.allowed)) -}}{{- fail "log: sidecars show the tokens of their ServiceAccounts; give serviceAccounts.jwks and allowed" -}}{{- end -}}
{{- end -}}
{{- if eq .Values.mode "gateway" -}}
{{- $_ := required "gateway.upstream: which Service is it in front of?" .Values.gateway.upstream -}}
{{- if and (gt (int .Values.gateway.replicas) 1) (not $log.enabled) -}}{{- fail "gateway.replicas: several need one log (log.enabled)" -}}{{- end -}}
{{- if and $log.enabled (empty $log.serviceAccounts.jwks) (empty .Values.gateway.logTokenSecret) -}}{{- fail "gateway.logTokenSecret: by which token does it post?" -}}{{- end -}}
{{- if and (not $log.enabled) (empty .Values.gateway.origin) -}}{{- fail "gateway.origin: it names the gateway's log and cannot change" -}}{{- end -}}
{{- end -}}
{{- $provers := .Values.provers -}}
{{- if $provers.enabled -}}
{{- $_ := required "provers.image: which image has Colophon, the provers' programs and what they need?" $provers.image -}}
{{- $config := required "provers.config: which provers, and which NATS server?" $provers.config | fromYaml -}}
{{- if hasKey $config "Error" -}}{{- fail (printf "provers.config: %s" $config.Error) -}}{{- end -}}
{{- if empty $config.nats -}}{{- fail "provers.config: without nats the workers have nowhere to take jobs from" -}}{{- end -}}
{{- if and (eq .Values.mode "gateway") (empty $provers.circuitsClaim) -}}{{- fail "provers.circuitsClaim: a gateway has to know the circuits of the proofs that it asks for" -}}{{- end -}}
{{- if empty $provers.seccompProfile -}}{{- fail "provers.seccompProfile: a prover's program gets namespaces of its own by unshare(2), which RuntimeDefault forbids. Give {type: Localhost, localhostProfile: …}, or {type: Unconfined}" -}}{{- end -}}
{{- end -}}
{{- if and .Values.monitor.enabled (empty .Values.monitor.logs) -}}
{{- if not $log.enabled -}}{{- fail "monitor.logs: which logs does it follow?" -}}{{- end -}}
{{- if empty (include "colophon.logGeneration" .) -}}{{- fail "monitor: log.vkey says by which key it follows this release's log, as ORIGIN/1+…" -}}{{- end -}}
{{- end -}}
{{- if and (eq .Values.certificates.kind "certManager") (empty .Values.certificates.issuerRef) -}}{{- fail "certificates.issuerRef: of which issuer?" -}}{{- end -}}
{{- if and (eq .Values.certificates.kind "secret") (empty .Values.certificates.ca) -}}{{- fail "certificates.ca: whose certificate does the API server trust?" -}}{{- end -}}
{{- end }}
