"""A simulated Kubernetes by the agenda's time: API server, kube-scheduler, kubelets, controllers of nodes. No I/O."""
