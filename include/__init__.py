"""Listkeeper without Airflow: leads, plans, the ledger, the vendors' contracts and the sandbox."""
