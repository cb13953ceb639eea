"""Named lists of shapes: `name key=value ...` a line, as the problems' `parse` reads them; read by tests and benches."""
