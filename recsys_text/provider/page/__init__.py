"""The page in Airflow's own UI: how each project is doing, and buttons for what a person does."""
