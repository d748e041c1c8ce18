"""Examples as token ids, windows and padded batches."""
