{{- define "llava-operator.name" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride -}}
{{- else if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 50 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- /* Cluster-wide objects: two installations of one name may stand in two namespaces. */ -}}
{{- define "llava-operator.clusterName" -}}
{{- printf "%s:%s" .Release.Namespace (include "llava-operator.name" .) -}}
{{- end -}}

{{- define "llava-operator.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "llava-operator.labels" -}}
{{ include "llava-operator.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end -}}

{{- define "llava-operator.serviceAccount" -}}
{{- .Values.serviceAccount.name | default (ternary (include "llava-operator.name" .) "default" .Values.serviceAccount.create) -}}
{{- end -}}

{{- define "llava-operator.lease" -}}
{{- .Values.leaseName | default (include "llava-operator.name" .) -}}
{{- end -}}

{{- define "llava-operator.image" -}}
{{- with .Values.image -}}
{{- if .digest -}}{{ .repository }}@{{ .digest }}{{- else -}}{{ .repository }}:{{ .tag | default $.Chart.AppVersion }}{{- end -}}
{{- end -}}
{{- end -}}
