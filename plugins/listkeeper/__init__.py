"""Everything of Listkeeper that imports Airflow: hooks, operators, triggers and the web app."""
