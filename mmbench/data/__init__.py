"""Dataset builders with their oracles, one file (or folder) a family. numpy only."""
