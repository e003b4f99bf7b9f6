"""What each vendor takes and answers: one module per vendor, without I/O."""
