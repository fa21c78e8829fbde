"""Text -> claims: one module for each topic that reports speak of."""
