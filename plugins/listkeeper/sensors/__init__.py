"""Sensors: waiting for a condition, usable in anybody's DAG."""
