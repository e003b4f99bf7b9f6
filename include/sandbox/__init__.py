"""The vendors on loopback: small servers written from their contracts, with a clock, switches and faults.

Nothing here is imported by the rest of the project, and nothing here imports it, so that a mistake of the
client cannot hide in the server. How to use it: `docs/sandbox.md`.
"""
