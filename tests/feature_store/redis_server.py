"""Where the tests find Redis, and servers of their own that they may kill."""
