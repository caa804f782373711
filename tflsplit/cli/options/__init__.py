"""Options that several commands share, and what they switch on."""
