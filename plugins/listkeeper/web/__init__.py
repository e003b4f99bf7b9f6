"""Listkeeper in Airflow's API server: the callback receiver and the pages."""
