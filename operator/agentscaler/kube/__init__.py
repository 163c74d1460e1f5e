"""The Kubernetes side: what is read from the API server and what is written to it."""
