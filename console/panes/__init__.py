"""One widget a file: each shows a part of the desk and knows no engine."""
