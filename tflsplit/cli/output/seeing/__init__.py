"""Answers for people: in lines, and as they come."""
