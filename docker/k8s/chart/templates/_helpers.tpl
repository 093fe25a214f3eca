{{- define "foveal.fullname" -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 52 | trimSuffix "-" -}}
{{- else if contains $name .Release.Name -}}
{{- .Release.Name | trunc 52 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 52 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "foveal.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "foveal.labels" -}}
{{ include "foveal.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
{{- end -}}

{{/* The settings as the ConfigMap has them: text as it is, all else as JSON. */}}
{{- define "foveal.settings" -}}
{{- range $name, $value := .Values.settings }}
{{ $name }}: {{ if kindIs "string" $value }}{{ $value | quote }}{{ else }}{{ $value | toJson | quote }}{{ end }}
{{- end }}
{{- end -}}

{{/* Grace, the longest deadline, the grace again, 15 s after which the service ends itself, and 5 s to spare. */}}
{{- define "foveal.terminationSeconds" -}}
{{- $grace := dig "FOVEAL_GRACE_SECONDS" 5 .Values.settings | float64 -}}
{{- $timeout := dig "FOVEAL_TIMEOUT_MS" 30000 .Values.settings | float64 -}}
{{- addf (mulf 2.0 $grace) (divf $timeout 1000.0) 20.0 | ceil | int64 -}}
{{- end -}}

{{/* Images that wait, on average over a minute: all pods of this release together. */}}
{{- define "foveal.queueQuery" -}}
sum(avg_over_time(foveal_queue_depth{namespace="{{ .Release.Namespace }}",service="{{ include "foveal.fullname" . }}"}[1m]))
{{- end -}}
