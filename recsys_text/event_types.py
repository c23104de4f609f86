"""What a user can do with an item. Imports nothing, so that a config is read, and a DAG parsed, without dataframes."""

from typing import Literal, get_args

EventType = Literal["view", "click", "comment", "share", "purchase", "dislike"]
EVENT_TYPES: tuple[EventType, ...] = get_args(EventType)
#: The events that say that a user wanted an item; the others only count as consumption.
POSITIVE_TYPES: tuple[EventType, ...] = ("click", "comment", "share", "purchase")
