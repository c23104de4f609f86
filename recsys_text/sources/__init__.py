"""Foreign files and databases to contract rows: where foreign data and errors end. Knows no lake."""
