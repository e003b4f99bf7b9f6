"""Archiving of old leads: select them, plan how many fit which night, and send them batch by batch."""
