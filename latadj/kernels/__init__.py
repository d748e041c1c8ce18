"""Linear layers packed or quantised for the kernel that runs them, and how a model is lowered to them."""
