"""How many threads torch takes. Knows no setting."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def one_thread() -> Iterator[None]:
    """Lets torch compute on the thread that calls it, within the context or the function that it decorates.

    A step of training is many small operations. Threads that share each of them wait for each other about as long as
    they compute: no time is won on an idle machine, and twice the time is lost on a busy one.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
