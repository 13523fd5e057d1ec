"""From a plan to containers, and from containers to what became of them; torch is not needed."""
