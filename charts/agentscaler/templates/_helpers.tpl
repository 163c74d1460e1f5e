{{- define "agentscaler.name" -}}
{{- default .Chart.Name .Values.nameOverride }}
{{- end }}

{{- /* Cut so that every suffix of ours fits into the 63 characters of a label. */}}
{{- define "agentscaler.fullname" -}}
{{- $name := include "agentscaler.name" . }}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride }}
{{- else if contains $name .Release.Name }}
{{- .Release.Name | trunc 53 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name $name | trunc 53 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- define "agentscaler.selector" -}}
app.kubernetes.io/name: {{ include "agentscaler.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "agentscaler.labels" -}}
{{ include "agentscaler.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/component: operator
app.kubernetes.io/part-of: agentscaler
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}

{{- define "agentscaler.serviceAccount" -}}
{{- if .Values.serviceAccount.create }}
{{- default (include "agentscaler.fullname" .) .Values.serviceAccount.name }}
{{- else }}
{{- default "default" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{- define "agentscaler.image" -}}
{{- with .Values.image }}
{{- if .digest }}
{{- printf "%s@%s" .repository .digest }}
{{- else }}
{{- printf "%s:%s" .repository (default $.Chart.AppVersion .tag) }}
{{- end }}
{{- end }}
{{- end }}

{{- /* What cannot work, or would do harm, is refused before anything is made. */}}
{{- define "agentscaler.check" -}}
{{- if and (not .Values.leaderElection.enabled) (gt (int .Values.replicas) 1) }}
{{- fail "replicas above 1 without leaderElection.enabled would let two operators act at once: enable it, or set replicas to 1" }}
{{- end }}
{{- if and .Values.defaultServer (not (hasKey .Values.prometheus .Values.defaultServer)) }}
{{- fail (printf "defaultServer %q is not under prometheus: add it there, or correct the name" .Values.defaultServer) }}
{{- end }}
{{- range $name, $server := .Values.prometheus }}
{{- if and $server.bearerToken $server.basicAuth }}
{{- fail (printf "prometheus.%s: bearerToken and basicAuth exclude each other: remove one" $name) }}
{{- end }}
{{- end }}
{{- if .Values.namespaces }}
{{- include "agentscaler.checkNamespaces" . }}
{{- end }}
{{- end }}

{{- /*
A namespace that is not there would be found only after half of the objects were made. `helm template` sees no cluster
at all: nothing is said unless at least one namespace can be seen.
*/}}
{{- define "agentscaler.checkNamespaces" -}}
{{- $missing := list }}
{{- $seen := not (empty (lookup "v1" "Namespace" "" .Release.Namespace)) }}
{{- range .Values.namespaces }}
{{- if lookup "v1" "Namespace" "" . }}
{{- $seen = true }}
{{- else }}
{{- $missing = append $missing . }}
{{- end }}
{{- end }}
{{- if and $seen $missing }}
{{- fail (printf "namespaces: there is no namespace %s: create it, or take it out of the list" (join ", " $missing)) }}
{{- end }}
{{- end }}
