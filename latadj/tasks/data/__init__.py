"""Examples from files, packages or the hub, in splits that stay apart."""
