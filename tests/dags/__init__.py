"""DAGs: as Airflow sees them, and run by a real Airflow."""
