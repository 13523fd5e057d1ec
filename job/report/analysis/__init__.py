"""What the tables say: comparisons, effects, reasons and the verdict. Pure: it draws, reads and writes nothing."""
