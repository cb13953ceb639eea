"""Named lists of shapes: `name key=value ...` a line; tests and benches read them."""
