"""The command line: it parses, calls one library function and prints. It sees all other wings."""
