"""Pushing leads to a list of the Platform API: the rows of a plan, and the imports that bring them there."""
