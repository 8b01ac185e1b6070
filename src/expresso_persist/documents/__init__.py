"""A localStorage document and the records it is made of, in both directions; pure."""
