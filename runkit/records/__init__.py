"""What files say: frozen, versioned records, and nothing that reads or writes a file."""
