{{/* Quickly up, one pod a minute down: the queue is empty long before the pods are idle. */}}
{{- define "foveal.scalingBehavior" -}}
scaleUp:
  stabilizationWindowSeconds: 0
  policies:
    - {type: Percent, value: 100, periodSeconds: 30}
scaleDown:
  stabilizationWindowSeconds: 300
  policies:
    - {type: Pods, value: 1, periodSeconds: 60}
{{- end -}}

{{/* What an autoscaler would only say in its status, while it scales nothing. */}}
{{- define "foveal.checkScaling" -}}
{{- $least := int .Values.autoscaling.minReplicas -}}
{{- $most := int .Values.autoscaling.maxReplicas -}}
{{- if gt $least $most -}}
{{- fail (printf "autoscaling.minReplicas (%d) is greater than autoscaling.maxReplicas (%d)." $least $most) -}}
{{- end -}}
{{- $resources := .Values.resources | default dict -}}
{{- if and .Values.autoscaling.cpuPercent (not ($resources.requests).cpu) (not ($resources.limits).cpu) -}}
{{- fail "autoscaling.cpuPercent is a share of resources.requests.cpu, which is not set. Set it, or autoscaling.cpuPercent=0." -}}
{{- end -}}
{{- end -}}
