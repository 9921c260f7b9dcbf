"""The trainers' phases: what each learns, from which labels, and the way from one to the next."""
