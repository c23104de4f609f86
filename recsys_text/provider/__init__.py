"""What the distribution tells Airflow about itself. Knows no step, and no Airflow either."""


def get_provider_info() -> dict[str, str]:
    """The provider's entry in `airflow providers list`; the keys are those of Airflow's provider schema."""
    return {
        "package-name": "recsys-text",
        "name": "recsys-text",
        "description": "DAGs that extract, train, publish and monitor text-aware recommendations.",
    }
