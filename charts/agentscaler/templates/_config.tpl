{{- /* The operator's own configuration, in the words of its settings. JSON is YAML. */}}
{{- define "agentscaler.config" -}}
{{- range $key, $value := .Values.settings }}
{{ $key }}: {{ toJson $value }}
{{- end }}
namespaces: {{ toJson .Values.namespaces }}
leaderElection: {{ .Values.leaderElection.enabled }}
leaseNamespace: {{ .Release.Namespace }}
leaseName: {{ include "agentscaler.fullname" . }}
{{- with .Values.defaultServer }}
defaultServer: {{ . }}
{{- end }}
prometheus:
{{- range $name, $server := .Values.prometheus }}
  {{ $name }}:
    {{- include "agentscaler.server" (dict "directory" (printf "/etc/agentscaler/servers/%s" $name) "server" $server) | trim | nindent 4 }}
{{- else }} {}
{{- end }}
{{- end }}

{{- define "agentscaler.server" -}}
{{- $directory := .directory }}
{{- $server := .server }}
url: {{ $server.url | default "" | quote }}
{{- range $key := list "matchers" "headers" "parameters" "demandTemplates" "targetLabels" "namespaceLabel" "podLabel" "timeoutSeconds" "scrapeIntervalSeconds" "maxResponseBytes" }}
{{- with get $server $key }}
{{ $key }}: {{ toJson . }}
{{- end }}
{{- end }}
{{- with $server.secretHeaders }}
headerFiles:
{{- range $header, $_ := . }}
  {{ $header }}: {{ $directory }}/headers/{{ $header }}
{{- end }}
{{- end }}
{{- if $server.bearerToken }}
bearerTokenFile: {{ $directory }}/token
{{- end }}
{{- with $server.basicAuth }}
{{- if kindIs "string" .username }}
username: {{ .username | quote }}
{{- else }}
usernameFile: {{ $directory }}/username
{{- end }}
passwordFile: {{ $directory }}/password
{{- end }}
{{- with $server.tls }}
{{- if .ca }}
caFile: {{ $directory }}/ca.crt
{{- end }}
{{- if .cert }}
certFile: {{ $directory }}/tls.crt
keyFile: {{ $directory }}/tls.key
{{- end }}
{{- end }}
{{- end }}

{{- /*
The files of one server. All are optional to the kubelet: a Secret that is missing must not keep the pod from starting,
since only a running operator can say what to set.
*/}}
{{- define "agentscaler.sources" -}}
{{- with .secretHeaders }}
{{- range $header, $from := . }}
{{ include "agentscaler.source" (dict "from" $from "path" (printf "headers/%s" $header)) }}
{{- end }}
{{- end }}
{{- with .bearerToken }}
{{- if .secret }}
{{ include "agentscaler.source" (dict "from" . "path" "token") }}
{{- else }}
- serviceAccountToken:
    path: token
    {{- with .serviceAccount.audience }}
    audience: {{ . | quote }}
    {{- end }}
{{- end }}
{{- end }}
{{- with .basicAuth }}
{{- if not (kindIs "string" .username) }}
{{ include "agentscaler.source" (dict "from" .username "path" "username") }}
{{- end }}
{{ include "agentscaler.source" (dict "from" .password "path" "password") }}
{{- end }}
{{- with .tls }}
{{- with .ca }}
{{ include "agentscaler.source" (dict "from" . "path" "ca.crt") }}
{{- end }}
{{- with .cert }}
{{ include "agentscaler.source" (dict "from" . "path" "tls.crt") }}
{{- end }}
{{- with .key }}
{{ include "agentscaler.source" (dict "from" . "path" "tls.key") }}
{{- end }}
{{- end }}
{{- end }}

{{- define "agentscaler.source" -}}
- {{ ternary "configMap" "secret" (hasKey .from "configMap") }}:
    name: {{ default .from.secret .from.configMap }}
    optional: true
    items:
      - key: {{ .from.key }}
        path: {{ .path }}
{{- end }}
