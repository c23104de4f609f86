"""The DAGs of the installed package as a DAG bundle of Airflow. Knows their folder and no DAG."""

from typing import Any

from airflow.dag_processing.bundles.local import LocalDagBundle

from recsys_text.provider import dags_folder


class RecsysTextDagBundle(LocalDagBundle):
    """The folder that came with the package, wherever it is installed: every machine finds its own.

    An upgrade of the package replaces the DAGs with it, so that there are no versions to choose from.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(path=str(dags_folder()), **kwargs)
