"""How the report shows what the analysis found: figures, an HTML page, Markdown and tables, written to the output."""
