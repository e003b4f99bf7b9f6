"""House-keeping: what is staged, what of it is still needed, and taking away the rest when its days are over."""
