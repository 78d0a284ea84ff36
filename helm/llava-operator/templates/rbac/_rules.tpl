{{- /* What the operator does with jobs and with what they own. Nothing here reaches a Secret: only pods read them. */ -}}
{{- define "llava-operator.rules" -}}
# Jobs are the user's: they are read, and only their status is written.
- apiGroups: [llava.dev]
  resources: [llavatrainjobs, llavaevaljobs]
  verbs: [get, list, watch]
- apiGroups: [llava.dev]
  resources: [llavatrainjobs/status, llavaevaljobs/status]
  verbs: [patch]
# An attempt at a stage is one PyTorchJob with its run file.
- apiGroups: [kubeflow.org]
  resources: [pytorchjobs]
  verbs: [get, list, watch, create, delete]
- apiGroups: [""]
  resources: [configmaps]
  verbs: [get, create, delete]
# Pods say how an attempt goes; the Training Operator makes them.
- apiGroups: [""]
  resources: [pods]
  verbs: [list, watch]
# Why a pod is not made is only told by an event.
- apiGroups: [""]
  resources: [events]
  verbs: [list]
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create]
# Asked with dryRun whether the pods of a job would be admitted; none is ever kept.
- apiGroups: [""]
  resources: [podtemplates]
  verbs: [create]
# A namespace's labels say whether Pod Security keeps those pods out.
- apiGroups: [""]
  resources: [namespaces]
  verbs: [get]
{{- end -}}
