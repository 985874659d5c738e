"""Rows of features as heads are fitted on them: asked, divided, arranged, views behind them."""
