"""Loading a dialer's campaign in paced batches: rows as the vendor takes them, the sending, and what became of it."""
