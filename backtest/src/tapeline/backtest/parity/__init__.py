"""Two runs order by order: what their difference in money comes from."""
