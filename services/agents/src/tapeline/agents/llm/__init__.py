"""A trading group of language models: analysts, an economist, a portfolio manager."""
