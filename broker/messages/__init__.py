"""What is said over a broker, byte for byte. Pure: no connection here."""
