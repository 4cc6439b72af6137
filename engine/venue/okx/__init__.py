"""OKX v5's public market data, spoken by the simulated venue: books of its own whose prices follow the Binance ones."""
