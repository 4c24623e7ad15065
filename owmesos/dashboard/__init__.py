"""The dashboard: the page at the admin API's `/`, and what it is told. It decides nothing."""
