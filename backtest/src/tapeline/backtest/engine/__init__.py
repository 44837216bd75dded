"""The backtest engine for one file and one strategy: two ways through the cores that trade live."""
