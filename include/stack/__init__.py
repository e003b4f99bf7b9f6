"""What `make demo` and `make up` run on this machine: the sandbox, Airflow's processes, their settings and the demo."""
