{{/* A release may be called 1.2; a Service begins with a letter, and has no dots. */}}
{{- define "foveal.fullname" -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- $release := .Release.Name | replace "." "-" -}}
{{- $full := printf "%s-%s" $release $name -}}
{{- if .Values.fullnameOverride -}}
{{- $full = .Values.fullnameOverride -}}
{{- else if regexMatch "^[0-9]" $release -}}
{{- $full = printf "%s-%s" $name $release -}}
{{- else if contains $name $release -}}
{{- $full = $release -}}
{{- end -}}
{{- $full | trunc 52 | trimAll "-" -}}
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
