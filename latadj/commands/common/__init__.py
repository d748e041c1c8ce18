"""What several commands share: the session, checks before torch is imported, training stages."""
