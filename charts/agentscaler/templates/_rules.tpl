{{- /* What the operator may do with agents: RULES of operator/agentscaler/kube/permissions.py, checked by a test. */}}
{{- define "agentscaler.rules" -}}
# The objects themselves. They are only read, and their status is written.
- apiGroups: [agentscaler.dev]
  resources: [agentdeployments]
  verbs: [list, watch]
- apiGroups: [agentscaler.dev]
  resources: [agentdeployments/status]
  verbs: [patch]
# Deployments are made and applied from templates; adopted ones are read. Sizes are written through /scale only.
- apiGroups: [apps]
  resources: [deployments]
  verbs: [get, list, create, patch]
- apiGroups: [apps]
  resources: [deployments/scale]
  verbs: [get, patch]
# Which pods belong to the newest template.
- apiGroups: [apps]
  resources: [replicasets]
  verbs: [list]
# <name>-settings, which the agents mount.
- apiGroups: [""]
  resources: [configmaps]
  verbs: [get, list, create, patch]
# Patched in two annotations only: the deletion cost, so that idle pods go first, and a touch, so that the kubelet
# brings new settings in seconds.
- apiGroups: [""]
  resources: [pods]
  verbs: [list, patch]
# Events tell what was done.
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create]
# Other autoscalers of a target are named, never fought.
- apiGroups: [autoscaling]
  resources: [horizontalpodautoscalers]
  verbs: [list]
- apiGroups: [keda.sh]
  resources: [scaledobjects]
  verbs: [list]
{{- end }}
