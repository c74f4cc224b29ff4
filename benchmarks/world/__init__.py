"""The drawn world's builder, readers and oracle: what measures, and what no score may use."""
