"""Virtual time: the same core on recorded loads, beside the autoscalers that others run."""
