"""Erasure of one customer: whom it is about, where their data lies, and what keeps them from coming back.

The number and the address live in one place only, the sealed request, until the erasure has ended. Everything else (the
run's conf, XCom, logs, evidence, certificate) knows the request by its id and the customer by a keyed hash.
"""
