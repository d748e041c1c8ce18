"""From a fine-tuned model and text to a dial: ACC, profile search, the fit of the latency model."""
