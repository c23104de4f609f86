"""What the distribution tells Airflow about itself, and where its DAGs are. Knows no step, and no Airflow either."""

from pathlib import Path


def get_provider_info() -> dict[str, str]:
    """The provider's entry in `airflow providers list`; the keys are those of Airflow's provider schema."""
    return {
        "package-name": "recsys-text",
        "name": "recsys-text",
        "description": "DAGs that extract, train, publish and monitor text-aware recommendations.",
    }


def dags_folder() -> Path:
    """The folder to point Airflow at (`dags_folder`, a DAG bundle): in the installed package, else in the checkout."""
    here = Path(__file__).resolve().parent
    packaged = here / "dags"
    return packaged if packaged.is_dir() else here.parent.parent / "dags"
