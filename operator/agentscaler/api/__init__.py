"""The resource as users write it: models of v1alpha1, conditions and reasons, and the CRD made from them."""
